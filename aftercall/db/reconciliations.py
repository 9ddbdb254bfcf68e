"""Reconciliations: claimed a page at a time, recorded with what was found, listed."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

import orjson
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from aftercall.db.calls import USABLE_WORKSPACE
from aftercall.db.forgotten import DIGEST
from aftercall.db.models import Reconciliation
from aftercall.db.session import Executor
from aftercall.domain.call_log import (
    Choice,
    Position,
    ReconciliationKind,
    ReconciliationState,
    from_json,
    to_json,
    to_json_at_end,
)
from aftercall.domain.states import Priority
from aftercall.domain.work import FOUND_IN_LOG


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedPage:
    """The next page of a reconciliation that this process holds the lease of."""

    id: uuid.UUID
    workspace_id: str
    kind: ReconciliationKind
    since: datetime | None
    until: datetime | None
    position: Position
    attempts: int
    #: Leases that ran out in a row.
    lapses: int
    lease_token: uuid.UUID
    #: Its request finds out whether a blocked workspace works again.
    is_probe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRecord:
    """What came of one page: how the reconciliation goes on, and what is added to its counts."""

    claim: ClaimedPage
    state: ReconciliationState
    position: Position
    due_at: datetime
    attempts: int
    error: str | None
    note: str | None = None
    pages: int = 0
    choice: Choice = field(default_factory=Choice)
    known: int = 0
    missing: int = 0
    unreadable: int = 0
    total: int | None = None


# A lease that ran out is due again: whoever held it was lost.
_IS_DUE = """
    r.state = 'running' AND r.due_at <= :now AND (r.lease_until IS NULL OR r.lease_until <= :now)
"""
_DUE = text(
    f"""
    SELECT r.id, r.workspace_id FROM reconciliations r JOIN workspaces w ON w.id = r.workspace_id
    WHERE {_IS_DUE} AND {USABLE_WORKSPACE} ORDER BY r.due_at
    """
)


def due_reconciliations(
    executor: Executor, *, now: datetime, own_workspace: str | None
) -> dict[uuid.UUID, str]:
    """Whose next page may be asked for now, and of which workspace."""
    rows = executor.execute(_DUE, {"now": now, "own_workspace": own_workspace})
    return {row.id: row.workspace_id for row in rows}


_CLAIM = text(
    f"""
    UPDATE reconciliations SET
      lapses = lapses + CASE WHEN lease_token IS NULL THEN 0 ELSE 1 END,
      lease_token = :token, lease_until = :lease_until
    WHERE id IN (
      SELECT r.id FROM reconciliations r WHERE r.id = :id AND {_IS_DUE} FOR UPDATE SKIP LOCKED
    )
    RETURNING id, workspace_id, kind, since, until, position, attempts, lapses, lease_token
    """
)


def claim_page(
    executor: Executor, id_: uuid.UUID, *, now: datetime, lease: timedelta, is_probe: bool
) -> ClaimedPage | None:
    """Takes the lease, unless somebody else has it or there is nothing to do."""
    row = executor.execute(
        _CLAIM, {"id": id_, "now": now, "token": uuid.uuid4(), "lease_until": now + lease}
    ).one_or_none()
    if row is None:
        return None
    return ClaimedPage(
        id=row.id,
        workspace_id=row.workspace_id,
        kind=ReconciliationKind(row.kind),
        since=row.since,
        until=row.until,
        position=from_json(row.position),
        attempts=row.attempts,
        lapses=row.lapses,
        lease_token=row.lease_token,
        is_probe=is_probe,
    )


_GIVE_BACK = text(
    """
    UPDATE reconciliations SET lease_token = NULL, lease_until = NULL
    WHERE id = :id AND lease_token = :token
    """
)


def give_back_page(executor: Executor, claim: ClaimedPage) -> None:
    """As it was before it was claimed."""
    executor.execute(_GIVE_BACK, {"id": claim.id, "token": claim.lease_token})


_LOCK_OURS = text(
    """
    SELECT id FROM reconciliations
    WHERE id = :id AND lease_token = :token AND state = 'running' FOR UPDATE
    """
)


def is_still_ours(executor: Executor, claim: ClaimedPage) -> bool:
    """Whether the lease holds; it does until the transaction's end."""
    found = executor.execute(_LOCK_OURS, {"id": claim.id, "token": claim.lease_token})
    return found.one_or_none() is not None


