"""The operator's notices: what there is to tell, what was told, and the outbox.

Rows that die leave a line in `deaths`, by a trigger (migration 0010), in the transaction of their
death: whoever makes a row dead, it is told once.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import orjson
from sqlalchemy import CursorResult, select, text
from sqlalchemy.orm import Session

from aftercall.db.models import NoticeRow
from aftercall.db.rows import Json, as_rows
from aftercall.db.session import Executor
from aftercall.domain.ids import first_id
from aftercall.domain.notices import KEPT, NoticeState
from aftercall.domain.schedules import DELIVERY_ATTEMPTS

_LOCK = 7_130_151_018_120_119
#: Deaths that are counted in one step: some 20 ms.
DEATHS_AT_ONCE = 5_000

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:key)")


def may_tell(executor: Executor) -> bool:
    """Whether this transaction is the one that compares: one at a time, the others go on."""
    return bool(executor.execute(_TRY_LOCK, {"key": _LOCK}).scalar_one())


# ---- what is, and what was told ----------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkspaceNow:
    """A workspace whose trouble is another than was told. `trouble`: a kind of block."""

    workspace_id: str
    trouble: str | None
    reason: str | None
    until: datetime | None
    told: str | None
    told_at: datetime | None


@dataclass(frozen=True, slots=True)
class DestinationNow:
    """A destination whose trouble is another than was told."""

    destination_id: str
    name: str
    trouble: str | None
    reason: str | None
    told: str | None
    told_at: datetime | None


# A 429 of a minute is not told; once one was, it stays told until it is over.
_WORKSPACES = text(
    """
    SELECT * FROM (
      SELECT w.id,
        CASE
          WHEN w.block_kind = 'credentials' THEN 'credentials'
          WHEN w.block_kind = 'rate_limit' AND w.blocked_until > CASE
            WHEN s.told IS NULL THEN CAST(:now AS timestamptz) + CAST(:short AS interval)
            ELSE CAST(:now AS timestamptz) END
          THEN 'rate_limit'
        END AS trouble,
        w.block_reason, w.blocked_until, s.told, s.told_at
      FROM workspaces w LEFT JOIN notice_subjects s ON s.subject = 'workspace:' || w.id
    ) AS n
    WHERE trouble IS DISTINCT FROM told ORDER BY id
    """
)
_DESTINATIONS = text(
    """
    SELECT CAST(t.id AS text), t.name, CASE WHEN NOT t.enabled THEN 'disabled' END,
      t.disabled_reason, s.told, s.told_at
    FROM destinations t LEFT JOIN notice_subjects s ON s.subject = 'destination:' || t.id
    WHERE t.removed_at IS NULL
      AND CASE WHEN NOT t.enabled THEN 'disabled' END IS DISTINCT FROM s.told
    ORDER BY t.created_at, t.id
    """
)


def changed_workspaces(
    executor: Executor, *, now: datetime, short_block: timedelta
) -> list[WorkspaceNow]:
    rows = executor.execute(_WORKSPACES, {"now": now, "short": short_block})
    return [WorkspaceNow(*row) for row in rows]


def changed_destinations(executor: Executor) -> list[DestinationNow]:
    """Not those that were removed: that was somebody's decision."""
    return [DestinationNow(*row) for row in executor.execute(_DESTINATIONS)]


_NOTE_TOLD = text(
    """
    INSERT INTO notice_subjects (subject, told, told_at)
    VALUES (:subject, :told, :told_at)
    ON CONFLICT (subject) DO UPDATE SET told = EXCLUDED.told,
      told_at = coalesce(EXCLUDED.told_at, notice_subjects.told_at)
    """
)


def note_told(executor: Executor, subject: str, trouble: str | None, *, now: datetime) -> None:
    told_at = None if trouble is None else now
    executor.execute(_NOTE_TOLD, {"subject": subject, "told": trouble, "told_at": told_at})


# ---- what died ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deaths:
    """Rows of a kind that died for the same reason: calls of a workspace, deliveries to one."""

    kind: str
    scope: str
    reason: str | None
    count: int


_TAKE_DEATHS = text(
    """
    WITH taken AS (
      DELETE FROM deaths WHERE id = ANY (ARRAY (
        SELECT id FROM deaths ORDER BY id LIMIT :count FOR UPDATE SKIP LOCKED
      )) RETURNING kind, scope, reason
    )
    SELECT kind, scope, reason, count(*) FROM taken GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """
)


def take_deaths(executor: Executor, *, count: int = DEATHS_AT_ONCE) -> list[Deaths]:
    """The oldest ones; they are the caller's to count."""
    return [Deaths(*row) for row in executor.execute(_TAKE_DEATHS, {"count": count})]


