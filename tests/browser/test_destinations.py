"""Destinations, as people make, change, pause and remove them."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from aftercall.db.session import Database
from aftercall.domain.states import DeliveryState
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.api.server import Api, Json
from tests.api.working import work_off
from tests.browser.conftest import Look, Looked
from tests.conftest import Clock
from tests.console.rows import make_deliveries

LONG_MAPPING = "{" + ", ".join(f"field_{n}: call.status" for n in range(420)) + "}"


@pytest.fixture
def call_id(console: Api, service: Service, simulator: Simulator, clock: Clock) -> str:
    """Of a call that is saved."""
    [id_] = simulator.twentytwo.make_calls(1, status="completed")
    console.webhook({"call_id": id_})
    work_off(service, clock)
    return id_


@pytest.fixture
def add(console: Api) -> Callable[..., Json]:
    def make(name: str = "leads", **fields: object) -> Json:
        given = {"name": name, "url": "http://127.0.0.1:9/hook", **fields}
        return console.post("/destinations", given, status=201)

    return make


def test_a_first_destination_is_made_and_tested(
    look: Look, console: Api, simulator: Simulator, call_id: str
) -> None:
    window = look()
    page = window.sign_in(onward="/destinations")
    page.get_by_role("link", name="Make the first destination").click()
    window.check()
    page.get_by_label("Name", exact=True).fill("Leads in the CRM")
    page.get_by_label("URL").fill(simulator.crm.hook_url("leads"))
    page.get_by_role("button", name="Add a header").click()
    page.get_by_label("Header 3: name").fill("X-Key")
    page.get_by_label("Header 3: value").fill("a key of the CRM's")
    preview = page.get_by_role("region", name="Preview")
    expect(preview).to_contain_text("Would be sent")
    page.get_by_label("Filter").fill("call.status == 'nothing'")
    expect(preview).to_contain_text("Would be skipped")
    page.get_by_label("Filter").fill("")
    expect(preview).to_contain_text("Would be sent")
    page.get_by_role("button", name="Make the destination").click()
    expect(page.get_by_role("heading", name="Leads in the CRM is made")).to_be_visible()
    window.check()
    window.shoot("destination-made")
    secret = page.locator(".secret code").inner_text()
    simulator.crm.add_hook("leads", secret)
    page.get_by_role("link", name="I have copied it").click()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_text("The hook took the test")).to_be_visible()
    window.check()
    window.shoot("destination-tested")


def test_a_phone_number_in_a_preview_is_shown_when_it_is_asked_for(
    look: Look, console: Api, call_id: str
) -> None:
    phone = console.calls(q=call_id)[0]["callee_phone"]
    page = look().sign_in(onward="/destinations/new")
    preview = page.get_by_role("region", name="Preview")
    expect(preview).to_contain_text("••••")
    page.get_by_label("Show phone numbers").check()
    expect(preview).to_contain_text(phone)


def test_without_the_script_the_preview_is_a_button_and_loses_nothing(
    look: Look, call_id: str
) -> None:
    page = look(scripts=False).sign_in(onward="/destinations/new")
    page.get_by_label("Name", exact=True).fill("leads")
    page.get_by_label("Mapping").fill("{id: call_id")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("Line 1, column 13.")).to_be_visible()
    page.get_by_label("Mapping").fill("{id: call_id}")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("region", name="Preview")).to_contain_text(call_id)
    expect(page.get_by_label("Name", exact=True)).to_have_value("leads")


def test_a_destination_is_paused_and_resumed_with_what_it_holds(
    look: Look, database: Database, add: Callable[..., Json]
) -> None:
    one = add()
    make_deliveries(database, one["id"], 2_310, state=DeliveryState.QUEUED, reason=None)
    window = look()
    page = window.sign_in(onward=f"/destinations/{one['id']}")
    page.get_by_role("button", name="Pause").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("2,310 deliveries wait and are held")
    dialog.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("It is paused: 2,310 deliveries are held")).to_be_visible()
    window.check()
    window.shoot("destination-paused")
    page.get_by_role("button", name="Resume").click()
    expect(dialog).to_contain_text("2,310 deliveries are held and go once it is resumed")
    window.shoot("destination-resume")
    dialog.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("leads is resumed; 2,310 deliveries")).to_be_visible()
    window.check()


def test_a_secret_is_rotated_with_an_overlap(look: Look, add: Callable[..., Json]) -> None:
    one = add()
    window = look(permissions=["clipboard-read", "clipboard-write"])
    page = window.sign_in(onward=f"/destinations/{one['id']}")
    page.get_by_role("button", name="Rotate the secret").click()
    page.get_by_label("The secret before signs as well for").select_option("72")
    page.get_by_role("button", name="Rotate", exact=True).click()
    expect(page.get_by_text("signed with the secret before as well")).to_be_visible()
    page.get_by_role("button", name="Copy the secret").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/=]{44}", copied)
    assert copied != one["secret"]
    window.check()
    window.shoot("secret-rotated")
    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_text("Its secret was rotated")).to_be_visible()
    assert copied not in page.content()


def test_a_destination_is_removed_after_it_was_said_what_dies(
    look: Look, database: Database, add: Callable[..., Json]
) -> None:
    one = add(enabled=False)
    make_deliveries(database, one["id"], 7, state=DeliveryState.HELD, reason=None)
    window = look()
    page = window.sign_in(onward=f"/destinations/{one['id']}")
    page.get_by_role("button", name="Remove this destination").click()
    dialog = page.get_by_role("dialog", name="Remove leads?")
    expect(dialog).to_contain_text("7 deliveries that wait or are held will be dead")
    window.check()
    window.shoot("destination-remove")
    dialog.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("leads is removed; 7 deliveries are dead.")).to_be_visible()
    window.check()


def test_each_page_shuts_nobody_out_and_fits_every_screen(
    looked: Looked, console: Api, database: Database, call_id: str, add: Callable[..., Json]
) -> None:
    looked.sign_in(onward="/destinations")
    looked.check()
    looked.shoot("destinations-none")
    one = add(
        "Leads in the CRM",
        mapping="{phone: call.callee_phone, id: call_id,\n what: output_parameters}",
        filter="call.status == 'completed'",
        headers={"X-Api-Key": "hidden"},
        rate_limit_per_second=20,
    )
    long = add("A name that goes on " + "and on " * 11, mapping=LONG_MAPPING)
    assert len(LONG_MAPPING) > 9_000
    paused = add("archive", enabled=False)
    make_deliveries(database, one["id"], 41)
    make_deliveries(database, one["id"], 3, reason="The hook answered 422: " + "x" * 10_000)
    make_deliveries(database, paused["id"], 12, state=DeliveryState.HELD, reason=None)
    for path, what in (
        ("/destinations", "destinations"),
        (f"/destinations/{one['id']}", "destination"),
        (f"/destinations/{long['id']}", "destination-long"),
        (f"/destinations/{paused['id']}", "destination-archive"),
        (f"/destinations/{one['id']}/edit", "destination-edit"),
        (f"/destinations/{long['id']}/edit", "destination-edit-long"),
        ("/destinations/new", "destination-new"),
    ):
        looked.open(path)
        looked.check()
        looked.shoot(what)