# Under either id: Twenty2 may answer another one than it was asked for. What was forgotten is not
# missing either.
_KNOWN = text(
    f"""
    SELECT i.call_id FROM (
      SELECT CAST(:workspace_id AS text) AS workspace_id, call_id
      FROM unnest(CAST(:call_ids AS text[])) AS given (call_id)
    ) AS i
    WHERE EXISTS (
      SELECT FROM calls c WHERE c.workspace_id = i.workspace_id AND c.call_id = i.call_id
    ) OR EXISTS (
      SELECT FROM calls c WHERE c.workspace_id = i.workspace_id AND c.answered_call_id = i.call_id
    ) OR EXISTS (
      SELECT FROM forgotten_calls f WHERE f.digest = {DIGEST.format("i")}
    )
    """
)


def known_calls(executor: Executor, workspace_id: str, call_ids: Sequence[str]) -> frozenset[str]:
    """Which of these the workspace has here."""
    rows = executor.execute(_KNOWN, {"workspace_id": workspace_id, "call_ids": list(call_ids)})
    return frozenset(rows.scalars())


# What a reading has found itself has the log's id. Of an id from a list nobody knows how old it is.
_UNFETCHED_SINCE = text(
    f"""
    SELECT min(CASE WHEN c.priority < :backfill THEN c.received_at ELSE to_timestamp(0) END)
    FROM calls c
    WHERE c.workspace_id = :workspace_id AND c.state IN ('queued', 'fetching')
      AND c.revision = 0
      AND NOT EXISTS (
        SELECT FROM events e WHERE e.workspace_id = c.workspace_id AND e.call_id = c.call_id
          AND e.type = '{FOUND_IN_LOG}'
      )
      AND EXISTS (
        SELECT FROM calls o WHERE o.workspace_id = :workspace_id AND o.answered_call_id IS NOT NULL
      )
    """
)


def nameless_since(executor: Executor, workspace_id: str) -> datetime | None:
    """Since when calls came whose other id is not known yet: they wait for their first fetch.

    Before every call, while ids from a list are among them. None when there are none, or when no
    call of the workspace has another id.
    """
    found = executor.execute(
        _UNFETCHED_SINCE, {"workspace_id": workspace_id, "backfill": Priority.BACKFILL}
    )
    return cast(datetime | None, found.scalar_one())


_RECORD = text(
    """
    UPDATE reconciliations SET
      state = :state, position = CAST(:position AS jsonb), due_at = :due_at, attempts = :attempts,
      last_error = :error, note = coalesce(:note, note), lapses = 0,
      lease_token = NULL, lease_until = NULL,
      pages = pages + :pages, seen = seen + :seen, known = known + :known,
      missing = missing + :missing, under_way = under_way + :under_way,
      outside = outside + :outside, unreadable = unreadable + :unreadable,
      total = coalesce(:total, total),
      finished_at = :finished_at
    WHERE id = :id
    """
)


def record_page(executor: Executor, record: PageRecord, *, now: datetime) -> None:
    """To be called once it is sure that the lease is still ours."""
    choice = record.choice
    executor.execute(
        _RECORD,
        {
            "id": record.claim.id,
            "state": record.state.value,
            "position": _as_text(record),
            "due_at": record.due_at,
            "attempts": record.attempts,
            "error": record.error,
            "note": record.note,
            "pages": record.pages,
            "seen": record.known + record.missing + choice.under_way + choice.outside,
            "known": record.known,
            "missing": record.missing,
            "under_way": choice.under_way,
            "outside": choice.outside,
            "unreadable": record.unreadable,
            "total": record.total,
            "finished_at": None if record.state is ReconciliationState.RUNNING else now,
        },
    )


