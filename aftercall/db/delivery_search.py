"""Finds deliveries: of a call, a destination, a state, a reason; in pages, both ways.

Settled ones are walked along one index, destination by destination; those that
wait are few enough to sort. No page reads more than a few thousand rows.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session

from aftercall.db.models import Call, Delivery, Destination
from aftercall.domain.ids import first_id
from aftercall.domain.states import DeliveryState

#: An id is made within this time of the moment that stands as `created_at`.
_SLACK = timedelta(minutes=15)
#: So much of a reason makes a group.
REASON_LENGTH = 200
SETTLED = frozenset(
    {
        DeliveryState.DEAD,
        DeliveryState.HELD,
        DeliveryState.DELIVERED,
        DeliveryState.SKIPPED,
    }
)


@dataclass(frozen=True, slots=True)
class DeliveryPlace:
    """Where a page begins: beyond this delivery, among the older or the newer ones."""

    id: uuid.UUID
    newer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryQuery:
    """Which deliveries; None: all."""

    id: uuid.UUID | None = None
    state: DeliveryState | None = None
    destination_id: uuid.UUID | None = None
    #: `last_error`, or its first 200 characters; "": those that have none.
    reason: str | None = None
    call_id: str | None = None
    call_row_id: int | None = None
    #: About `created_at`.
    since: datetime | None = None
    until: datetime | None = None
    place: DeliveryPlace | None = None
    limit: int = 50


DeliveryRow = tuple[Delivery, Call, Destination]


def find_deliveries(session: Session, query: DeliveryQuery) -> list[DeliveryRow]:
    """With the call and the destination; newest first; one page, from `place` on."""
    session.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
    newer = query.place is not None and query.place.newer
    ids = sorted(_ids(session, query), reverse=not newer)[: query.limit]
    rows = (
        select(Delivery, Call, Destination)
        .join(Call, Call.id == Delivery.call_row_id)
        .join(Destination, Destination.id == Delivery.destination_id)
        .where(Delivery.id.in_(ids))
        .order_by(Delivery.id.desc())
    )
    return [(delivery, call, destination) for delivery, call, destination in session.execute(rows)]


def _ids(session: Session, query: DeliveryQuery) -> Sequence[uuid.UUID]:
    if query.id is not None or query.call_id is not None or query.call_row_id is not None:
        return list(session.scalars(_page(_of_few(query), query)))
    if query.destination_id is None and query.state not in SETTLED and not query.reason:
        return list(session.scalars(_page(_where(query), query)))
    if query.destination_id is not None:
        destinations = [query.destination_id]
    else:
        destinations = list(session.scalars(select(Destination.id)))
    states = list(DeliveryState) if query.state is None else [query.state]
    if query.reason:
        # Whatever was delivered has no reason: it need not be looked through.
        states = [state for state in states if state is not DeliveryState.DELIVERED]
    # One short walk along the index for each; the newest of all are the page.
    return [
        id_
        for destination_id in destinations
        for state in states
        for id_ in session.scalars(
            _page(
                _where(query).where(
                    Delivery.destination_id == destination_id, Delivery.state == state
                ),
                query,
            )
        )
    ]


def _of_few(query: DeliveryQuery) -> Select[uuid.UUID]:
    rows = _where(query)
    if query.id is not None:
        rows = rows.where(Delivery.id == query.id)
    if query.call_row_id is not None:
        rows = rows.where(Delivery.call_row_id == query.call_row_id)
    if query.call_id is not None:
        its = select(Call.id).where(Call.call_id == query.call_id)
        rows = rows.where(Delivery.call_row_id.in_(its))
    return rows


def _where(query: DeliveryQuery) -> Select[uuid.UUID]:
    rows = select(Delivery.id)
    if query.state is not None:
        rows = rows.where(Delivery.state == query.state)
    if query.destination_id is not None:
        rows = rows.where(Delivery.destination_id == query.destination_id)
    if query.reason is not None:
        said = func.coalesce(func.left(Delivery.last_error, REASON_LENGTH), "")
        rows = rows.where(said == query.reason[:REASON_LENGTH])
    if query.since is not None:
        rows = rows.where(
            Delivery.created_at >= query.since,
            Delivery.id >= first_id(_shifted(query.since, -_SLACK)),
        )
    if query.until is not None:
        rows = rows.where(
            Delivery.created_at < query.until, Delivery.id < first_id(_shifted(query.until, _SLACK))
        )
    return rows


def _shifted(at: datetime, by: timedelta) -> datetime:
    try:
        return at + by
    except OverflowError:
        return at


def _page(rows: Select[uuid.UUID], query: DeliveryQuery) -> Select[uuid.UUID]:
    place = query.place
    if place is not None:
        rows = rows.where(Delivery.id > place.id if place.newer else Delivery.id < place.id)
    newest_first = place is None or not place.newer
    return rows.order_by(Delivery.id.desc() if newest_first else Delivery.id).limit(query.limit)
