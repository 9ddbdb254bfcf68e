"""Begins reconciliations, by hand or by the clock; shows them, stops them. A step: `reconcile`."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from aftercall.db import reconciliations as reconciliations_db
from aftercall.db.models import Reconciliation
from aftercall.db.workspaces import access_to
from aftercall.domain.call_log import (
    Position,
    ReconciliationKind,
    ReconciliationState,
    from_json,
    to_json,
    to_json_at_end,
)
from aftercall.domain.ids import new_id
from aftercall.flows.audit import Actor, record
from aftercall.flows.cursors import check_limit, row_cursor, row_place
from aftercall.flows.errors import Conflict, Invalid, NotFound
from aftercall.flows.look import show_workspace
from aftercall.flows.service import Service
from aftercall.flows.views import Page, ReconciliationView

#: So far before the last one a periodic reading looks: a call may be under way for two days, and
#: is left for the next time meanwhile.
LOOK_BACK = timedelta(days=3)


def start_reconciliation(
    service: Service,
    workspace_id: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    by: Actor | None = None,
) -> ReconciliationView:
    """By hand. Goes on with the last one if it failed and was about the same.

    A periodic one makes room for it. Conflict while another one by hand runs, or without
    credentials.
    """
    workspace = show_workspace(service, workspace_id)
    since, until = _in_utc("since", since), _in_utc("until", until)
    if since is not None and until is not None and since >= until:
        raise Invalid([("until", "It must be later than since")])
    if not workspace.has_credentials:
        raise Conflict(
            f"Workspace {workspace_id} has no credentials to read its log with: "
            f"set them with `aftercall workspaces set {workspace_id}`"
        )
    now = service.clock()
    with service.database.transaction() as session:
        reconciliations_db.add_workspace(session, workspace_id)
        _make_room(session, workspace_id, now=now)
        row = _to_go_on_with(session, workspace_id, since=since, until=until)
        if row is not None:
            _go_on(row, now=now)
            record(session, by, "reconciliation.resumed", row.id, workspace_id=workspace_id)
        else:
            row = _start(session, workspace_id, since=since, until=until, now=now)
            record(session, by, "reconciliation.started", row.id, workspace_id=workspace_id)
        view = view_of(row)
    service.doorbell.ring_reconcile([view.id])
    return view


def start_periodic(service: Service) -> None:
    """A sweep's share: those workspaces whose log was not read for long enough."""
    every = service.settings.reconcile_every
    if not every:
        return
    now, own = service.clock(), service.own_workspace
    with service.database.transaction() as session:
        if own is not None:
            reconciliations_db.add_workspace(session, own)
        wanting = reconciliations_db.wanting_workspaces(
            session, before=now - every, now=now, own_workspace=own
        )
        for one in wanting:
            reconciliations_db.start(
                session,
                new_id(),
                one.workspace_id,
                kind=ReconciliationKind.PERIODIC,
                # What was before aftercall is nobody's loss: by hand it is found, if it is wanted.
                since=max(one.created_at, (one.read_at or now) - LOOK_BACK),
                until=None,
                now=now,
            )


def cancel_reconciliation(
    service: Service, id_: uuid.UUID, *, by: Actor | None = None
) -> ReconciliationView:
    """What was queued stays queued. Conflict when it is at its end."""
    with service.database.transaction() as session:
        row = _get(session, id_, for_change=True)
        if row.state is not ReconciliationState.RUNNING:
            raise Conflict(f"Reconciliation {id_} is {row.state} already")
        _cancel(row, now=service.clock())
        record(session, by, "reconciliation.canceled", id_, workspace_id=row.workspace_id)
        return view_of(row)


def show_reconciliation(service: Service, id_: uuid.UUID) -> ReconciliationView:
    with service.database.transaction() as session:
        return view_of(_get(session, id_))


def running_reconciliation(service: Service, workspace_id: str) -> ReconciliationView | None:
    """The one that a workspace has under way, if it has."""
    with service.database.transaction() as session:
        row = reconciliations_db.newest_reconciliation(
            session, workspace_id, state=ReconciliationState.RUNNING
        )
        return None if row is None else view_of(row)


@dataclass(frozen=True, slots=True)
class Waits:
    """Why the next page is not asked for."""

    reason: str
    is_for_a_person: bool = False


