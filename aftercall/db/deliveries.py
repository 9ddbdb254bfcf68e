"""Makes deliveries, claims them within their destination's limits, records what came of them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, TextClause, text

from aftercall.db.attempts import AttemptRow, insert_attempts
from aftercall.db.rows import IS_QUEUED, as_rows
from aftercall.db.session import Executor
from aftercall.domain.plans import LAPSES_TO_BE_ALONE, MAX_LAPSES, DeliveryStep
from aftercall.domain.states import DeliveryState, Priority
from aftercall.domain.work import ClaimedDelivery


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """One matching destination for one revision of a call."""

    id: uuid.UUID
    call_row_id: int
    destination_id: uuid.UUID
    revision: int
    type: str
    state: DeliveryState
    error: str | None


_INSERT = text(
    """
    INSERT INTO deliveries
      (id, call_row_id, destination_id, revision, type, state, due_at, last_error, created_at)
    SELECT id, call_row_id, destination_id, revision, type, state, :now, error, :now
    FROM json_to_recordset(CAST(:rows AS json)) AS n (
      id uuid, call_row_id bigint, destination_id uuid, revision int, type text, state text,
      error text
    )
    ON CONFLICT (call_row_id, destination_id, revision) DO NOTHING
    """
)


def insert_deliveries(executor: Executor, new: Sequence[NewDelivery], *, now: datetime) -> int:
    """How many of them were not there yet."""
    if not new:
        return 0
    rows = as_rows(
        {
            "id": delivery.id,
            "call_row_id": delivery.call_row_id,
            "destination_id": delivery.destination_id,
            "revision": delivery.revision,
            "type": delivery.type,
            "state": delivery.state,
            "error": delivery.error,
        }
        for delivery in new
    )
    result = cast(CursorResult[Any], executor.execute(_INSERT, {"now": now, "rows": rows}))
    return result.rowcount


_KNOWN = text(
    "SELECT DISTINCT call_row_id, destination_id FROM deliveries "
    "WHERE call_row_id = ANY(:ids) AND state <> 'skipped'"
)


def known_pairs(
    executor: Executor, call_row_ids: Sequence[int]
) -> frozenset[tuple[int, uuid.UUID]]:
    """Which destinations have had which of these calls, or will."""
    rows = executor.execute(_KNOWN, {"ids": list(call_row_ids)})
    return frozenset((row.call_row_id, row.destination_id) for row in rows)


_COUNT_THERE = text(
    """
    SELECT count(*) FROM deliveries d
    JOIN json_to_recordset(CAST(:rows AS json)) AS n (
      call_row_id bigint, destination_id uuid, revision int
    ) USING (call_row_id, destination_id, revision)
    """
)


def count_there(executor: Executor, new: Sequence[NewDelivery]) -> int:
    """How many of them `insert_deliveries` would not make."""
    rows = as_rows(
        {
            "call_row_id": delivery.call_row_id,
            "destination_id": delivery.destination_id,
            "revision": delivery.revision,
        }
        for delivery in new
    )
    return cast(int, executor.execute(_COUNT_THERE, {"rows": rows}).scalar_one())


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many more deliveries a destination takes now, and its limit a second."""

    destination_id: uuid.UUID
    free: int
    rate_limit_per_second: int | None
    failures_in_a_row: int


# What a call said first reaches a hook before what it said later.
_FIRST_REVISION = """
    (d.revision = 1 OR NOT EXISTS (
      SELECT FROM deliveries earlier
      WHERE earlier.call_row_id = d.call_row_id AND earlier.destination_id = d.destination_id
        AND earlier.revision < d.revision AND earlier.state IN ('queued', 'sending')
    ))
"""

_WAITING = text(
    f"""
    SELECT id, destination_id FROM deliveries d
    WHERE id = ANY(:ids) AND {IS_QUEUED} AND due_at <= :now
      AND (lapses >= {LAPSES_TO_BE_ALONE}) = :alone
      AND {_FIRST_REVISION} ORDER BY due_at, id
    """
)
# Whoever claims for a destination holds its row, so that two workers together keep to its limit.
_LOCK_DESTINATIONS = text(
    """
    SELECT id FROM destinations WHERE id = ANY(:ids) AND enabled AND removed_at IS NULL
    ORDER BY id FOR NO KEY UPDATE
    """
)
# A statement of its own: counted after the lock, not before the wait for it.
_CAPACITIES = text(
    """
    SELECT t.id, t.rate_limit_per_second, t.failures_in_a_row,
      CASE WHEN t.paused_until > :now THEN 0 ELSE t.max_in_flight - (
        SELECT count(*) FROM deliveries d WHERE d.destination_id = t.id AND d.state = 'sending'
      ) END AS free
    FROM destinations t
    WHERE t.id = ANY(:ids) AND (NOT :limited OR t.rate_limit_per_second IS NOT NULL)
    """
)


