"""Destinations: which there are, and what their health is."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from aftercall.db.models import Destination


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which calls a destination wants."""

    destination_id: uuid.UUID
    workspace_id: str | None
    enabled: bool
    events: frozenset[str]
    filter: str | None


def subscriptions(session: Session) -> list[Subscription]:
    """Of every destination that is not removed, in the order in which they were made."""
    rows = session.execute(
        select(
            Destination.id,
            Destination.workspace_id,
            Destination.enabled,
            Destination.events,
            Destination.filter,
        )
        .where(Destination.removed_at.is_(None))
        .order_by(Destination.created_at, Destination.id)
    )
    return [
        Subscription(row.id, row.workspace_id, row.enabled, frozenset(row.events), row.filter)
        for row in rows
    ]


def list_destinations(session: Session) -> list[Destination]:
    return list(
        session.scalars(
            select(Destination)
            .where(Destination.removed_at.is_(None))
            .order_by(Destination.created_at, Destination.id)
        )
    )


def get_destination(
    session: Session, destination_id: uuid.UUID, *, for_change: bool = False
) -> Destination | None:
    """None when there is none, or it was removed."""
    query = select(Destination).where(
        Destination.id == destination_id, Destination.removed_at.is_(None)
    )
    if for_change:
        query = query.with_for_update(key_share=True)
    return session.scalars(query).one_or_none()


def find_destination(session: Session, name: str) -> Destination | None:
    return session.scalars(
        select(Destination).where(Destination.name == name, Destination.removed_at.is_(None))
    ).one_or_none()


_MARK_FAILING = text(
    "UPDATE destinations SET failing_since = :now WHERE id = ANY(:ids) AND failing_since IS NULL"
)
_MARK_WORKING = text(
    "UPDATE destinations SET failing_since = NULL "
    "WHERE id = ANY(:ids) AND failing_since IS NOT NULL"
)
_DISABLE = text(
    """
    UPDATE destinations SET enabled = false, disabled_reason = :reason, updated_at = :now
    WHERE id = :id AND enabled RETURNING id
    """
)


def mark_failing(session: Session, ids: Sequence[uuid.UUID], *, now: datetime) -> None:
    session.execute(_MARK_FAILING, {"ids": sorted(ids), "now": now})


def mark_working(session: Session, ids: Sequence[uuid.UUID]) -> None:
    session.execute(_MARK_WORKING, {"ids": sorted(ids)})


def disable_destination(
    session: Session, destination_id: uuid.UUID, *, reason: str, now: datetime
) -> bool:
    """Whether it was enabled until now."""
    rows = session.execute(_DISABLE, {"id": destination_id, "reason": reason, "now": now})
    return rows.first() is not None
