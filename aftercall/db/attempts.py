"""The story of every request of ours: one row an attempt, written in bulk."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import text

from aftercall.db.models import AttemptOutcome
from aftercall.db.rows import as_rows
from aftercall.db.session import Executor

EXCERPT_LENGTH = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt, ready for the database."""

    call_row_id: int
    #: None: a fetch.
    delivery_id: uuid.UUID | None
    number: int
    started_at: datetime
    duration_ms: int
    outcome: AttemptOutcome
    status_code: int | None
    reason: str | None
    response_excerpt: str | None
    next_due_at: datetime | None


_FIELDS = fields(AttemptRow)
_INSERT = text(
    """
    INSERT INTO attempts (call_row_id, delivery_id, number, started_at, duration_ms, outcome,
      status_code, reason, response_excerpt, next_due_at)
    SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS r (
      call_row_id bigint, delivery_id uuid, number smallint, started_at timestamptz,
      duration_ms int, outcome text, status_code smallint, reason text, response_excerpt text,
      next_due_at timestamptz
    )
    """
)


def insert_attempts(executor: Executor, attempts: Sequence[AttemptRow]) -> None:
    if not attempts:
        return
    rows = as_rows(
        {field.name: getattr(attempt, field.name) for field in _FIELDS} for attempt in attempts
    )
    executor.execute(_INSERT, {"rows": rows})


def excerpt(body: bytes) -> str | None:
    """The beginning of an answer, as text that PostgreSQL takes."""
    text_ = body[: EXCERPT_LENGTH * 4].decode("utf-8", "replace").replace("\x00", "\ufffd")
    return text_[:EXCERPT_LENGTH] or None
