"""One libcurl handle, used for one request after the other: told what to do, asked what came of it.

All of this runs in the client's thread. A `detail` never quotes a path, a query, a header or
libcurl's message: they may hold keys.
"""

import os
import re
import select
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import certifi
import pycurl

from aftercall.domain.exchange import Answer, Exchange, Failure, NoAnswer
from aftercall.http.decoding import DecodeError, Decoder
from aftercall.http.guard import AddressGuard
from aftercall.http.request import Prepared

_MAX_HEADER_LINES = 100
# libcurl waits for more of one that is not quite like it.
_STATUS_LINE = re.compile(rb"HTTP/1\.\d [1-9]\d\d[ \r\n]")
#: Connections that are remembered: libcurl does not tell of those that it closes.
_MOST_KEPT = 4_096
_STOP = -1  # what a callback returns to end the transfer

# What ended a transfer, by libcurl's code. {0} is host:port.
_FAILURES: dict[int, tuple[Failure, str]] = {
    pycurl.E_OPERATION_TIMEDOUT: (Failure.TIMEOUT, "{0} did not connect or answer in time"),
    pycurl.E_SSL_CONNECT_ERROR: (Failure.TLS, "no TLS connection to {0}"),
    pycurl.E_PEER_FAILED_VERIFICATION: (Failure.TLS, "{0} has no certificate that can be trusted"),
    pycurl.E_SSL_CACERT_BADFILE: (Failure.TLS, "the file of trusted certificates cannot be read"),
    pycurl.E_GOT_NOTHING: (Failure.CONNECTION, "{0} closed the connection without an answer"),
    pycurl.E_PARTIAL_FILE: (Failure.CONNECTION, "{0} closed the connection within its answer"),
    pycurl.E_URL_MALFORMAT: (Failure.INVALID_REQUEST, "no valid request to {0}"),
    pycurl.E_ABORTED_BY_CALLBACK: (Failure.CONNECTION, "{0} closed the connection"),
}
_OTHER = (Failure.CONNECTION, "no complete answer from {0}")


#: Addresses and ports: theirs and ours, as pycurl orders them.
_Ends = tuple[str, str, int, int]


class KeptConnections:
    """The sockets of kept connections, by their ends: libcurl looks at one only after a second."""

    def __init__(self) -> None:
        self._sockets: dict[_Ends, int] = {}
        self._poll = select.poll()

    def keep(self, curl: Any) -> None:
        """After a transfer, the connection that it used."""
        ends = (
            curl.getinfo(pycurl.PRIMARY_IP),
            curl.getinfo(pycurl.LOCAL_IP),
            curl.getinfo(pycurl.PRIMARY_PORT),
            curl.getinfo(pycurl.LOCAL_PORT),
        )
        if len(self._sockets) >= _MOST_KEPT:
            # Most are of connections that are gone. Without them a broken one is a failed attempt.
            self._sockets.clear()
        self._sockets[ends] = curl.getinfo(pycurl.ACTIVESOCKET)

    def is_closed(self, ends: _Ends) -> bool:
        """Whether the other side has said something since: then it is the end."""
        fd = self._sockets.pop(ends, -1)
        if fd < 0:
            return False
        self._poll.register(fd, select.POLLIN)
        has_something_to_say = bool(self._poll.poll(0))
        self._poll.unregister(fd)
        return has_something_to_say


