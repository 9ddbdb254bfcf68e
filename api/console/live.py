"""Keeps open pages up to date by server-sent events. One question a second, whoever watches.

A page watches a topic: a key, and how to read what it is about. Pages with the same
key share the answers. Topics take turns: each second one of them is read, in a thread,
so that the database is asked as much by a hundred viewers as by one. What did not
change is not sent.

A stream ends when its page goes, when its session is signed out, after
`LONGEST` (the browser comes back, and is asked again who it is), and at once when
the process is told to stop: uvicorn waits for open answers.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import structlog
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.problems import Problem

log = structlog.get_logger(__name__)

#: Between two questions to the database.
INTERVAL = 1.0
#: A comment, so that proxies keep the connection and we notice who has gone.
HEARTBEAT = 15.0
LONGEST = 300.0
MAX_STREAMS = 64
_STOP = object()


@dataclass(frozen=True, slots=True)
class Event:
    """What an open page does: `replace` puts each element where the one with its id is,
    `prepend` puts them first into the element `into`, `over` means that no more will come."""

    kind: str
    html: str = ""
    into: str = ""

    def encode(self) -> bytes:
        name = f"prepend:{self.into}" if self.kind == "prepend" else self.kind
        lines = "".join(f"data: {line}\n" for line in self.html.splitlines() or [""])
        return f"event: {name}\n{lines}\n".encode()


def replace(html: str) -> Event:
    return Event("replace", html)


def prepend(html: str, *, into: str) -> Event:
    return Event("prepend", html, into)


OVER = Event("over")


@dataclass(eq=False, slots=True)
class _Stream:
    session: bytes
    #: The newest answer alone: who is slow misses those between.
    inbox: "asyncio.Queue[Any]" = field(default_factory=lambda: asyncio.Queue(1))

    def put(self, value: Any) -> None:
        if self.inbox.full() and self.inbox.get_nowait() is _STOP:
            value = _STOP
        self.inbox.put_nowait(value)


@dataclass(eq=False, slots=True)
class _Topic:
    read: Callable[[], Any]
    streams: set[_Stream] = field(default_factory=set)


class Live:
    """All streams of this process."""

    def __init__(self) -> None:
        #: In the order of their turns.
        self._topics: dict[str, _Topic] = {}
        self._reader: asyncio.Task[None] | None = None
        self._is_closed = False

    def size(self) -> int:
        return sum(len(topic.streams) for topic in self._topics.values())

    def close(self) -> None:
        """Ends every stream; new ones are refused."""
        self._is_closed = True
        self._stop(lambda _: True)

    def end(self, session: bytes) -> None:
        """Ends the streams of a session that was signed out. From any thread."""
        if self._reader is not None:
            self._reader.get_loop().call_soon_threadsafe(
                self._stop, lambda stream: stream.session == session
            )

    async def events(
        self,
        key: str,
        *,
        session: bytes,
        read: Callable[[], Any],
        show: Callable[[Any], Sequence[Event]],
    ) -> AsyncIterator[bytes]:
        """What goes over the wire: `show` of each answer that is not as the one before."""
        stream = _Stream(session)
        self._join(key, read, stream)
        try:
            yield b"retry: 2000\n\n"
            async for chunk in _chunks(stream, show):
                yield chunk
        finally:
            self._leave(key, stream)

    def _join(self, key: str, read: Callable[[], Any], stream: _Stream) -> None:
        self._topics.setdefault(key, _Topic(read)).streams.add(stream)
        if self._is_closed:
            stream.put(_STOP)
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_task(self._read_in_turns())

    def _leave(self, key: str, stream: _Stream) -> None:
        topic = self._topics[key]
        topic.streams.discard(stream)
        if not topic.streams:
            del self._topics[key]

    def _stop(self, is_meant: Callable[[_Stream], bool]) -> None:
        for topic in self._topics.values():
            for stream in filter(is_meant, topic.streams):
                stream.put(_STOP)

    async def _read_in_turns(self) -> None:
        """As long as anybody watches."""
        while self._topics and not self._is_closed:
            key = next(iter(self._topics))
            topic = self._topics[key] = self._topics.pop(key)
            try:
                value = await run_in_threadpool(topic.read)
            except Exception as error:
                # The page stays as it is; the next turn may go better.
                log.warning(
                    "live.not_read", topic=key.partition(":")[0], error=type(error).__name__
                )
            else:
                for stream in topic.streams:
                    stream.put(value)
            await asyncio.sleep(INTERVAL)
        self._reader = None


async def _chunks(stream: _Stream, show: Callable[[Any], Sequence[Event]]) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + LONGEST
    last: Any = _STOP
    while (left := ends_at - loop.time()) > 0:
        try:
            value = await asyncio.wait_for(stream.inbox.get(), min(HEARTBEAT, left))
        except TimeoutError:
            yield b": still here\n\n"
            continue
        if value is _STOP:
            return
        if value == last:
            continue
        last = value
        for event in await run_in_threadpool(show, value):
            yield event.encode()
            if event == OVER:
                return


def live_response(
    request: Request,
    key: str,
    *,
    read: Callable[[], Any],
    show: Callable[[Any], Sequence[Event]],
) -> Response:
    """The answer of a route that a page's `data-live` names.

    `read` asks the database and is shared by all who watch `key`: it must depend on
    nothing but the key. Its value is compared, so make it a tuple or a view.
    `show` makes the value into events for this viewer; it must not ask the database.
    """
    live: Live = request.app.state.live
    if live.size() >= MAX_STREAMS:
        raise Problem(503, "Too many pages are kept up to date at once", {"Retry-After": "30"})
    session = request.state.viewer.signed_in.id_hash
    return StreamingResponse(
        live.events(key, session=session, read=read, show=show),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


@contextmanager
def ended_by_signals(live: Live) -> Iterator[None]:
    """Closes the streams as soon as the process is told to stop, then does what was to be done.

    uvicorn tells the application only once all answers are complete.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(live.close)
        then = before[signal.Signals(number)]
        if callable(then):
            then(number, frame)

    are_ours = _set_handlers({number: stop for number, then in before.items() if callable(then)})
    try:
        yield
    finally:
        if are_ours:
            _set_handlers(before)


def _set_handlers(handlers: dict[signal.Signals, Any]) -> bool:
    """False in a thread that may not: signals are not for it then."""
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    except ValueError:
        return False
    return True
