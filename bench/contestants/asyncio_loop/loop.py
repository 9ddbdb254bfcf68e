"""Fetch, save and post the calls of a file as fast as one process can: the speed of light.

HTTP/1.1 by hand over kept connections, one statement for all calls that wait
to be saved. No queue, no retries, no record of attempts: what is left out here
is what a service costs.
"""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import uvloop

_FIELDS = ("status", "direction", "callee_phone", "duration_seconds", "started_at", "ended_at")
_SAVE = """
INSERT INTO calls
  (call_id, status, direction, callee_phone, duration_seconds, started_at, ended_at, detail)
SELECT * FROM unnest(
  %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::timestamptz[],
  %s::timestamptz[], %s::jsonb[]
)
ON CONFLICT (call_id) DO UPDATE SET
  status = EXCLUDED.status, direction = EXCLUDED.direction,
  callee_phone = EXCLUDED.callee_phone, duration_seconds = EXCLUDED.duration_seconds,
  started_at = EXCLUDED.started_at, ended_at = EXCLUDED.ended_at, detail = EXCLUDED.detail,
  saved_at = now()
"""


class Line(asyncio.Protocol):
    """A kept connection: one request, one answer, in turn."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._buffer = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0 or self._answer is None:
            return
        head = self._buffer[:head_end].lower()
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(self._buffer) < head_end + 4 + length:
            return
        body = self._buffer[head_end + 4 : head_end + 4 + length]
        self._buffer = b""
        if self._answer.done():
            return
        if head.startswith(b"http/1.1 200"):
            self._answer.set_result(body)
        else:
            self._answer.set_exception(ValueError(head.decode()))

    def ask(self, request: bytes) -> "asyncio.Future[bytes]":
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer


class Saver:
    """Whatever waits is saved together."""

    def __init__(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        self._connection = connection
        self._waiting: list[tuple[bytes, dict[str, Any], asyncio.Future[None]]] = []
        self._wake = asyncio.Event()

    async def save(self, raw: bytes, detail: dict[str, Any]) -> None:
        saved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((raw, detail, saved))
        self._wake.set()
        await saved

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = self._waiting, []
            calls = [detail["call"] for _, detail, _ in batch]
            columns = [[call[name] for call in calls] for name in ("call_id", *_FIELDS)]
            details = [raw.decode() for raw, _, _ in batch]
            await self._connection.execute(_SAVE, [*columns, details], prepare=True)
            await self._connection.commit()
            for _, _, saved in batch:
                saved.set_result(None)


async def _work(call_ids: list[str], saver: Saver) -> None:
    loop = asyncio.get_running_loop()
    upstream, hook = urlsplit(os.environ["UPSTREAM_URL"]), urlsplit(os.environ["HOOK_URL"])
    _, asking = await loop.create_connection(Line, upstream.hostname or "", upstream.port or 80)
    _, telling = await loop.create_connection(Line, hook.hostname or "", hook.port or 80)
    get = f"GET {upstream.path}?call_id=%s HTTP/1.1\r\nHost: {upstream.netloc}\r\n\r\n"
    post = (
        f"POST {hook.path} HTTP/1.1\r\nHost: {hook.netloc}\r\n"
        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    while call_ids:
        raw = await asking.ask((get % call_ids.pop()).encode())
        detail = json.loads(raw)
        await saver.save(raw, detail)
        body = _hook_body(detail)
        await telling.ask((post % len(body)).encode() + body)


async def _all(lines: list[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*lines)


def _hook_body(detail: dict[str, Any]) -> bytes:
    call = detail["call"]
    data = {name: value for name, value in detail.items() if name != "success"}
    data = {"call_id": call["call_id"], "workspace_id": os.environ["WORKSPACE_ID"], **data}
    whole = {"type": "call.completed", "timestamp": call["ended_at"], "data": data}
    return json.dumps(whole, ensure_ascii=False).encode()


async def run(call_ids: Sequence[str]) -> None:
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection:
        saver = Saver(connection)
        saving = asyncio.create_task(saver.run())
        left = list(call_ids)
        lines = [_work(left, saver) for _ in range(min(int(os.environ["CONNECTIONS"]), len(left)))]
        working = asyncio.ensure_future(_all(lines))
        done, _ = await asyncio.wait({saving, working}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        saving.cancel()
    # Ended by whoever started it, as every contestant is.
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(run(Path(sys.argv[1]).read_text().split()))
