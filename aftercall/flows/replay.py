"""By hand: fetch a call again, send deliveries again. A replay keeps the delivery's id."""

import uuid
from datetime import datetime

from aftercall.db.calls import make_calls_due
from aftercall.db.deliveries import replay_deliveries
from aftercall.domain.states import DeliveryState
from aftercall.flows.audit import Actor, record
from aftercall.flows.errors import Conflict, Invalid
from aftercall.flows.look import pick_call, show_call, show_delivery
from aftercall.flows.service import Service
from aftercall.flows.views import CallStory, DeliveryView, ReplayView

#: Rung for at once; the sweep finds the others.
_RING_FOR = 1_000


def refetch_call(
    service: Service, call_id: str, *, workspace_id: str | None = None, by: Actor | None = None
) -> CallStory:
    """From the first attempt. New content makes new deliveries; the same content makes none."""
    with service.database.transaction() as session:
        call, _ = pick_call(session, call_id, workspace_id)
        due = make_calls_due(session, [call.id], now=service.clock())
        record(session, by, "call.refetched", call.call_id, workspace_id=call.workspace_id)
    service.doorbell.ring_fetch(due)
    return show_call(service, call_id, workspace_id=call.workspace_id)


def replay_delivery(
    service: Service, delivery_id: uuid.UUID, *, by: Actor | None = None
) -> DeliveryView:
    """From the first attempt, under the same id. Conflict while it is being sent."""
    with service.database.transaction() as session:
        replayed = replay_deliveries(session, now=service.clock(), id=delivery_id)
        if replayed:
            record(session, by, "delivery.replayed", delivery_id)
    if not replayed:
        before = show_delivery(service, delivery_id)
        if before.state == DeliveryState.SENDING:
            raise Conflict(f"Delivery {delivery_id} is being sent right now")
        raise Conflict(f"The destination of delivery {delivery_id} was removed")
    service.doorbell.ring_deliver(replayed)
    return show_delivery(service, delivery_id)


def replay_matching(
    service: Service,
    *,
    state: DeliveryState | None = None,
    destination_id: uuid.UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    by: Actor | None = None,
) -> ReplayView:
    """All that fit every condition. Invalid without any: everything is never meant."""
    if state is None and destination_id is None and since is None and until is None:
        raise Invalid([("", "Give at least one of state, destination_id, since, until")])
    if state is DeliveryState.SENDING:
        raise Invalid([("state", "What is being sent cannot be replayed")])
    with service.database.transaction() as session:
        replayed = replay_deliveries(
            session,
            now=service.clock(),
            state=state,
            destination_id=destination_id,
            since=since,
            until=until,
        )
        record(
            session,
            by,
            "deliveries.replayed",
            count=len(replayed),
            state=state,
            destination_id=destination_id and str(destination_id),
            since=since and since.isoformat(),
            until=until and until.isoformat(),
        )
    service.doorbell.ring_deliver(replayed[:_RING_FOR])
    return ReplayView(replayed=len(replayed))
