"""Runs the flows once, to the end, as a worker process would."""

import uuid
from collections.abc import Sequence

from sqlalchemy import select

from aftercall.crm.destination_spec import DestinationSpec
from aftercall.crm.sending import HookSender
from aftercall.db.models import Call, Delivery
from aftercall.domain.ids import new_id
from aftercall.domain.states import DeliveryState, Priority
from aftercall.domain.work import Acceptance, IncomingEvent
from aftercall.flows.accept_events import store_events
from aftercall.flows.configure_destinations import create_destination
from aftercall.flows.deliver_calls import CallDeliverer
from aftercall.flows.fetch_calls import CallFetcher
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from aftercall.twentytwo.client import Twenty2


def accept(
    service: Service,
    call_ids: Sequence[str],
    *,
    type: str = "call.completed",  # noqa: A002 - as the event has it
    workspace_id: str | None = None,
    priority: int = Priority.FRESH,
) -> list[Acceptance]:
    """Events as one webhook each."""
    events, bodies = [], {}
    for call_id in call_ids:
        webhook_id = new_id()
        bodies[webhook_id] = b"{}"
        events.append(
            IncomingEvent(
                call_id=call_id,
                workspace_id=workspace_id,
                type=type,
                event_id=None,
                webhook_id=webhook_id,
                received_at=service.clock(),
                priority=priority,
            )
        )
    answers = store_events(service, events, bodies)
    return [answer for answer in answers if isinstance(answer, Acceptance)]


def accept_rows(service: Service, call_ids: Sequence[str], **options: object) -> list[int]:
    """The rows that became due."""
    return [
        accepted.call_row_id
        for accepted in accept(service, call_ids, **options)  # type: ignore[arg-type]
        if accepted.call_row_id is not None
    ]


def fetch(service: Service, row_ids: Sequence[int], *, size: int = 16) -> None:
    twentytwo = Twenty2(service.settings.twentytwo_base_url, keep=size)
    fetcher = CallFetcher(service, twentytwo, size=size)
    fetcher.fetch(row_ids)
    assert fetcher.close(30)
    twentytwo.close()


def deliver(service: Service, ids: Sequence[uuid.UUID], *, size: int = 16) -> None:
    sender = HookSender(guard=service.guard(), keep=size)
    deliverer = CallDeliverer(service, sender, size=size)
    deliverer.deliver(ids)
    assert deliverer.close(40)
    sender.close()


def add_hook(
    service: Service, simulator: Simulator, name: str = "leads", **fields: object
) -> uuid.UUID:
    """A destination, and the simulated hook that it posts to, knowing its secret."""
    spec = DestinationSpec.model_validate(
        {"name": name, "url": simulator.crm.hook_url(name), **fields}
    )
    made = create_destination(service, spec)
    simulator.crm.add_hook(name, made.secret)
    return made.id


def call_row(service: Service, call_id: str) -> Call:
    with service.database.transaction() as session:
        return session.scalars(select(Call).where(Call.call_id == call_id)).one()


def delivery_rows(service: Service, *, state: DeliveryState | None = None) -> list[Delivery]:
    query = select(Delivery).order_by(Delivery.id)
    if state is not None:
        query = query.where(Delivery.state == state)
    with service.database.transaction() as session:
        return list(session.scalars(query))


def queued_ids(service: Service) -> list[uuid.UUID]:
    return [row.id for row in delivery_rows(service, state=DeliveryState.QUEUED)]
