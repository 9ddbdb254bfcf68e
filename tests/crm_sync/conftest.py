"""A fake CRM for each law, and a destination that writes into it."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from aftercall.crm.sending import HookSender
from aftercall.flows.configure_destinations import create_destination, read_spec
from aftercall.flows.deliver_calls import claim_within_limits
from aftercall.flows.service import Service
from aftercall.flows.sync_calls import sync_call
from aftercall.simulator import Simulator
from aftercall.simulator.calls import SimulatedCall
from tests.conftest import WORKSPACE, Clock
from tests.crm_sync.vendors import VENDORS
from tests.crm_sync.vendors.vendor import Vendor
from tests.flows.work import accept, accept_rows, deliver, delivery_rows, fetch, queued_ids

PHONE = "9871532305"
E164 = "+919871532305"


@pytest.fixture(params=sorted(VENDORS))
def vendor(request: pytest.FixtureRequest) -> Iterator[Vendor]:
    vendor = VENDORS[request.param]()
    with vendor.fake:
        yield vendor


@dataclass
class Bench:
    """A service, a CRM, and calls that go from the one to the other."""

    service: Service
    simulator: Simulator
    clock: Clock
    vendor: Vendor
    destination_id: uuid.UUID = field(default_factory=uuid.uuid4)

    def connect(self, **sync: Any) -> uuid.UUID:
        """A destination that maps three fields."""
        vendor = self.vendor
        fields = [
            {
                "source": "output_parameters.interested",
                "field": vendor.interested,
                "type": "yes_no",
            },
            {"source": "output_parameters.note", "field": vendor.notes, "mode": "append"},
            {"source": "input_parameters.city", "field": vendor.city, "mode": "when_empty"},
        ]
        spec = {
            "name": vendor.kind,
            "kind": vendor.kind,
            "url": vendor.fake.url,
            "credentials": vendor.credentials,
            "sync": {"fields": fields, "options": vendor.options, **sync},
        }
        self.destination_id = create_destination(self.service, read_spec(spec)).id
        return self.destination_id

    def add_call(self, call_id: str = "call_9c4d7e12ab", **facts: Any) -> str:
        """A call that Twenty2 knows: to PHONE, interested, "Tomorrow 11am"."""
        call = SimulatedCall(
            call_id=call_id,
            workspace_id=WORKSPACE.id,
            callee_phone=PHONE,
            caller_phone="8040000000",
            input_parameters={"name": "Asha Menon", "city": "Pune"},
            output_parameters={
                "interested": "yes",
                "note": "Wants a brochure",
                "callback_time": "Tomorrow 11am",
            },
        )
        self.simulator.twentytwo.add_call(replace(call, **facts))
        return call_id

    def save(self, **facts: Any) -> None:
        """As far as the queued delivery."""
        self.fetch(self.add_call(**facts))

    def fetch(self, call_id: str) -> None:
        fetch(self.service, accept_rows(self.service, [call_id]))

    def deliver(self) -> None:
        """What is due now."""
        deliver(self.service, queued_ids(self.service))

    def run_one(self) -> None:
        """Claims what is queued and works on the first, in this thread."""
        claims, _ = claim_within_limits(self.service, queued_ids(self.service))
        sender = HookSender(guard=self.service.guard())
        try:
            sync_call(self.service, claims[0], ask=sender.ask)
        finally:
            sender.close()

    def go(self, **facts: Any) -> None:
        """From the webhook into the CRM."""
        self.save(**facts)
        self.deliver()

    def go_on(self, *, rounds: int = 8) -> None:
        """Time passes, and what is due goes, until nothing is queued."""
        for _ in range(rounds):
            waiting = [row for row in delivery_rows(self.service) if row.state == "queued"]
            if not waiting:
                return
            self.clock.now = max(self.clock.now, max(row.due_at for row in waiting))
            self.clear_pause()
            self.vendor.settle()
            self.deliver()

    def clear_pause(self) -> None:
        """A pause of the destination passes with the time."""
        from aftercall.db.models import Destination

        with self.service.database.transaction() as session:
            row = session.get(Destination, self.destination_id)
            assert row is not None
            if row.paused_until is not None:
                self.clock.now = max(self.clock.now, row.paused_until)

    def states(self) -> list[str]:
        return [row.state.value for row in delivery_rows(self.service)]

    def errors(self) -> list[str | None]:
        return [row.last_error for row in delivery_rows(self.service)]

    def webhook_again(self, call_id: str = "call_9c4d7e12ab") -> None:
        accept(self.service, [call_id])


@pytest.fixture
def bench(service: Service, simulator: Simulator, clock: Clock, vendor: Vendor) -> Bench:
    return Bench(service, simulator, clock, vendor)
