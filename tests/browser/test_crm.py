"""HubSpot, from nothing to the first call in it, as somebody who sells does it."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from aftercall.simulator.crms.hubspot import FakeHubSpot
from tests.api.server import Api
from tests.api.working import work_off
from tests.browser.conftest import Look, Looked
from tests.conftest import WORKSPACE, Clock
from tests.console.crm import TOKEN, add_call, fake_hubspot


@pytest.fixture
def hubspot() -> Iterator[FakeHubSpot]:
    with fake_hubspot() as fake:
        yield fake


@pytest.fixture
def call_id(console: Api, service: Service, simulator: Simulator, clock: Clock) -> str:
    """Of a call that is saved."""
    id_ = add_call(simulator)
    console.webhook({"call_id": id_})
    work_off(service, clock)
    return id_


def connect(console: Api, hubspot: FakeHubSpot, **more: Any) -> str:
    """The id of a destination with two fields."""
    sync = {
        "fields": [
            {
                "source": "output_parameters.interested",
                "field": "is_interested",
                "type": "yes_no",
            },
            {"source": "output_parameters.note", "field": "agent_notes", "mode": "append"},
        ]
    }
    spec = {
        "name": "HubSpot of the sales team",
        "kind": "hubspot",
        "url": hubspot.url,
        "credentials": hubspot.credentials,
        "sync": sync,
        **more,
    }
    return str(console.post("/destinations", spec, status=201)["id"])


def test_hubspot_is_connected_from_nothing_to_the_first_call_in_it(
    look: Look,
    console: Api,
    hubspot: FakeHubSpot,
    call_id: str,
    service: Service,
    clock: Clock,
) -> None:
    window = look()
    page = window.sign_in(onward="/destinations")
    page.get_by_role("link", name="Make the first destination").click()
    page.get_by_role("navigation", name="What it is").get_by_role("link", name="HubSpot").click()
    window.check()
    page.get_by_label("Name", exact=True).fill("HubSpot of sales")
    page.get_by_label("Access token").fill(TOKEN)
    page.get_by_text("More settings").click()
    page.get_by_label("Another address").fill(hubspot.url)

    # What agents learned is offered; a line for it is one press away.
    preview = page.get_by_role("region", name="Preview")
    page.get_by_role("button", name="Map interested").click()
    first = page.get_by_role("group", name="Field 1")
    expect(first.get_by_label("From the call")).to_have_value("output_parameters.interested")
    first.get_by_label("Field in HubSpot").fill("is_interested")
    first.get_by_label("Type").select_option("yes_no")
    expect(preview).to_contain_text("is_interested")
    expect(preview).to_contain_text("a new person is made")
    expect(page.get_by_role("button", name="Map interested")).to_have_count(0)

    # A mistake stands at its place, while one types and after saving.
    page.get_by_role("button", name="Add a field").click()
    second = page.get_by_role("group", name="Field 2")
    second.get_by_label("From the call").fill("output_parameters.note ||")
    second.get_by_label("Field in HubSpot").fill("agent_notes")
    expect(second.get_by_text("Line 1, column 26.")).to_be_visible()
    window.check()
    page.get_by_role("button", name="Make it, paused").click()
    expect(page.get_by_text("It was not saved")).to_be_visible()
    expect(second.get_by_text("Line 1, column 26.")).to_be_visible()
    expect(page.get_by_label("Access token")).to_have_value(TOKEN)
    [complaint] = window.complaints
    assert "422" in complaint
    window.complaints.clear()
    window.check()
    window.shoot("crm-mistake")
    second.get_by_label("From the call").fill("output_parameters.note")
    expect(preview).to_contain_text("Wants a brochure")
    window.shoot("crm-new")
    page.get_by_role("button", name="Make it, paused").click()

    # The connection is checked before anything goes there.
    expect(page.get_by_role("heading", name="HubSpot of sales")).to_be_visible()
    page.get_by_role("button", name="Check the connection").click()
    expect(page.get_by_text("The connection works")).to_be_visible()
    expect(page.get_by_text("Field agent_notes")).to_be_visible()
    window.check()
    window.shoot("crm-checked")
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()

    # Past calls: counted first.
    page.get_by_role("link", name="Send past calls").click()
    expect(page.get_by_role("heading", name="1 call would go")).to_be_visible()
    window.check()
    window.shoot("crm-backfill")
    page.get_by_role("button", name="Send 1 call").click()
    expect(page.get_by_text("1 past call goes to HubSpot of sales now.")).to_be_visible()
    work_off(service, clock)
    [person] = hubspot.objects["contacts"].values()
    assert (person["is_interested"], person["agent_notes"]) == ("true", "Wants a brochure")
    [delivery] = console.get("/deliveries")["items"]
    window.open(f"/deliveries/{delivery['id']}")
    expect(page.get_by_text("Nobody had the number: the person was made")).to_be_visible()
    expect(page.get_by_text("The follow-up task was made")).to_be_visible()
    window.check()
    window.shoot("crm-delivery")


def test_the_fields_of_hubspot_are_offered_and_an_unknown_one_is_said_so(
    look: Look, console: Api, hubspot: FakeHubSpot
) -> None:
    id_ = connect(console, hubspot)
    page = look().sign_in(onward=f"/destinations/{id_}/sync")
    expect(page.get_by_text("fields of HubSpot can be chosen")).to_be_visible()
    second = page.get_by_role("group", name="Field 2")
    expect(second.get_by_text("Agent notes · string")).to_be_visible()
    second.get_by_label("Field in HubSpot").fill("agent_note")
    expect(second.get_by_text("There is no such field that can be written.")).to_be_visible()
    page.get_by_role("button", name="Remove field 1").click()
    expect(page.get_by_role("group", name="Field 2")).to_have_count(0)
    first = page.get_by_role("group", name="Field 1")
    expect(first.get_by_label("From the call")).to_have_value("output_parameters.note")


def test_without_the_script_lines_come_and_go_and_nothing_is_lost(
    look: Look, console: Api, hubspot: FakeHubSpot, call_id: str
) -> None:
    page = look(scripts=False).sign_in(onward="/destinations/new/hubspot")
    page.get_by_label("Name", exact=True).fill("HubSpot of sales")
    page.get_by_label("Access token").fill(TOKEN)
    page.get_by_text("More settings").click()
    page.get_by_label("Another address").fill(hubspot.url)
    page.get_by_role("button", name="Map note").click()
    page.get_by_role("group", name="Field 1").get_by_label("Field in HubSpot").fill("agent_notes")
    page.get_by_role("button", name="Add a field").click()
    page.get_by_role("button", name="Map interested").click()
    second = page.get_by_role("group", name="Field 2")
    expect(second.get_by_label("From the call")).to_have_value("output_parameters.interested")
    page.get_by_role("button", name="Remove field 2").click()
    expect(second).to_have_count(0)
    expect(page.get_by_label("Name", exact=True)).to_have_value("HubSpot of sales")
    expect(page.get_by_role("region", name="Preview")).to_contain_text("Wants a brochure")
    page.get_by_role("button", name="Make the destination").click()
    expect(page.get_by_role("heading", name="HubSpot of sales")).to_be_visible()
    [one] = console.get("/destinations")["items"]
    assert [field["field"] for field in one["sync"]["fields"]] == ["agent_notes"]


def test_each_page_shuts_nobody_out_and_fits_every_screen(
    looked: Looked,
    console: Api,
    hubspot: FakeHubSpot,
    service: Service,
    simulator: Simulator,
    clock: Clock,
) -> None:
    looked.sign_in(onward="/destinations/new/hubspot")
    looked.check()
    id_ = connect(console, hubspot)
    call = add_call(simulator, callback_time="sometime next week maybe", mood="good")
    console.webhook({"call_id": call})
    work_off(service, clock)
    [delivery] = console.get("/deliveries")["items"]
    for path, what in (
        ("/destinations/new/hubspot", "crm-new-empty"),
        (f"/destinations/{id_}/sync", "crm-edit"),
        (f"/destinations/{id_}", "crm-destination"),
        (f"/destinations/{id_}/fields", "crm-fields"),
        (f"/destinations/{id_}/backfill", "crm-backfill"),
        (f"/deliveries/{delivery['id']}", "crm-delivery"),
        (f"/calls/{call}", "crm-call"),
        ("/destinations", "crm-destinations"),
        (f"/workspaces/{WORKSPACE.id}", "crm-workspace"),
    ):
        page = looked.open(path)
        if path.endswith("/sync"):
            expect(page.get_by_text("can be chosen")).to_be_visible()
        looked.check()
        looked.shoot(what)
