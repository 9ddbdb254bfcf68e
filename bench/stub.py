"""The stub upstream and CRM, in a process of its own: `python -m bench.stub PORT`.

GET /call/detail answers a completed call of the id that was asked for; POST
/hooks/… answers 200 and remembers the call id in the body, and when it came.
Cheap on purpose: one regular expression and one write a request, no framework.
Under /bench/ it is told its latency and asked what it has seen.
"""

import asyncio
import gc
import json
import random
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import uvloop

from bench.payloads import detail_pieces

_ASKED_FOR = re.compile(rb"call_id=([^& ]+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_DELIVERED = re.compile(rb'"call_id" ?: ?"([^"]+)"')
_HOOK_ANSWER = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
)
_BAD_REQUEST = b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
#: Of the logarithm. The slowest of a hundred then takes three and a half times the mean.
_SIGMA = 0.6


@dataclass(slots=True)
class Tally:
    """What the stub has seen since the last reset."""

    upstream_mean: float = 0.0
    crm_mean: float = 0.0
    details: int = 0
    posts: int = 0
    first_detail_at: float = 0.0
    last_post_at: float = 0.0
    #: When each call id was first posted, on the machine's monotonic clock.
    arrivals: dict[bytes, float] = field(default_factory=dict)
    strangers: int = 0
    cpu_at_reset: float = field(default_factory=time.process_time)


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._rest = b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        while data:
            head_end = data.find(b"\r\n\r\n")
            if head_end < 0:
                break
            end = head_end + 4
            if data.startswith(b"P"):
                length = _LENGTH.search(data, 0, head_end)
                if length is None:
                    self._transport.write(_BAD_REQUEST)
                    self._transport.close()
                    return
                end += int(length[1])
                if len(data) < end:
                    break
            self._server.answer(self._transport, data, head_end, end)
            data = data[end:]
        self._rest = data


class Server:
    """Answers requests and keeps the tally."""

    def __init__(self) -> None:
        self._pieces = detail_pieces()
        self._heads: dict[int, bytes] = {}
        self._rng = random.Random(7)
        self._tally = Tally()

    def answer(self, transport: Any, data: bytes, head_end: int, end: int) -> None:
        tally = self._tally
        if data.startswith(b"GET /call/detail"):
            tally.details += 1
            if not tally.first_detail_at:
                tally.first_detail_at = time.monotonic()
            self._write(transport, self._detail(data), tally.upstream_mean)
        elif data.startswith(b"POST /hooks/"):
            tally.posts += 1
            tally.last_post_at = now = time.monotonic()
            found = _DELIVERED.search(data, head_end, end)
            if found:
                tally.arrivals.setdefault(found[1], now)
            else:
                tally.strangers += 1
            self._write(transport, _HOOK_ANSWER, tally.crm_mean)
        else:
            transport.write(_json_answer(self._control(data, head_end, end)))

    def _detail(self, data: bytes) -> bytes:
        found = _ASKED_FOR.search(data)
        call_id = found[1] if found else b"none"
        head = self._heads.get(len(call_id))
        if head is None:
            length = len(call_id.join(self._pieces))
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % length
            )
            self._heads[len(call_id)] = head
        return head + call_id.join(self._pieces)

    def _write(self, transport: Any, answer: bytes, mean: float) -> None:
        if mean:
            delay = mean * self._rng.lognormvariate(-_SIGMA * _SIGMA / 2, _SIGMA)
            asyncio.get_running_loop().call_later(delay, transport.write, answer)
        else:
            transport.write(answer)

    def _control(self, data: bytes, head_end: int, end: int) -> object:
        path = data.split(b" ", 2)[1]
        tally = self._tally
        if path == b"/bench/reset":
            wanted = json.loads(data[head_end + 4 : end])
            self._tally = Tally(upstream_mean=wanted["upstream"], crm_mean=wanted["crm"])
            gc.collect()
            return {}
        if path == b"/bench/arrivals":
            return {id_.decode(): at for id_, at in tally.arrivals.items()}
        return {
            "details": tally.details,
            "posts": tally.posts,
            "distinct": len(tally.arrivals),
            "strangers": tally.strangers,
            "first_detail_at": tally.first_detail_at,
            "last_post_at": tally.last_post_at,
            "cpu_seconds": time.process_time() - tally.cpu_at_reset,
        }


def _json_answer(answer: object) -> bytes:
    body = json.dumps(answer).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def _serve(port: int) -> None:
    server = Server()
    loop = asyncio.get_running_loop()
    # A collection would stop everybody's clock for as long as it takes.
    gc.disable()
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", port, backlog=1024)
    await listener.serve_forever()


if __name__ == "__main__":
    try:
        uvloop.run(_serve(int(sys.argv[1])))
    except KeyboardInterrupt:
        pass
