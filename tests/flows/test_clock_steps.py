"""The machine's clock is set forward or back: nothing is lost, nothing goes under two ids."""

import uuid
from datetime import timedelta

from aftercall.domain.states import CallState, DeliveryState
from aftercall.flows.claim_calls import claim_with_permits
from aftercall.flows.deliver_calls import claim_within_limits
from aftercall.flows.heartbeat import note_sweep, silence
from aftercall.flows.service import Service
from aftercall.flows.sweep import sweep
from aftercall.queue import TaskName
from aftercall.simulator import Fault, Simulator
from tests.conftest import Clock
from tests.flows.test_sweep import no_messages, rung
from tests.flows.work import accept_rows, add_hook, call_row, deliver, delivery_rows, fetch

HOUR = timedelta(hours=1)
#: Longer than a lease, shorter than what a hook that checks the signature's time puts up with.
STEP = timedelta(minutes=2)


def test_a_clock_set_forward_under_a_lease_gives_the_row_to_another_and_saves_it_once(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    add_hook(service, simulator)
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    (row,) = accept_rows(service, [call_id])
    assert len(claim_with_permits(service, [row])) == 1
    clock.now += STEP
    sweep(service, waiting_messages=no_messages)
    fetch(service, [row])
    assert call_row(service, call_id).state == CallState.FETCHED
    (delivery,) = delivery_rows(service)
    claim_within_limits(service, [delivery.id])
    clock.now += STEP
    sweep(service, waiting_messages=no_messages)
    deliver(service, [delivery.id])
    assert [(d.id, d.state) for d in delivery_rows(service)] == [
        (delivery.id, DeliveryState.DELIVERED)
    ]
    assert ids_at_the_hook(simulator) == {delivery.id}


def test_a_clock_set_back_delays_no_fresh_call(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    add_hook(service, simulator)
    before, after = simulator.twentytwo.make_calls(2, status="completed")
    fetch(service, accept_rows(service, [before]))
    clock.now -= STEP
    fetch(service, accept_rows(service, [after]))
    assert call_row(service, after).state == CallState.FETCHED
    fresh = [row.id for row in delivery_rows(service) if row.due_at <= clock.now]
    deliver(service, fresh)
    assert ids_at_the_hook(simulator) == set(fresh)


def test_a_clock_set_back_makes_what_was_waiting_wait_for_it_and_then_go(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    add_hook(service, simulator)
    simulator.crm.hook("leads").fail_next(Fault.SERVER_ERROR)
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    (row,) = accept_rows(service, [call_id])
    clock.now -= HOUR
    sweep(service, waiting_messages=no_messages)
    assert rung(service, TaskName.FETCH_CALLS) == []
    clock.now += HOUR
    sweep(service, waiting_messages=no_messages)
    assert rung(service, TaskName.FETCH_CALLS) == [str(row)]
    fetch(service, [row])
    (delivery,) = delivery_rows(service)
    deliver(service, [delivery.id])
    clock.now -= HOUR
    deliver(service, [delivery.id])
    assert delivery_rows(service)[0].state == DeliveryState.QUEUED
    clock.now += HOUR + timedelta(seconds=10)
    deliver(service, [delivery.id])
    assert delivery_rows(service)[0].state == DeliveryState.DELIVERED
    assert ids_at_the_hook(simulator) == {delivery.id}


def test_a_clock_set_back_does_not_make_the_worker_look_silent_nor_hide_that_it_is(
    service: Service, clock: Clock
) -> None:
    note_sweep(service, now=clock.now)
    clock.now -= HOUR
    assert silence(service) is None
    note_sweep(service, now=clock.now)
    clock.now += timedelta(minutes=2)
    assert "nothing was swept for 120 s" in str(silence(service))


def ids_at_the_hook(simulator: Simulator) -> set[uuid.UUID]:
    receipts = simulator.crm.receipts("leads")
    return {uuid.UUID(receipt.webhook_id) for receipt in receipts if receipt.webhook_id}
