"""HTTP by hand: requests that no well-meaning client would send."""

import socket
from collections.abc import Mapping

from tests.conftest import WEBHOOK_TOKEN
from tests.door.server import Door

HOOK = f"/webhooks/twentytwo?token={WEBHOOK_TOKEN}"
BODY = b'{"call_id": "call_1"}'


def head(
    method: str = "POST", path: str = HOOK, *headers: tuple[str, str] | Mapping[str, str]
) -> bytes:
    """A request's head, to its empty line; a header may be there twice."""
    lines = [f"{method} {path} HTTP/1.1", "Host: door"]
    for one in headers:
        pairs = [one] if isinstance(one, tuple) else one.items()
        lines += [f"{name}: {value}" for name, value in pairs]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(body: bytes, *headers: tuple[str, str], path: str = HOOK) -> bytes:
    """A whole request with its right length."""
    return head("POST", path, ("Content-Length", str(len(body))), *headers) + body


def said(door: Door, request: bytes, *, seconds: float = 5) -> bytes:
    """All that comes back until the server closes, or a first answer is complete.

    b"" when it closes without a word. What is sent may be cut off by the answer.
    """
    with socket.create_connection(door.address, timeout=seconds) as connection:
        try:
            connection.sendall(request)
        except OSError:
            pass  # it has heard enough; what it said is still there to be read
        received = b""
        try:
            while not _is_whole(received) and (piece := connection.recv(65_536)):
                received += piece
        except ConnectionError:
            pass  # it closed upon bytes that it did not read
        return received


def status(received: bytes) -> int:
    """The first answer's; 0 when there is none."""
    return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.") else 0


def _is_whole(received: bytes) -> bool:
    begin, end, body = received.partition(b"\r\n\r\n")
    for line in begin.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if end and name == b"content-length":
            return len(body) >= int(value)
    return False
