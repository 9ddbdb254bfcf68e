"""A threaded HTTP/1.1 server on 127.0.0.1 that can also misbehave at the socket.

It knows requests and replies (`exchange`), not what they mean: an `App` turns
the one into the other. A client meets real resets, real truncation and real
silence. No thread, connection or hang outlives `close()`.
"""

import select
import socket
import struct
import sys
import threading
import time
from collections import Counter
from http.client import responses as reason_phrases
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, assert_never
from urllib.parse import parse_qsl

from aftercall.simulator.exchange import App, HttpRequest, Manner, Reply

LONGEST_HANG_SECONDS = 60.0
LARGEST_REQUEST_BYTES = 32 * 1024 * 1024
_LISTEN_BACKLOG = 1024
_CLOSE_SECONDS = 5.0
_MOST_PATHS_COUNTED = 500


class LocalServer:
    """Serves an app on 127.0.0.1; can be cut off and restored on the same port."""

    def __init__(self, app: App, *, port: int = 0) -> None:
        """`port` 0 lets the system choose one at `start()`."""
        self._app = app
        self._port = port
        self._listener: _Listener | None = None
        self._placeholder: socket.socket | None = None
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._counts_lock = threading.Lock()

    @property
    def port(self) -> int:
        return self._port

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen. Does nothing when it listens already."""
        with self._lock:
            if self._listener is not None:
                return
            self._release_port()
            self._listener = _Listener(self._answer, port=self._port)
            self._port = self._listener.server_port
            self._listener.serve_in_background()

    def cut(self) -> None:
        """Drop every connection and refuse new ones, until `start()`. The port stays ours."""
        with self._lock:
            if self._listener is not None:
                self._listener.stop()
                self._listener = None
                self._hold_port()

    def close(self) -> None:
        """Stop for good: no thread and no connection is left."""
        self.cut()
        with self._lock:
            self._release_port()

    def request_counts(self) -> dict[str, int]:
        """How many requests had which end: `{"/api/call/detail 200": 12, …}`."""
        with self._counts_lock:
            return dict(self._counts)

    def _answer(self, request: HttpRequest) -> Reply:
        reply = self._app(request)
        name = f"{request.path} {reply.outcome}"
        with self._counts_lock:
            if name not in self._counts and len(self._counts) >= _MOST_PATHS_COUNTED:
                name = f"(other) {reply.outcome}"
            self._counts[name] += 1
        return reply

    def _hold_port(self) -> None:
        """Bound but not listening: connections are refused, and nobody else gets the port."""
        self._placeholder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._placeholder.bind(("127.0.0.1", self._port))

    def _release_port(self) -> None:
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None


class _Listener(ThreadingHTTPServer):
    """One listening socket, its connections, and a thread for each of them."""

    request_queue_size = _LISTEN_BACKLOG
    daemon_threads = True
    block_on_close = False

    def __init__(self, app: App, *, port: int) -> None:
        self.app = app
        self.stopped = threading.Event()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Conversation)

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for the host's name, which can take seconds.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]

    def serve_in_background(self) -> None:
        # Not serve_forever, which looks only now and then whether it is to stop.
        self._serving = threading.Thread(target=self._serve, daemon=True)
        self._serving.start()

    def _serve(self) -> None:
        while not self.stopped.is_set():
            self.handle_request()

    def stop(self) -> None:
        self.stopped.set()
        _wake(self.server_port)
        self._serving.join(_CLOSE_SECONDS)
        self.server_close()
        with self._connections_lock:
            open_connections = dict(self._connections)
        for connection in open_connections.values():
            _end(connection)
        deadline = time.monotonic() + _CLOSE_SECONDS
        for thread in open_connections:
            thread.join(max(0.0, deadline - time.monotonic()))

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.stopped.is_set():
            self.shutdown_request(request)
            return
        thread = threading.Thread(
            target=self._converse, args=(request, client_address), daemon=True
        )
        with self._connections_lock:
            self._connections[thread] = request
        thread.start()

    def _converse(self, request: Any, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            with self._connections_lock:
                del self._connections[threading.current_thread()]

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away is no error of ours. Anything else is: shown on stderr.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Conversation(BaseHTTPRequestHandler):
    """One connection: requests and replies in turn, until either side has had enough."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in the base)
        """Quiet: what happened is in the report."""

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def _answer(self) -> None:
        request = self._read_request()
        if request is None:
            self.close_connection = True
        else:
            self._send(self.server.app(request))

    # http.server finds a method by the request's own.
    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

    def _read_request(self) -> HttpRequest | None:
        stated = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not stated.isdecimal():
            return None
        length = int(stated)
        if length > LARGEST_REQUEST_BYTES:
            return None
        body = self.rfile.read(length) if length else b""
        if len(body) < length:
            return None
        path, _, query = self.path.partition("?")
        return HttpRequest(
            method=self.command,
            path=path,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
        )

    def _send(self, reply: Reply) -> None:
        if reply.delay_seconds > 0 and self.server.stopped.wait(reply.delay_seconds):
            self.close_connection = True
            return
        match reply.manner:
            case Manner.WHOLE:
                # One send for head and body: two would cost a packet and a wake-up each.
                self.connection.sendall(_head(reply, len(reply.body)) + reply.body)
            case Manner.DRIP:
                self._drip(_head(reply, len(reply.body)) + reply.body, reply.drip_seconds)
            case Manner.HANG:
                self._hang()
            case Manner.RESET:
                self._reset()
            case Manner.TRUNCATED:
                half = reply.body[: len(reply.body) // 2]
                self.connection.sendall(_head(reply, len(reply.body) + 1) + half)
                self.close_connection = True
            case _:
                assert_never(reply.manner)

    def _drip(self, answer: bytes, pause_seconds: float) -> None:
        deadline = time.monotonic() + LONGEST_HANG_SECONDS
        for position in range(len(answer)):
            if time.monotonic() > deadline or self.server.stopped.wait(pause_seconds):
                self.close_connection = True
                return
            self.connection.sendall(answer[position : position + 1])

    def _hang(self) -> None:
        self.close_connection = True
        deadline = time.monotonic() + LONGEST_HANG_SECONDS
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        if poll.poll(LONGEST_HANG_SECONDS * 1000) and self._has_unread_bytes():
            # A client that keeps talking has not given up.
            self.server.stopped.wait(deadline - time.monotonic())

    def _has_unread_bytes(self) -> bool:
        try:
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _reset(self) -> None:
        self.close_connection = True
        _linger_zero(self.connection)
        # Closed here, and the file first (it holds the socket open): socketserver would
        # shut the connection down politely, and the client would see an end, no reset.
        self.rfile.close()
        self.connection.close()


def _head(reply: Reply, content_length: int) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {reason_phrases.get(reply.status, 'Unknown')}"]
    if reply.status != 204:
        lines += [f"Content-Type: {reply.content_type}", f"Content-Length: {content_length}"]
    lines += [f"{name}: {value}" for name, value in reply.headers.items()]
    if reply.manner is Manner.TRUNCATED:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _linger_zero(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _wake(port: int) -> None:
    """Let the thread that waits for a connection have one."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        pass  # It was awake.


def _end(connection: socket.socket) -> None:
    """Wake the thread that reads from this connection, which then closes it."""
    try:
        _linger_zero(connection)
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # Its own thread was faster.
