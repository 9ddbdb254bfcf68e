"""Clients that take their time: they hold up nobody, and each of them comes to an end."""

import socket
import threading
import time
from dataclasses import dataclass

import pytest

from api.body_deadline import BODY_SECONDS
from api.connections import HEAD_SECONDS, STALLED_SECONDS
from tests.conftest import ADMIN_TOKEN
from tests.door.server import Door
from tests.door.wire import BODY, HOOK, head, status

#: What a loaded machine may be late by.
LATE = 5.0
OPERATOR = ("Authorization", f"Bearer {ADMIN_TOKEN}")
LENGTH = ("Content-Length", "1000")
CHUNKED = ("Transfer-Encoding", "chunked")
FULL_LENGTH = ("Content-Length", str(len(BODY)))


@dataclass(frozen=True, slots=True)
class Kind:
    """What is sent at once, what then comes again and again, and how it ends."""

    start: bytes
    drip: bytes
    #: The answer before the end; 0: none.
    answer: int
    #: Seconds until the end, at most.
    ends_after: float
    reads: bool = True
    how_many: int = 20


KINDS = {
    "says nothing": Kind(b"", b"", 0, HEAD_SECONDS),
    "a header that drips": Kind(b"POST " + HOOK.encode() + b" HTTP/1.1\r\nX: ", b"x", 0, 10.0),
    "headers that drip": Kind(b"POST / HTTP/1.1\r\n", b"X: y\r\n", 0, HEAD_SECONDS),
    "empty lines": Kind(b"", b"\r\n", 0, HEAD_SECONDS),
    "a body that drips": Kind(head("POST", HOOK, LENGTH), b" ", 408, BODY_SECONDS),
    "a body without an end": Kind(head("POST", HOOK, CHUNKED), b"1\r\n \r\n", 408, BODY_SECONDS),
    "a body that never comes": Kind(head("POST", HOOK, LENGTH), b"", 408, BODY_SECONDS),
    "an operator's body that drips": Kind(
        head("POST", "/api/v1/calls", OPERATOR, LENGTH), b" ", 408, BODY_SECONDS
    ),
    "a trailer that drips": Kind(
        head("POST", HOOK, CHUNKED) + b"1\r\n{\r\n0\r\nX: ", b"x", 408, BODY_SECONDS
    ),
    "a body that drips after a 401": Kind(
        head("POST", "/webhooks/twentytwo", LENGTH), b" ", 401, HEAD_SECONDS
    ),
    "a second request that drips": Kind(
        head("POST", HOOK, FULL_LENGTH) + BODY + b"GET ", b"/", 200, HEAD_SECONDS
    ),
    # The largest page that anybody may ask for, again and again.
    "answers that nobody reads": Kind(
        head("GET", "/docs/assets/swagger-ui-bundle.js") * 100, b" ", 0, STALLED_SECONDS, False, 5
    ),
}


class Crowd:
    """Slow clients of every kind, kept going in a thread of their own."""

    def __init__(self, door: Door) -> None:
        self.others_took: list[float] = []
        self.began = time.monotonic()
        self.ended_after: dict[str, list[float]] = {name: [] for name in KINDS}
        self.answers: dict[str, set[int]] = {name: set() for name in KINDS}
        self._open: list[tuple[str, socket.socket, bytearray]] = []
        for name, kind in KINDS.items():
            for _ in range(kind.how_many):
                connection = socket.socket()
                connection.settimeout(5)
                if not kind.reads:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                connection.connect(door.address)
                connection.sendall(kind.start)
                connection.setblocking(False)
                self._open.append((name, connection, bytearray()))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._drip)
        self._thread.start()

    @property
    def size(self) -> int:
        return len(self._open)

    def wait(self) -> None:
        """Until the last one is cut off; not for ever."""
        self._thread.join(STALLED_SECONDS + 2 * LATE)
        self._is_over.set()
        self._thread.join()

    def _drip(self) -> None:
        # One letter a second each.
        while self._open and not self._is_over.wait(1.0):
            self._open = [one for one in self._open if self._goes_on(*one)]
        for _, connection, _ in self._open:
            connection.close()

    def _goes_on(self, name: str, connection: socket.socket, received: bytearray) -> bool:
        kind = KINDS[name]
        try:
            while kind.reads:
                if not (piece := connection.recv(65_536)):
                    break
                received += piece
            else:
                connection.send(kind.drip)
                return True
        except BlockingIOError:
            if kind.reads:
                _send(connection, kind.drip)
            return True
        except ConnectionError:
            pass  # it is over, just as with an end of file
        connection.close()
        self.ended_after[name].append(time.monotonic() - self.began)
        self.answers[name].add(status(bytes(received)))
        return False


def _send(connection: socket.socket, drip: bytes) -> None:
    try:
        connection.send(drip)
    except OSError:
        pass  # the next look finds out why


@pytest.fixture(scope="module")
def crowd(_door: Door) -> Crowd:
    """Has come and gone; other webhooks were sent while all of them were there."""
    crowd = Crowd(_door)
    assert crowd.size >= 200
    for number in range(50):
        began = time.monotonic()
        answer = _door.api.webhook({"call_id": f"fast_{number}"})
        crowd.others_took.append(time.monotonic() - began)
        assert answer.status_code == 200
        assert _door.api.open("/healthz").ok
    crowd.wait()
    return crowd


def test_other_webhooks_are_answered_at_once_beside_hundreds_of_slow_clients(
    crowd: Crowd,
) -> None:
    assert max(crowd.others_took) < 1


@pytest.mark.parametrize("name", KINDS)
def test_each_slow_client_is_cut_off(crowd: Crowd, name: str) -> None:
    kind = KINDS[name]
    assert len(crowd.ended_after[name]) == kind.how_many, "some are still there"
    assert max(crowd.ended_after[name]) < kind.ends_after + LATE
    assert crowd.answers[name] == {kind.answer}


def test_no_file_stays_behind(door: Door, crowd: Crowd) -> None:
    assert door.api.webhook({"call_id": "call_1"}).status_code == 200
    assert door.open_files() < 100
