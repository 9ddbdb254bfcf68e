"""What operators look at: pages of calls and deliveries, one call's story, counts."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, or_, select, text
from sqlalchemy.orm import Session

from aftercall.db.models import Attempt, Call, CallPayload, Delivery, Destination
from aftercall.domain.states import CallState, DeliveryState


@dataclass(frozen=True, slots=True, kw_only=True)
class CallQuery:
    """Which calls; None: all. `before`: row ids below this one, for the next page."""

    state: CallState | None = None
    status: str | None = None
    #: A call id, or the end of a phone number.
    q: str | None = None
    workspace_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    limit: int = 50


_CALLS = select(Call, CallPayload).outerjoin(
    CallPayload,
    and_(CallPayload.call_row_id == Call.id, CallPayload.revision == Call.revision),
)


def find_calls(session: Session, query: CallQuery) -> list[tuple[Call, CallPayload | None]]:
    """Newest first."""
    rows = _CALLS.order_by(Call.id.desc()).limit(query.limit)
    if query.state is not None:
        rows = rows.where(Call.state == query.state)
    if query.status is not None:
        rows = rows.where(Call.status == query.status)
    if query.workspace_id is not None:
        rows = rows.where(Call.workspace_id == query.workspace_id)
    if query.q is not None:
        rows = rows.where(
            or_(
                Call.call_id == query.q,
                Call.answered_call_id == query.q,
                Call.callee_phone.endswith(query.q, autoescape=True),
                Call.caller_phone.endswith(query.q, autoescape=True),
            )
        )
    if query.since is not None:
        rows = rows.where(Call.received_at >= query.since)
    if query.until is not None:
        rows = rows.where(Call.received_at < query.until)
    if query.before is not None:
        rows = rows.where(Call.id < query.before)
    return [(row[0], row[1]) for row in session.execute(rows)]


def find_call(
    session: Session, call_id: str, workspace_id: str | None
) -> list[tuple[Call, CallPayload | None]]:
    """Of each workspace that has a call of this id."""
    rows = _CALLS.where(Call.call_id == call_id).order_by(Call.id)
    if workspace_id is not None:
        rows = rows.where(Call.workspace_id == workspace_id)
    return [(row[0], row[1]) for row in session.execute(rows)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryQuery:
    """Which deliveries; None: all. `before`: ids below this one, for the next page."""

    id: uuid.UUID | None = None
    state: DeliveryState | None = None
    destination_id: uuid.UUID | None = None
    call_id: str | None = None
    call_row_id: int | None = None
    before: uuid.UUID | None = None
    limit: int = 50


def find_deliveries(session: Session, query: DeliveryQuery) -> list[tuple[Delivery, Call, str]]:
    """With the call and the destination's name; newest first."""
    rows = (
        select(Delivery, Call, Destination.name)
        .join(Call, Call.id == Delivery.call_row_id)
        .join(Destination, Destination.id == Delivery.destination_id)
        .order_by(Delivery.id.desc())
        .limit(query.limit)
    )
    if query.id is not None:
        rows = rows.where(Delivery.id == query.id)
    if query.state is not None:
        rows = rows.where(Delivery.state == query.state)
    if query.destination_id is not None:
        rows = rows.where(Delivery.destination_id == query.destination_id)
    if query.call_id is not None:
        rows = rows.where(Call.call_id == query.call_id)
    if query.call_row_id is not None:
        rows = rows.where(Call.id == query.call_row_id)
    if query.before is not None:
        rows = rows.where(Delivery.id < query.before)
    return [(delivery, call, name) for delivery, call, name in session.execute(rows)]


def attempts_of_calls(session: Session, call_row_ids: Sequence[int]) -> list[Attempt]:
    """Of fetches and deliveries alike, oldest first."""
    return list(
        session.scalars(
            select(Attempt).where(Attempt.call_row_id.in_(call_row_ids)).order_by(Attempt.id)
        )
    )


_COUNTS = text(
    """
    SELECT 'call' AS kind, state, count(*) AS count,
      count(*) FILTER (WHERE state = 'queued' AND due_at <= :now) AS due,
      min(due_at) FILTER (WHERE state = 'queued' AND due_at <= :now) AS oldest
    FROM calls GROUP BY state
    UNION ALL
    SELECT 'delivery', state, count(*),
      count(*) FILTER (WHERE state = 'queued' AND due_at <= :now),
      min(due_at) FILTER (WHERE state = 'queued' AND due_at <= :now)
    FROM deliveries GROUP BY state
    """
)


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many rows of a kind are in a state, and how many of them wait to be worked on."""

    kind: str
    state: str
    count: int
    due: int
    oldest_due_at: datetime | None


def count_states(session: Session, *, now: datetime) -> list[StateCount]:
    rows: Any = session.execute(_COUNTS, {"now": now})
    return [StateCount(row.kind, row.state, row.count, row.due, row.oldest) for row in rows]
