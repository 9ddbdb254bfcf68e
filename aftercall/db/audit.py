"""The audit log: only added to, read newest first."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from aftercall.db.models import AuditEntry


def find_entries(
    session: Session, *, subject: str | None, before: int | None, limit: int
) -> Sequence[AuditEntry]:
    """Newest first. `before`: ids below this one; `subject`: only what was done to it."""
    rows = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if subject is not None:
        rows = rows.where(AuditEntry.subject == subject)
    if before is not None:
        rows = rows.where(AuditEntry.id < before)
    return session.scalars(rows).all()
