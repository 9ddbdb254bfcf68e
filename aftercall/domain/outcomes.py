"""What one finished exchange means for the row that asked for it.

Pure and total: every reading of Twenty2's answer and every exchange with a
hook has exactly one outcome. The tables are those of `docs/architecture.md`,
"What one answer means". Nothing here knows the clock, the row or the wire.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import assert_never

from aftercall.domain.exchange import Answer, Exchange, Failure, NoAnswer


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Done."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Failed in a way that may pass. Spends an attempt."""

    reason: str
    #: What the other side asked us to wait; the schedule may ask for more.
    wait: timedelta | None = None
    #: Fewer attempts than the schedule has, for failures that seldom pass.
    at_most: int | None = None
    #: Twenty2 said 403: many in a row mean that the credentials are wrong.
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class NotReady:
    """The call is still under way, or not visible yet. Spends no attempt."""

    reason: str
    #: How long to keep looking, from the first such answer.
    patience: timedelta
    #: Twenty2 does not know the call (yet); otherwise it does, and the call is under way.
    is_unknown: bool = False


class BlockKind(StrEnum):
    RATE_LIMIT = "rate_limit"
    """Twenty2 answered 429."""
    CREDENTIALS = "credentials"
    """Twenty2 does not accept the workspace's credentials."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """The fault is ours (credentials, rate limit, keys), not the row's. Spends no attempt."""

    reason: str
    wait: timedelta
    #: What it blocks the whole workspace for, if it does.
    kind: BlockKind | None = None
    #: Of a delivery: nothing else goes to its destination for so long.
    destination_waits: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """Asking again would get the same answer."""

    reason: str
    #: The hook said 410: it wants no more deliveries at all.
    destination_is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """There is nothing to do here, as the destination's settings say."""

    reason: str


FetchOutcome = Succeeded | Retry | NotReady | Blocked | Dead
DeliveryOutcome = Succeeded | Retry | Blocked | Dead | Skipped
Outcome = FetchOutcome | DeliveryOutcome


# ---- Twenty2's answers -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """Twenty2 told us the call."""

    status: str
    has_ended: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Twenty2 answered with an error, in whichever envelope and under whichever status line."""

    status: int
    message: str
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A 2xx answer that is not the documented one: no JSON, no call, too long."""

    reason: str


Reading = Found | Refused | Unreadable | NoAnswer

FINAL_STATUSES = frozenset({"completed", "not_connected", "failed"})
UNDER_WAY_STATUSES = frozenset({"initiated", "connected"})

#: A call that was triggered after 21:00 IST waits for 09:00; two days cover a holiday's queue.
UNDER_WAY_PATIENCE = timedelta(hours=48)
NOT_VISIBLE_PATIENCE = timedelta(minutes=15)
#: No Retry-After is documented; the limit is per minute.
RATE_LIMIT_WAIT = timedelta(seconds=60)
MAX_RATE_LIMIT_WAIT = timedelta(hours=24)
CREDENTIALS_PROBE_WAIT = timedelta(minutes=3)
FORBIDDEN_ATTEMPTS = 3
FORBIDDEN_IN_A_ROW = 10


def classify_fetch(reading: Reading) -> FetchOutcome:
    """The outcome of one `GET /call/detail`."""
    match reading:
        case Found(status=status) if status in FINAL_STATUSES:
            return Succeeded()
        case Found(status=status) if status in UNDER_WAY_STATUSES:
            return NotReady(f"the call is still {status}", UNDER_WAY_PATIENCE)
        case Found(has_ended=True):
            return Succeeded()
        case Found(status=status):
            return NotReady(
                f"the call has the unknown status {status[:40]!r} and no ended_at",
                UNDER_WAY_PATIENCE,
            )
        case Refused():
            return _classify_refusal(reading)
        case Unreadable(reason=reason):
            return Retry(f"Twenty2's answer cannot be read: {reason}")
        case NoAnswer(detail=detail):
            return Retry(f"Twenty2 did not answer: {detail}")
        case _:
            assert_never(reading)


def _classify_refusal(refused: Refused) -> FetchOutcome:
    said = f"Twenty2 answered {refused.status}"
    if refused.message:
        said = f"{said}: {refused.message}"
    match refused.status:
        case 401:
            return Blocked(said, CREDENTIALS_PROBE_WAIT, BlockKind.CREDENTIALS)
        case 403:
            return Retry(said, at_most=FORBIDDEN_ATTEMPTS, forbidden=True)
        case 404:
            return NotReady(said, NOT_VISIBLE_PATIENCE, is_unknown=True)
        case 429:
            wait = RATE_LIMIT_WAIT if refused.retry_after is None else refused.retry_after
            wait = min(max(wait, timedelta(seconds=1)), MAX_RATE_LIMIT_WAIT)
            return Blocked(said, wait, BlockKind.RATE_LIMIT)
        case 408:
            return Retry(said, wait=refused.retry_after)
        case status if 400 <= status < 500:
            return Dead(said)
        case _:
            return Retry(said, wait=refused.retry_after)


# ---- the hooks' answers ------------------------------------------------------

#: Answers that say "this request, as it is, will never do".
_HOPELESS = frozenset({400, 405, 413, 415, 422})


def classify_delivery(exchange: Exchange, *, retry_after: timedelta | None) -> DeliveryOutcome:
    """The outcome of one POST to a hook; `retry_after` is the parsed header."""
    match exchange:
        case Answer(status=status):
            return _classify_hook_answer(status, retry_after)
        case NoAnswer(failure=Failure.FORBIDDEN_ADDRESS, detail=detail):
            return Dead(
                f"{detail}. If this network is meant, allow it with "
                "AFTERCALL_ALLOWED_PRIVATE_NETWORKS and replay"
            )
        case NoAnswer(failure=Failure.INVALID_REQUEST, detail=detail):
            return Dead(f"{detail}. Correct the destination and replay")
        case NoAnswer(detail=detail):
            return Retry(detail)
        case _:
            assert_never(exchange)


def _classify_hook_answer(status: int, retry_after: timedelta | None) -> DeliveryOutcome:
    said = f"the hook answered {status}"
    if 200 <= status < 300:
        return Succeeded()
    if status == 410:
        return Dead(f"{said} (gone)", destination_is_gone=True)
    if status in _HOPELESS:
        return Dead(said)
    if 300 <= status < 400:
        return Dead(f"{said}: redirects are not followed; give the destination its final URL")
    # 4xx answers that the table does not name are retried: giving up late loses less.
    return Retry(said, wait=retry_after)
