"""One finished HTTP exchange, as a value.

`aftercall.http` turns whatever happened on the wire (an answer, a timeout, a
reset, a refused address) into one of these; the classifiers in
`aftercall.domain` decide what it means. Nothing is raised to say "failed".
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Failure(StrEnum):
    """Why there is no answer."""

    TIMEOUT = "timeout"
    """Nothing came within the connect, read or overall limit."""
    CONNECTION = "connection"
    """No such name; or the connection was refused, reset, or broke off before the body's end."""
    TLS = "tls"
    """The certificate or the handshake was not acceptable."""
    FORBIDDEN_ADDRESS = "forbidden_address"
    """The name resolves to an address that destinations may not use."""
    INVALID_REQUEST = "invalid_request"
    """The request could not even be made: a URL or a header that is not valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer, whatever its status."""

    status: int
    #: At most as many bytes as the sender allowed, content-decoded.
    body: bytes
    #: True when there was more body than allowed; the rest was not read.
    body_was_cut: bool
    #: The `Retry-After` header as it came.
    retry_after: str | None
    elapsed: timedelta
    #: The headers of these names as they came.
    content_type: str | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """No complete answer came."""

    failure: Failure
    #: One line for a person: what happened, to which host. Never a secret, never a URL's query.
    detail: str
    elapsed: timedelta


Exchange = Answer | NoAnswer
