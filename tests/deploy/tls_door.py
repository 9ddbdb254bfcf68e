"""A door that ends TLS before a server that has none, as managed stores' front doors do."""

import socket
import ssl
import threading

_TLS_HANDSHAKE = b"\x16"


class TlsDoor:
    """Whoever comes from an address of `insiders` may speak without TLS, too."""

    def __init__(
        self,
        target: tuple[str, int],
        context: ssl.SSLContext,
        *,
        insiders: frozenset[str] = frozenset(),
    ) -> None:
        self._target = target
        self._context = context
        self._insiders = insiders
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                raw, (address, _) = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw, address), daemon=True).start()

    def _serve(self, raw: socket.socket, address: str) -> None:
        try:
            with (
                raw,
                self._let_in(raw, address) as client,
                socket.create_connection(self._target) as server,
            ):
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()
        except OSError:
            # Not let in, or nobody is behind the door.
            return

    def _let_in(self, raw: socket.socket, address: str) -> socket.socket:
        if address in self._insiders and raw.recv(1, socket.MSG_PEEK) != _TLS_HANDSHAKE:
            return raw
        return self._context.wrap_socket(raw, server_side=True)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