@dataclass(frozen=True, slots=True)
class Untold:
    """What died of a subject since its last notice. `name`: a destination's; None: it is gone."""

    subject: str
    kind: str
    scope: str
    name: str | None
    reasons: dict[str, int]
    since: datetime


_UNTOLD_OF = text(
    "SELECT subject, untold FROM notice_subjects WHERE subject = ANY(:subjects) FOR UPDATE"
)
_KEEP_UNTOLD = text(
    """
    INSERT INTO notice_subjects (subject, untold, untold_since)
    SELECT subject, untold, :now
    FROM json_to_recordset(CAST(:rows AS json)) AS n (subject text, untold jsonb)
    ON CONFLICT (subject) DO UPDATE SET untold = EXCLUDED.untold,
      untold_since = coalesce(notice_subjects.untold_since, EXCLUDED.untold_since)
    """
)
_DUE_UNTOLD = text(
    """
    SELECT s.subject, split_part(s.subject, ':', 1) AS kind,
      substr(s.subject, strpos(s.subject, ':') + 1) AS scope, t.name, s.untold, s.untold_since
    FROM notice_subjects s
      LEFT JOIN destinations t ON s.subject = 'dead_delivery:' || t.id AND t.removed_at IS NULL
    WHERE s.untold IS NOT NULL
      AND (s.told_at IS NULL OR s.told_at <= CAST(:now AS timestamptz) - CAST(:quiet AS interval))
    ORDER BY s.subject
    """
)
_FORGET_UNTOLD = text(
    """
    UPDATE notice_subjects SET untold = NULL, untold_since = NULL,
      told_at = coalesce(CAST(:told_at AS timestamptz), told_at)
    WHERE subject = :subject
    """
)


def dead_subject(kind: str, scope: str) -> str:
    return f"dead_{kind}:{scope}"


def untold_of(executor: Executor, subjects: Sequence[str]) -> dict[str, dict[str, int]]:
    """What is counted of each and was not told yet."""
    rows = executor.execute(_UNTOLD_OF, {"subjects": list(subjects)})
    return {row.subject: row.untold or {} for row in rows}


def keep_untold(
    executor: Executor, untold: Mapping[str, Mapping[str, int]], *, now: datetime
) -> None:
    rows = as_rows(
        {"subject": subject, "untold": Json(orjson.dumps(dict(reasons)))}
        for subject, reasons in sorted(untold.items())
    )
    executor.execute(_KEEP_UNTOLD, {"rows": rows, "now": now})


def due_untold(executor: Executor, *, now: datetime, quiet: timedelta) -> list[Untold]:
    """Of the subjects that were not told of for a while."""
    rows = executor.execute(_DUE_UNTOLD, {"now": now, "quiet": quiet})
    return [
        Untold(row.subject, row.kind.removeprefix("dead_"), row.scope, row.name, row.untold, at)
        for row in rows
        for at in [row.untold_since]
    ]


def forget_untold(executor: Executor, subject: str, *, was_told: bool, now: datetime) -> None:
    told_at = now if was_told else None
    executor.execute(_FORGET_UNTOLD, {"subject": subject, "told_at": told_at})


# ---- the outbox --------------------------------------------------------------

_INSERT = text(
    """
    INSERT INTO notices (id, type, subject, body, state, due_at, created_at,
      lease_token, lease_until)
    VALUES (:id, :type, :subject, CAST(:body AS jsonb), :state, :now, :now,
      :lease_token, :lease_until)
    """
)