def waiting_deliveries(
    executor: Executor, ids: Sequence[uuid.UUID], *, now: datetime, alone: bool = False
) -> dict[uuid.UUID, list[uuid.UUID]]:
    """Which of these may be sent now, by destination. `alone`: those on their last chance."""
    waiting: dict[uuid.UUID, list[uuid.UUID]] = {}
    for row in executor.execute(_WAITING, {"ids": list(ids), "now": now, "alone": alone}):
        waiting.setdefault(row.destination_id, []).append(row.id)
    return waiting


def limited_capacities(
    executor: Executor, destination_ids: Sequence[uuid.UUID], *, now: datetime
) -> list[Capacity]:
    """What each destination with a limit a second takes now, as can be told without locks."""
    if not destination_ids:
        return []
    return _capacities(executor, destination_ids, now=now, limited_only=True)


def lock_capacities(
    executor: Executor, destination_ids: Sequence[uuid.UUID], *, now: datetime
) -> list[Capacity]:
    """What each enabled destination still takes; holds until the transaction's end."""
    locked = executor.execute(_LOCK_DESTINATIONS, {"ids": list(destination_ids)}).scalars().all()
    if not locked:
        return []
    return _capacities(executor, locked, now=now)


def _capacities(
    executor: Executor, ids: Sequence[uuid.UUID], *, now: datetime, limited_only: bool = False
) -> list[Capacity]:
    rows = executor.execute(_CAPACITIES, {"ids": list(ids), "now": now, "limited": limited_only})
    return [
        Capacity(row.id, max(row.free, 0), row.rate_limit_per_second, row.failures_in_a_row)
        for row in rows
    ]


# Made as the call was fetched, not later by a replay, and not yet delivered.
_IS_FIRST = f"""
    d.revision = 1 AND d.delivered_at IS NULL AND d.created_at <= c.fetched_at
      AND c.priority < {Priority.BACKFILL}
"""
_CLAIM = text(
    f"""
    UPDATE deliveries d SET state = 'sending', lease_token = :token, lease_until = :lease_until
    FROM calls c JOIN workspaces w ON w.id = c.workspace_id, call_payloads p, destinations t
    WHERE d.id IN (
        SELECT id FROM deliveries
        WHERE id = ANY(:ids) AND {IS_QUEUED} AND due_at <= :now
        FOR UPDATE SKIP LOCKED
      )
      AND c.id = d.call_row_id AND t.id = d.destination_id
      AND p.call_row_id = d.call_row_id AND p.revision = d.revision
    RETURNING d.id, d.call_row_id, c.workspace_id, c.call_id, d.destination_id,
      t.name AS destination_name, d.attempts, d.due_at, d.type, d.created_at, t.url, t.mapping,
      t.headers_sealed, t.secret_sealed, t.old_secret_sealed, t.old_secret_until,
      t.timeout_seconds, t.failing_since,
      t.failures_in_a_row, t.kind, t.sync, t.credentials_sealed, w.region, w.time_zone,
      d.lease_until, d.revision,
      CASE WHEN {_IS_FIRST} THEN c.received_at END AS awaited_since, p.call,
      p.input_parameters, p.output_parameters, p.recording, p.transcript
    """
)


