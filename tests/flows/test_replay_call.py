"""One call again: to one destination or to all, also where it has no delivery yet."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from aftercall.flows.configure_destinations import disable_destination
from aftercall.flows.errors import Conflict, NotFound
from aftercall.flows.replay_call import replay_call
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.flows.work import accept, accept_rows, add_hook, deliver, fetch, queued_ids


def saved(service: Service, simulator: Simulator) -> str:
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    fetch(service, accept_rows(service, [call_id]))
    deliver(service, queued_ids(service))
    return call_id


def states(service: Service, call_id: str, **to: uuid.UUID) -> dict[str, str]:
    story = replay_call(service, call_id, **to)
    return {one.destination: one.state for one in story.deliveries}


def test_a_destination_that_came_later_gets_the_call_too(
    service: Service, simulator: Simulator
) -> None:
    call_id = saved(service, simulator)
    later = add_hook(service, simulator, "later")
    assert states(service, call_id, destination_id=later) == {"later": "queued"}
    deliver(service, queued_ids(service))
    before = {one.id for one in replay_call(service, call_id).deliveries}
    deliver(service, queued_ids(service))
    # Again: the same delivery, under the same id.
    assert {one.id for one in replay_call(service, call_id).deliveries} == before


def test_all_are_those_that_have_it_and_those_that_want_it(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, "first")
    call_id = saved(service, simulator)
    add_hook(service, simulator, "wants")
    add_hook(service, simulator, "filters", filter="call.status == 'failed'")
    add_hook(service, simulator, "failures", events=["call.failed"])
    held = add_hook(service, simulator, "disabled")
    disable_destination(service, held)
    assert states(service, call_id) == {
        "first": "queued",
        "wants": "queued",
        "disabled": "held",
    }


def test_by_name_the_filter_does_not_count(service: Service, simulator: Simulator) -> None:
    call_id = saved(service, simulator)
    picky = add_hook(service, simulator, "picky", filter="call.status == 'failed'")
    assert states(service, call_id) == {}
    assert states(service, call_id, destination_id=picky) == {"picky": "queued"}


def test_what_cannot_be_sent_is_refused(service: Service, simulator: Simulator) -> None:
    accept(service, ["call_waiting"])
    with pytest.raises(Conflict, match="not saved yet"):
        replay_call(service, "call_waiting")
    call_id = saved(service, simulator)
    with pytest.raises(NotFound, match="no destination"):
        replay_call(service, call_id, destination_id=uuid.uuid4())


def test_two_people_who_send_the_same_call_at_once_make_one_delivery(
    service: Service, simulator: Simulator
) -> None:
    call_id = saved(service, simulator)
    later = add_hook(service, simulator, "later")
    with ThreadPoolExecutor(4) as threads:
        sent = [
            threads.submit(replay_call, service, call_id, destination_id=later) for _ in range(8)
        ]
        stories = [one.result(30) for one in sent]
    assert len({delivery.id for story in stories for delivery in story.deliveries}) == 1
