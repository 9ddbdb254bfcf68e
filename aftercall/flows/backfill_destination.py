"""Sends past calls to one destination: those that it has not got yet and would have wanted."""

import uuid
from datetime import datetime

from aftercall.crm.mapping import MappingError, is_wanted, make_data
from aftercall.db import deliveries as deliveries_db
from aftercall.db import destinations as destinations_db
from aftercall.db.call_search import CallQuery, find_calls
from aftercall.db.deliveries import NewDelivery
from aftercall.db.models import Call, CallPayload, Destination
from aftercall.db.retention import hold_payloads
from aftercall.domain.ids import new_id
from aftercall.domain.states import CallState, DeliveryState
from aftercall.flows.audit import Actor, record
from aftercall.flows.errors import NotFound
from aftercall.flows.preview_destination import as_claim
from aftercall.flows.save_calls import event_type
from aftercall.flows.service import Service
from aftercall.flows.views import BackfillView

#: As many as one request reads and one person looks at.
MOST = 1_000


def backfill_destination(
    service: Service,
    destination_id: uuid.UUID,
    *,
    count: int,
    since: datetime | None = None,
    until: datetime | None = None,
    preview: bool = False,
    by: Actor | None = None,
) -> BackfillView:
    """The newest `count` saved calls that came in between; each once, however often it is asked.

    `preview`: only counts what would go.
    """
    now = service.clock()
    with service.database.transaction() as session:
        destination = destinations_db.get_destination(session, destination_id)
        if destination is None:
            raise NotFound(f"There is no destination {destination_id}")
        query = CallQuery(
            state=(CallState.FETCHED,),
            workspace_id=destination.workspace_id,
            since=since,
            until=until,
            limit=min(count, MOST),
        )
        found = find_calls(session, query)
        wanted = [
            _delivery(destination, call)
            for call, payload in found
            if payload is not None and _wants(destination, call, payload)
        ]
        # Whoever has had any version of a call has had the call.
        known = deliveries_db.known_pairs(session, [one.call_row_id for one in wanted])
        new = [one for one in wanted if (one.call_row_id, destination.id) not in known]
        if preview:
            there = deliveries_db.count_there(session, new)
            return BackfillView(looked_at=len(found), wanted=len(wanted), queued=len(new) - there)
        held = hold_payloads(session, [(one.call_row_id, one.revision) for one in new])
        new = [one for one in new if (one.call_row_id, one.revision) in held]
        made = deliveries_db.insert_deliveries(session, new, now=now)
        record(
            session, by, "destination.backfilled", destination.id, name=destination.name, count=made
        )
        ids = [one.id for one in new if one.state is DeliveryState.QUEUED]
    service.doorbell.ring_deliver(ids)
    return BackfillView(looked_at=len(found), wanted=len(wanted), queued=made)


def _wants(destination: Destination, call: Call, payload: CallPayload) -> bool:
    if event_type(call.status or "") not in destination.events:
        return False
    claim = as_claim(
        call, payload, id_=new_id(), type_="", created_at=call.received_at, mapping=None
    )
    try:
        return is_wanted(destination.filter, make_data(claim))
    except MappingError:
        return False


def _delivery(destination: Destination, call: Call) -> NewDelivery:
    return NewDelivery(
        id=new_id(),
        call_row_id=call.id,
        destination_id=destination.id,
        revision=call.revision,
        type=event_type(call.status or ""),
        state=DeliveryState.QUEUED if destination.enabled else DeliveryState.HELD,
        error=None,
    )
