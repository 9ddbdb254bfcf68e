"""Mending what failed, as people do it: one delivery by its mapping, thousands by one button."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from aftercall.db.session import Database
from aftercall.domain.states import DeliveryState
from aftercall.flows import replay
from aftercall.flows.service import Service
from aftercall.simulator import Fault, Simulator
from tests.api.server import Api, Json
from tests.api.working import work_off
from tests.browser.conftest import Look, Looked
from tests.conftest import Clock
from tests.console.rows import make_deliveries
from tests.console.visitor import READONLY_TOKEN

LONG = "The hook answered 422: " + "unexplained " * 830


@pytest.fixture
def work(service: Service, clock: Clock) -> Callable[[], None]:
    return lambda: work_off(service, clock)


@pytest.fixture
def hook(console: Api, simulator: Simulator) -> Json:
    """A destination at the simulated CRM, with a mapping that it does not understand."""
    url = simulator.crm.hook_url("leads")
    fields = {"name": "leads", "url": url, "mapping": "{wrong: call.status}"}
    made = console.post("/destinations", fields, status=201)
    simulator.crm.add_hook("leads", made["secret"])
    return made


@pytest.fixture
def call_id(console: Api, simulator: Simulator, hook: Json, work: Callable[[], None]) -> str:
    """Of a call whose delivery was refused with 400 and is dead."""
    [id_] = simulator.twentytwo.make_calls(1, status="completed")
    simulator.crm.hook("leads").fail_next(Fault.BAD_REQUEST)
    console.webhook({"call_id": id_})
    work()
    assert len(console.get("/deliveries", state="dead")["items"]) == 1
    return id_


def test_mending_a_dead_letter(
    look: Look, simulator: Simulator, call_id: str, work: Callable[[], None]
) -> None:
    window = look()
    page = window.sign_in(onward="/deliveries")
    group = page.get_by_role("article", name="1 delivery to leads, dead")
    expect(group).to_contain_text("compare its answer with the mapping")
    window.check()
    window.shoot("deliveries-one-group")
    page.get_by_role("link", name=call_id).click()
    expect(page.get_by_text("It was given up")).to_be_visible()
    expect(page.get_by_text("Attempt 1: dead")).to_be_visible()
    window.check()
    window.shoot("delivery-dead")
    page.get_by_role("link", name="Change the mapping").click()
    mapping = page.get_by_label("Mapping")
    preview = page.get_by_role("region", name="Preview")
    # The call that failed is the one that it is tried on.
    expect(preview.get_by_label("Tried on the call")).to_have_value(call_id)
    mapping.fill("{call_id: call_id,\n status call.status}")
    expect(mapping).to_have_attribute("aria-invalid", "true")
    expect(mapping).to_have_accessible_description(re.compile(r"Line 2, column 9\."))
    expect(page.locator("#fault-area-mapping mark")).to_have_text("c")
    window.check()
    window.shoot("mapping-with-a-mistake")
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_text("It was not saved")).to_be_visible()
    expect(mapping).to_have_value("{call_id: call_id,\n status call.status}")
    # The browser says so itself when an answer is 422.
    assert [one for one in window.complaints if "422" not in one] == []
    window.complaints.clear()
    mapping.fill("{data: {call_id: call_id, status: call.status}}")
    expect(mapping).not_to_have_attribute("aria-invalid", "true")
    expect(preview).to_contain_text(f'"call_id": "{call_id}"')
    window.shoot("mapping-mended")
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_text("Saved. What is sent from now on")).to_be_visible()
    page.get_by_role("link", name="See them").click()
    page.get_by_role("link", name=call_id).click()
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("The delivery goes again.")).to_be_visible()
    work()
    # By itself: the page is live.
    expect(page.locator("#delivery-state .badge").first).to_have_text("Delivered")
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("dialog", name="Send it again?")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    window.check()
    window.shoot("delivery-delivered")
    assert simulator.crm.accepted_call_ids("leads") == {call_id}


def test_thousands_go_again_with_a_preview_and_in_sight(
    look: Look, console: Api, hook: Json, service: Service, database: Database
) -> None:
    make_deliveries(database, hook["id"], 4_500)
    paused = console.post(
        "/destinations",
        {"name": "archive", "url": "http://127.0.0.1:9/", "enabled": False},
        status=201,
    )
    make_deliveries(database, paused["id"], 30)
    window = look()
    page = window.sign_in(onward="/deliveries?state=dead")
    page.get_by_role("link", name="Send all that fit again").click()
    expect(page.get_by_role("heading", name="Send again: 4,530 deliveries")).to_be_visible()
    expect(page.get_by_text("30 deliveries would be held")).to_be_visible()
    window.check()
    window.shoot("replay-preview")
    page.get_by_role("button", name="Send 4,530 deliveries again").click()
    progress = page.locator("#replay-progress")
    expect(progress).to_contain_text("0 of 4,530")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    replay.step_replays(service, steps=1)
    expect(progress).to_contain_text("2,000 of 4,530")
    window.check()
    window.shoot("replay-running")
    replay.step_replays(service, steps=5)
    expect(progress).to_contain_text("All went again")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    window.check()


def test_a_replay_that_was_begun_by_mistake_is_stopped(
    look: Look, hook: Json, service: Service, database: Database
) -> None:
    make_deliveries(database, hook["id"], 2_500)
    window = look()
    page = window.sign_in(onward="/deliveries")
    page.get_by_role("link", name="Send all again").click()
    page.get_by_role("button", name="Send 2,500 deliveries again").click()
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Stop it").click()
    expect(page.get_by_text("Stopped: 0 deliveries went again, the rest stays.")).to_be_visible()
    page.get_by_role("link", name="Replays").click()
    expect(page.get_by_role("cell", name="Canceled")).to_be_visible()
    window.check()
    replay.step_replays(service)
    with database.transaction() as session:
        assert replay.replays_db.running_replay(session) is None


def test_times_of_the_filter_are_the_viewers_own(
    look: Look, hook: Json, database: Database
) -> None:
    make_deliveries(database, hook["id"], 1)
    page = look().sign_in(onward="/deliveries")
    page.get_by_label("Made from").fill("2026-01-01T05:30")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile("since=2026-01-01T00%3A00%3A00.000Z"))
    expect(page.get_by_label("Made from")).to_have_value("2026-01-01T05:30")


def test_a_reader_sees_what_failed_and_no_button(
    look: Look, hook: Json, database: Database
) -> None:
    [one, *_] = make_deliveries(database, hook["id"], 3)
    window = look()
    page = window.sign_in(READONLY_TOKEN, onward="/deliveries?state=dead")
    expect(page.get_by_role("article", name="3 deliveries to leads, dead")).to_be_visible()
    for path in ("/deliveries?state=dead", f"/deliveries/{one}", f"/destinations/{hook['id']}"):
        window.open(path)
        for words in ("Send", "Pause", "Edit", "Remove", "Rotate"):
            expect(page.get_by_role("button", name=re.compile(words))).to_have_count(0)
            expect(page.get_by_role("link", name=re.compile(f"^{words}"))).to_have_count(0)
        window.check()


def test_without_the_script_thousands_can_be_sent_again(
    look: Look, hook: Json, database: Database
) -> None:
    make_deliveries(database, hook["id"], 1_200)
    page = look(scripts=False).sign_in(onward="/deliveries")
    page.get_by_role("link", name="Send all again").click()
    page.get_by_role("button", name="Send 1,200 deliveries again").click()
    expect(page.get_by_text("0 of 1,200")).to_be_visible()


def test_each_page_shuts_nobody_out_and_fits_every_screen(
    looked: Looked, console: Api, hook: Json, database: Database, call_id: str
) -> None:
    looked.sign_in(onward="/deliveries")
    [long, *_] = make_deliveries(database, hook["id"], 2, reason=LONG)
    make_deliveries(database, hook["id"], 40)
    make_deliveries(database, hook["id"], 9, state=DeliveryState.QUEUED, reason=None)
    paused = console.post(
        "/destinations",
        {"name": "archive", "url": "http://127.0.0.1:9/", "enabled": False},
        status=201,
    )
    make_deliveries(database, paused["id"], 3, state=DeliveryState.HELD, reason=None)
    [dead] = [
        one["id"] for one in console.get("/deliveries", state="dead", call_id=call_id)["items"]
    ]
    for path, what in (
        ("/deliveries", "deliveries"),
        ("/deliveries?state=delivered&call_id=nothing", "deliveries-nothing"),
        (f"/deliveries/{long}", "delivery-long"),
        (f"/deliveries/{dead}", "delivery"),
        ("/deliveries/replay?state=dead", "replay-preview"),
        ("/replays", "replays-none"),
    ):
        looked.open(path)
        looked.check()
        looked.shoot(what)
    looked.open("/deliveries?state=dead")
    looked.page.get_by_text("Show all 9,983 characters").first.click()
    looked.check()
