"""Answers that mean harm, from Twenty2's side and from a hook's.

Each costs its own call or delivery an attempt at most; a neighbour in the same crew is none the
worse, and nothing outlives its limits.
"""

import gzip
import json
import time
import zlib
from typing import Any

import pytest

from aftercall.crm.destination_spec import DestinationSpec
from aftercall.db.session import Database
from aftercall.domain.states import CallState, DeliveryState
from aftercall.embedded import StoreUrls
from aftercall.flows.configure_destinations import create_destination
from aftercall.flows.look import show_call
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.conftest import Clock, make_service, make_settings
from tests.flows.work import (
    accept_rows,
    add_hook,
    call_row,
    deliver,
    delivery_rows,
    fetch,
    queued_ids,
)
from tests.raw_server import Peer, RawServer, Script, always, answer, chunk, head

#: In seconds; the deadline of a fetch is 20, and no answer here may need it.
PROMPTLY = 12.0
HOSTILE = "call_hostile"


def detail(output: str = "{}", **call: Any) -> bytes:
    """A call's detail whose output parameters are this text."""
    facts = json.dumps({"call_id": "call_1", "status": "completed", **call})
    return f'{{"success": true, "call": {facts}, "output_parameters": {output}}}'.encode()


def nested(depth: int) -> str:
    return '{"a": ' + "[" * depth + "]" * depth + "}"


