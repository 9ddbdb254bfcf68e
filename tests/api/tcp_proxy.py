"""A store's front door, so that it can be shut: TCP on 127.0.0.1, forwarded to the real one."""

import contextlib
import socket
import threading
from enum import StrEnum
from typing import Self


class Door(StrEnum):
    OPEN = "open"
    SHUT = "shut"
    """Connections break off, and new ones are refused."""
    SILENT = "silent"
    """Connections are accepted and kept; nothing goes through."""


class TcpProxy:
    """Forwards to `target`: a Unix socket's path, or a host and a port."""

    def __init__(self, target: str | tuple[str, int]) -> None:
        self._target = target
        self._changed = threading.Condition()
        self._door = Door.OPEN
        self._sockets: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.set(Door.OPEN)
        return self

    def __exit__(self, *_: object) -> None:
        self.set(Door.SHUT)

    def set(self, door: Door) -> None:
        with self._changed:
            self._door = door
            self._changed.notify_all()
        if door is Door.SHUT:
            self._hang_up()
        elif self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
            self.port = int(self._listener.getsockname()[1])
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _hang_up(self) -> None:
        listener, self._listener = self._listener, None
        with self._changed:
            open_sockets, self._sockets = self._sockets, set()
        for sock in (listener, *open_sockets):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._changed:
            self._sockets.add(client)
        try:
            if isinstance(self._target, str):
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
            else:
                server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        with self._changed:
            self._sockets.add(server)
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                with self._changed:
                    self._changed.wait_for(lambda: self._door is not Door.SILENT)
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            with self._changed:
                self._sockets.discard(sock)
            sock.close()
