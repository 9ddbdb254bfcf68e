"""A request as the simulator sees it, and a reply with the manner in which it goes out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto


class Manner(StrEnum):
    """How a reply goes out."""

    WHOLE = auto()
    DRIP = auto()
    """A byte at a time, headers included."""
    HANG = auto()
    """Not at all: the connection stays open until the client gives up."""
    RESET = auto()
    """Not at all: the connection is reset."""
    TRUNCATED = auto()
    """Only half of the body that Content-Length promises; then the connection is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request as it came; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the client gets, and how."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    #: Waited before anything is sent.
    delay_seconds: float = 0.0
    manner: Manner = Manner.WHOLE
    #: Between two bytes of a DRIP.
    drip_seconds: float = 0.05

    @property
    def outcome(self) -> str:
        """The status as the client sees it; the manner's name when it sees none."""
        if self.manner in (Manner.HANG, Manner.RESET):
            return self.manner.value
        return str(self.status)


App = Callable[[HttpRequest], Reply]
