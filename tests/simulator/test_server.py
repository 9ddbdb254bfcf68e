"""The server at the socket: keep-alive, misbehaviour, outage, and an end that is one."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import requests

from aftercall.simulator.exchange import HttpRequest, Manner, Reply
from aftercall.simulator.server import LocalServer

from .raw_client import RawAnswer, raw_exchange

REPLIES = {
    "/whole": Reply(body=b"0123456789"),
    "/nothing": Reply(status=204),
    "/drip": Reply(body=b"0123456789", manner=Manner.DRIP, drip_seconds=0.001),
    "/drip-slowly": Reply(body=b"0123456789", manner=Manner.DRIP, drip_seconds=30),
    "/hang": Reply(manner=Manner.HANG),
    "/reset": Reply(manner=Manner.RESET),
    "/truncated": Reply(body=b"0123456789", manner=Manner.TRUNCATED),
    "/truncated-empty": Reply(manner=Manner.TRUNCATED),
    "/late": Reply(body=b"late", delay_seconds=0.2),
    "/very-late": Reply(delay_seconds=30),
}


def app(request: HttpRequest) -> Reply:
    if request.path == "/echo":
        text = f"{request.method} {request.query} {request.headers['x-odd']}"
        return Reply(body=text.encode() + request.body)
    return REPLIES[request.path]


@pytest.fixture
def server() -> Iterator[LocalServer]:
    server = LocalServer(app)
    server.start()
    yield server
    server.close()


def ask(server: LocalServer, path: str, *, patience_seconds: float = 5.0) -> RawAnswer:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    return raw_exchange(server.port, request, patience_seconds=patience_seconds)


def test_a_request_arrives_whole(server: LocalServer) -> None:
    answer = requests.post(
        f"{server.origin}/echo?a=1&b=%E0%A4%B9&c=", data=b"!", headers={"X-Odd": "y"}, timeout=5
    )
    assert answer.text == "POST {'a': '1', 'b': 'ह', 'c': ''} y!"


def test_a_connection_carries_many_requests(server: LocalServer) -> None:
    request = b"GET /whole HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /whole HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = raw_exchange(server.port, request * 4 + last)
    assert answer.received.count(b"HTTP/1.1 200 OK") == 5
    assert answer.end == "closed"
    assert server.request_counts() == {"/whole 200": 5}


def test_a_204_has_no_body_and_no_length(server: LocalServer) -> None:
    assert ask(server, "/nothing").received == b"HTTP/1.1 204 No Content\r\n\r\n"


def test_a_dripped_answer_comes_a_byte_at_a_time_headers_included(server: LocalServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"GET /drip HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        pieces = list(iter(lambda: connection.recv(65536), b""))
    assert b"".join(pieces).endswith(b"0123456789")
    # The reader may be late and find two bytes at once, but never half of the answer.
    assert len(pieces) > 20


def test_a_reset_is_a_reset_and_no_polite_end(server: LocalServer) -> None:
    assert ask(server, "/reset") == RawAnswer(b"", "reset")


def test_a_truncated_answer_promises_more_than_it_sends(server: LocalServer) -> None:
    answer = ask(server, "/truncated")
    assert b"Content-Length: 11" in answer.received
    assert (answer.body, answer.end) == (b"01234", "closed")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(f"{server.origin}/truncated", timeout=5)


def test_an_empty_answer_can_be_truncated_too(server: LocalServer) -> None:
    assert b"Content-Length: 1\r\n" in ask(server, "/truncated-empty").received


def test_a_hang_says_nothing(server: LocalServer) -> None:
    assert ask(server, "/hang", patience_seconds=0.2) == RawAnswer(b"", "silence")
    while not server.request_counts():
        pass
    assert server.request_counts() == {"/hang hang": 1}


def test_a_hang_ends_when_the_client_gives_up(server: LocalServer) -> None:
    before = set(threading.enumerate())
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        while not server.request_counts():
            pass
        [hanging] = set(threading.enumerate()) - before
    hanging.join(5)
    assert not hanging.is_alive()


def test_a_late_answer_takes_its_time(server: LocalServer) -> None:
    started = time.monotonic()
    assert ask(server, "/late").body == b"late"
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize(
    "header", ["Transfer-Encoding: chunked", "Content-Length: -1", "Content-Length: 99999999999"]
)
def test_a_body_that_cannot_be_read_ends_the_connection(server: LocalServer, header: str) -> None:
    request = f"POST /whole HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode()
    assert raw_exchange(server.port, request).received == b""


def test_cut_drops_connections_and_refuses_new_ones(server: LocalServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(b"GET /whole HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        server.cut()
        with pytest.raises(ConnectionRefusedError):
            ask(server, "/whole")
        assert connection.recv(65536) == b""


def test_nobody_else_gets_the_port_while_cut(server: LocalServer) -> None:
    server.cut()
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", server.port))


def test_after_a_cut_it_starts_again_on_the_same_port(server: LocalServer) -> None:
    port = server.port
    for _ in range(3):
        server.cut()
        server.start()
        assert server.port == port
        assert ask(server, "/whole").status == 200


def test_close_ends_every_kind_of_connection_soon() -> None:
    before = set(threading.enumerate())
    server = LocalServer(app)
    server.start()
    connections = []
    for path in ("/hang", "/very-late", "/drip-slowly", "/whole"):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connections.append(connection)
    connections[-1].recv(65536)
    started = time.monotonic()
    server.close()
    assert time.monotonic() - started < 2
    assert set(threading.enumerate()) <= before
    for connection in connections:
        connection.close()


def test_paths_are_counted_up_to_a_bound(server: LocalServer) -> None:
    REPLIES.update({f"/path/{number}": Reply() for number in range(510)})
    with requests.Session() as session:
        for number in range(510):
            session.get(f"{server.origin}/path/{number}", timeout=5)
    counts = server.request_counts()
    assert counts["(other) 200"] == 10
    assert sum(counts.values()) == 510
