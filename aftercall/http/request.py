"""A request as it was asked for, and as libcurl is told of it. Checked here; sent elsewhere."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlencode

import requests
from requests.utils import check_header_validity
from urllib3 import exceptions as urllib3_errors
from urllib3.util import parse_url

from aftercall import __version__
from aftercall.http.decoding import CODINGS

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one exchange may take."""

    connect: timedelta  #: for the connection, TLS and all
    deadline: timedelta  #: from the name's lookup to the body's last byte
    max_body_bytes: int  #: after content-decoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to ask of whom. URL, headers and body may hold secrets: no repr shows them."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    limits: Limits
    body: bytes | None = field(default=None, repr=False)
    params: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom a URL leads to."""

    scheme: str
    host: str  #: as libcurl is given it, without brackets
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is valid, in libcurl's terms."""

    method: str
    url: str = field(repr=False)
    origin: Origin
    header_lines: list[bytes] = field(repr=False)
    body: bytes | None = field(repr=False)
    limits: Limits


def prepare(request: Request) -> Prepared:
    """ValueError when no valid request can be made of it; its message may quote secrets."""
    method = request.method.upper()
    if not (method.isascii() and method.isalpha()):
        raise ValueError
    url, origin = _prepared_url(request.url)
    if request.params:
        url += ("&" if "?" in url else "?") + urlencode(request.params)
    return Prepared(
        method, url, origin, _header_lines(request.headers), request.body, request.limits
    )


def named_origin(url: str) -> str:
    """Host and port, for a message."""
    try:
        parts = parse_url(url)
        return f"{parts.host}:{parts.port or _PORTS[str(parts.scheme)]}"
    except (urllib3_errors.LocationParseError, KeyError):
        return "the URL's host"


@functools.lru_cache(maxsize=1024)
def _prepared_url(url: str) -> tuple[str, Origin]:
    """As requests writes it, without the user and the fragment, which are never sent."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    parts = parse_url(str(prepared.url))
    if parts.scheme not in _PORTS or not parts.host:
        raise requests.exceptions.InvalidSchema
    origin = Origin(parts.scheme, parts.host.strip("[]"), parts.port or _PORTS[parts.scheme])
    return parts._replace(auth=None, fragment=None).url, origin


@functools.cache
def _own_headers() -> dict[str, tuple[str, str]]:
    return {
        "user-agent": ("User-Agent", f"aftercall/{__version__}"),
        "accept-encoding": ("Accept-Encoding", CODINGS),
        "accept": ("Accept", "*/*"),
        # Without a value libcurl sends none: neither waits it for a "100 Continue" then, nor
        # makes it up what a body is.
        "expect": ("Expect", ""),
        "content-type": ("Content-Type", ""),
    }


def _header_lines(headers: Mapping[str, str]) -> list[bytes]:
    lines = dict(_own_headers())
    for name, value in headers.items():
        check_header_validity((name, value))
        if "\0" in name or "\0" in value:
            raise requests.exceptions.InvalidHeader
        lines[name.lower()] = (name, value)
    own = _own_headers()
    return [
        # "X:" would take a header away; this is how libcurl is told of one without a value.
        f"{name};".encode("latin-1")
        if not value and own.get(lower) != (name, value)
        else f"{name}: {value}".encode("latin-1")
        for lower, (name, value) in lines.items()
        if lower != "content-length"  # libcurl's to say
    ]
