"""`aftercall deliveries …`."""

import json
import uuid
from collections.abc import Callable

import pytest

from aftercall.simulator import Fault, Simulator
from tests.api.server import Api
from tests.cli.command import Command, assert_one_line


@pytest.fixture
def deliver(api: Api, simulator: Simulator, work: Callable[[], None]) -> Callable[..., list[str]]:
    """Delivers new calls to one hook; each meets the faults first."""
    made = api.post(
        "/destinations", {"name": "leads", "url": simulator.crm.hook_url("leads")}, status=201
    )
    simulator.crm.add_hook("leads", made["secret"])

    def new_calls(count: int, *faults: Fault) -> list[str]:
        call_ids = simulator.twentytwo.make_calls(count, status="completed")
        for call_id in call_ids:
            simulator.crm.hook("leads").fail_next_for_call(call_id, *faults)
        api.webhook({"call_ids": call_ids})
        work()
        return call_ids

    return new_calls


def test_an_empty_list_says_when_deliveries_are_made(aftercall: Command) -> None:
    assert "destinations" in aftercall.ok("deliveries", "list")
    assert json.loads(aftercall.ok("deliveries", "list", "--json")) == {
        "items": [],
        "next_cursor": None,
        "previous_cursor": None,
    }


def test_lists_and_one_delivery_read_as_the_api_answers(
    aftercall: Command, api: Api, deliver: Callable[..., list[str]]
) -> None:
    deliver(2)
    [dead] = deliver(1, Fault.BAD_REQUEST)
    listed = json.loads(aftercall.ok("deliveries", "list", "--json", "--limit", "2"))
    assert listed == api.get("/deliveries", limit=2)
    by_call = json.loads(aftercall.ok("deliveries", "list", "--json", "--call", dead))
    assert by_call == api.get("/deliveries", call_id=dead)
    filters = ("--state", "delivered", "--destination", "leads", "--cursor", listed["next_cursor"])
    rest = json.loads(aftercall.ok("deliveries", "list", "--json", *filters))
    assert rest == api.get("/deliveries", state="delivered", cursor=listed["next_cursor"])
    delivery = by_call["items"][0]
    shown = json.loads(aftercall.ok("deliveries", "show", delivery["id"], "--json"))
    assert shown == delivery


def test_tables_show_whole_ids_and_the_reason(
    aftercall: Command, api: Api, deliver: Callable[..., list[str]]
) -> None:
    [call_id] = deliver(1, Fault.BAD_REQUEST)
    [delivery] = api.get("/deliveries")["items"]
    listed = aftercall.ok("deliveries", "list")
    # What is cut or folded cannot be copied, nor found with grep.
    assert delivery["id"] in listed
    assert call_id in listed
    assert "dead" in listed
    shown = aftercall.ok("deliveries", "show", delivery["id"])
    assert "400" in shown
    assert call_id in shown


def test_one_is_sent_again_or_all_that_match(
    aftercall: Command, api: Api, deliver: Callable[..., list[str]], work: Callable[[], None]
) -> None:
    deliver(3, Fault.BAD_REQUEST)
    ids = [one["id"] for one in api.get("/deliveries")["items"]]
    assert ids[0] in aftercall.ok("deliveries", "replay", ids[0])
    assert api.get(f"/deliveries/{ids[0]}")["state"] == "queued"
    assert "2" in aftercall.ok("deliveries", "replay", "--state", "dead", "--destination", "leads")
    assert "0" in aftercall.ok("deliveries", "replay", "--state", "dead")
    oldest = api.get("/deliveries")["items"][-1]["created_at"]
    assert "3" in aftercall.ok("deliveries", "replay", "--since", oldest)
    assert "0" in aftercall.ok("deliveries", "replay", "--until", oldest)
    work()
    assert {one["state"] for one in api.get("/deliveries")["items"]} == {"delivered"}


def test_what_nobody_knows_is_one_line(aftercall: Command) -> None:
    unknown = str(uuid.uuid4())
    for arguments in (
        ("show", unknown),
        ("replay", unknown),
        ("list", "--destination", "[/nobody]"),
        ("replay", "--destination", "[/nobody]"),
    ):
        assert_one_line(aftercall("deliveries", *arguments), arguments[-1])


def test_usage_is_told_with_exit_code_2(aftercall: Command) -> None:
    for arguments in (
        ("show", "not-an-id"),
        ("show",),
        ("replay",),
        ("replay", str(uuid.uuid4()), "--state", "dead"),
        ("list", "--state", "sleeping"),
    ):
        assert aftercall("deliveries", *arguments).code == 2


def test_the_request_is_shown_as_the_api_answers(
    aftercall: Command, api: Api, deliver: Callable[..., list[str]]
) -> None:
    deliver(1)
    [delivery] = api.get("/deliveries")["items"]
    said = aftercall.ok("deliveries", "request", delivery["id"])
    assert "POST http" in said
    assert f"webhook-id: {delivery['id']}" in said
    answered = json.loads(aftercall.ok("deliveries", "request", delivery["id"], "--json"))
    assert answered["body"] == api.get(f"/deliveries/{delivery['id']}/request")["body"]
