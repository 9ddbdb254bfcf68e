"""Destinations: which there are, and what their health is."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from aftercall.db.models import Destination
from aftercall.db.session import Executor
from aftercall.domain.breaker import OPENS_AFTER


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which calls a destination wants."""

    destination_id: uuid.UUID
    workspace_id: str | None
    enabled: bool
    events: frozenset[str]
    filter: str | None


_SUBSCRIPTIONS = text(
    """
    SELECT id, workspace_id, enabled, events, filter FROM destinations
    WHERE removed_at IS NULL ORDER BY created_at, id
    """
)


def subscriptions(executor: Executor) -> list[Subscription]:
    """Of every destination that is not removed, in the order in which they were made."""
    return [
        Subscription(row.id, row.workspace_id, row.enabled, frozenset(row.events), row.filter)
        for row in executor.execute(_SUBSCRIPTIONS)
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


_COUNT_FAILURES = text(
    f"""
    UPDATE destinations SET failing_since = coalesce(failing_since, :now),
      failures_in_a_row = CASE WHEN :is_probe THEN least(failures_in_a_row + 1, 1000000)
        ELSE greatest(failures_in_a_row, least(failures_in_a_row + :count, {OPENS_AFTER})) END
    WHERE id = :id RETURNING failures_in_a_row, coalesce(paused_until > :now, false) AS is_paused
    """
)
_PAUSE = text("UPDATE destinations SET paused_until = :until WHERE id = :id")
# Not a longer one: a CRM's limit asked for that.
_END_PROBE = text(
    "UPDATE destinations SET paused_until = :now WHERE id = :id AND paused_until <= :lease_until"
)
_MARK_WORKING = text(
    """
    UPDATE destinations SET failing_since = NULL, failures_in_a_row = 0, paused_until = NULL
    WHERE id = :id
    """
)
_DISABLE = text(
    """
    UPDATE destinations SET enabled = false, disabled_reason = :reason, updated_at = :now
    WHERE id = :id AND enabled AND url = :url RETURNING id
    """
)


def count_failures(
    executor: Executor, destination_id: uuid.UUID, *, count: int, is_probe: bool, now: datetime
) -> tuple[int, bool]:
    """Adds to its failures in a row; how many there are now, and whether it is paused already."""
    row = executor.execute(
        _COUNT_FAILURES,
        {"id": destination_id, "count": count, "is_probe": is_probe, "now": now},
    ).one()
    return int(row.failures_in_a_row), bool(row.is_paused)


def pause_destination(executor: Executor, destination_id: uuid.UUID, *, until: datetime) -> None:
    """Nothing is sent there until then."""
    executor.execute(_PAUSE, {"id": destination_id, "until": until})


def end_probe(
    executor: Executor, destination_id: uuid.UUID, *, now: datetime, lease: timedelta
) -> None:
    """The one that was to find out whether it works has come back: the next may go."""
    where = {"id": destination_id, "now": now, "lease_until": now + lease}
    executor.execute(_END_PROBE, where)


def mark_working(executor: Executor, destination_id: uuid.UUID) -> None:
    """It took a delivery: no failures in a row, no pause."""
    executor.execute(_MARK_WORKING, {"id": destination_id})


def disable_destination(
    executor: Executor, destination_id: uuid.UUID, *, url: str, reason: str, now: datetime
) -> bool:
    """Whether it was enabled until now. Not when it is somewhere else than at this URL by now."""
    rows = executor.execute(
        _DISABLE, {"id": destination_id, "url": url, "reason": reason, "now": now}
    )
    return rows.first() is not None
