"""Open pages that are kept up to date: shared, bounded, and in nobody's way when the end comes."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from aftercall.embedded import StoreUrls
from api.console.live import INTERVAL, MAX_STREAMS, OVER, Event, Live, prepend, replace
from tests.api.server import Api, running_api
from tests.console.visitor import Visitor


@contextmanager
def watching(visitor: Visitor) -> Iterator[Iterator[str]]:
    """The lines of the audit page's stream."""
    with visitor.session.get(
        f"{visitor.origin}/audit/live",
        headers={"Accept": "text/event-stream"},
        stream=True,
        timeout=20,
    ) as answer:
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store"
        yield answer.iter_lines(chunk_size=1, decode_unicode=True)


def test_an_open_page_is_told_what_is_new(admin: Visitor, console: Api) -> None:
    with watching(admin) as lines:
        assert next(line for line in lines if line.startswith("event:"))
        console.post("/calls", {"call_ids": ["call_<new>"]}, status=202)
        assert next(line for line in lines if "calls.added" in line)
        assert next(line for line in lines if "call_&lt;new&gt;" in line)


def test_nobody_who_is_not_signed_in_is_told_anything(visitor: Visitor) -> None:
    answer = visitor.get("/audit/live", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 401


def test_signing_out_ends_what_the_session_watches(admin: Visitor) -> None:
    token = admin.csrf_token()
    with watching(admin) as lines:
        next(lines)
        admin.post("/sign-out", {"csrf_token": token})
        # Otherwise this would wait for ever.
        assert list(lines)


def test_a_process_that_is_told_to_stop_waits_for_no_open_page(
    stores: StoreUrls, tmp_path: Path, console: Api
) -> None:
    with ExitStack() as still_open:
        with running_api(
            tmp_path,
            AFTERCALL_DATABASE_URL=stores.database_url,
            AFTERCALL_REDIS_URL=stores.redis_url,
        ) as api:
            visitor = still_open.enter_context(Visitor(api.origin))
            visitor.sign_in()
            lines = still_open.enter_context(watching(visitor))
            next(lines)
            # The end of the block sends SIGTERM.
            begun = time.monotonic()
        assert time.monotonic() - begun < 5
        # It was an end in good order, not a connection that broke.
        assert list(lines)[-1] == ""


# ---- the feed itself ---------------------------------------------------------


class Source:
    """A database that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def read(self) -> int:
        self.asked += 1
        return self.asked


def shown(value: int) -> Sequence[Event]:
    return [replace(f'<p id="count">{value}</p>')]


async def take(live: Live, key: str, source: Source, count: int) -> list[bytes]:
    """So many events of a stream; then its page goes."""
    stream = live.events(key, session=b"", read=source.read, show=shown)
    found: list[bytes] = []
    async for chunk in stream:
        if chunk.startswith(b"event"):
            found.append(chunk)
        if len(found) == count:
            break
    await stream.aclose()  # type: ignore[attr-defined]
    return found


def test_all_who_watch_the_same_share_one_answer() -> None:
    async def run() -> None:
        live, source = Live(), Source()
        found = await asyncio.gather(*(take(live, "a", source, 2) for _ in range(20)))
        assert len({tuple(one) for one in found}) == 1
        assert source.asked == 2
        assert live.size() == 0

    asyncio.run(run())


def test_different_pages_take_turns_so_that_a_second_costs_one_question() -> None:
    async def run() -> None:
        live, sources = Live(), [Source() for _ in range(3)]
        begun = time.monotonic()
        await asyncio.gather(*(take(live, str(n), one, 1) for n, one in enumerate(sources)))
        assert [one.asked for one in sources] == [1, 1, 1]
        assert time.monotonic() - begun >= 2 * INTERVAL

    asyncio.run(run())


def test_a_question_that_fails_is_asked_again() -> None:
    class Failing(Source):
        def read(self) -> int:
            if super().read() == 1:
                raise OSError("the database is away")
            return self.asked

    async def run() -> None:
        assert len(await take(Live(), "a", Failing(), 1)) == 1

    asyncio.run(run())


def test_a_closed_feed_ends_every_stream_and_the_next_one_at_once() -> None:
    async def run() -> None:
        live, source = Live(), Source()
        streams = [asyncio.create_task(take(live, "a", source, 100)) for _ in range(3)]
        await asyncio.sleep(0.05)
        live.close()
        await asyncio.wait_for(asyncio.gather(*streams), 1)
        await asyncio.wait_for(take(live, "b", source, 1), 1)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        (replace("<p>\na\n</p>"), b"event: replace\ndata: <p>\ndata: a\ndata: </p>\n\n"),
        (prepend("<tr>", into="rows"), b"event: prepend:rows\ndata: <tr>\n\n"),
        (replace("a\rdata: b"), b"event: replace\ndata: a\ndata: data: b\n\n"),
        (OVER, b"event: over\ndata: \n\n"),
    ],
)
def test_an_event_on_the_wire(event: Event, wire: bytes) -> None:
    assert event.encode() == wire


def test_there_are_never_more_streams_than_the_process_can_bear(admin: Visitor) -> None:
    def watch() -> requests.Response:
        return admin.session.get(f"{admin.origin}/audit/live", stream=True, timeout=20)

    with ExitStack() as still_open:
        answers = [still_open.enter_context(watch()) for _ in range(MAX_STREAMS + 1)]
        assert [one.status_code for one in answers] == [200] * MAX_STREAMS + [503]
