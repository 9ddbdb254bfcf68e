"""A preview: what past calls would give, or where an expression is wrong. Nothing is sent."""

import pytest

from aftercall.flows.errors import Conflict, NotFound
from aftercall.flows.preview_destination import PreviewSpec, preview_destination, show_request
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.flows.work import accept, accept_rows, add_hook, delivery_rows, fetch


def saved(service: Service, simulator: Simulator, count: int = 1) -> list[str]:
    call_ids = simulator.twentytwo.make_calls(count, status="completed")
    fetch(service, accept_rows(service, call_ids))
    return call_ids


@pytest.mark.parametrize(
    ("field", "expression", "place", "says"),
    [
        ("mapping", "{a: call.", (1, 10, 9), "ends too early"),
        ("mapping", "{a: call.status,\n b c}", (2, 4, 20), "not expected here: c"),
        ("filter", "call.status ? 1", (1, 13, 12), "not JMESPath"),
        ("filter", "call.x == 'a", (1, 11, 10), "Unclosed"),
        ("mapping", "{a: lenght(call)}", (1, 5, 4), "no function lenght"),
        ("mapping", "length(call, call)", (1, 1, 0), "takes 1"),
    ],
)
def test_a_fault_is_told_with_its_place(
    service: Service, field: str, expression: str, place: tuple[int, int, int], says: str
) -> None:
    spec = PreviewSpec.model_validate({field: expression})
    [fault] = preview_destination(service, spec).faults
    assert fault.field == field
    assert (fault.line, fault.column, fault.offset) == place
    assert says in fault.message


def test_past_calls_show_what_would_be_sent(service: Service, simulator: Simulator) -> None:
    [call_id] = saved(service, simulator)
    mapping = "{id: call_id, type: call.status}"
    [one] = preview_destination(service, PreviewSpec(mapping=mapping)).calls
    assert (one.is_wanted, one.reason, one.type) == (True, None, "call.completed")
    assert one.body == {"id": call_id, "type": "completed"}
    assert "secret" in one.headers["webhook-signature"]
    [default] = preview_destination(service, PreviewSpec()).calls
    assert default.body["data"]["call_id"] == call_id
    assert delivery_rows(service) == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"filter": "call.status == 'nothing'"}, "filter says no"),
        ({"filter": "length(call.duration_seconds)"}, "filter fails"),
        ({"mapping": "nothing"}, "mapping fails"),
        ({"events": ["call.failed"]}, "not among its events"),
    ],
)
def test_why_a_call_would_not_be_sent(
    service: Service, simulator: Simulator, fields: dict[str, object], says: str
) -> None:
    saved(service, simulator)
    [one] = preview_destination(service, PreviewSpec.model_validate(fields)).calls
    assert one.reason is not None
    assert says in one.reason


def test_the_newest_calls_are_tried_or_the_one_that_is_named(
    service: Service, simulator: Simulator
) -> None:
    call_ids = saved(service, simulator, 3)
    assert len(preview_destination(service, PreviewSpec(count=2)).calls) == 2
    [one] = preview_destination(service, PreviewSpec(call_id=call_ids[0])).calls
    assert one.call_id == call_ids[0]
    with pytest.raises(NotFound):
        preview_destination(service, PreviewSpec(call_id="nobody's"))
    accept(service, ["call_waiting"])
    with pytest.raises(Conflict, match="not saved yet"):
        preview_destination(service, PreviewSpec(call_id="call_waiting"))


def test_a_deliverys_request_shows_no_secret(service: Service, simulator: Simulator) -> None:
    url = f"{simulator.crm.hook_url('leads')}?key=topsecret"
    add_hook(service, simulator, url=url, headers={"X-Api-Key": "topsecret"})
    [call_id] = saved(service, simulator)
    [delivery] = delivery_rows(service)
    view = show_request(service, delivery.id)
    assert "topsecret" not in view.model_dump_json()
    assert view.headers["X-Api-Key"] == "********"
    assert view.headers["webhook-id"] == str(delivery.id)
    assert view.body["data"]["call_id"] == call_id
