"""Looks things up for operators: pages, one call's story, counts. Changes nothing."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from aftercall.db import reading
from aftercall.db.events import events_of_call, newest_event_at
from aftercall.db.models import Attempt, Call, CallPayload, Delivery, Workspace
from aftercall.db.workspaces import get_workspace, list_workspaces
from aftercall.domain.states import CallState, DeliveryState
from aftercall.flows.cursors import (
    MAX_LIMIT as MAX_LIMIT,
)
from aftercall.flows.cursors import (
    check_limit,
    decode_number,
    decode_uuid,
    encode_cursor,
)
from aftercall.flows.errors import Conflict, NotFound
from aftercall.flows.service import Service
from aftercall.flows.views import (
    AttemptView,
    CallStory,
    CallView,
    Cost,
    DeliveryView,
    EventView,
    Page,
    StatsView,
    WorkspaceView,
)


def list_calls(
    service: Service, query: reading.CallQuery, *, cursor: str | None = None
) -> Page[CallView]:
    """Newest first."""
    before = None if cursor is None else decode_number(cursor)
    query = replace(query, before=before, limit=check_limit(query.limit) + 1)
    with service.database.transaction() as session:
        rows = reading.find_calls(session, query)
        page, more = rows[: query.limit - 1], len(rows) == query.limit
        return Page(
            items=[_call_view(call, payload) for call, payload in page],
            next_cursor=encode_cursor(page[-1][0].id) if more else None,
        )


def show_call(service: Service, call_id: str, *, workspace_id: str | None = None) -> CallStory:
    """Everything that happened to a call. NotFound, or Conflict when several workspaces have it."""
    with service.database.transaction() as session:
        call, payload = pick_call(session, call_id, workspace_id)
        attempts = reading.attempts_of_calls(session, [call.id])
        found = reading.find_deliveries(
            session, reading.DeliveryQuery(call_row_id=call.id, limit=MAX_LIMIT)
        )
        return CallStory(
            **_call_fields(call, payload),
            events=[
                EventView.model_validate(event)
                for event in events_of_call(session, call.workspace_id, call.call_id)
            ],
            attempts_spent=call.attempts,
            attempts=[
                AttemptView.model_validate(attempt)
                for attempt in attempts
                if attempt.delivery_id is None
            ],
            deliveries=[
                _delivery_view(delivery, call, name, attempts)
                for delivery, call, name in reversed(found)
            ],
            raw=payload.raw if payload else None,
        )


def pick_call(
    session: Session, call_id: str, workspace_id: str | None
) -> tuple[Call, CallPayload | None]:
    """The one call that is meant."""
    found = reading.find_call(session, call_id, workspace_id)
    if not found:
        raise NotFound(f"There is no call {call_id}")
    if len(found) > 1:
        names = ", ".join(call.workspace_id for call, _ in found)
        raise Conflict(f"Several workspaces have a call {call_id}: add workspace_id ({names})")
    return found[0]


def list_deliveries(
    service: Service, query: reading.DeliveryQuery, *, cursor: str | None = None
) -> Page[DeliveryView]:
    """Newest first."""
    before = None if cursor is None else decode_uuid(cursor)
    query = replace(query, before=before, limit=check_limit(query.limit) + 1)
    with service.database.transaction() as session:
        rows = reading.find_deliveries(session, query)
        page, more = rows[: query.limit - 1], len(rows) == query.limit
        attempts = reading.attempts_of_calls(session, list({call.id for _, call, _ in page}))
        return Page(
            items=[_delivery_view(delivery, call, name, attempts) for delivery, call, name in page],
            next_cursor=encode_cursor(page[-1][0].id) if more else None,
        )


def show_delivery(service: Service, delivery_id: uuid.UUID) -> DeliveryView:
    page = list_deliveries(service, reading.DeliveryQuery(id=delivery_id, limit=1))
    if not page.items:
        raise NotFound(f"There is no delivery {delivery_id}")
    return page.items[0]


def show_stats(service: Service) -> StatsView:
    now = service.clock()
    with service.database.transaction() as session:
        counts = reading.count_states(session, now=now)
        newest = newest_event_at(session)
    calls = {count.state: count for count in counts if count.kind == "call"}
    deliveries = {count.state: count for count in counts if count.kind == "delivery"}
    return StatsView(
        calls={state: calls[state].count if state in calls else 0 for state in CallState},
        deliveries={
            state: deliveries[state].count if state in deliveries else 0 for state in DeliveryState
        },
        due_calls=sum(count.due for count in calls.values()),
        due_deliveries=sum(count.due for count in deliveries.values()),
        oldest_due_call_at=_oldest(list(calls.values())),
        oldest_due_delivery_at=_oldest(list(deliveries.values())),
        newest_event_at=newest,
    )


def show_workspaces(service: Service) -> list[WorkspaceView]:
    with service.database.transaction() as session:
        views = [workspace_view(service, row) for row in list_workspaces(session)]
    own = service.own_workspace
    if own is not None and own not in {view.workspace_id for view in views}:
        # Its row comes with its first event; its credentials are here already.
        views.append(workspace_view(service, Workspace(id=own)))
    return views


def show_workspace(service: Service, workspace_id: str) -> WorkspaceView:
    with service.database.transaction() as session:
        row = get_workspace(session, workspace_id)
    if row is None and workspace_id == service.own_workspace:
        row = Workspace(id=workspace_id)
    if row is None:
        raise NotFound(
            f"There is no workspace {workspace_id}: "
            f"add it with `aftercall workspaces set {workspace_id}`"
        )
    return workspace_view(service, row)


def workspace_view(service: Service, row: Workspace) -> WorkspaceView:
    source = None
    if row.api_key_sealed is not None:
        source = "stored"
    elif row.id == service.own_workspace:
        source = "environment"
    is_blocked = row.blocked_until is not None and row.blocked_until > service.clock()
    reason = row.block_reason if is_blocked or row.block_kind == "credentials" else None
    if source is None:
        reason = f"It has no credentials: set them with `aftercall workspaces set {row.id}`"
    return WorkspaceView(
        workspace_id=row.id,
        has_credentials=source is not None,
        credentials_from=source,
        rate_limit=row.rate_limit or service.settings.twentytwo_rate_limit,
        is_blocked=reason is not None,
        blocked_until=row.blocked_until if is_blocked else None,
        block_reason=reason,
    )


# ---- rows to views -----------------------------------------------------------


def _call_view(call: Call, payload: CallPayload | None) -> CallView:
    return CallView(**_call_fields(call, payload), attempts=call.attempts)


def _call_fields(call: Call, payload: CallPayload | None) -> dict[str, Any]:
    cost = None
    if call.cost_amount is not None:
        cost = Cost(amount=str(call.cost_amount), currency=call.cost_currency)
    waits = call.state in (CallState.QUEUED, CallState.FETCHING)
    return {
        "call_id": call.call_id,
        "workspace_id": call.workspace_id,
        "state": call.state,
        "status": call.status,
        "direction": call.direction,
        "agent_id": call.agent_id,
        "answered_call_id": call.answered_call_id,
        "callee_phone": call.callee_phone,
        "caller_phone": call.caller_phone,
        "duration_seconds": call.duration_seconds,
        "billed_duration_seconds": call.billed_duration_seconds,
        "cost": cost,
        "started_at": call.started_at,
        "ended_at": call.ended_at,
        "input_parameters": payload.input_parameters if payload else None,
        "output_parameters": payload.output_parameters if payload else None,
        "recording": payload.recording if payload else None,
        "transcript": payload.transcript if payload else None,
        "revision": call.revision,
        "due_at": call.due_at if waits else None,
        "last_error": call.last_error,
        "received_at": call.received_at,
        "fetched_at": call.fetched_at,
    }


def _delivery_view(
    delivery: Delivery, call: Call, destination: str, attempts: Sequence[Attempt]
) -> DeliveryView:
    waits = delivery.state in (DeliveryState.QUEUED, DeliveryState.SENDING)
    return DeliveryView(
        id=delivery.id,
        call_id=call.call_id,
        workspace_id=call.workspace_id,
        destination_id=delivery.destination_id,
        destination=destination,
        type=delivery.type,
        revision=delivery.revision,
        state=delivery.state,
        due_at=delivery.due_at if waits else None,
        last_error=delivery.last_error,
        created_at=delivery.created_at,
        delivered_at=delivery.delivered_at,
        attempts=[
            AttemptView.model_validate(attempt)
            for attempt in attempts
            if attempt.delivery_id == delivery.id
        ],
    )


def _oldest(counts: Sequence[reading.StateCount]) -> datetime | None:
    return min((count.oldest_due_at for count in counts if count.oldest_due_at), default=None)
