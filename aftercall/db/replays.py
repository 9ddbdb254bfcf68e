"""Replays of many deliveries: counted beforehand, done a step at a time, wherever one left off."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from aftercall.db.delivery_search import REASON_LENGTH
from aftercall.db.models import Replay
from aftercall.db.session import Executor
from aftercall.domain.states import DeliveryState


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConditions:
    """Which deliveries; None: all. `since` and `until` are about `created_at`."""

    state: DeliveryState | None = None
    destination_id: uuid.UUID | None = None
    reason: str | None = None
    call_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_empty(self) -> bool:
        return all(value is None for value in asdict(self).values())


_CONDITIONS = {
    "state": "d.state = :state",
    "destination_id": "d.destination_id = CAST(:destination_id AS uuid)",
    "reason": f"coalesce(left(d.last_error, {REASON_LENGTH}), '') = :reason",
    "call_id": "d.call_row_id IN (SELECT id FROM calls WHERE call_id = :call_id)",
    "since": "d.created_at >= CAST(:since AS timestamptz)",
    "until": "d.created_at < CAST(:until AS timestamptz)",
}
# Not those whose payload was removed: there is nothing to send.
_REPLAYABLE = """
    FROM deliveries d JOIN destinations t ON t.id = d.destination_id AND t.removed_at IS NULL
      JOIN call_payloads p ON p.call_row_id = d.call_row_id AND p.revision = d.revision
    WHERE d.state IN ('dead', 'delivered', 'skipped', 'held', 'queued')
"""


def as_parameters(conditions: ReplayConditions) -> dict[str, Any]:
    """Those that are given, as JSON and as statements have them."""
    found = {name: value for name, value in asdict(conditions).items() if value is not None}
    if conditions.reason is not None:
        found["reason"] = conditions.reason[:REASON_LENGTH]
    return {
        name: _as_text(value) if isinstance(value, datetime) else str(value)
        for name, value in found.items()
    }


def _as_text(at: datetime) -> str:
    # PostgreSQL reads no offset of 16 hours and more.
    try:
        return at.astimezone(UTC).isoformat()
    except OverflowError:
        return at.replace(tzinfo=UTC).isoformat()


def _where(parameters: dict[str, Any]) -> str:
    return "".join(f" AND {_CONDITIONS[name]}" for name in sorted(parameters))


@dataclass(frozen=True, slots=True)
class ReplayCount:
    """How many of a destination's deliveries would go again."""

    destination_id: uuid.UUID
    destination: str
    enabled: bool
    count: int


def count_replayable(executor: Executor, conditions: ReplayConditions) -> list[ReplayCount]:
    parameters = as_parameters(conditions)
    rows = executor.execute(
        text(
            f"SELECT t.id, t.name, t.enabled, count(*) {_REPLAYABLE}{_where(parameters)} "
            "GROUP BY t.id ORDER BY count(*) DESC, t.name"
        ),
        parameters,
    )
    return [ReplayCount(*row) for row in rows]


_NEWEST = text("SELECT id FROM deliveries ORDER BY id DESC LIMIT 1")


def newest_delivery(executor: Executor) -> uuid.UUID | None:
    return executor.execute(_NEWEST).scalar_one_or_none()


def replay_step(
    executor: Executor,
    parameters: dict[str, Any],
    *,
    after: uuid.UUID,
    last: uuid.UUID,
    count: int,
    now: datetime,
) -> list[uuid.UUID]:
    """The next so many, in the order of their ids; answers those. None left: it is done."""
    rows = executor.execute(
        text(
            f"""
            WITH picked AS MATERIALIZED (
              SELECT d.id {_REPLAYABLE}{_where(parameters)}
                AND d.id > :after AND d.id <= :last
              ORDER BY d.id LIMIT :count FOR UPDATE OF d FOR KEY SHARE OF p
            )
            UPDATE deliveries d SET
              state = CASE WHEN t.enabled THEN 'queued' ELSE 'held' END,
              due_at = :now, attempts = 0, lapses = 0
            FROM picked, destinations t
            WHERE d.id = picked.id AND t.id = d.destination_id
            RETURNING d.id
            """
        ),
        {**parameters, "after": after, "last": last, "count": count, "now": now},
    )
    return sorted(rows.scalars())


def running_replay(session: Session) -> Replay | None:
    """One that nobody works on just now; ours until the transaction's end."""
    return session.scalars(
        select(Replay)
        .where(Replay.state == "running")
        .order_by(Replay.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()


def get_replay(session: Session, id_: uuid.UUID, *, for_change: bool = False) -> Replay | None:
    query = select(Replay).where(Replay.id == id_)
    return session.scalars(query.with_for_update() if for_change else query).one_or_none()


def list_replays(session: Session, *, count: int) -> Sequence[Replay]:
    return session.scalars(select(Replay).order_by(Replay.id.desc()).limit(count)).all()
