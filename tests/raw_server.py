"""Servers on 127.0.0.1 that say exactly the bytes they are told to, and remember what they heard.

A script gets each accepted connection as a `Peer`, in a thread of its own; the connection is closed
when the script returns. Everything ends with the `with` block: no script outlives it.
"""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self


class Peer:
    """One client's connection, as the server's script sees it."""

    def __init__(self, sock: socket.socket, server: "RawServer") -> None:
        self.sock = sock
        self._server = server

    def requests(self) -> Iterator[bytes]:
        """The client's requests, head and body, until it hangs up."""
        while request := self._next_request():
            self._server.requests.append(request)
            yield request

    def request(self) -> bytes:
        return next(self.requests(), b"")

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes) -> None:
        """One byte every 15 ms."""
        for byte in data:
            self.say(bytes([byte]))
            if self._server.ending.wait(0.015):
                return

    def flood(self, data: bytes) -> None:
        """The same bytes again and again, until the client hangs up."""
        while not self._server.ending.is_set():
            self.say(data)

    def hang(self) -> None:
        self._server.ending.wait()

    def hear_the_end(self) -> None:
        """Return when the client has closed its side."""
        while self.sock.recv(65536):
            pass

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _next_request(self) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (piece := self.sock.recv(65536)):
                return b""
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        while len(body) < length:
            body += self.sock.recv(65536)
        return head + b"\r\n\r\n" + body


Script = Callable[[Peer], None]


class RawServer:
    """Listens from the start; `tls` wraps every connection before its script runs."""

    def __init__(
        self, script: Script, *, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1"
    ) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.ending = threading.Event()
        self._finished = 0
        self._script = script
        self._tls = tls
        self._listener = socket.create_server((address, 0), backlog=64)
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]

    def url(self, path: str = "/", *, host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def wait_until_finished(self, scripts: int) -> None:
        """Until so many scripts have ended and their connections are closed."""
        give_up_at = time.monotonic() + 5
        while self._finished < scripts:
            assert time.monotonic() < give_up_at, f"{self._finished} of {scripts} scripts ended"
            time.sleep(0.002)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)
            assert not thread.is_alive()
        self._listener.close()

    def _accept(self) -> None:
        while not self.ending.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(sock)
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        spoken = sock
        try:
            if self._tls:
                self._open.discard(sock)
                spoken = self._tls.wrap_socket(sock, server_side=True)
                self._open.add(spoken)
            self._script(Peer(spoken, self))
        except OSError:
            pass  # the client hung up, or did not like our certificate
        finally:
            self._open.discard(spoken)
            spoken.close()
            sock.close()
            self._finished += 1


def always(answer: bytes) -> Script:
    """Say this to every request, and keep the connection."""

    def script(peer: Peer) -> None:
        for _ in peer.requests():
            peer.say(answer)

    return script


def once(answer: bytes) -> Script:
    """Say this to the first request, then hang up."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.say(answer)

    return script


def answer(body: bytes = b"ok", *headers: str, status: str = "200 OK") -> bytes:
    """A complete answer with its Content-Length."""
    return head(f"Content-Length: {len(body)}", *headers, status=status) + body


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def server_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
