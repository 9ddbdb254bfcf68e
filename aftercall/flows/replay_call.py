"""By hand: send one call to one destination, or to all that want it, whatever was sent before."""

import uuid
from datetime import datetime

from sqlalchemy.orm import Session

from aftercall.crm.mapping import MappingError, is_wanted, make_data
from aftercall.db import deliveries as deliveries_db
from aftercall.db import destinations as destinations_db
from aftercall.db.deliveries import NewDelivery
from aftercall.db.delivery_search import DeliveryQuery, find_deliveries
from aftercall.db.models import Call, CallPayload, Delivery, Destination
from aftercall.db.retention import hold_payloads
from aftercall.domain.ids import new_id
from aftercall.domain.states import DeliveryState
from aftercall.domain.work import CALL_UPDATED
from aftercall.flows.audit import Actor, record
from aftercall.flows.errors import Conflict, NotFound
from aftercall.flows.look import MAX_LIMIT, pick_call, show_call
from aftercall.flows.preview_destination import as_claim
from aftercall.flows.retention import nothing_to_send
from aftercall.flows.save_calls import delivery_type, event_type
from aftercall.flows.service import Service
from aftercall.flows.views import CallStory

_LAST = uuid.UUID(int=2**128 - 1)


def replay_call(
    service: Service,
    call_id: str,
    *,
    workspace_id: str | None = None,
    destination_id: uuid.UUID | None = None,
    by: Actor | None = None,
) -> CallStory:
    """Its newest revision, under the delivery's id, or a new one where there is none yet.

    To the destination that is named, whether its filter wants the call or not; else to all
    that have a delivery of it already, and to all others that want it.
    """
    now = service.clock()
    with service.database.transaction() as session:
        call, payload = pick_call(session, call_id, workspace_id)
        if payload is None and not call.revision:
            raise Conflict(f"Call {call_id} is not saved yet: there is nothing to send")
        if payload is None or not hold_payloads(session, [(call.id, call.revision)]):
            raise Conflict(nothing_to_send(service.settings, f"call {call_id}"))
        found = find_deliveries(session, DeliveryQuery(call_row_id=call.id, limit=MAX_LIMIT))
        existing = {
            delivery.destination_id: delivery
            for delivery, _, _ in found
            if delivery.revision == call.revision
        }
        had_before = frozenset(
            delivery.destination_id
            for delivery, _, _ in found
            if delivery.revision < call.revision and delivery.state is not DeliveryState.SKIPPED
        )
        chosen = _chosen(session, call, payload, destination_id, existing, had_before)
        # Rows are locked in the order of ids, as a bulk replay does it.
        chosen.sort(key=lambda one: existing[one.id].id if one.id in existing else _LAST)
        ids = []
        for destination in chosen:
            delivery = existing.get(destination.id)
            if delivery is None:
                is_update = destination.id in had_before
                ids.append(_deliver_anew(session, call, destination, is_update=is_update, now=now))
            elif deliveries_db.replay_delivery(session, delivery.id, now=now):
                ids.append(delivery.id)
            elif destination_id is not None:
                raise Conflict(f"Call {call_id} is being sent to {destination.name} right now")
        record(session, by, "call.replayed", call.call_id, count=len(ids))
    service.doorbell.ring_deliver(ids)
    return show_call(service, call_id, workspace_id=call.workspace_id)


def _chosen(
    session: Session,
    call: Call,
    payload: CallPayload,
    destination_id: uuid.UUID | None,
    existing: dict[uuid.UUID, Delivery],
    had_before: frozenset[uuid.UUID],
) -> list[Destination]:
    if destination_id is not None:
        named = destinations_db.get_destination(session, destination_id)
        if named is None:
            raise NotFound(f"There is no destination {destination_id}")
        return [named]
    return [
        one
        for one in destinations_db.list_destinations(session)
        if one.id in existing or _wants(one, call, payload, is_update=one.id in had_before)
    ]


def _wants(destination: Destination, call: Call, payload: CallPayload, *, is_update: bool) -> bool:
    if destination.workspace_id not in (None, call.workspace_id):
        return False
    if delivery_type(call.status or "", is_update=is_update, events=destination.events) is None:
        return False
    claim = as_claim(
        call, payload, id_=new_id(), type_="", created_at=call.received_at, mapping=None
    )
    try:
        return is_wanted(destination.filter, make_data(claim))
    except MappingError:
        return False


def _deliver_anew(
    session: Session, call: Call, destination: Destination, *, is_update: bool, now: datetime
) -> uuid.UUID:
    new = NewDelivery(
        id=new_id(),
        call_row_id=call.id,
        destination_id=destination.id,
        revision=call.revision,
        type=CALL_UPDATED if is_update else event_type(call.status or ""),
        state=DeliveryState.QUEUED if destination.enabled else DeliveryState.HELD,
        error=None,
    )
    # Somebody else may do the same at this moment: there is one all the same.
    deliveries_db.insert_deliveries(session, [new], now=now)
    return new.id