def why_waiting(service: Service, view: ReconciliationView) -> Waits | None:
    """None: it waits for a permit, or somebody else reads the page."""
    with service.database.transaction() as session:
        access = access_to(session, [view.workspace_id])[view.workspace_id]
    workspace = show_workspace(service, view.workspace_id)
    if not workspace.has_credentials:
        return Waits(f"Workspace {view.workspace_id} has no credentials", is_for_a_person=True)
    if workspace.is_blocked:
        return Waits(workspace.block_reason or "", is_for_a_person=access.on_probation)
    if view.last_error and view.due_at is not None and view.due_at > service.clock():
        return Waits(f"{view.last_error}; again at {view.due_at:%H:%M:%S} UTC")
    return None


def list_reconciliations(
    service: Service,
    *,
    workspace_id: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[ReconciliationView]:
    """Newest first."""
    before = row_place(cursor)
    check_limit(limit)
    with service.database.transaction() as session:
        rows = reconciliations_db.find_reconciliations(
            session, workspace_id=workspace_id, before=before, limit=limit + 1
        )
        page = rows[:limit]
        return Page(
            items=[view_of(row) for row in page],
            next_cursor=row_cursor(page[-1].id) if len(rows) > limit else None,
        )


def view_of(row: Reconciliation) -> ReconciliationView:
    is_running = row.state is ReconciliationState.RUNNING
    return ReconciliationView(
        id=row.id,
        workspace_id=row.workspace_id,
        kind=row.kind,
        state=row.state,
        since=row.since,
        until=row.until,
        page=from_json(row.position).page,
        pages_read=row.pages,
        calls_seen=row.seen,
        already_known=row.known,
        missing=row.missing,
        under_way=row.under_way,
        outside=row.outside,
        unreadable=row.unreadable,
        total=row.total,
        last_error=row.last_error,
        note=row.note,
        due_at=row.due_at if is_running else None,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def _in_utc(name: str, at: datetime | None) -> datetime | None:
    """Without a zone, it is in UTC already."""
    if at is None:
        return None
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        raise Invalid([(name, "It is beyond the calendar in UTC")]) from None


def _make_room(session: Session, workspace_id: str, *, now: datetime) -> None:
    running = reconciliations_db.newest_reconciliation(
        session, workspace_id, state=ReconciliationState.RUNNING
    )
    if running is None:
        return
    if running.kind is ReconciliationKind.BY_HAND:
        raise _is_running(workspace_id, running.id)
    _cancel(running, now=now)
    running.note = "One by hand took its place"
    session.flush()


def _to_go_on_with(
    session: Session, workspace_id: str, *, since: datetime | None, until: datetime | None
) -> Reconciliation | None:
    last = reconciliations_db.newest_reconciliation(session, workspace_id)
    if last is None or last.state is not ReconciliationState.FAILED:
        return None
    is_same = (last.since, last.until) == (since, until)
    return last if is_same and last.kind is ReconciliationKind.BY_HAND else None


def _go_on(row: Reconciliation, *, now: datetime) -> None:
    position = from_json(row.position)
    if position.cursor is not None:
        # Nobody knows how long a cursor lasts: it may be what failed.
        position = Position(manner=position.manner)
    row.state, row.finished_at, row.last_error = ReconciliationState.RUNNING, None, None
    row.attempts = row.lapses = 0
    row.due_at, row.position = now, to_json(position)


def _start(
    session: Session,
    workspace_id: str,
    *,
    since: datetime | None,
    until: datetime | None,
    now: datetime,
) -> Reconciliation:
    id_ = new_id()
    made = reconciliations_db.start(
        session,
        id_,
        workspace_id,
        kind=ReconciliationKind.BY_HAND,
        since=since,
        until=until,
        now=now,
    )
    if not made:
        raise _is_running(workspace_id, None)
    return _get(session, id_)


def _is_running(workspace_id: str, id_: uuid.UUID | None) -> Conflict:
    which = "" if id_ is None else f": {id_}"
    return Conflict(f"The log of workspace {workspace_id} is being read already{which}")


def _cancel(row: Reconciliation, *, now: datetime) -> None:
    row.state, row.finished_at = ReconciliationState.CANCELED, now
    row.lease_token = row.lease_until = None
    row.position = to_json_at_end(from_json(row.position))


def _get(session: Session, id_: uuid.UUID, *, for_change: bool = False) -> Reconciliation:
    row = reconciliations_db.get_reconciliation(session, id_, for_change=for_change)
    if row is None:
        raise NotFound(f"There is no reconciliation {id_}")
    return row
