"""Stores events and makes their calls due. What is accepted here is never lost.

A row first, then a ring. An event without a workspace goes to the one that is
configured; when that is not clear, it is refused and not guessed.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from aftercall.db.events import accept_events, only_workspace
from aftercall.domain.ids import new_id
from aftercall.domain.work import UNSPECIFIED, Acceptance, IncomingEvent
from aftercall.flows.audit import Actor, note
from aftercall.flows.service import Service


class NoWorkspace(Exception):
    """The event names no workspace, and it is not clear which one is meant."""

    def __init__(self) -> None:
        super().__init__(
            "There is no workspace_id in it, and which workspace is meant is not clear: "
            "add workspace_id, or set TWENTYTWO_WORKSPACE_ID"
        )


def store_events(
    service: Service, events: Sequence[IncomingEvent], bodies: Mapping[uuid.UUID, bytes]
) -> list[Acceptance | NoWorkspace]:
    """One transaction for all; the answers are in the order of the events. Rings for nobody."""

    def work(connection: Connection) -> list[Acceptance | NoWorkspace]:
        default = service.settings.twentytwo_workspace_id
        if default is None and any(event.workspace_id is None for event in events):
            default = only_workspace(connection)
        known = [
            event if event.workspace_id else replace(event, workspace_id=default)
            for event in events
            if event.workspace_id or default
        ]
        accepted = iter(accept_events(connection, known, bodies=bodies) if known else [])
        return [
            next(accepted) if event.workspace_id or default else NoWorkspace() for event in events
        ]

    return service.database.run(work)


def count_events(service: Service, answers: Sequence[Acceptance | NoWorkspace]) -> None:
    """What webhooks brought, whenever they come to the database."""
    stored = [answer for answer in answers if isinstance(answer, Acceptance)]
    duplicates = sum(answer.is_duplicate for answer in stored)
    service.counters.events_stored(new=len(stored) - duplicates, duplicates=duplicates)


def enqueue_calls(
    service: Service,
    call_ids: Sequence[str],
    *,
    workspace_id: str | None,
    priority: int,
    body: bytes,
    by: Actor | None = None,
) -> list[Acceptance]:
    """Call ids from a person, as bare events; rings for the new ones. NoWorkspace when unclear."""
    now = service.clock()
    webhook_id = new_id()
    events = [
        bare_event(call_id, workspace_id=workspace_id, priority=priority, at=now, by=webhook_id)
        for call_id in call_ids
    ]
    acceptances: list[Acceptance] = []
    for answer in store_events(service, events, {webhook_id: body}):
        if isinstance(answer, NoWorkspace):
            raise answer
        acceptances.append(answer)
    note(
        service,
        by,
        "calls.added",
        call_ids[0] if len(call_ids) == 1 else None,
        count=len(call_ids),
        workspace_id=workspace_id,
    )
    service.doorbell.ring_fetch(
        [accepted.call_row_id for accepted in acceptances if accepted.call_row_id is not None]
    )
    return acceptances


def bare_event(
    call_id: str, *, workspace_id: str | None, priority: int, at: datetime, by: uuid.UUID
) -> IncomingEvent:
    """An event that says nothing but the id."""
    return IncomingEvent(
        call_id=call_id,
        workspace_id=workspace_id,
        type=UNSPECIFIED,
        event_id=None,
        webhook_id=by,
        received_at=at,
        priority=priority,
    )
