"""From an outcome and where a row stands to where it goes next.

Pure and total; the caller writes the step down, guarded by its lease. No step
leaves the tables of `aftercall.domain.states`.
"""

import random
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from aftercall.domain.outcomes import (
    Blocked,
    Dead,
    DeliveryOutcome,
    FetchOutcome,
    NotReady,
    Retry,
    Skipped,
    Succeeded,
)
from aftercall.domain.schedules import delivery_wait, fetch_wait, look_wait
from aftercall.domain.states import CallState, DeliveryState, Priority

#: A row whose lease ran out this often has killed its worker: it is dead.
MAX_LAPSES = 3
#: From so many on it is worked on alone: it may be what ends its worker, or only a neighbour.
LAPSES_TO_BE_ALONE = MAX_LAPSES - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStanding:
    """Where a call stood when it was claimed."""

    attempts: int
    priority: int
    due_at: datetime
    #: Of the first answer that it is under way.
    not_ready_since: datetime | None
    #: Of the first of the 404 answers in a row.
    unknown_since: datetime | None = None
    #: It is saved already: nothing that comes of this fetch makes it dead.
    is_look: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStep:
    """Where the call goes."""

    state: CallState
    attempts: int
    priority: int
    due_at: datetime
    not_ready_since: datetime | None
    unknown_since: datetime | None
    #: None when there is nothing to complain of.
    error: str | None


def plan_call(
    outcome: FetchOutcome, standing: CallStanding, *, now: datetime, rng: random.Random
) -> CallStep:
    """The step after one fetch."""
    spent = standing.attempts + 1
    match outcome:
        case Succeeded():
            return CallStep(
                state=CallState.FETCHED,
                attempts=spent,
                priority=standing.priority,
                due_at=standing.due_at,
                not_ready_since=None,
                unknown_since=None,
                error=None,
            )
        case Retry(reason=reason):
            wait = fetch_wait(spent, asked=outcome.wait, at_most=outcome.at_most, rng=rng)
            if wait is None:
                return _dead_call(f"gave up after {spent} attempts: {reason}", standing, spent)
            return CallStep(
                state=CallState.QUEUED,
                attempts=spent,
                priority=max(standing.priority, Priority.RETRY),
                due_at=now + wait,
                not_ready_since=standing.not_ready_since,
                unknown_since=standing.unknown_since,
                error=reason,
            )
        case NotReady(reason=reason, patience=patience):
            # One 404 does not end a call that was under way, nor does being under way end a 404's
            # patience: each is counted from its own first answer.
            first = standing.unknown_since if outcome.is_unknown else standing.not_ready_since
            since = first or now
            if now - since >= patience:
                return _dead_call(
                    f"gave up after {patience} of looking: {reason}", standing, standing.attempts
                )
            return CallStep(
                state=CallState.QUEUED,
                attempts=standing.attempts,
                priority=max(standing.priority, Priority.RETRY),
                due_at=now + look_wait(now - since),
                not_ready_since=standing.not_ready_since if outcome.is_unknown else since,
                unknown_since=since if outcome.is_unknown else None,
                error=reason,
            )
        case Blocked(reason=reason):
            # Its place in the line is kept: the block is the workspace's, not the call's.
            return CallStep(
                state=CallState.QUEUED,
                attempts=standing.attempts,
                priority=standing.priority,
                due_at=standing.due_at,
                not_ready_since=standing.not_ready_since,
                unknown_since=standing.unknown_since,
                error=reason,
            )
        case Dead(reason=reason):
            return _dead_call(reason, standing, spent)
        case _:
            assert_never(outcome)


def _dead_call(reason: str, standing: CallStanding, attempts: int) -> CallStep:
    return CallStep(
        state=CallState.FETCHED if standing.is_look else CallState.DEAD,
        attempts=attempts,
        priority=standing.priority,
        due_at=standing.due_at,
        not_ready_since=standing.not_ready_since,
        unknown_since=standing.unknown_since,
        error=None if standing.is_look else reason,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStanding:
    """Where a delivery stood when it was claimed."""

    attempts: int
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStep:
    """Where the delivery goes."""

    state: DeliveryState
    attempts: int
    due_at: datetime
    error: str | None


def plan_delivery(
    outcome: DeliveryOutcome, standing: DeliveryStanding, *, now: datetime, rng: random.Random
) -> DeliveryStep:
    """The step after one POST."""
    spent = standing.attempts + 1
    match outcome:
        case Succeeded():
            state, due_at, error = DeliveryState.DELIVERED, standing.due_at, None
        case Retry(reason=reason):
            wait = delivery_wait(spent, asked=outcome.wait, rng=rng)
            if wait is None:
                state, due_at = DeliveryState.DEAD, standing.due_at
                error = f"gave up after {spent} attempts: {reason}"
            else:
                state, due_at, error = DeliveryState.QUEUED, now + wait, reason
        case Blocked(reason=reason):
            spent = standing.attempts
            state, due_at, error = DeliveryState.QUEUED, now + outcome.wait, reason
        case Dead(reason=reason, destination_is_gone=True):
            # The destination is disabled; when it is enabled again, this one goes first.
            state, due_at, error = DeliveryState.HELD, standing.due_at, reason
        case Dead(reason=reason):
            state, due_at, error = DeliveryState.DEAD, standing.due_at, reason
        case Skipped(reason=reason):
            state, due_at, error = DeliveryState.SKIPPED, standing.due_at, reason
        case _:
            assert_never(outcome)
    return DeliveryStep(state=state, attempts=spent, due_at=due_at, error=error)
