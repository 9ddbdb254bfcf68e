"""What can go wrong with one answer, and when it does.

A `FaultPlan` decides which fault, if any, a request meets: first what was
queued for its key (a call), then what was queued for anybody, then what the
fault rate draws. A draw depends on the seed, the key and how many requests the
key has had, and not on the order in which threads happen to run.
How a fault looks on the wire is written in `fault_replies` and `payloads`.
"""

import hashlib
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, auto


class Fault(StrEnum):
    """One way in which an answer is not what the client hoped for."""

    # A status.
    BAD_REQUEST = auto()
    UNAUTHORIZED = auto()
    FORBIDDEN = auto()
    NOT_FOUND = auto()
    METHOD_NOT_ALLOWED = auto()
    REQUEST_TIMEOUT = auto()
    CONFLICT = auto()
    GONE = auto()
    CONTENT_TOO_LARGE = auto()
    UNSUPPORTED_MEDIA_TYPE = auto()
    UNPROCESSABLE = auto()
    TOO_EARLY = auto()
    RATE_LIMITED = auto()
    """429 with Retry-After."""
    RATE_LIMITED_WITHOUT_RETRY_AFTER = auto()
    SERVER_ERROR = auto()
    BAD_GATEWAY = auto()
    UNAVAILABLE = auto()
    """503 with Retry-After."""
    GATEWAY_TIMEOUT = auto()
    MOVED = auto()
    """301 to `/redirected` on the same server."""
    FOUND = auto()
    """302 to `/redirected` on the same server."""

    # The wire.
    SLOW = auto()
    """The true answer, after a delay."""
    DRIP = auto()
    """The true answer, headers included, a byte at a time."""
    HANG = auto()
    """Nothing, until the client gives up."""
    RESET = auto()
    """The connection is reset before the request has had any effect."""
    LOST_ANSWER = auto()
    """The request takes effect, then the connection is reset before the answer."""
    TRUNCATED = auto()
    """The status and half of the body, then the connection is closed."""

    # A 200 with a body that is no answer.
    NOT_JSON = auto()
    EMPTY = auto()
    JSON_LIST = auto()
    JSON_NULL = auto()
    HUGE = auto()
    """The true answer, padded to over 6 MiB."""

    # A 200 from Twenty2 with unusual content.
    SUCCESS_FALSE = auto()
    MISSING_FIELDS = auto()
    """The call is there, with nothing but its id and status."""
    NULL_FIELDS = auto()
    OTHER_ID = auto()
    """The answer names the call by another id, as the provider's own example does."""
    OTHER_SPELLING = auto()
    UNKNOWN_STATUS = auto()
    """A status that nobody documented, and no `ended_at`."""
    UNKNOWN_STATUS_ENDED = auto()
    UNKNOWN_FIELDS = auto()
    NUL_IN_TEXT = auto()
    """A NUL and a lone surrogate in output parameters: JSON allows them, PostgreSQL does not."""
    DEEP_JSON = auto()
    """3,000 levels inside an output parameter."""


CONTENT_FAULTS = frozenset(
    {
        Fault.MISSING_FIELDS,
        Fault.NULL_FIELDS,
        Fault.OTHER_ID,
        Fault.OTHER_SPELLING,
        Fault.UNKNOWN_STATUS,
        Fault.UNKNOWN_STATUS_ENDED,
        Fault.UNKNOWN_FIELDS,
        Fault.NUL_IN_TEXT,
        Fault.DEEP_JSON,
    }
)
"""Spoil the content of a call's detail; see `payloads.spoil`."""

TWENTYTWO_FAULTS = frozenset(Fault)

CRM_FAULTS = TWENTYTWO_FAULTS - CONTENT_FAULTS - {Fault.SUCCESS_FALSE}

FAULTS_AFTER_THE_EFFECT = CONTENT_FAULTS | {
    Fault.SLOW,
    Fault.DRIP,
    Fault.LOST_ANSWER,
    Fault.TRUNCATED,
    Fault.NOT_JSON,
    Fault.EMPTY,
    Fault.JSON_LIST,
    Fault.JSON_NULL,
    Fault.HUGE,
}
"""The request did what it was meant to do; only its answer is odd, late or lost."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault with its particulars, where the usual ones will not do."""

    kind: Fault
    #: SLOW: before the answer (default 1). DRIP: between two bytes (default 0.05).
    seconds: float | None = None
    #: The Retry-After of RATE_LIMITED and UNAVAILABLE, as it goes into the header (default "1").
    retry_after: str = "1"
    #: Twenty2: the error comes as `statusCode` and `validationErrors` instead of `error`.
    second_envelope: bool = False
    #: SUCCESS_FALSE: the status that the error inside the 200 speaks of.
    status_inside: int = 500


class FaultPlan:
    """Which fault a request meets. Thread-safe."""

    def __init__(self, *, seed: str, allowed: frozenset[Fault]) -> None:
        self._seed = seed
        self._allowed = allowed
        self._lock = threading.Lock()
        self._queued_for_key: defaultdict[str, deque[PlannedFault]] = defaultdict(deque)
        self._queued: deque[PlannedFault] = deque()
        self._rate = 0.0
        self._kinds: tuple[PlannedFault, ...] = ()
        self._draws: Counter[str] = Counter()

    def fail_next(self, *faults: Fault | PlannedFault) -> None:
        """Each of the next requests, whatever its key, meets one of these, in order."""
        planned = self._checked(faults)
        with self._lock:
            self._queued.extend(planned)

    def fail_next_for(self, key: str, *faults: Fault | PlannedFault) -> None:
        """Each of the next requests for this key meets one of these, in order."""
        planned = self._checked(faults)
        with self._lock:
            self._queued_for_key[key].extend(planned)

    def fail_at_rate(self, rate: float, kinds: Iterable[Fault | PlannedFault]) -> None:
        """From now on this share of the requests (0 to 1) meets one of `kinds`, evenly drawn."""
        planned = self._checked(kinds)
        if not 0 <= rate <= 1:
            raise ValueError(f"a fault rate is between 0 and 1, not {rate}")
        if rate > 0 and not planned:
            raise ValueError("a fault rate needs at least one kind of fault")
        with self._lock:
            self._rate, self._kinds = rate, planned

    def draw(self, key: str) -> PlannedFault | None:
        """The fault that the request which has just arrived meets; None: the true answer."""
        with self._lock:
            if queued := self._queued_for_key.get(key):
                return queued.popleft()
            if self._queued:
                return self._queued.popleft()
            return self._draw_at_rate(key) if self._rate else None

    def _draw_at_rate(self, key: str) -> PlannedFault | None:
        self._draws[key] += 1
        name = f"{self._seed}/{key}/{self._draws[key]}"
        digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=16).digest()
        if int.from_bytes(digest[:8]) / 2**64 >= self._rate:
            return None
        return self._kinds[int.from_bytes(digest[8:]) % len(self._kinds)]

    def _checked(self, faults: Iterable[Fault | PlannedFault]) -> tuple[PlannedFault, ...]:
        planned = tuple(
            fault if isinstance(fault, PlannedFault) else PlannedFault(fault) for fault in faults
        )
        for fault in planned:
            if fault.kind not in self._allowed:
                raise ValueError(f"{fault.kind} is no fault of this side")
        return planned
