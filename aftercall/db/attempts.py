"""The story of every request of ours: one row an attempt, written in bulk."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from aftercall.db.models import AttemptOutcome

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


_INSERT = text(
    """
    INSERT INTO attempts (call_row_id, delivery_id, number, started_at, duration_ms, outcome,
      status_code, reason, response_excerpt, next_due_at)
    SELECT * FROM unnest(
      CAST(:call_row_ids AS bigint[]), CAST(:delivery_ids AS uuid[]), CAST(:numbers AS smallint[]),
      CAST(:started_at AS timestamptz[]), CAST(:durations AS int[]), CAST(:outcomes AS text[]),
      CAST(:status_codes AS smallint[]), CAST(:reasons AS text[]), CAST(:excerpts AS text[]),
      CAST(:next_due_at AS timestamptz[])
    )
    """
)


def insert_attempts(session: Session, attempts: Sequence[AttemptRow]) -> None:
    if not attempts:
        return
    session.execute(
        _INSERT,
        {
            "call_row_ids": [attempt.call_row_id for attempt in attempts],
            "delivery_ids": [attempt.delivery_id for attempt in attempts],
            "numbers": [attempt.number for attempt in attempts],
            "started_at": [attempt.started_at for attempt in attempts],
            "durations": [attempt.duration_ms for attempt in attempts],
            "outcomes": [attempt.outcome.value for attempt in attempts],
            "status_codes": [attempt.status_code for attempt in attempts],
            "reasons": [attempt.reason for attempt in attempts],
            "excerpts": [attempt.response_excerpt for attempt in attempts],
            "next_due_at": [attempt.next_due_at for attempt in attempts],
        },
    )


def excerpt(body: bytes) -> str | None:
    """The beginning of an answer, as text that PostgreSQL takes."""
    text_ = body[: EXCERPT_LENGTH * 4].decode("utf-8", "replace").replace("\x00", "\ufffd")
    return text_[:EXCERPT_LENGTH] or None
