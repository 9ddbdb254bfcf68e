"""Looks things up for operators: pages, one call's story, counts. Changes nothing."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from aftercall.db import reading
from aftercall.db.call_search import CallQuery, find_calls
from aftercall.db.crm import StepRow, steps_of
from aftercall.db.delivery_search import DeliveryQuery, find_deliveries
from aftercall.db.events import events_of_call, newest_event_at
from aftercall.db.media import media_of_call, transcript_of_call
from aftercall.db.models import (
    Attempt,
    Call,
    CallPayload,
    Delivery,
    Destination,
    MediaFile,
    Transcript,
    Workspace,
)
from aftercall.db.overview import NEWEST_OF_GROUPS, FailureCount, delivery_groups
from aftercall.db.workspaces import get_workspace, list_workspaces
from aftercall.domain.crm_words import in_order
from aftercall.domain.cures import cure_for
from aftercall.domain.media import MediaState
from aftercall.domain.states import CallState, DeliveryState
from aftercall.domain.waiting import (
    NextAttempt,
    WaitingCall,
    WaitingDelivery,
    next_delivery,
    next_fetch,
)
from aftercall.domain.work import WEBHOOK
from aftercall.flows.cursors import (
    MAX_LIMIT as MAX_LIMIT,
)
from aftercall.flows.cursors import (
    call_cursor,
    call_place,
    check_limit,
    delivery_cursor,
    delivery_place,
    split_page,
)
from aftercall.flows.errors import Conflict, Invalid, NotFound
from aftercall.flows.media_links import signed_path
from aftercall.flows.retention import not_kept
from aftercall.flows.service import Service
from aftercall.flows.views import (
    AttemptView,
    CallStory,
    CallView,
    Cost,
    DeliveryView,
    EventView,
    FailuresView,
    FailureView,
    MediaView,
    NextAttemptView,
    PageBothWays,
    StatsView,
    StepView,
    TranscriptView,
    WorkspaceView,
)
from aftercall.link_signing import LinkSigner


def list_calls(
    service: Service, query: CallQuery, *, cursor: str | None = None
) -> PageBothWays[CallView]:
    """Newest first."""
    place, limit = call_place(cursor), check_limit(query.limit)
    with service.database.transaction() as session:
        rows = find_calls(session, replace(query, place=place, limit=limit + 1))
    page, has_older, has_newer = split_page(
        rows, limit=limit, came=place is not None, newer=place is not None and place.newer
    )
    first, last = (page[0][0], page[-1][0]) if page else (None, None)
    return PageBothWays(
        items=[_call_view(call, payload) for call, payload in page],
        next_cursor=call_cursor(last.received_at, last.id, newer=False)
        if has_older and last
        else None,
        previous_cursor=call_cursor(first.received_at, first.id, newer=True)
        if has_newer and first
        else None,
    )


def read_parameter(given: str | None) -> tuple[str, str] | None:
    """NAME:VALUE. Invalid without a name or a colon."""
    if given is None:
        return None
    name, colon, value = given.partition(":")
    if not (name and colon):
        raise Invalid([("parameter", "It must be NAME:VALUE, for example interested:yes")])
    return name, value


def show_call(service: Service, call_id: str, *, workspace_id: str | None = None) -> CallStory:
    """Everything that happened to a call. NotFound, or Conflict when several workspaces have it."""
    with service.database.transaction() as session:
        call, payload = pick_call(session, call_id, workspace_id)
        attempts = reading.attempts_of_calls(session, [call.id], since=call.received_at)
        media = media_of_call(session, call.id)
        found = find_deliveries(session, DeliveryQuery(call_row_id=call.id, limit=MAX_LIMIT))
        return CallStory(
            **_call_fields(call, payload),
            events=[
                EventView.model_validate(event)
                for event in events_of_call(session, call.workspace_id, call.call_id)
            ],
            attempts_spent=call.attempts,
            next_attempt=_next_fetch(
                service,
                call,
                get_workspace(session, call.workspace_id) or Workspace(id=call.workspace_id),
            ),
            attempts=[
                AttemptView.model_validate(attempt)
                for attempt in attempts
                if attempt.delivery_id is None
            ],
            deliveries=_delivery_views(
                session, list(reversed(found)), attempts, now=service.clock()
            ),
            look_again_at=call.look_again_at if call.state is CallState.FETCHED else None,
            media=[_media_view(service, row) for row in media],
            transcript_text=_transcript_view(transcript_of_call(session, call.id)),
            not_kept=not_kept(service, call, payload, attempts, media),
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
    service: Service, query: DeliveryQuery, *, cursor: str | None = None
) -> PageBothWays[DeliveryView]:
    """Newest first."""
    place, limit = delivery_place(cursor), check_limit(query.limit)
    with service.database.transaction() as session:
        rows = find_deliveries(session, replace(query, place=place, limit=limit + 1))
        page, has_older, has_newer = split_page(
            rows, limit=limit, came=place is not None, newer=place is not None and place.newer
        )
        attempts = _attempts_of(session, [call for _, call, _ in page])
        views = _delivery_views(session, page, attempts, now=service.clock())
    return PageBothWays(
        items=views,
        next_cursor=delivery_cursor(page[-1][0].id, newer=False) if has_older and page else None,
        previous_cursor=delivery_cursor(page[0][0].id, newer=True) if has_newer and page else None,
    )


def _attempts_of(session: Session, calls: Sequence[Call]) -> list[Attempt]:
    if not calls:
        return []
    oldest = min(call.received_at for call in calls)
    return reading.attempts_of_calls(session, list({call.id for call in calls}), since=oldest)


def list_groups(
    service: Service,
    *,
    state: DeliveryState | None = None,
    destination_id: uuid.UUID | None = None,
) -> FailuresView:
    """Dead and held deliveries by destination and reason, the largest group first.

    Of each destination's dead and held the newest are looked at, and there are seldom more.
    """
    with service.database.transaction() as session:
        groups = delivery_groups(
            session, state=None if state is None else state.value, destination_id=destination_id
        )
    return FailuresView(
        items=[
            FailureView(**asdict(one), cure=cure_for(one.reason, held=one.state == "held"))
            for one in groups
        ],
        is_complete=all(
            sum(group.count for group in groups if _line_of(group) == line) < NEWEST_OF_GROUPS
            for line in {_line_of(group) for group in groups}
        ),
    )


def _line_of(group: FailureCount) -> tuple[uuid.UUID | None, str]:
    return group.destination_id, group.state


def show_delivery(service: Service, delivery_id: uuid.UUID) -> DeliveryView:
    page = list_deliveries(service, DeliveryQuery(id=delivery_id, limit=1))
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
        region=row.region or "IN",
        time_zone=row.time_zone or "Asia/Kolkata",
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


def _delivery_views(
    session: Session,
    rows: Sequence[tuple[Delivery, Call, Destination]],
    attempts: Sequence[Attempt],
    *,
    now: datetime,
) -> list[DeliveryView]:
    at_crms = {call.id for _, call, destination in rows if destination.kind != WEBHOOK}
    steps = steps_of(session, sorted(at_crms)) if at_crms else []
    return [
        _delivery_view(delivery, call, destination, attempts, steps, now=now)
        for delivery, call, destination in rows
    ]


def _delivery_view(
    delivery: Delivery,
    call: Call,
    destination: Destination,
    attempts: Sequence[Attempt],
    steps: Sequence[StepRow],
    *,
    now: datetime,
) -> DeliveryView:
    waits = delivery.state in (DeliveryState.QUEUED, DeliveryState.SENDING)
    return DeliveryView(
        id=delivery.id,
        call_id=call.call_id,
        workspace_id=call.workspace_id,
        destination_id=delivery.destination_id,
        destination=destination.name,
        kind=destination.kind,
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
        next_attempt=_next_view(
            next_delivery(
                WaitingDelivery(
                    state=delivery.state,
                    due_at=delivery.due_at,
                    attempts=delivery.attempts,
                    enabled=destination.enabled,
                    disabled_reason=destination.disabled_reason,
                    paused_until=destination.paused_until,
                    failures_in_a_row=destination.failures_in_a_row,
                    rate_limit_per_second=destination.rate_limit_per_second,
                ),
                now=now,
            )
        ),
        steps=in_order(
            StepView(
                step=step.step.partition(":")[0],
                state=step.state,
                remote_id=step.remote_id,
                note=step.note,
                at=step.done_at or step.sent_at,
            )
            for step in steps
            if (step.call_row_id, step.destination_id) == (call.id, destination.id)
        ),
    )


def _next_fetch(service: Service, call: Call, row: Workspace) -> NextAttemptView | None:
    workspace = workspace_view(service, row)
    waiting = WaitingCall(
        state=call.state,
        due_at=call.due_at,
        attempts=call.attempts,
        not_ready=call.not_ready_since is not None or call.unknown_since is not None,
        has_credentials=workspace.has_credentials,
        blocked_until=workspace.blocked_until,
        block_reason=workspace.block_reason,
    )
    return _next_view(next_fetch(waiting, now=service.clock()))


def _media_view(service: Service, row: MediaFile) -> MediaView:
    signer = LinkSigner(service.settings.require("secret_key"))
    path = signed_path(signer, row.call_row_id, row.kind, row.link_version)
    waits = row.state in (MediaState.QUEUED, MediaState.FETCHING)
    public_url = service.settings.public_url
    return MediaView(
        kind=row.kind,
        state=row.state,
        due_at=row.due_at if waits else None,
        attempts=row.attempts,
        last_error=row.last_error,
        size_bytes=row.size_bytes,
        content_type=row.content_type,
        sha256=row.sha256.hex() if row.sha256 else None,
        stored_at=row.stored_at,
        link=None if public_url is None else public_url + path,
        path=path,
    )


def _transcript_view(row: Transcript | None) -> TranscriptView | None:
    return None if row is None else TranscriptView.model_validate(row)


def _next_view(found: NextAttempt | None) -> NextAttemptView | None:
    return None if found is None else NextAttemptView.model_validate(found)


def _oldest(counts: Sequence[reading.StateCount]) -> datetime | None:
    return min((count.oldest_due_at for count in counts if count.oldest_due_at), default=None)
