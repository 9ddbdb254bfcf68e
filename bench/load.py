"""A load of HTTP requests, in a process of its own: `python -m bench.load PLAN`.

The plan is a file of JSON: port, path, method, connections, seconds, and either
a rate (requests leave on time, whatever the answers do: latency counts from
when a request was due) or none (each connection sends its next request when it
has its answer). The bodies stand in a second file, one a line. Prints what came
of it as JSON.
"""

import asyncio
import gc
import json
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvloop


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent."""

    port: int
    path: str
    method: str
    connections: int
    #: The most that it may take. Without a rate it is over when the bodies are.
    seconds: float
    rate: float | None
    bodies: str
    result: str


@dataclass(slots=True)
class Outcome:
    """What came of it. Times on the machine's monotonic clock, latencies in seconds."""

    began_at: float = 0.0
    ended_at: float = 0.0
    ok: int = 0
    refused: int = 0
    latencies: list[float] = field(default_factory=list)
    #: When the request of each body was due, in the order of the bodies.
    due_at: list[float] = field(default_factory=list)


class Line(asyncio.Protocol):
    """A kept connection with one request on its way at most."""

    def __init__(self, sender: "Sender") -> None:
        self._sender = sender
        self._transport: Any = None
        self._buffer = b""
        self._due_at = 0.0
        self.is_open = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.is_open = True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._sender.lost(self, error)

    def send(self, request: bytes, due_at: float) -> None:
        self._due_at = due_at
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(self._buffer) < head_end + 4 + length:
            return
        self._buffer = b""
        self._sender.answered(self, self._due_at, is_ok=head.startswith(b"http/1.1 2"))

    def close(self) -> None:
        self._transport.close()


class Sender:
    """Hands requests to free connections."""

    def __init__(self, plan: Plan, bodies: list[bytes]) -> None:
        self._plan = plan
        self._requests = [_request(plan, body) for body in bodies]
        self._next = 0
        self._free: deque[Line] = deque()
        self._late: deque[tuple[bytes, float]] = deque()
        self._under_way = 0
        self._over = asyncio.Event()
        self._closing = False
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        loop = asyncio.get_running_loop()
        for _ in range(self._plan.connections):
            _, line = await loop.create_connection(lambda: Line(self), "127.0.0.1", self._plan.port)
            self._free.append(line)
        lines = list(self._free)
        self.outcome.began_at = time.monotonic()
        sending: asyncio.Task[None] | None = None
        if self._plan.rate is None:
            while self._free and self._next < len(self._requests):
                self._send_next(self._free.popleft())
        else:
            sending = loop.create_task(self._send_on_time(self._plan.rate))
        try:
            await asyncio.wait_for(self._over.wait(), self._plan.seconds)
        except TimeoutError:
            pass  # What was answered counts.
        self.outcome.ended_at = time.monotonic()
        self._closing = True
        if sending is not None:
            sending.cancel()
        for line in lines:
            line.close()
        return self.outcome

    def answered(self, line: Line, due_at: float, *, is_ok: bool) -> None:
        self._under_way -= 1
        self.outcome.latencies.append(time.monotonic() - due_at)
        if is_ok:
            self.outcome.ok += 1
        else:
            self.outcome.refused += 1
        if self._plan.rate is None and self._next < len(self._requests):
            self._send_next(line)
        elif self._late:
            self._send(line, *self._late.popleft())
        else:
            self._free.append(line)
        self._check_over()

    def lost(self, line: Line, error: Exception | None) -> None:
        if not self._closing:
            raise SystemExit(f"a connection was closed on us: {error} {line}")

    def _send_next(self, line: Line) -> None:
        now = time.monotonic()
        self.outcome.due_at.append(now)
        request = self._requests[self._next]
        self._next += 1
        self._send(line, request, now)

    def _send(self, line: Line, request: bytes, due_at: float) -> None:
        self._under_way += 1
        line.send(request, due_at)

    async def _send_on_time(self, rate: float) -> None:
        began = self.outcome.began_at
        while self._next < len(self._requests):
            due_at = began + self._next / rate
            wait = due_at - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            self.outcome.due_at.append(due_at)
            request = self._requests[self._next]
            self._next += 1
            if self._free:
                self._send(self._free.popleft(), request, due_at)
            else:
                self._late.append((request, due_at))
        self._check_over()

    def _check_over(self) -> None:
        if self._next >= len(self._requests) and not self._under_way and not self._late:
            self._over.set()


def _request(plan: Plan, body: bytes) -> bytes:
    head = (
        f"{plan.method} {plan.path} HTTP/1.1\r\nHost: 127.0.0.1:{plan.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def main() -> None:
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    bodies = Path(plan.bodies).read_bytes().splitlines()
    gc.disable()

    async def run() -> Outcome:
        return await Sender(plan, bodies).run()

    outcome = uvloop.run(run())
    Path(plan.result).write_text(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