class Transfer:
    """A handle, the request on it, and what has been heard so far."""

    def __init__(
        self, *, guard: AddressGuard | None, ca_file: str | None, connections: KeptConnections
    ) -> None:
        self.curl = _new_handle(ca_file or certifi.where())
        self.curl.transfer = self
        self._guard = guard
        self._opened: socket.socket | None = None
        self._connections = connections
        self.curl.setopt(pycurl.WRITEFUNCTION, self._hear_body)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._hear_header)
        self.curl.setopt(pycurl.PREREQFUNCTION, self._is_about_to_send)
        if guard is not None:
            self.curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)

    def begin(
        self,
        prepared: Prepared,
        *,
        then: Callable[[Exchange], None],
        began: float,
        addresses: list[str] | None,
    ) -> None:
        """`began`: of the monotonic clock. `addresses`: None when the host is one already."""
        self.prepared, self.then, self.began = prepared, then, began
        self._body = bytearray()
        self._decoder: Decoder | None = None
        self._retry_after: str | None = None
        self._content_type: str | None = None
        self._location: str | None = None
        self._header_lines = 0
        self._was_sent = self._has_head = self._was_cut = self._is_forbidden = (
            self._is_undecodable
        ) = False
        limits = prepared.limits
        left = limits.deadline.total_seconds() - (time.monotonic() - began)
        setopt = self.curl.setopt
        setopt(pycurl.URL, prepared.url)
        setopt(pycurl.HTTPHEADER, prepared.header_lines)
        setopt(pycurl.TIMEOUT_MS, max(int(left * 1000), 1))
        setopt(pycurl.CONNECTTIMEOUT_MS, int(limits.connect / timedelta(milliseconds=1)))
        self._set_method()
        origin = prepared.origin
        if addresses is not None:
            found = ",".join(f"[{each}]" if ":" in each else each for each in addresses)
            setopt(pycurl.RESOLVE, [f"+{origin.host}:{origin.port}:{found}"])

    def end(self, code: int) -> Exchange:
        """What came of it; the handle is free again. `code`: libcurl's."""
        elapsed = timedelta(seconds=time.monotonic() - self.began)
        self._let_go()
        if code == pycurl.E_OK or self._was_cut:
            status = int(self.curl.getinfo(pycurl.RESPONSE_CODE))
            is_whole = self._was_cut or self._decoder is None or self._decoder.is_whole()
            if is_whole and self._has_head and status >= 200:
                self._connections.keep(self.curl)
                return Answer(
                    status=status,
                    body=bytes(self._body),
                    body_was_cut=self._was_cut,
                    retry_after=self._retry_after,
                    elapsed=elapsed,
                    content_type=self._content_type,
                    location=self._location,
                )
            self._is_undecodable = not is_whole
        failure, detail = self._why(code)
        return NoAnswer(
            failure=failure, detail=detail.format(self.prepared.origin), elapsed=elapsed
        )

    def close(self) -> None:
        self._let_go()
        self.curl.close()

    def _why(self, code: int) -> tuple[Failure, str]:
        if self._is_forbidden:
            return FORBIDDEN
        if self._is_undecodable:
            return Failure.CONNECTION, "{0} sent a body that does not decode"
        failure, detail = _FAILURES.get(code, _OTHER)
        if number := int(self.curl.getinfo(pycurl.OS_ERRNO)):
            detail += f": {os.strerror(number)}"
        return failure, detail

    def _set_method(self) -> None:
        method, body, setopt = self.prepared.method, self.prepared.body, self.curl.setopt
        self.curl.unsetopt(pycurl.CUSTOMREQUEST)
        if method == "GET" and body is None:
            setopt(pycurl.HTTPGET, 1)
        elif method == "HEAD":
            setopt(pycurl.NOBODY, 1)
        else:
            setopt(pycurl.POST, 1)
            setopt(pycurl.POSTFIELDS, body or b"")
            if method != "POST":
                setopt(pycurl.CUSTOMREQUEST, method)

    def _open_socket(self, _: int, address: Any) -> Any:
        family, kind, protocol, (host, *_rest) = address
        if isinstance(host, bytes):
            host = host.decode()
        if self._guard is not None and not self._guard.permits(host):
            self._is_forbidden = True
            return pycurl.SOCKET_BAD
        self._let_go()
        self._opened = socket.socket(family, kind, protocol)
        return self._opened

    def _let_go(self) -> None:
        # pycurl duplicates the socket that it is given; ours is of no use then.
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _is_about_to_send(self, *ends: Any) -> int:
        # libcurl repeats a request whose kept connection broke off, although it may have arrived.
        if self._was_sent:
            return int(pycurl.PREREQFUNC_ABORT)
        # On one that was closed before we said anything it has not: that is repeated.
        self._was_sent = not self._connections.is_closed(cast(_Ends, ends))
        return int(pycurl.PREREQFUNC_OK)

    def _hear_header(self, line: bytes) -> int | None:
        if line.startswith(b"HTTP/"):
            # Perhaps not the first: "103 Early Hints" comes before the answer.
            self._header_lines, self._decoder, self._retry_after = 0, None, None
            self._content_type = self._location = None
            self._has_head = False
            return None if _STATUS_LINE.match(line) else _STOP
        self._header_lines += 1
        if self._header_lines > _MAX_HEADER_LINES:
            return _STOP
        if self._has_head:
            return None  # a trailer
        self._has_head = line in {b"\r\n", b"\n"}
        name, _, value = line.partition(b":")
        match name.lower():
            case b"retry-after":
                self._retry_after = value.strip().decode("latin-1")
            case b"content-type":
                self._content_type = value.strip().decode("latin-1")
            case b"location":
                self._location = value.strip().decode("latin-1")
            case b"content-encoding":
                self._expect_coding(value.strip().decode("latin-1").lower())
        return None

    def _expect_coding(self, coding: str) -> None:
        # Any other, two at once among them, nobody asked for: the body is left as it is.
        if coding in {"gzip", "x-gzip", "deflate"}:
            self._decoder = Decoder(coding)

    def _hear_body(self, data: bytes) -> int | None:
        cap = self.prepared.limits.max_body_bytes
        if self._decoder is not None:
            try:
                data = self._decoder.decode(data, cap - len(self._body))
            except DecodeError:
                self._is_undecodable = True
                return _STOP
        self._body += data
        if len(self._body) > cap:
            del self._body[cap:]
            self._was_cut = True
            return _STOP
        return None


FORBIDDEN = (Failure.FORBIDDEN_ADDRESS, "{0} is at an address that is not allowed")


def _new_handle(ca_file: str) -> Any:
    curl = pycurl.Curl()
    for option, value in (
        (pycurl.NOSIGNAL, 1),
        (pycurl.PROXY, ""),  # nor one of the environment
        (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
        (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
        (pycurl.PATH_AS_IS, 1),
        (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
        (pycurl.CAINFO, ca_file),
    ):
        curl.setopt(option, value)
    return curl
