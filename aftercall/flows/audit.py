"""Writes down who changed or replayed what, and reads it back.

Whoever starts a change (a route, a page, a command) hands its `Actor` to the
flow as `by`; the flow records it in the transaction of the change. Without an
actor nothing is recorded. A detail holds no secret and no phone number: names of
fields, counts, ids.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from aftercall.db.audit import find_entries
from aftercall.db.models import AuditEntry, Via
from aftercall.flows.cursors import check_limit, entry_cursor, entry_place
from aftercall.flows.service import Service
from aftercall.flows.views import AuditView, Page


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks for a change, and from where."""

    name: str
    via: Via
    address: str | None = None


#: Whoever may run commands on this machine.
CLI = Actor(name="cli", via=Via.CLI)


def record(
    session: Session,
    by: Actor | None,
    action: str,
    subject: object = None,
    **detail: Any,
) -> None:
    """Adds an entry to the transaction. `action`: a noun and what was done: `call.refetched`."""
    if by is None:
        return
    session.add(
        AuditEntry(
            actor=by.name,
            via=by.via,
            address=by.address,
            action=action,
            subject=None if subject is None else str(subject),
            detail={name: value for name, value in detail.items() if value is not None},
        )
    )


def note(
    service: Service, by: Actor | None, action: str, subject: object = None, **detail: Any
) -> None:
    """As `record`, in a transaction of its own: for what changes no row of ours."""
    if by is None:
        return
    with service.database.transaction() as session:
        record(session, by, action, subject, **detail)


def list_entries(
    service: Service, *, subject: str | None = None, cursor: str | None = None, limit: int = 50
) -> Page[AuditView]:
    """Newest first."""
    before = entry_place(cursor)
    check_limit(limit)
    with service.database.transaction() as session:
        rows = find_entries(session, subject=subject, before=before, limit=limit + 1)
        page = rows[:limit]
        return Page(
            items=[AuditView.model_validate(row) for row in page],
            next_cursor=entry_cursor(page[-1].id) if len(rows) > limit else None,
        )


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The names of what differs; the values may be secrets."""
    return sorted(name for name in after if before.get(name) != after[name])
