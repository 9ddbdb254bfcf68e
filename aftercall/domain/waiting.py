"""When a row is tried next, and why not now, as a sentence. Pure.

Tells what claiming would find; it claims nothing. The conditions are those of
`aftercall.db.calls` and `aftercall.db.deliveries`.
"""

from dataclasses import dataclass
from datetime import datetime

from aftercall.domain.breaker import is_tripped
from aftercall.domain.states import CallState, DeliveryState


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """`at`: not before then; None: when what `why` says has passed."""

    at: datetime | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingCall:
    """What a call's next attempt depends on."""

    state: CallState
    due_at: datetime
    attempts: int
    not_ready: bool
    has_credentials: bool
    blocked_until: datetime | None
    block_reason: str | None


def next_fetch(call: WaitingCall, *, now: datetime) -> NextAttempt | None:
    """None when no fetch is to come."""
    if call.state in (CallState.FETCHED, CallState.DEAD):
        return None
    if call.state is CallState.FETCHING:
        return NextAttempt(None, "Twenty2 is being asked right now.")
    if not call.has_credentials:
        return NextAttempt(None, "The workspace has no credentials: set them, then it goes on.")
    if call.blocked_until is not None and call.blocked_until > max(now, call.due_at):
        why = f": {call.block_reason}" if call.block_reason else ""
        return NextAttempt(call.blocked_until, f"The workspace is blocked{why}")
    if call.due_at <= now:
        return NextAttempt(None, "It is due, and waits for its turn within the rate limit.")
    if call.not_ready:
        return NextAttempt(
            call.due_at, "The call was not ready at Twenty2; then it is looked at again."
        )
    if call.attempts:
        return NextAttempt(
            call.due_at, f"Attempt {call.attempts} failed; the wait grows each time."
        )
    return NextAttempt(call.due_at, "It is not due yet.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingDelivery:
    """What a delivery's next attempt depends on."""

    state: DeliveryState
    due_at: datetime
    attempts: int
    enabled: bool
    disabled_reason: str | None
    paused_until: datetime | None
    failures_in_a_row: int
    rate_limit_per_second: int | None


def next_delivery(delivery: WaitingDelivery, *, now: datetime) -> NextAttempt | None:
    """None when no attempt is to come."""
    match delivery.state:
        case DeliveryState.SENDING:
            return NextAttempt(None, "It is being sent right now.")
        case DeliveryState.HELD:
            why = f" ({delivery.disabled_reason})" if delivery.disabled_reason else ""
            return NextAttempt(
                None, f"The destination is disabled{why}: it goes when that is enabled."
            )
        case DeliveryState.QUEUED:
            return _next_of_queued(delivery, now=now)
        case _:
            return None


def _next_of_queued(delivery: WaitingDelivery, *, now: datetime) -> NextAttempt:
    paused = delivery.paused_until
    if paused is not None and paused > max(now, delivery.due_at):
        if not is_tripped(delivery.failures_in_a_row):
            return NextAttempt(
                paused, "The CRM's limit is reached: nothing is sent there for so long."
            )
        return NextAttempt(
            paused,
            f"The destination failed {delivery.failures_in_a_row} times in a row; "
            "then one delivery finds out whether it works again.",
        )
    if delivery.due_at > now:
        if delivery.attempts:
            why = f"Attempt {delivery.attempts} failed; the wait grows each time."
        else:
            why = "It is not due yet."
        return NextAttempt(delivery.due_at, why)
    if is_tripped(delivery.failures_in_a_row):
        return NextAttempt(None, "One delivery is finding out whether the destination works again.")
    limit = delivery.rate_limit_per_second
    per_second = f" of {limit} a second" if limit is not None else ""
    return NextAttempt(
        None, f"It is due, and waits for its turn within the destination's limits{per_second}."
    )
