"""`call.updated`: what Twenty2 says anew of a call, to who had the call before."""

from collections.abc import Sequence

import pytest

from aftercall.domain.work import CALL_COMPLETED, CALL_FAILED, CALL_UPDATED
from aftercall.flows.replay_call import replay_call
from aftercall.flows.save_calls import delivery_type
from aftercall.flows.service import Service
from aftercall.simulator import SimulatedCall, Simulator
from tests.conftest import WORKSPACE
from tests.flows.work import accept_rows, add_hook, deliver, delivery_rows, fetch, queued_ids

EVERY = (CALL_COMPLETED, CALL_FAILED, CALL_UPDATED)


def told(
    service: Service, simulator: Simulator, *, status: str = "completed", **learned: str
) -> None:
    """Twenty2 says this of call_1, and a webhook says that there is something to ask."""
    simulator.twentytwo.add_call(
        SimulatedCall(
            call_id="call_1", workspace_id=WORKSPACE.id, status=status, output_parameters=learned
        )
    )
    number = simulator.twentytwo.looks("call_1") + len(delivery_rows(service))
    fetch(service, accept_rows(service, ["call_1"], type=f"call.told.{number}.{status}"))
    deliver(service, queued_ids(service))


def sent(simulator: Simulator, hook: str = "leads") -> list[str]:
    return [receipt.body["type"] for receipt in simulator.crm.receipts(hook)]


def test_the_second_revision_goes_out_as_an_update(service: Service, simulator: Simulator) -> None:
    add_hook(service, simulator)
    told(service, simulator, interested="maybe")
    told(service, simulator, interested="yes")
    assert sent(simulator) == [CALL_COMPLETED, CALL_UPDATED]
    first, second = simulator.crm.receipts("leads")
    assert first.webhook_id != second.webhook_id
    assert second.body["data"]["output_parameters"] == {"interested": "yes"}


def test_who_does_not_want_updates_gets_none(service: Service, simulator: Simulator) -> None:
    add_hook(service, simulator, events=[CALL_COMPLETED, CALL_FAILED])
    told(service, simulator, interested="maybe")
    told(service, simulator, interested="yes")
    assert sent(simulator) == [CALL_COMPLETED]


def test_who_wants_failed_calls_gets_no_update_of_a_completed_one(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, events=[CALL_FAILED, CALL_UPDATED])
    told(service, simulator, interested="maybe")
    told(service, simulator, interested="yes")
    assert sent(simulator) == []


def test_what_a_destination_never_had_is_no_update_to_it(
    service: Service, simulator: Simulator
) -> None:
    """Else a call that failed at first and completed then would never reach who wants those."""
    add_hook(service, simulator, events=[CALL_COMPLETED])
    told(service, simulator, status="failed", interested="maybe")
    told(service, simulator, status="completed", interested="yes")
    assert sent(simulator) == [CALL_COMPLETED]


def test_what_a_filter_skipped_at_first_is_no_update_either(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, filter="output_parameters.interested == 'yes'")
    told(service, simulator, interested="maybe")
    told(service, simulator, interested="yes")
    assert [(row.state, row.type) for row in delivery_rows(service)] == [
        ("skipped", CALL_COMPLETED),
        ("delivered", CALL_COMPLETED),
    ]


def test_a_destination_that_came_later_is_sent_the_call_and_no_update(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator)
    told(service, simulator, interested="maybe")
    told(service, simulator, interested="yes")
    add_hook(service, simulator, "later")
    replay_call(service, "call_1")
    deliver(service, queued_ids(service))
    assert sent(simulator, "later") == [CALL_COMPLETED]
    assert sent(simulator) == [CALL_COMPLETED, CALL_UPDATED, CALL_UPDATED]


@pytest.mark.parametrize(
    ("status", "is_update", "events", "type_"),
    [
        ("completed", False, EVERY, CALL_COMPLETED),
        ("completed", True, EVERY, CALL_UPDATED),
        ("failed", False, EVERY, CALL_FAILED),
        ("not_connected", True, EVERY, CALL_UPDATED),
        ("completed", False, [CALL_COMPLETED], CALL_COMPLETED),
        ("completed", True, [CALL_COMPLETED], None),
        ("failed", True, [CALL_COMPLETED, CALL_UPDATED], None),
        ("failed", False, [CALL_COMPLETED, CALL_UPDATED], None),
        ("anything new", False, [CALL_COMPLETED], CALL_COMPLETED),
    ],
)
def test_the_type_of_a_delivery(
    status: str, is_update: bool, events: Sequence[str], type_: str | None
) -> None:
    assert delivery_type(status, is_update=is_update, events=events) == type_