# The first one comes `every` after the workspace did. What began later than now was begun by a
# clock that was ahead: nothing can be said of the time until then.
_WANTING = text(
    """
    SELECT w.id, w.created_at, (
      SELECT max(r.created_at) FROM reconciliations r
      WHERE r.workspace_id = w.id AND r.state = 'done' AND r.created_at <= :now
        AND (r.kind = 'periodic' OR r.since IS NULL AND r.until IS NULL)
    ) AS read_at
    FROM workspaces w
    WHERE (w.api_key_sealed IS NOT NULL OR w.id = :own_workspace) AND w.created_at <= :before
      AND NOT EXISTS (
        SELECT FROM reconciliations r WHERE r.workspace_id = w.id
          AND (r.state = 'running' OR r.kind = 'periodic'
            AND r.created_at > :before AND r.created_at <= :now)
      )
    ORDER BY w.id
    """
)


@dataclass(frozen=True, slots=True)
class WantingWorkspace:
    """Its log has not been read for long enough."""

    workspace_id: str
    created_at: datetime
    #: When the last reading of all that was wanted then began; None: never.
    read_at: datetime | None


def wanting_workspaces(
    executor: Executor, *, before: datetime, now: datetime, own_workspace: str | None
) -> list[WantingWorkspace]:
    """Those with credentials that no periodic reconciliation was begun for since `before`."""
    asked = {"before": before, "now": now, "own_workspace": own_workspace}
    rows = executor.execute(_WANTING, asked)
    return [WantingWorkspace(*row) for row in rows]


def start(
    session: Session,
    id_: uuid.UUID,
    workspace_id: str,
    *,
    kind: ReconciliationKind,
    since: datetime | None,
    until: datetime | None,
    now: datetime,
) -> bool:
    """Whether it was made: not while another one of the workspace runs."""
    made = session.execute(
        insert(Reconciliation)
        .values(
            id=id_,
            workspace_id=workspace_id,
            kind=kind,
            state=ReconciliationState.RUNNING,
            since=since,
            until=until,
            due_at=now,
            created_at=now,
        )
        .on_conflict_do_nothing()
        .returning(Reconciliation.id)
    )
    return made.one_or_none() is not None


def get_reconciliation(
    session: Session, id_: uuid.UUID, *, for_change: bool = False
) -> Reconciliation | None:
    query = select(Reconciliation).where(Reconciliation.id == id_)
    return session.scalars(query.with_for_update() if for_change else query).one_or_none()


def newest_reconciliation(
    session: Session, workspace_id: str, *, state: ReconciliationState | None = None
) -> Reconciliation | None:
    """The last one of a workspace that was begun; ours to change until the transaction's end."""
    query = select(Reconciliation).where(Reconciliation.workspace_id == workspace_id)
    if state is not None:
        query = query.where(Reconciliation.state == state)
    return session.scalars(
        query.order_by(Reconciliation.id.desc()).limit(1).with_for_update()
    ).one_or_none()


def find_reconciliations(
    session: Session, *, workspace_id: str | None, before: uuid.UUID | None, limit: int
) -> Sequence[Reconciliation]:
    """Newest first. `before`: ids below this one."""
    rows = select(Reconciliation).order_by(Reconciliation.id.desc()).limit(limit)
    if workspace_id is not None:
        rows = rows.where(Reconciliation.workspace_id == workspace_id)
    if before is not None:
        rows = rows.where(Reconciliation.id < before)
    return session.scalars(rows).all()


_ADD_OWN = text(
    "INSERT INTO workspaces (id) SELECT CAST(:id AS text) "
    "WHERE NOT EXISTS (SELECT FROM workspaces WHERE id = :id) ON CONFLICT DO NOTHING"
)


def add_workspace(executor: Executor, workspace_id: str) -> None:
    """The environment's has no row before its first event."""
    executor.execute(_ADD_OWN, {"id": workspace_id})


def _as_text(record: PageRecord) -> str:
    goes_on = record.state is ReconciliationState.RUNNING or (
        record.state is ReconciliationState.FAILED
        and record.claim.kind is ReconciliationKind.BY_HAND
    )
    stored = to_json(record.position) if goes_on else to_json_at_end(record.position)
    return orjson.dumps(stored).decode()
