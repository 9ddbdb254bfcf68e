"""Where Redis is, and how to reach it: what AFTERCALL_REDIS_URL says.

One server (`redis://`, over TLS `rediss://`, a socket `unix://`), or the primary of a group that
Sentinels watch (`sentinel://`, over TLS `sentinel+tls://`). Reads the URL and connects to nothing.
redis-py and kombu spell these each in its own way: both are handed what is read here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

_FORMS = (
    "expected redis://:password@host:6379/0, rediss://… for TLS, unix:///path/to.sock, or "
    "sentinel://:password@host:26379,host:26379,host:26379/NAME/0"
)
_TLS_SCHEMES = frozenset({"rediss", "sentinel+tls"})
_SENTINEL_SCHEMES = frozenset({"sentinel", "sentinel+tls"})
_SCHEMES = frozenset({"redis", "unix"}) | _TLS_SCHEMES | _SENTINEL_SCHEMES
_TLS_OPTIONS = (
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_check_hostname",
    "ssl_cert_reqs",
)
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_PORTS: Final = {False: 6379, True: 26379}
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_CHECKS = {
    "required": "required",
    "cert_required": "required",
    "none": "none",
    "cert_none": "none",
}


class BadRedisUrl(ValueError):
    """The URL cannot be read. The message says why, and never what is in it."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How the other side's certificate is checked, and which one is shown to it."""

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    checks_certificate: bool = True
    checks_hostname: bool = True

    def options(self) -> dict[str, Any]:
        """As redis-py's SSLConnection and kombu want them."""
        named = {
            "ssl_ca_certs": self.ca_certs,
            "ssl_certfile": self.certfile,
            "ssl_keyfile": self.keyfile,
        }
        return {
            "ssl_cert_reqs": "required" if self.checks_certificate else "none",
            "ssl_check_hostname": self.checks_certificate and self.checks_hostname,
            **{name: value for name, value in named.items() if value is not None},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """A server, or the Sentinels that know it by the name `service`."""

    nodes: tuple[tuple[str, int], ...] = ()
    socket_path: str | None = None
    service: str | None = None
    database: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    tls: Tls | None = None

    def server_options(self) -> dict[str, Any]:
        """Keywords for a connection to the server itself, wherever it is."""
        given = {"username": self.username, "password": self.password}
        return {"db": self.database, **_without_none(given), **self._tls_options()}

    def sentinel_options(self) -> dict[str, Any]:
        """Keywords for a connection to a Sentinel."""
        given = {"username": self.sentinel_username, "password": self.sentinel_password}
        return {**_without_none(given), **self._tls_options()}

    def _tls_options(self) -> dict[str, Any]:
        return {} if self.tls is None else {"ssl": True, **self.tls.options()}


def read_redis_url(url: str) -> RedisAddress:
    """What the URL says; BadRedisUrl when it says nothing that could work."""
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _SCHEMES:
        raise BadRedisUrl(f"It does not begin as Redis's URLs do: {_FORMS}")
    if re.search(r"[\s\x00-\x1f\x7f#]", rest) or not rest.isascii():
        raise BadRedisUrl(f"It has a character that must be written as %XX: {_FORMS}")
    before_query, _, query = rest.partition("?")
    authority, slash, path = before_query.partition("/")
    credentials, _, hosts = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    options = _options(query, scheme)
    common = RedisAddress(
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls=_tls(options) if scheme in _TLS_SCHEMES else None,
    )
    if scheme == "unix":
        if not path or hosts:
            raise BadRedisUrl("It names no socket: expected unix:///path/to.sock")
        database = _database(options.get("db", ""))
        return replace(common, socket_path=slash + unquote(path), database=database)
    nodes = _nodes(hosts, is_sentinel=scheme in _SENTINEL_SCHEMES)
    if scheme not in _SENTINEL_SCHEMES:
        if len(nodes) > 1:
            raise BadRedisUrl(f"It names several servers, which is for Sentinels only: {_FORMS}")
        return replace(common, nodes=nodes, database=_database(path or options.get("db", "")))
    service, _, number = path.partition("/")
    if not re.fullmatch(r"[\w.-]+", unquote(service), re.ASCII):
        raise BadRedisUrl(
            "It does not say by which name the Sentinels know the primary: "
            "expected sentinel://:password@host:26379,host:26379/NAME/0"
        )
    return replace(
        common,
        nodes=nodes,
        service=unquote(service),
        database=_database(number or options.get("db", "")),
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )


def _options(query: str, scheme: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = {"db"}
    if scheme in _TLS_SCHEMES:
        known |= set(_TLS_OPTIONS)
    if scheme in _SENTINEL_SCHEMES:
        known |= set(_SENTINEL_OPTIONS)
    if unknown := sorted(set(options) - known):
        named = ", ".join(name for name in unknown if re.fullmatch(r"[a-z_]{1,40}", name))
        raise BadRedisUrl(
            f"It has an option that {scheme}:// does not have{named and f' ({named})'}: "
            f"these are known: {', '.join(sorted(known))}"
        )
    return options


def _tls(options: Mapping[str, str]) -> Tls:
    checks = _CHECKS.get(options.get("ssl_cert_reqs", "required").lower())
    hostname = _TRUTHS.get(options.get("ssl_check_hostname", "true").lower())
    if checks is None:
        raise BadRedisUrl("Its ssl_cert_reqs is neither required nor none")
    if hostname is None:
        raise BadRedisUrl("Its ssl_check_hostname is neither true nor false")
    if "ssl_keyfile" in options and "ssl_certfile" not in options:
        raise BadRedisUrl("It has an ssl_keyfile and no ssl_certfile")
    return Tls(
        ca_certs=options.get("ssl_ca_certs") or None,
        certfile=options.get("ssl_certfile") or None,
        keyfile=options.get("ssl_keyfile") or None,
        checks_certificate=checks == "required",
        checks_hostname=hostname,
    )


def _nodes(hosts: str, *, is_sentinel: bool) -> tuple[tuple[str, int], ...]:
    return tuple(_node(host, default=_PORTS[is_sentinel]) for host in re.split("[,;]", hosts))


def _node(host: str, *, default: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{host}")
        name, port = unquote(parts.hostname or ""), parts.port
    except ValueError:
        name, port = "", 0
    if not re.fullmatch(r"[\w.:-]+", name, re.ASCII) or port == 0:
        raise BadRedisUrl(f"It has no host, or a port that is none: {_FORMS}")
    return name, port or default


def _database(number: str) -> int:
    number = number.strip("/")
    if number and not re.fullmatch(r"\d{1,5}", number, re.ASCII):
        raise BadRedisUrl(f"Its database is no number: {_FORMS}")
    return int(number or 0)


def _without_none(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}
