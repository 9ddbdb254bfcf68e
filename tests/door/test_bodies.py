"""Bodies over the cap and bodies that lie about their length: refused soon, and never held."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.body_limit import MAX_BODY_BYTES
from tests.conftest import ADMIN_TOKEN
from tests.door.server import Door
from tests.door.wire import BODY, HOOK, head, post, said, status

MIB = 1024 * 1024
#: What the process may grow by for whatever else it does meanwhile.
NOISE = 24 * MIB
#: The end of the connection overtook the answer, as it may while one still sends.
CUT_OFF = 0
OPERATOR = ("Authorization", f"Bearer {ADMIN_TOKEN}")
CHUNKED = ("Transfer-Encoding", "chunked")
ROUTES = [
    pytest.param(HOOK, id="webhook"),
    pytest.param("/api/v1/calls", id="calls"),
    pytest.param("/api/v1/destinations", id="destinations"),
]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("length", [MAX_BODY_BYTES + 1, 2**31, 2**63 - 1])
def test_an_announced_body_over_the_cap_is_refused_unread(
    door: Door, path: str, length: int
) -> None:
    began = time.monotonic()
    request = head("POST", path, OPERATOR, ("Content-Length", str(length)))
    assert status(said(door, request)) == 413
    assert time.monotonic() - began < 1


def test_a_length_that_no_number_holds_is_a_400(door: Door) -> None:
    for length in ("18446744073709551616", "9" * 400):
        request = head("POST", HOOK, ("Content-Length", length))
        assert status(said(door, request)) == 400


@pytest.mark.parametrize("path", ROUTES)
def test_endless_bodies_are_refused_at_the_cap_and_none_of_them_is_held(
    door: Door, path: str
) -> None:
    """Twenty at once, each of which would send 64 MiB."""
    said(door, post(BODY))
    before = door.memory()

    def pour(_: int) -> tuple[int, int]:
        return poured(door, head("POST", path, OPERATOR, CHUNKED), limit=64 * MIB)

    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(pour, range(20)))
    assert {code for code, _ in answers} - {CUT_OFF} == {413}
    assert max(sent for _, sent in answers) < 16 * MIB, "it went on reading"
    assert time.monotonic() - began < 5
    assert door.memory() - before < 20 * MAX_BODY_BYTES + NOISE
    assert len(door.api.calls()) == 1


def poured(door: Door, start: bytes, *, limit: int) -> tuple[int, int]:
    """The answer's status, and how much was sent until it came; chunk after chunk of 64 KiB."""
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    sent, received = 0, b""
    with socket.create_connection(door.address, timeout=5) as connection:
        # Little room on the way, so that what is sent has arrived.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        try:
            connection.sendall(start)
            while sent < limit and not received:
                connection.sendall(chunk)
                sent += len(chunk)
                connection.setblocking(False)
                try:
                    received = connection.recv(65_536)
                except BlockingIOError:
                    pass  # no answer yet
                connection.settimeout(5)
        except ConnectionError:
            pass  # it closed; what it said before that may still be there
        if not received:
            try:
                received = connection.recv(65_536)
            except ConnectionError:
                return CUT_OFF, sent
    return status(received), sent


def test_a_body_without_the_token_is_never_taken_in(door: Door) -> None:
    said(door, post(BODY))
    before = door.memory()
    wrong = ("Authorization", "Bearer wrong")
    for path in ("/webhooks/twentytwo", "/api/v1/destinations"):
        start = head("POST", path, wrong, CHUNKED)
        with ThreadPoolExecutor(10) as pool:
            answers = list(
                pool.map(lambda _, start=start: poured(door, start, limit=64 * MIB), range(10))  # type: ignore[misc]
            )
        assert {code for code, _ in answers} - {CUT_OFF} == {401}
    assert door.memory() - before < NOISE


def test_what_a_client_sends_after_its_answer_ends_soon(door: Door) -> None:
    """The 401 is read; the body that was announced goes on and on."""
    start = head("POST", "/webhooks/twentytwo", ("Content-Length", str(MAX_BODY_BYTES)))
    assert status(said(door, start)) == 401
    sent = 0
    with socket.create_connection(door.address, timeout=5) as connection:
        connection.sendall(head("POST", "/webhooks/twentytwo", CHUNKED))
        assert status(connection.recv(65_536)) == 401
        piece = b"x" * 65_536
        connection.sendall(b"%x\r\n" % (512 * MIB))
        with pytest.raises(ConnectionError):  # noqa: PT012 - whichever of them it meets
            while sent < 512 * MIB:
                connection.sendall(piece)
                sent += len(piece)
    assert sent < 32 * MIB


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        # Shorter than what comes: the rest is no second request, and spoils the first.
        pytest.param(post(BODY).replace(b": 21", b": 20"), [400], id="cut-in-the-json"),
        pytest.param(post(BODY) + b"smuggled", [400], id="rest-is-nonsense"),
        pytest.param(post(BODY + b"   ").replace(b": 24", b": 21"), [400], id="rest-is-blank"),
        # No length at all.
        pytest.param(head("POST", HOOK) + BODY, [400], id="none"),
        pytest.param(head("POST", HOOK, ("Content-Length", "-1")) + BODY, [400], id="negative"),
        pytest.param(head("POST", HOOK, ("Content-Length", "21.0")) + BODY, [400], id="fraction"),
        pytest.param(head("POST", HOOK, ("Content-Length", "0x15")) + BODY, [400], id="hex"),
        pytest.param(head("POST", HOOK, ("Content-Length", "")) + BODY, [400], id="empty"),
        pytest.param(head("POST", HOOK, CHUNKED) + b"-5\r\n" + BODY, [400], id="negative-chunk"),
        pytest.param(head("POST", HOOK, CHUNKED) + b"g\r\n" + BODY, [400], id="no-hex-chunk"),
        pytest.param(
            head("POST", HOOK, CHUNKED) + b"f" * 17 + b"\r\n" + BODY, [400], id="huge-chunk"
        ),
    ],
)
def test_a_length_that_lies_is_refused_or_harmless(
    door: Door, request_bytes: bytes, expected: list[int]
) -> None:
    began = time.monotonic()
    assert all_statuses(door, request_bytes) == expected
    assert time.monotonic() - began < 2
    assert [call["call_id"] for call in door.api.calls()] in ([], ["call_1"])


def all_statuses(door: Door, request: bytes) -> list[int]:
    """Of every answer until the server closes; the client says that it is done."""
    with socket.create_connection(door.address, timeout=15) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while piece := connection.recv(65_536):
                received += piece
        except ConnectionError:
            pass  # it closed upon bytes that it did not read
    return [int(piece[1:4]) for piece in received.split(b"HTTP/1.1")[1:]]


def test_a_client_that_goes_away_in_the_middle_of_its_body_is_no_event(door: Door) -> None:
    before = door.log.read_text()
    for path in (HOOK, "/api/v1/calls"):
        for _ in range(20):
            with socket.create_connection(door.address, timeout=5) as connection:
                connection.sendall(head("POST", path, OPERATOR, ("Content-Length", "1000")) + b"{")
    assert door.api.webhook({"call_id": "call_1"}).status_code == 200
    # A line of its own for each webhook, and nothing else: no fault.
    said = door.log.read_text().removeprefix(before).splitlines()
    assert [line for line in said if '"event":"webhook.' not in line] == []
    assert len(door.api.calls()) == 1
