"""One guarded `requests` session: whatever happens on the wire comes back as an `Exchange`.

Bounds an exchange in time (one deadline over lookup, connect, TLS, send and every read) and memory
(a cap on the decoded body), and goes only where the guard permits: one lookup a connection, checked
and then used. No redirects, retries, cookies or proxies; what an answer means is not decided here.
A `detail` never quotes a path, a query, a header or an exception's message: they may hold keys.
"""

import functools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import timedelta
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import distributions
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, NoReturn
from urllib.parse import urlencode

import requests
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as urllib3_errors
from urllib3.connection import HTTPConnection, HTTPSConnection, port_by_scheme
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import parse_url

from aftercall.domain.exchange import Answer, Exchange, Failure, NoAnswer

# `is_global` lets these through on Python 3.11, yet they lead inside: clouds' metadata services
# (Alibaba's, Azure's, Oracle's), IPv6 forms that hide an IPv4 address, networks with no public use.
_REFUSED = """100.64.0.0/10 168.63.129.16/32 192.0.0.0/24 192.88.99.0/24 ::/8 64:ff9b::/96
    64:ff9b:1::/48 2001::/32 2002::/16 3fff::/20 5f00::/16 fec0::/10"""
_REFUSED_NETWORKS = tuple(ip_network(network) for network in _REFUSED.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one exchange may take."""

    connect: timedelta  #: for an address to accept the connection; again for the TLS handshake
    read: timedelta  #: between two reads
    deadline: timedelta  #: from the name's lookup to the body's last byte
    max_body_bytes: int  #: after content-decoding


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Which addresses a request may go to: public ones, and those that the operator allows."""

    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()

    def permits(self, address: str) -> bool:
        """For a numeric address, as the resolver gives it; nothing else is permitted."""
        try:
            given = ip_address(address)
        except ValueError:
            return False
        ip = getattr(given, "ipv4_mapped", None) or given
        if any(ip in network or given in network for network in self.allowed_networks):
            return True
        refused = any(ip in network for network in _REFUSED_NETWORKS)
        return ip.is_global and not (ip.is_multicast or ip.is_reserved or refused)


def new_session(*, guard: AddressGuard | None, pool_size: int) -> requests.Session:
    """For `exchange` only, from any number of threads. Without a guard any address will do.
    `session.verify` may name another CA file or directory; it cannot turn the check off."""
    own_version = next((each.version for each in distributions(name="aftercall")), "0")
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["User-Agent"] = f"aftercall/{own_version}"
    session.headers["Accept-Encoding"] = "gzip, deflate"
    session.mount("http://", _GuardedAdapter(guard, pool_size))
    session.mount("https://", _GuardedAdapter(guard, pool_size))
    return session


def exchange(
    session: requests.Session,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    limits: Limits,
    body: bytes | None = None,
    params: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Exchange:
    """One request and its answer, or why there is none: nothing is raised for URL or network."""
    started_at = clock()
    _watch.limits, _watch.clock, _watch.hung_up = limits, clock, False
    _watch.ends_at = started_at + limits.deadline.total_seconds()
    try:
        if not (method.isascii() and method.isalpha()):
            raise ValueError
        request = _prepare(session, method, url, headers=headers, body=body, params=params)
        adapter = session.get_adapter(url)
        with adapter.send(request, stream=True, verify=session.verify or True) as response:
            content, was_cut = _read_body(response, limits.max_body_bytes)
        return Answer(
            status=response.status_code,
            body=content,
            body_was_cut=was_cut,
            retry_after=response.headers.get("Retry-After"),
            elapsed=timedelta(seconds=clock() - started_at),
        )
    except _EXPECTED as error:  # every error of requests is an OSError
        return _no_answer(error, url, elapsed=timedelta(seconds=clock() - started_at))


def _prepare(
    session: requests.Session,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None,
    params: Mapping[str, str] | None,
) -> requests.PreparedRequest:
    """What `Session.prepare_request` makes, without what is never used here, at a tenth of it."""
    request = requests.PreparedRequest()
    request.method = method.upper()
    request.url = _prepared_url(url)
    if params:
        request.url += ("&" if "?" in request.url else "?") + urlencode(params)
    request.prepare_headers({**session.headers, **headers})
    request.body = body
    if body is not None or request.method not in {"GET", "HEAD"}:
        request.headers["Content-Length"] = str(len(body or b""))
    return request


@functools.lru_cache(maxsize=1024)
def _prepared_url(url: str) -> str:
    request = requests.PreparedRequest()
    request.prepare_url(url, None)
    return str(request.url)


def without_secrets(said: Exchange, secrets: Iterable[str]) -> Exchange:
    """The same, with what was sent hidden where the answer repeats it: answers are kept, and shown.
    A secret of less than four characters hides in any text by itself."""
    if isinstance(said, NoAnswer):
        return said
    body = said.body
    for secret in secrets:
        if len(secret) >= 4:
            for encoding in ("utf-8", "latin-1"):
                body = body.replace(secret.encode(encoding, "replace"), b"***")
    return replace(said, body=body)


def refused_addresses(url_host: str, port: int, guard: AddressGuard) -> list[str]:
    """The host's addresses that the guard does not permit, to tell a person early; they may differ
    by the time of a request. Raises OSError when the name does not resolve."""
    # Resolvers differ on whether "localhost." and "127.0.0.1." are anything: asked without the dot.
    host = url_host.strip("[]").removesuffix(".")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except ValueError as error:
        raise socket.gaierror(socket.EAI_NONAME, "this is no host name") from error
    addresses = dict.fromkeys(str(address[0]) for *_, address in found)
    return [address for address in addresses if not guard.permits(address)]


class _ForbiddenAddress(Exception):
    """Not an OSError, which urllib3 would take for a failed connection."""


_EXPECTED = (_ForbiddenAddress, OSError, ValueError, urllib3_errors.HTTPError)
# The first row that fits any of an error's causes decides. {0} is host:port, {1} a word on why.
_FAILURES: tuple[tuple[type[Exception], Failure, str], ...] = (
    (_ForbiddenAddress, Failure.FORBIDDEN_ADDRESS, "{0} is at an address that is not allowed"),
    (TimeoutError, Failure.TIMEOUT, "{0} did not connect or answer in time"),
    (ssl.SSLEOFError, Failure.CONNECTION, "{0} closed the connection"),  # FIN; RST is no SSLError
    (ssl.SSLError, Failure.TLS, "no TLS connection to {0}: {1}"),
    (urllib3_errors.InvalidHeader, Failure.CONNECTION, "{0} sent two values of Content-Length"),
    (urllib3_errors.DecodeError, Failure.CONNECTION, "{0} sent a body that does not decode"),
    (ValueError, Failure.INVALID_REQUEST, "no valid request to {0}: {1}"),  # what was asked for
    (Exception, Failure.CONNECTION, "no complete answer from {0}: {1}"),
)


def _no_answer(error: Exception, url: str, elapsed: timedelta) -> NoAnswer:
    """By the types of all that requests and urllib3 wrapped in the error, the innermost first."""
    causes: list[Any] = [error]
    for cause in causes:
        inner = (cause.__cause__, getattr(cause, "reason", None), *cause.args)
        causes.extend(each for each in inner if isinstance(each, BaseException))
    failure, template, cause = next(
        (failure, template, cause)
        for kind, failure, template in _FAILURES
        for cause in reversed(causes)
        if isinstance(cause, kind)
    )
    why = getattr(cause, "strerror", None) or type(cause).__name__
    detail = template.format(_host_and_port(url), why)
    return NoAnswer(failure=failure, detail=detail, elapsed=elapsed)


def _host_and_port(url: str) -> str:
    try:
        parts = parse_url(url)
        return f"{parts.host}:{parts.port or port_by_scheme[str(parts.scheme)]}"
    except (urllib3_errors.LocationParseError, KeyError):
        return "the URL's host"


_watch = threading.local()  # this thread's exchange: limits, clock, ends_at, hung_up


def _seconds(limit: str) -> float:
    """What the exchange may still wait for one step: never 0, TimeoutError after its deadline."""
    if (left := _watch.ends_at - _watch.clock()) <= 0:
        raise TimeoutError
    return float(min(left, getattr(_watch.limits, limit).total_seconds()))


_SMALL = 16 * 1024


class _Socket(socket.socket):
    """Asks, before every step, how long it may take. http.client takes no others than these."""

    _seconds_set = 0.0

    def settimeout(self, value: float | None) -> None:
        """Not for urllib3 to say: each step sets its own."""

    def _allow(self, limit: str) -> None:
        seconds = _seconds(limit)
        # Each change is a system call: one that is right to a twentieth is left as it is.
        if not 0.95 * seconds <= self._seconds_set <= seconds + 0.02:
            super().settimeout(seconds)
            self._seconds_set = seconds

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._allow("read")
        received = super().recv_into(*args, **kwargs)
        _watch.hung_up = received == 0
        return received

    def sendall(self, data: Any, flags: int = 0) -> None:
        # What is small goes into the kernel's buffer at once; only what is large can take time.
        self._allow("deadline" if len(data) > _SMALL else "read")
        super().sendall(data, flags)


class _SecureSocket(_Socket, ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        self._allow("connect")
        super().do_handshake(block)


def _pool_classes(guard: AddressGuard | None) -> dict[str, type[HTTPConnectionPool]]:
    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            # No OSError may leave: urllib3 ignores two kinds, to read what a server said early.
            try:
                found = _looked_up(self._dns_host.strip("[]"), self.port)
                if guard and not all(guard.permits(address[0]) for *_, address in found):
                    raise _ForbiddenAddress
                return _first_to_accept(found)
            except OSError as error:
                raise urllib3_errors.NewConnectionError(self, "") from error

    class SecureConnection(Connection, HTTPSConnection):
        def connect(self) -> None:
            # urllib3's own reads the CA file again for every connection: 20 ms.
            self.sock = self._new_conn()
            name = self.host.strip("[]").partition("%")[0]
            context = _tls_context(self.ca_certs, self.ca_cert_dir)
            self.sock = context.wrap_socket(self.sock, server_hostname=name)
            self.is_verified = True

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}


def _looked_up(host: str, port: int) -> list[Any]:
    """In a thread of its own, because getaddrinfo takes no timeout."""
    found: Future[list[Any]] = Future()

    def look_up() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            found.set_exception(error)

    threading.Thread(target=look_up, daemon=True).start()
    return found.result(_seconds("deadline"))


def _first_to_accept(found: list[Any]) -> socket.socket:
    failure = OSError("no address")
    for family, kind, protocol, _, address in found:
        sock = None
        try:
            sock = _Socket(family, kind, protocol)
            sock._allow("connect")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
            return sock
        except OSError as error:
            failure = error
            if sock:
                sock.close()
    raise failure


@functools.cache
def _tls_context(ca_file: str | None, ca_directory: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file, capath=ca_directory)
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = _SecureSocket
    return context


class _GuardedAdapter(HTTPAdapter):
    def __init__(self, guard: AddressGuard | None, pool_size: int) -> None:
        super().__init__(pool_connections=32, pool_maxsize=pool_size, max_retries=0)  # of 32 hosts
        self.poolmanager.pool_classes_by_scheme = _pool_classes(guard)
        #: By origin and CA file: what finds the pool in urllib3's own cache of them.
        self._pools: dict[tuple[str, Any], tuple[Any, dict[str, Any]]] = {}

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> HTTPConnectionPool:
        if proxies:
            raise requests.exceptions.InvalidProxyURL
        origin = str(request.url).partition("//")
        name = (origin[0] + origin[2].partition("/")[0].partition("?")[0], verify)
        if name not in self._pools:
            host, tls = self.build_connection_pool_key_attributes(request, verify, cert)
            context = {**self.poolmanager.connection_pool_kw, **tls, **host}
            key = self.poolmanager.key_fn_by_scheme[host["scheme"]](context)
            self._pools[name] = key, context
        key, context = self._pools[name]
        pool: HTTPConnectionPool = self.poolmanager.connection_from_pool_key(key, context)
        return pool

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002
        timeout: Any = None,  # noqa: ARG002
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """As requests' own, without the parts that never apply here: they cost half of it.
        Time is kept by the socket, redirects and retries there are none, and no cookies."""
        pool = self.get_connection_with_tls_context(request, verify, proxies)
        if pool.scheme == "https":
            self.cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
        raw = pool.urlopen(
            str(request.method),
            request.path_url,
            body=request.body,
            headers=request.headers,
            retries=self.max_retries,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )
        response = requests.Response()
        response.status_code = raw.status
        response.headers = raw.headers  # type: ignore[assignment]
        response.raw = raw
        return response

    def proxy_manager_for(self, *_: Any, **__: Any) -> NoReturn:
        raise requests.exceptions.InvalidProxyURL


def _read_body(response: requests.Response, cap: int) -> tuple[bytes, bool]:
    """The decoded body up to the cap, and whether there was more."""
    # http.client takes "103 Early Hints" for the answer, and a hang-up for the end of the head.
    if response.status_code < 200 or _watch.hung_up:
        raise urllib3_errors.ProtocolError
    announced = response.raw.length_remaining
    if announced is not None and announced <= cap:
        body = bytes(response.raw.read(cap + 1, decode_content=True))
    else:
        body = _as_it_comes(response, cap)
    if len(body) > cap:
        return body[:cap], True
    # urllib3 does not tell a gzip or deflate body that broke off from one that ended; zlib does.
    decoder: Any = getattr(response.raw, "_decoder", None)
    ended = not hasattr(decoder, "_obj") or decoder._obj.eof or getattr(decoder, "_state", 0)
    if response.raw.tell() and not ended:
        raise urllib3_errors.DecodeError
    return body, False


def _as_it_comes(response: requests.Response, cap: int) -> bytes:
    """Up to the first piece that goes beyond the cap, however small they come."""
    body = bytearray()
    while len(body) <= cap and (piece := response.raw.read1(64 * 1024, decode_content=True)):
        body += piece
    return bytes(body)