def claim_deliveries(
    executor: Executor, ids: Sequence[uuid.UUID], *, now: datetime, lease: timedelta
) -> list[ClaimedDelivery]:
    """Takes the lease of those that nobody else has."""
    token = uuid.uuid4()
    rows = executor.execute(
        _CLAIM, {"ids": list(ids), "now": now, "token": token, "lease_until": now + lease}
    )
    names = tuple(rows.keys())
    return [
        ClaimedDelivery(lease_token=token, **dict(zip(names, row, strict=True))) for row in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRecord:
    """One finished POST: the step of its row, and the attempt."""

    claim: ClaimedDelivery
    step: DeliveryStep
    attempt: AttemptRow


_STEP = text(
    """
    UPDATE deliveries d SET
      state = CASE WHEN r.state = 'queued' AND NOT t.enabled THEN 'held' ELSE r.state END,
      due_at = r.due_at, attempts = r.attempts, last_error = r.last_error,
      lease_token = NULL, lease_until = NULL, lapses = 0,
      delivered_at = CASE WHEN r.state = 'delivered' THEN CAST(:now AS timestamptz)
        ELSE d.delivered_at END
    FROM json_to_recordset(CAST(:rows AS json)) AS r (
      id uuid, token uuid, state text, due_at timestamptz, attempts smallint, last_error text
    ), destinations t
    WHERE d.id = r.id AND d.lease_token = r.token AND t.id = d.destination_id
    RETURNING d.id
    """
)


def record_deliveries(
    executor: Executor, records: Sequence[SendRecord], *, now: datetime
) -> frozenset[uuid.UUID]:
    """Writes steps and attempts; answers the rows that were still ours to write."""
    in_order = sorted(records, key=lambda record: record.claim.id)
    rows = as_rows(
        {
            "id": record.claim.id,
            "token": record.claim.lease_token,
            "state": record.step.state,
            "due_at": record.step.due_at,
            "attempts": record.step.attempts,
            "last_error": record.step.error,
        }
        for record in in_order
    )
    ours = frozenset(executor.execute(_STEP, {"now": now, "rows": rows}).scalars())
    insert_attempts(executor, [record.attempt for record in in_order if record.claim.id in ours])
    return ours


_RELEASE_LAPSED = text(
    f"""
    UPDATE deliveries SET
      state = CASE WHEN lapses + 1 >= {MAX_LAPSES} THEN 'dead' ELSE 'queued' END,
      last_error = CASE WHEN lapses + 1 >= {MAX_LAPSES}
        THEN 'gave up: the worker was lost {MAX_LAPSES} times while it sent this delivery, the '
          'last time with nothing else in hand (killed, out of memory, or out of time)'
        ELSE 'the worker was lost while it sent this delivery' END,
      lapses = lapses + 1, lease_token = NULL, lease_until = NULL
    WHERE id IN (
      SELECT id FROM deliveries WHERE state = 'sending' AND lease_until < :now
      ORDER BY lease_until LIMIT :count FOR UPDATE SKIP LOCKED
    )
    RETURNING id
    """
)


def release_lapsed_deliveries(executor: Executor, *, now: datetime, count: int = 1000) -> int:
    """Makes deliveries whose worker is gone due again, or dead at the third time."""
    return len(executor.execute(_RELEASE_LAPSED, {"now": now, "count": count}).all())


_LAST_CHANCES = text(
    f"""
    SELECT id FROM deliveries
    WHERE state = 'queued' AND lapses >= {LAPSES_TO_BE_ALONE} AND due_at <= :now
    ORDER BY due_at LIMIT :count
    """
)


def last_chance_deliveries(executor: Executor, *, now: datetime, count: int) -> list[uuid.UUID]:
    """Those that are due and must be worked on alone."""
    return list(executor.execute(_LAST_CHANCES, {"now": now, "count": count}).scalars())


# One more than a destination takes now, so that the claim sees that it is crowded.
_DUE = text(
    f"""
    SELECT due.id FROM destinations t CROSS JOIN LATERAL (
      SELECT id FROM deliveries d
      WHERE d.destination_id = t.id AND d.state = 'queued' AND d.due_at <= :now
        AND d.lapses < {LAPSES_TO_BE_ALONE} AND {_FIRST_REVISION}
      ORDER BY d.due_at LIMIT (
        SELECT CASE WHEN count(*) >= t.max_in_flight THEN 0
          ELSE t.max_in_flight - count(*) + 1 END
        FROM deliveries s WHERE s.destination_id = t.id AND s.state = 'sending'
      )
    ) AS due
    WHERE t.enabled AND t.removed_at IS NULL
      AND (t.paused_until IS NULL OR t.paused_until <= :now)
      AND (CAST(:destination_ids AS uuid[]) IS NULL OR t.id = ANY(:destination_ids))
    LIMIT :count
    """
)


def due_deliveries(
    executor: Executor,
    *,
    now: datetime,
    count: int,
    destination_ids: Sequence[uuid.UUID] | None = None,
) -> list[uuid.UUID]:
    """What each destination could take now, in order of `due_at`; all destinations by default."""
    rows = executor.execute(
        _DUE,
        {
            "now": now,
            "count": count,
            "destination_ids": None if destination_ids is None else list(destination_ids),
        },
    )
    return list(rows.scalars())


#: So many follow their destination at once, a tenth of a second of work; a sweep takes the next.
#: Meanwhile the destination's row is locked, and who claims deliveries waits for it.
AT_ONCE = 5_000

_SETTLED = "('dead', 'held', 'delivered', 'skipped')"


def _follow(state: str, *, destinations: str, sets: str) -> TextClause:
    """Moves some deliveries in this state, of destinations like these; of one, or of all.

    Picked into an array, and in an index's order: after many have moved the planner takes
    them for few, and would look for each of them among all.
    """
    settled = f" AND d.state IN {_SETTLED}" if state == "held" else ""
    order = "d.id" if state == "held" else "d.due_at"
    return text(
        f"""
        UPDATE deliveries SET {sets} WHERE id = ANY (ARRAY (
          SELECT n.id FROM destinations t CROSS JOIN LATERAL (
            SELECT d.id FROM deliveries d
            WHERE d.destination_id = t.id AND d.state = '{state}'{settled}
            ORDER BY {order} LIMIT :count FOR UPDATE SKIP LOCKED
          ) AS n
          WHERE {destinations} AND (CAST(:id AS uuid) IS NULL OR t.id = :id) LIMIT :count
        ))
        """
    )


_HOLD = _follow(
    "queued", destinations="NOT t.enabled AND t.removed_at IS NULL", sets="state = 'held'"
)
_UNHOLD = _follow(
    "held",
    destinations="t.enabled AND t.removed_at IS NULL",
    sets="state = 'queued', due_at = least(due_at, :now)",
)
_BURY = [
    _follow(
        state,
        destinations="t.removed_at IS NOT NULL",
        sets="state = 'dead', last_error = 'its destination was removed'",
    )
    for state in ("queued", "held")
]


def follow_destinations(
    executor: Executor, destination_id: uuid.UUID | None = None, *, now: datetime
) -> None:
    """Deliveries become what their destination says, up to `AT_ONCE` of each kind.

    Disabled: what waits is held. Enabled: what was held is due. Removed: both are dead,
    and can be seen. Also those that were made in the very moment in which it changed.
    """
    where = {"id": destination_id, "count": AT_ONCE}
    executor.execute(_HOLD, where)
    executor.execute(_UNHOLD, {**where, "now": now})
    for statement in _BURY:
        executor.execute(statement, where)


_HURRY = text(
    """
    UPDATE deliveries SET due_at = :now, attempts = 0 WHERE id = ANY (ARRAY (
      SELECT d.id FROM deliveries d
      WHERE d.destination_id = :id AND d.state = 'queued' AND d.due_at > :now
      ORDER BY d.due_at LIMIT :count FOR UPDATE SKIP LOCKED
    ))
    """
)


def hurry_deliveries(
    executor: Executor, destination_id: uuid.UUID, *, now: datetime, steps: int = 20
) -> None:
    """What waits for its next attempt goes now, from the first: `AT_ONCE` a step."""
    where = {"id": destination_id, "now": now, "count": AT_ONCE}
    for _ in range(steps):
        if cast(CursorResult[Any], executor.execute(_HURRY, where)).rowcount < AT_ONCE:
            return


# What it sends stays until it is sent: retention passes by what is held or not settled.
_REPLAY = text(
    """
    WITH kept AS MATERIALIZED (
      SELECT d.id FROM deliveries d
        JOIN call_payloads p ON p.call_row_id = d.call_row_id AND p.revision = d.revision
      WHERE d.id = :id FOR KEY SHARE OF p
    )
    UPDATE deliveries d SET
      state = CASE WHEN t.enabled THEN 'queued' ELSE 'held' END,
      due_at = :now, attempts = 0, lapses = 0
    FROM destinations t, kept
    WHERE t.id = d.destination_id AND t.removed_at IS NULL AND kept.id = d.id
      AND d.state IN ('dead', 'delivered', 'skipped', 'held', 'queued') AND d.id = :id
    RETURNING d.id
    """
)


def replay_delivery(executor: Executor, delivery_id: uuid.UUID, *, now: datetime) -> bool:
    """By hand: send it again, under its id, from the first attempt. Whether that may be."""
    return executor.execute(_REPLAY, {"now": now, "id": delivery_id}).first() is not None


_HAS_PAYLOAD = text(
    """
    SELECT EXISTS (
      SELECT FROM deliveries d
        JOIN call_payloads p ON p.call_row_id = d.call_row_id AND p.revision = d.revision
      WHERE d.id = :id
    )
    """
)


def has_payload(executor: Executor, delivery_id: uuid.UUID) -> bool:
    """Whether what it would send is still there."""
    return bool(executor.execute(_HAS_PAYLOAD, {"id": delivery_id}).scalar_one())
