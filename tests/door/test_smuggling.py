"""Requests that two servers in a row could read differently, and heads without end."""

import socket
import time

import pytest

from tests.door.server import Door
from tests.door.wire import BODY, HOOK, head, post, said, status

LENGTH = ("Content-Length", str(len(BODY)))
CHUNKED = ("Transfer-Encoding", "chunked")
IN_CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
HIDDEN = post(b'{"call_id": "hidden"}')


@pytest.fixture(autouse=True)
def _it_lives_on(door: Door) -> object:
    """Whatever it was sent, the next webhook is taken, and nothing hidden was stored."""
    yield
    assert status(said(door, post(b'{"call_id": "next"}'))) == 200
    assert {call["call_id"] for call in door.api.calls()} <= {"next", "call_1"}


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(head("POST", HOOK, LENGTH, CHUNKED) + IN_CHUNKS, id="both"),
        pytest.param(head("POST", HOOK, CHUNKED, LENGTH) + IN_CHUNKS, id="both, other order"),
        pytest.param(
            head("POST", HOOK, ("Content-Length", "4"), CHUNKED) + b"0\r\n\r\n" + HIDDEN, id="CL.TE"
        ),
        pytest.param(head("POST", HOOK, LENGTH, LENGTH) + BODY, id="the same length twice"),
        pytest.param(head("POST", HOOK, LENGTH, ("Content-Length", "0")) + BODY, id="two lengths"),
        pytest.param(
            head("POST", HOOK, ("Content-Length", "21, 21")) + BODY, id="a list of lengths"
        ),
        pytest.param(head("POST", HOOK, ("Content-Length", "+21")) + BODY, id="signed"),
        pytest.param(head("POST", HOOK, ("Content-Length", "2 1")) + BODY, id="spaced"),
        pytest.param(
            head("POST", HOOK, ("Content-Length ", "21")) + BODY, id="a space before the colon"
        ),
        pytest.param(
            head("POST", HOOK, ("Transfer-Encoding", "chunked, identity")) + IN_CHUNKS,
            id="chunked is not last",
        ),
        pytest.param(
            head("POST", HOOK, ("Transfer-Encoding", "xchunked")) + IN_CHUNKS,
            id="an unknown encoding",
        ),
        pytest.param(
            head("POST", HOOK, ("Transfer-Encoding", "\x0bchunked")) + IN_CHUNKS,
            id="a vertical tab",
        ),
        pytest.param(
            head("POST", HOOK, CHUNKED, ("Transfer-Encoding", "identity")) + IN_CHUNKS,
            id="two encodings",
        ),
        pytest.param(
            head("POST", HOOK, ("X", "1\r\n Transfer-Encoding: chunked"), LENGTH) + BODY,
            id="a folded header",
        ),
        pytest.param(post(BODY).replace(b"\r\n", b"\n"), id="bare line feeds"),
        pytest.param(post(BODY).replace(b"Host: door\r\n", b"Host: door\r"), id="a bare return"),
        pytest.param(post(BODY).replace(b"Host: door", b"Host: do\0or"), id="a NUL"),
        pytest.param(post(BODY).replace(b"Host:", b"Ho st:"), id="a space in a name"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", id="a raw byte in the path"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(door: Door, request_bytes: bytes) -> None:
    answer = said(door, request_bytes)
    assert status(answer) == 400, answer
    assert door.api.calls() == []


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(head("POST", HOOK, LENGTH, ("X", "x" * 70_000)), id="a long value"),
        pytest.param(head("POST", HOOK, LENGTH, ("x" * 70_000, "x")), id="a long name"),
        pytest.param(
            head("POST", HOOK, LENGTH, *[(f"X-{n}", "x") for n in range(12_000)]), id="many"
        ),
        pytest.param(head("POST", f"{HOOK}&x=" + "x" * 70_000, LENGTH), id="a long URL"),
        pytest.param(head("POST", "/" + "x" * 70_000, LENGTH), id="a long path"),
    ],
)
def test_a_head_over_64_kib_is_refused(door: Door, start: bytes) -> None:
    answer = said(door, start + BODY)
    assert status(answer) == 431, answer[:200]
    assert door.api.calls() == []


def test_a_head_just_under_64_kib_is_taken(door: Door) -> None:
    answer = said(door, post(BODY, ("X", "x" * 64_000)))
    assert status(answer) == 200


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"POST " + HOOK.encode() + b" HTTP/1.1\r\nX: ", id="header"),
        pytest.param(b"GET /", id="path"),
        pytest.param(head("POST", "/webhooks/twentytwo", CHUNKED) + b"0\r\nX: ", id="trailer"),
        pytest.param(head("POST", "/webhooks/twentytwo", CHUNKED) + b"1;", id="chunk extension"),
    ],
)
def test_a_line_without_an_end_is_cut_off_and_not_held(door: Door, start: bytes) -> None:
    said(door, post(BODY))
    before, sent, began = door.memory(), 0, time.monotonic()
    piece = b"x" * 65_536
    with socket.create_connection(door.address, timeout=10) as connection:
        connection.sendall(start)
        with pytest.raises(ConnectionError):  # noqa: PT012 - whichever of them it meets
            while sent < 256 * 1024 * 1024:
                connection.sendall(piece)
                sent += len(piece)
    assert sent < 32 * 1024 * 1024
    assert time.monotonic() - began < 5
    assert door.memory() - before < 32 * 1024 * 1024


def test_requests_in_a_row_are_answered_in_their_order(door: Door) -> None:
    wrong = post(BODY, path="/webhooks/twentytwo?token=wrong")
    with socket.create_connection(door.address, timeout=5) as connection:
        connection.sendall(wrong + post(b"{") + post(BODY) + b"nonsense\r\n\r\n")
        received = b""
        while piece := connection.recv(65_536):
            received += piece
    answers = [int(piece[1:4]) for piece in received.split(b"HTTP/1.1")[1:]]
    # The nonsense at the end may be noticed while they wait for their turn.
    assert answers in ([401, 400, 200, 400], [400])
