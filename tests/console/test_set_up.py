"""The first set-up tells how far it is, and gives secrets to nobody who may not have them."""

from html import unescape

import pytest

from aftercall.flows.service import Service
from aftercall.simulator import Fault, Simulator
from api.console.gate import COOKIE
from tests.api.server import Api
from tests.conftest import WEBHOOK_TOKEN, WORKSPACE
from tests.console.visitor import Visitor
from tests.flows.work import accept_rows, fetch


def state(visitor: Visitor, number: int, path: str = "/set-up") -> str:
    """What the badge of a step says."""
    page = unescape(visitor.get(path).text)
    return page.partition(f'id="set-up-state-{number}">')[2].partition("<")[0]


def test_while_nothing_has_come_the_overview_leads_through_it(console: Api, admin: Visitor) -> None:
    assert state(admin, 1, "/") == "No webhook yet"
    assert state(admin, 2, "/") == "Set"
    assert state(admin, 3, "/") == "Missing"
    assert "No call has come yet" in admin.get("/").text
    console.webhook({"call_id": "call_1"})
    page = admin.get("/").text
    assert "The set-up is not finished: a destination missing." in page
    assert 'href="/set-up"' in page
    console.post("/destinations", {"name": "leads", "url": "http://127.0.0.1:9/h"}, status=201)
    assert "set-up" not in admin.get("/").text.lower().replace("/static/", "")
    assert [state(admin, number) for number in range(1, 5)] == [
        "Webhooks arrive",
        "Set",
        "Added",
        "On its way",
    ]


def test_the_token_is_on_the_page_only_when_an_admin_asks_for_it(
    admin: Visitor, reader: Visitor
) -> None:
    address = f"{admin.origin}/webhooks/twentytwo?token="
    for path in ("/", "/set-up"):
        page = admin.get(path).text
        assert WEBHOOK_TOKEN not in page
        assert f"{address}••••" in page
    assert f"{address}{WEBHOOK_TOKEN}" in admin.get("/set-up?show=token").text
    for path in ("/", "/set-up", "/set-up?show=token"):
        assert WEBHOOK_TOKEN not in reader.get(path).text


def test_the_address_is_the_one_by_which_the_page_was_asked_for(admin: Visitor) -> None:
    cookie = f"{COOKIE}={admin.session.cookies[COOKIE]}"
    headers = {"Host": "calls.example.com", "Cookie": cookie}
    page = admin.get("/set-up", headers=headers).text
    assert "http://calls.example.com/webhooks/twentytwo?token=" in page
    assert "only this machine knows" not in page
    assert "only this machine knows" in admin.get("/set-up").text


def test_a_test_webhook_is_stored_as_one_from_twenty2(console: Api, admin: Visitor) -> None:
    answer = admin.submit("/set-up/webhook", {"call_id": " call_test "})
    assert answer.status_code == 303
    assert "The test webhook is received." in admin.get("/set-up").text
    story = console.get("/calls/call_test")
    assert story["workspace_id"] == WORKSPACE.id
    [event] = story["events"]
    assert event["type"] == "call.completed"
    assert event["event_id"].startswith("evt_test_")
    [entry] = console.get("/audit", subject="call_test")["items"]
    assert (entry["action"], entry["actor"]) == ("webhook.tested", "admin")
    assert "call_test" in admin.get("/set-up").text


@pytest.mark.parametrize(
    ("call_id", "says"), [("", "is empty"), ("c" * 129, "longer than 128"), ("a\x01b", "control")]
)
def test_a_call_id_that_is_none_is_a_fault_at_its_field(
    console: Api, admin: Visitor, call_id: str, says: str
) -> None:
    answer = admin.submit("/set-up/webhook", {"call_id": call_id})
    assert answer.status_code == 422
    assert says in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert console.calls() == []


def test_with_several_workspaces_it_is_asked_whose_call_it_is(console: Api, admin: Visitor) -> None:
    console.put("/workspaces/ws_2", {"api_key": "k", "api_secret": "s"})
    assert '<option value="ws_2">' in admin.get("/set-up").text
    admin.submit("/set-up/webhook", {"call_id": "call_1", "workspace_id": "ws_2"})
    assert console.get("/calls/call_1")["workspace_id"] == "ws_2"


def test_credentials_that_twenty2_refused_are_said_to_be(
    admin: Visitor, service: Service, simulator: Simulator
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, Fault.UNAUTHORIZED)
    fetch(service, accept_rows(service, [call_id]))
    assert state(admin, 2) == "Refused"


def test_half_of_the_credentials_is_a_fault_and_never_comes_back(admin: Visitor) -> None:
    fields = {"workspace_id": "ws_2", "api_key": "half-of-it", "api_secret": ""}
    answer = admin.submit("/set-up/credentials", fields)
    assert answer.status_code == 422
    assert 'value="ws_2"' in answer.text
    assert "half-of-it" not in answer.text


def test_a_reader_sees_how_far_it_is_and_can_change_nothing(reader: Visitor) -> None:
    page = reader.get("/set-up")
    assert page.status_code == 200
    assert page.text.count("<form") == 1  # to sign out
    assert reader.submit("/set-up/webhook", {"call_id": "call_1"}).status_code == 403


def test_what_is_live_is_how_far_the_newest_call_is(console: Api, admin: Visitor) -> None:
    console.webhook({"call_id": "call_1"})
    with admin.get("/live/set-up", stream=True) as answer:
        lines = answer.iter_lines(decode_unicode=True)
        assert any("call_1" in line for line in lines)
