"""A call that waits for two days in our queue comes through as any other."""

from datetime import timedelta

from aftercall.domain.states import DeliveryState
from aftercall.flows.service import Service
from aftercall.flows.sweep import sweep
from aftercall.queue import TaskName
from aftercall.simulator import Simulator
from tests.conftest import Clock
from tests.flows.test_sweep import no_messages, rung
from tests.flows.work import accept_rows, add_hook, deliver, delivery_rows, fetch

TWO_DAYS = timedelta(hours=48)


def test_a_call_that_waited_in_the_queue_for_48_hours_reaches_the_hook(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    add_hook(service, simulator)
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    now = clock.now
    clock.now -= TWO_DAYS
    rows = accept_rows(service, [call_id])
    rung(service, TaskName.FETCH_CALLS)
    clock.now = now
    sweep(service, waiting_messages=no_messages)
    assert rung(service, TaskName.FETCH_CALLS) == [str(row) for row in rows]
    fetch(service, rows)
    deliver(service, [delivery.id for delivery in delivery_rows(service)])
    assert [delivery.state for delivery in delivery_rows(service)] == [DeliveryState.DELIVERED]
