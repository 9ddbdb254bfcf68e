"""What one connection may cost: time for a request's head, its size, an answer that nobody reads.

uvicorn bounds none of these with httptools: a client that says nothing, or a letter a
second, would keep its connection for ever. It takes this in its place with
`--http api.connections:BoundedConnection`. How long a body may take is for
`api/body_deadline.py` to say, and how long it may be for `api/body_limit.py`.
"""

import asyncio
import resource

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: From the connection, or from the last answer, until a head is complete.
HEAD_SECONDS = 10.0
#: So long may an answer wait for a client that reads nothing of it.
STALLED_SECONDS = 20.0
MAX_HEAD_BYTES = 64 * 1024
#: Of one request on the wire, whatever it is made of: chunks' frames and trailers count as well.
MAX_REQUEST_BYTES = 8 * 1024 * 1024
#: Each connection is an open file. More is not asked for: macOS refuses it.
MAX_FILES = 10_240

_DETAIL = b"The request's head is over %d bytes" % MAX_HEAD_BYTES
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_DETAIL), _DETAIL)
)


class _HeadTooLarge(Exception):
    """Ends the parsing; the answer is written already."""


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol, with an end to every wait for the client."""

    _head_timer: asyncio.TimerHandle | None = None
    _stalled_timer: asyncio.TimerHandle | None = None
    _unsent_bytes = 0
    _reads_head = True
    _head_bytes = 0
    _request_bytes = 0

    # ---- time ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head_timer)
        _cancel(self._stalled_timer)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        _cancel(self._stalled_timer)
        super().resume_writing()

    def _await_head(self) -> None:
        _cancel(self._head_timer)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        # Of pipelined requests the next may be at work; its end sets the next timer.
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()

    def _await_reader(self) -> None:
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._stalled_timer = self.loop.call_later(STALLED_SECONDS, self._look_at_reader)

    def _look_at_reader(self) -> None:
        if self.transport.get_write_buffer_size() < self._unsent_bytes:
            self._await_reader()
        else:
            self.transport.abort()

    # ---- size ------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._request_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._reads_head and self._request_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
        elif self._request_bytes > MAX_REQUEST_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._reads_head = True
        self._head_bytes = self._request_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come here too.
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._reads_head = False
        _cancel(self._head_timer)
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
            raise _HeadTooLarge

    def _refuse_head(self) -> None:
        self.transport.write(_TOO_LARGE)
        self.transport.close()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def raise_file_limit() -> None:
    """To the most that this process may have, so that idle connections shut out nobody."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