def bomb(size: int) -> bytes:
    """So many bytes of zeros, packed to a thousandth."""
    packer = zlib.compressobj(9, wbits=31)
    pieces = [packer.compress(b"0" * 1024 * 1024) for _ in range(size // (1024 * 1024))]
    return b"".join([*pieces, packer.flush()])


def flood(opening: bytes, piece: bytes) -> Script:
    """An answer without an end."""

    def script(peer: Peer) -> None:
        for _ in peer.requests():
            peer.say(opening)
            peer.flood(piece)

    return script


BOMB = bomb(128 * 1024 * 1024)
HUGE_HEADER = answer(b"{}", "X-Huge: " + "x" * 2_000_000)
MANY_HEADERS = answer(b"{}", *(f"X-{number}: {number}" for number in range(5_000)))
ENDLESS = flood(head("Transfer-Encoding: chunked"), chunk(b"x" * 65_536))
ENDLESS_HEAD = flood(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 500)
ENDLESS_CONTINUE = flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500)

SAVED, RETRIED, DEAD = CallState.FETCHED, CallState.QUEUED, CallState.DEAD
#: What Twenty2 may say, and what becomes of the call.
FROM_TWENTY2: dict[str, tuple[Script, CallState]] = {
    "nested 190 deep": (always(answer(detail(nested(190)))), SAVED),
    # It could be saved, and then no page with it could be shown.
    "nested 250 deep": (always(answer(detail(nested(250)))), RETRIED),
    "nested 100,000 deep": (always(answer(detail(nested(100_000)))), RETRIED),
    "nested 2,000,000 deep": (always(answer(b"[" * 2_000_000)), RETRIED),
    "a gzip bomb": (always(answer(BOMB, "Content-Encoding: gzip")), RETRIED),
    "a gzip bomb with an error's status": (
        always(answer(BOMB, "Content-Encoding: gzip", status="500 Oh")),
        RETRIED,
    ),
    "a huge header": (always(HUGE_HEADER), RETRIED),
    "thousands of headers": (always(MANY_HEADERS), RETRIED),
    "a body without an end": (ENDLESS, RETRIED),
    "a head without an end": (ENDLESS_HEAD, RETRIED),
    "an integer of a million digits": (
        always(answer(detail('{"big": ' + "9" * 1_000_000 + "}"))),
        SAVED,
    ),
    "a million digits as a cost": (
        always(answer(detail().replace(b'"call_1"', b'"call_1", "cost": ' + b"9" * 1_000_000))),
        SAVED,
    ),
    "a huge exponent": (always(answer(detail('{"big": 1e999999999, "small": -1E-99999}'))), SAVED),
    "NaN and Infinity": (always(answer(detail('{"a": NaN, "b": [Infinity, -Infinity]}'))), SAVED),
    "NUL and halves of pairs": (
        always(
            answer(detail(r'{"a\u0000": "\u0000x", "b": "\ud83d", "c\udc00": ["\udc00\ud83d"]}'))
        ),
        SAVED,
    ),
    "halves of pairs as bytes": (
        always(
            answer(detail('{"a": "\ud83d"}'.replace("\ud83d", "?")).replace(b"?", b"\xed\xa0\xbd"))
        ),
        SAVED,
    ),
    "bytes that are no UTF-8": (
        always(answer(detail('{"a": "?"}').replace(b"?", b"\xff"))),
        RETRIED,
    ),
    "300,000 keys": (
        always(answer(detail(json.dumps({f"k{number}": 0 for number in range(300_000)})))),
        SAVED,
    ),
    "a name twice": (always(answer(detail('{"a": 1, "a": {"a": 2}, "": null}'))), SAVED),
    "a million digits as Retry-After": (
        always(answer(b"{}", "Retry-After: " + "9" * 60_000, status="503 Away")),
        RETRIED,
    ),
    "a status of 99 digits": (always(b"HTTP/1.1 " + b"2" * 99 + b" OK\r\n\r\n"), RETRIED),
    "a message of a megabyte": (
        always(answer(json.dumps({"message": "\u0000\ud83d" * 100_000}).encode(), status="400 No")),
        DEAD,
    ),
}


@pytest.mark.parametrize(("script", "becomes"), FROM_TWENTY2.values(), ids=FROM_TWENTY2)
def test_whatever_twenty2_answers_the_call_is_saved_or_tried_again_with_a_reason(
    database: Database,
    stores: StoreUrls,
    clock: Clock,
    script: Script,
    becomes: CallState,
) -> None:
    def either(peer: Peer) -> None:
        for request in peer.requests():
            # Kept open: a hang-up would meet the next request on this connection.
            if HOSTILE.encode() in request:
                script(_Again(peer))  # type: ignore[arg-type]
            else:
                peer.say(answer(detail()))

    with RawServer(either) as twentytwo:
        settings = make_settings(TWENTYTWO_BASE_URL=twentytwo.url("/api"))
        service = make_service(database, stores, settings, clock)
        began = time.monotonic()
        fetch(service, accept_rows(service, [HOSTILE, *(f"call_{n}" for n in range(4))]), size=3)
        took = time.monotonic() - began
        row = call_row(service, HOSTILE)
        neighbours = [call_row(service, f"call_{n}") for n in range(4)]
        story = show_call(service, HOSTILE)
        service.redis.close()
    assert row.state is becomes, row.last_error
    assert {each.last_error for each in neighbours} == {None}
    assert {each.state for each in neighbours} == {SAVED}
    assert took < PROMPTLY
    if becomes is SAVED:
        assert row.last_error is None
        assert json.loads(story.model_dump_json())["output_parameters"] is not None
    else:
        assert row.last_error
        assert len(row.last_error) < 1_000
        assert row.attempts == 1


class _Again:
    """A peer whose first request has been read already."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.say, self.flood, self.drip = peer.say, peer.flood, peer.drip

    def requests(self) -> list[bytes]:
        return [b""]

    def request(self) -> bytes:
        return b""


@pytest.mark.parametrize(
    "output",
    [
        nested(190),
        '{"big": ' + "9" * 1_000_000 + "}",
        r'{"a\u0000": "\u0000x", "b": "\ud83d"}',
        '{"a": NaN, "b": 1e999999999}',
    ],
    ids=["nested", "a million digits", "NUL and half a pair", "no numbers"],
)
def test_what_was_saved_of_it_is_delivered_as_json(
    database: Database, stores: StoreUrls, clock: Clock, output: str
) -> None:
    with (
        RawServer(always(answer(detail(output)))) as twentytwo,
        RawServer(always(answer())) as hook,
    ):
        settings = make_settings(TWENTYTWO_BASE_URL=twentytwo.url("/api"))
        service = make_service(database, stores, settings, clock)
        create_destination(service, DestinationSpec(name="leads", url=hook.url("/hook")))
        fetch(service, accept_rows(service, [HOSTILE]))
        deliver(service, queued_ids(service))
        [row] = delivery_rows(service)
        service.redis.close()
        [request] = hook.requests
    assert row.state is DeliveryState.DELIVERED
    body = request.partition(b"\r\n\r\n")[2].decode()

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    parsed = json.loads(body, parse_constant=refuse)
    assert len(parsed["data"]["output_parameters"]) == len(json.loads(output, parse_int=str))
    assert "\\u0000" not in body


# ---- a hook's answers ----------------------------------------------------------

DELIVERED, AGAIN = DeliveryState.DELIVERED, DeliveryState.QUEUED
FROM_A_HOOK: dict[str, tuple[Script, DeliveryState]] = {
    "nested 2,000,000 deep": (always(answer(b"[" * 2_000_000)), DELIVERED),
    "a gzip bomb": (always(answer(BOMB, "Content-Encoding: gzip")), DELIVERED),
    "an error with a gzip bomb": (
        always(answer(BOMB, "Content-Encoding: gzip", status="500 Oh")),
        AGAIN,
    ),
    "a bomb in a bomb": (
        always(answer(gzip.compress(BOMB), "Content-Encoding: gzip, gzip")),
        DELIVERED,
    ),
    "a hundred encodings": (
        always(answer(b"x", "Content-Encoding: " + ", ".join(["gzip"] * 100))),
        DELIVERED,
    ),
    "what says that it is gzip and is not": (
        always(answer(b"not gzip", "Content-Encoding: gzip")),
        AGAIN,
    ),
    "a huge header": (always(HUGE_HEADER), AGAIN),
    "thousands of headers": (always(MANY_HEADERS), AGAIN),
    "a body without an end": (ENDLESS, DELIVERED),
    "a head without an end": (ENDLESS_HEAD, AGAIN),
    "interim answers without an end": (ENDLESS_CONTINUE, AGAIN),
    "a chunk of many digits": (
        always(head("Transfer-Encoding: chunked") + b"f" * 60_000 + b"\r\n"),
        AGAIN,
    ),
    "a chunk of a negative length": (
        always(head("Transfer-Encoding: chunked") + b"-5\r\nhello\r\n"),
        AGAIN,
    ),
    "a negative Content-Length": (always(head("Content-Length: -1") + b"x"), AGAIN),
    "a Content-Length of many digits": (always(head("Content-Length: " + "9" * 5_000)), AGAIN),
    "NUL and bytes of no encoding": (
        always(answer(b"\x00\xff\xfe\xed\xa0\xbd" * 1_000, "X-Odd: \x01", status="400 \x01")),
        DeliveryState.DEAD,
    ),
    "a Retry-After of many digits": (
        always(answer(b"", "Retry-After: " + "9" * 60_000, status="503 Away")),
        AGAIN,
    ),
    "a Retry-After that is no number": (
        always(answer(b"", "Retry-After: \xb2\xb3, -1, 1e9", status="429 Slow")),
        AGAIN,
    ),
    "a Retry-After after the last day": (
        always(answer(b"", "Retry-After: Fri, 31 Dec 9999 23:59:59 -2359", status="429 Slow")),
        AGAIN,
    ),
    "a Retry-After of no day": (
        always(answer(b"", "Retry-After: Fri, 99 Foo 99999999999 99:99:99 GMT", status="429 Slow")),
        AGAIN,
    ),
}


@pytest.mark.parametrize(("script", "becomes"), FROM_A_HOOK.values(), ids=FROM_A_HOOK)
def test_whatever_a_hook_answers_the_delivery_ends_and_its_neighbours_arrive(
    service: Service,
    simulator: Simulator,
    script: Script,
    becomes: DeliveryState,
) -> None:
    with RawServer(script) as hook:
        spec = DestinationSpec(name="hostile", url=hook.url("/hook"), timeout_seconds=1)
        hostile = create_destination(service, spec).id
        add_hook(service, simulator)
        call_ids = simulator.twentytwo.make_calls(3)
        fetch(service, accept_rows(service, call_ids))
        began = time.monotonic()
        deliver(service, queued_ids(service), size=4)
        took = time.monotonic() - began
    its = [row for row in delivery_rows(service) if row.destination_id == hostile]
    assert {row.state for row in its} == {becomes}, [row.last_error for row in its]
    if becomes is not DELIVERED:
        assert all(row.last_error and len(row.last_error) < 1_000 for row in its)
    assert simulator.crm.accepted_call_ids("leads") == set(call_ids)
    assert took < PROMPTLY
    for call_id in call_ids:
        show_call(service, call_id).model_dump_json()