def insert_notice(
    executor: Executor,
    id_: uuid.UUID,
    *,
    type_: str,
    subject: str,
    body: Mapping[str, Any],
    now: datetime,
    lease_token: uuid.UUID | None = None,
    lease_until: datetime | None = None,
) -> None:
    """Queued; with a lease, the caller is sending it."""
    state = NoticeState.QUEUED if lease_token is None else NoticeState.SENDING
    executor.execute(
        _INSERT,
        {
            "id": id_,
            "type": type_,
            "subject": subject,
            "body": orjson.dumps(body).decode(),
            "state": state.value,
            "now": now,
            "lease_token": lease_token,
            "lease_until": lease_until,
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedNotice:
    """A notice that this process holds the lease of."""

    id: uuid.UUID
    type: str
    body: dict[str, Any] = field(repr=False)
    attempts: int
    due_at: datetime
    lease_token: uuid.UUID


# None overtakes an older one about the same: that something is over comes after it began.
_CLAIM = text(
    """
    UPDATE notices SET state = 'sending', lease_token = :token, lease_until = :until
    WHERE id = ANY (ARRAY (
      SELECT n.id FROM notices n WHERE n.state = 'queued' AND n.due_at <= :now
        AND NOT EXISTS (
          SELECT FROM notices o
          WHERE o.subject = n.subject AND o.id < n.id AND o.state IN ('queued', 'sending')
        )
      ORDER BY n.due_at, n.id LIMIT :count FOR UPDATE OF n SKIP LOCKED
    ))
    RETURNING id, type, body, attempts, due_at
    """
)


def claim_notices(
    executor: Executor, *, now: datetime, lease: timedelta, count: int
) -> list[ClaimedNotice]:
    """The longest due first; of a subject only the oldest that has not come to its end."""
    token = uuid.uuid4()
    asked = {"now": now, "token": token, "until": now + lease, "count": count}
    rows = executor.execute(_CLAIM, asked).mappings()
    claims = [ClaimedNotice(lease_token=token, **row) for row in rows]
    return sorted(claims, key=lambda claim: (claim.due_at, claim.id))


_RECORD = text(
    """
    UPDATE notices SET state = :state, due_at = :due_at, attempts = :attempts,
      last_error = :error, lease_token = NULL, lease_until = NULL, sent_at = :sent_at
    WHERE id = :id AND lease_token = :token
    """
)


def record_notice(
    executor: Executor,
    claim: ClaimedNotice,
    *,
    state: NoticeState,
    due_at: datetime,
    attempts: int,
    error: str | None,
    now: datetime,
) -> bool:
    """Whether the row was still ours to write."""
    result = executor.execute(
        _RECORD,
        {
            "id": claim.id,
            "token": claim.lease_token,
            "state": state.value,
            "due_at": due_at,
            "attempts": attempts,
            "error": error,
            "sent_at": now if state is NoticeState.SENT else None,
        },
    )
    return bool(cast(CursorResult[Any], result).rowcount)


_RELEASE_LAPSED = text(
    f"""
    UPDATE notices SET attempts = attempts + 1, lease_token = NULL, lease_until = NULL,
      last_error = 'the worker was lost while it sent this',
      state = CASE WHEN attempts + 1 >= {DELIVERY_ATTEMPTS} OR type = 'test' THEN 'dead'
        ELSE 'queued' END
    WHERE state = 'sending' AND lease_until < :now
    """
)
_DROP_QUEUED = text(
    """
    UPDATE notices SET state = 'dead', last_error = 'AFTERCALL_OPERATOR_WEBHOOK_URL is not set'
    WHERE state = 'queued'
    """
)
_DROP_OLD = text(
    "DELETE FROM notices WHERE id < CAST(:before AS uuid) AND state IN ('sent', 'dead')"
)
_FORGET_REMOVED = text(
    """
    DELETE FROM notice_subjects s USING destinations t
    WHERE t.removed_at IS NOT NULL
      AND s.subject IN ('destination:' || t.id, 'dead_delivery:' || t.id)
    """
)


def release_lapsed_notices(executor: Executor, *, now: datetime) -> None:
    """Makes those whose worker is gone due again."""
    executor.execute(_RELEASE_LAPSED, {"now": now})


def drop_queued(executor: Executor) -> None:
    """Those that wait have nowhere to go any more."""
    executor.execute(_DROP_QUEUED)


def drop_old(executor: Executor, *, now: datetime) -> None:
    """What came to its end long ago, and what is known of destinations that were removed."""
    executor.execute(_DROP_OLD, {"before": first_id(now - KEPT)})
    executor.execute(_FORGET_REMOVED)


# ---- for those who look ------------------------------------------------------


def list_notices(
    session: Session, *, before: uuid.UUID | None = None, limit: int
) -> list[NoticeRow]:
    """Newest first."""
    rows = select(NoticeRow).order_by(NoticeRow.id.desc()).limit(limit)
    if before is not None:
        rows = rows.where(NoticeRow.id < before)
    return list(session.scalars(rows))


def last_sent(session: Session) -> NoticeRow | None:
    rows = select(NoticeRow).where(NoticeRow.state == NoticeState.SENT)
    return session.scalars(rows.order_by(NoticeRow.sent_at.desc()).limit(1)).first()


def newest_tried(session: Session) -> NoticeRow | None:
    """The newest one of which something has come, good or bad."""
    rows = select(NoticeRow).where(
        (NoticeRow.state.in_((NoticeState.SENT, NoticeState.DEAD))) | (NoticeRow.attempts > 0)
    )
    return session.scalars(rows.order_by(NoticeRow.id.desc()).limit(1)).first()
