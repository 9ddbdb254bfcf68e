"""`aftercall destinations …` for CRMs, and workspaces' places."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from aftercall.simulator.crms.hubspot import FakeHubSpot
from tests.api.server import Api
from tests.api.working import work_off
from tests.cli.command import Command, assert_one_line
from tests.conftest import WORKSPACE, Clock
from tests.console.crm import TOKEN, add_call, fake_hubspot

SYNC = """
sync:
  when_none: create
  fields:
    - {source: output_parameters.interested, field: is_interested, type: yes_no}
    - {source: output_parameters.note, field: agent_notes, mode: append}
"""


@pytest.fixture
def hubspot() -> Iterator[FakeHubSpot]:
    with fake_hubspot() as fake:
        yield fake


@pytest.fixture
def sync(tmp_path: Path) -> str:
    path = tmp_path / "sync.yaml"
    path.write_text(SYNC)
    return str(path)


@pytest.fixture
def made(aftercall: Command, hubspot: FakeHubSpot, sync: str) -> str:
    """The name of a destination in the fake HubSpot."""
    aftercall.ok(
        "destinations", "add", "sales", hubspot.url,
        "--kind", "hubspot", "--credential-stdin", "--sync", sync,
        stdin=f"token={TOKEN}\n",
    )  # fmt: skip
    return "sales"


def test_the_kinds_say_what_each_needs(aftercall: Command, api: Api) -> None:
    said = aftercall.ok("destinations", "kinds")
    assert "hubspot" in said
    assert "token: Access token" in said
    assert json.loads(aftercall.ok("destinations", "kinds", "--json")) == api.get(
        "/destinations/kinds"
    )


def test_hubspot_is_added_with_its_token_from_standard_input(
    aftercall: Command, api: Api, made: str
) -> None:
    [one] = api.get("/destinations")["items"]
    assert (one["name"], one["kind"], one["credentials"]) == (
        made,
        "hubspot",
        {"token": "********"},
    )
    assert [field["field"] for field in one["sync"]["fields"]] == ["is_interested", "agent_notes"]
    assert TOKEN not in aftercall("destinations", "list", "--json").said


def test_hubspot_has_an_address_of_its_own(aftercall: Command, api: Api, sync: str) -> None:
    aftercall.ok(
        "destinations", "add", "sales", "--kind", "hubspot", "--credential-stdin", "--disabled",
        stdin="token=x\n",
    )  # fmt: skip
    [one] = api.get("/destinations")["items"]
    assert (one["url"], one["enabled"]) == ("https://api.hubapi.com", False)


@pytest.mark.parametrize(
    ("given", "stdin", "says"),
    [
        (("--kind", "hubspot"), "", "It is needed: Access token"),
        (("--kind", "nothing"), "", "is not one of"),
        (("--kind", "hubspot", "--credential-stdin"), "secret-without-key", "line 1 is not"),
        ((), "", "a hook needs its URL"),
    ],
)
def test_what_is_missing_is_said_without_the_secrets(
    aftercall: Command, given: tuple[str, ...], stdin: str, says: str
) -> None:
    result = aftercall("destinations", "add", "sales", *given, stdin=stdin)
    assert result.code != 0
    assert says in " ".join(result.err.split())
    assert "secret-without-key" not in result.said


def test_the_test_prints_every_check(aftercall: Command, hubspot: FakeHubSpot, made: str) -> None:
    said = aftercall.ok("destinations", "test", made)
    assert "yes  Contacts can be read" in said
    assert "yes  Field agent_notes" in said
    hubspot.token = "another"
    result = aftercall("destinations", "test", made)
    assert result.code == 1
    assert "NO   Contacts can be read" in result.out
    assert "Make a new one and set it here." in result.out


def test_the_fields_are_those_of_hubspot(aftercall: Command, api: Api, made: str) -> None:
    said = aftercall.ok("destinations", "fields", made)
    assert "agent_notes" in said
    assert "(cannot be written)" in said
    [one] = api.get("/destinations")["items"]
    as_json = json.loads(aftercall.ok("destinations", "fields", made, "--json"))
    assert as_json == api.get(f"/destinations/{one['id']}/fields")


def test_a_preview_is_a_table_field_by_field(
    aftercall: Command,
    api: Api,
    hubspot: FakeHubSpot,
    sync: str,
    made: str,
    service: Service,
    simulator: Simulator,
    clock: Clock,
) -> None:
    api.post(f"/destinations/{api.get('/destinations')['items'][0]['id']}/disable", {})
    api.webhook({"call_id": add_call(simulator, mood="good")})
    work_off(service, clock)
    for given in (("--destination", made), ("--kind", "hubspot", "--sync", sync)):
        said = aftercall.ok("destinations", "preview", *given)
        assert "is_interested" in said
        assert "Wants a brochure" in said
        assert "Tomorrow 11am" in said
        assert "Not mapped: mood" in said
        assert "9871532305" not in said
    assert hubspot.asked() == []


def test_past_calls_are_counted_and_sent(
    aftercall: Command,
    api: Api,
    hubspot: FakeHubSpot,
    service: Service,
    simulator: Simulator,
    clock: Clock,
    sync: str,
) -> None:
    api.webhook({"call_id": add_call(simulator)})
    work_off(service, clock)
    aftercall.ok(
        "destinations", "add", "sales", hubspot.url,
        "--kind", "hubspot", "--credential-stdin", "--sync", sync,
        stdin=f"token={TOKEN}\n",
    )  # fmt: skip
    would = aftercall.ok("destinations", "backfill", "sales", "--last", "10", "--preview")
    assert "1 would go now" in would
    assert api.get("/deliveries")["items"] == []
    assert "1 go now" in aftercall.ok("destinations", "backfill", "sales", "--last", "10")
    work_off(service, clock)
    [delivery] = api.get("/deliveries")["items"]
    said = aftercall.ok("deliveries", "show", delivery["id"])
    assert "Nobody had the number: the person was made" in said
    assert "The call was logged" in said
    again = json.loads(aftercall.ok("destinations", "backfill", "sales", "--last", "10", "--json"))
    assert again == {"looked_at": 1, "wanted": 1, "queued": 0}


def test_a_workspace_is_told_where_it_is(aftercall: Command, api: Api) -> None:
    aftercall.ok("workspaces", "set", WORKSPACE.id, "--region", "ae", "--time-zone", "Asia/Dubai")
    one = api.get(f"/workspaces/{WORKSPACE.id}")
    assert (one["region"], one["time_zone"]) == ("AE", "Asia/Dubai")
    assert "Asia/Dubai" in aftercall.ok("workspaces", "list")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--region", "XX"), "no country's code"),
        (("--time-zone", "Mars/Olympus"), "no such zone"),
    ],
)
def test_a_place_that_is_none_is_refused(
    aftercall: Command, given: tuple[str, str], says: str
) -> None:
    result = aftercall("workspaces", "set", WORKSPACE.id, *given)
    assert_one_line(result)
    assert says in result.err
