"""The overview, the first set-up and the workspaces, as people see and use them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.api.server import Api, running_api
from tests.api.working import work_off
from tests.browser.conftest import Look, Looked
from tests.browser.filled import SECOND, fill
from tests.conftest import WEBHOOK_TOKEN, WORKSPACE, Clock
from tests.console.visitor import READONLY_TOKEN
from tests.flows.work import accept_rows, add_hook, deliver, fetch, queued_ids


@pytest.fixture
def new_console(
    stores: StoreUrls, database: Database, simulator: Simulator, tmp_path: Path
) -> Iterator[Api]:
    """An api that nobody has set up; its Twenty2 is the simulator."""
    with running_api(
        tmp_path,
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
        TWENTYTWO_BASE_URL=simulator.twentytwo.base_url,
        TWENTYTWO_WORKSPACE_ID="",
        TWENTYTWO_API_KEY="",
        TWENTYTWO_API_SECRET="",
    ) as api:
        yield api


@pytest.fixture
def work(service: Service, clock: Clock) -> Callable[[], None]:
    """A worker's share: all that is due is fetched and delivered."""
    return lambda: work_off(service, clock)


def test_from_the_first_set_up_to_the_first_delivered_call(
    look: Look, new_console: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    window = look()
    window.origin = new_console.origin
    page = window.sign_in()
    expect(page.get_by_role("heading", name="Set up aftercall")).to_be_visible()
    window.check()
    window.shoot("set-up-new")

    expect(page.get_by_text(WEBHOOK_TOKEN)).to_have_count(0)
    page.get_by_role("link", name="Show the token and copy").click()
    expect(page.locator(".copyable code")).to_contain_text(f"?token={WEBHOOK_TOKEN}")
    webhook_url = page.locator(".copyable code").inner_text()

    page.get_by_label("Workspace id").fill(WORKSPACE.id)
    page.get_by_label("API key").fill(WORKSPACE.api_key)
    page.get_by_label("API secret").fill("wrong")
    page.get_by_role("button", name="Save and check").click()
    expect(page.get_by_text("Twenty2 does not accept the API key and secret")).to_be_visible()
    page.get_by_text("Set others").click()
    page.get_by_label("Workspace id").fill(WORKSPACE.id)
    page.get_by_label("API key").fill(WORKSPACE.api_key)
    page.get_by_label("API secret").fill(WORKSPACE.api_secret)
    page.get_by_role("button", name="Save and check").click()
    expect(page.get_by_text("Twenty2 accepts its credentials.")).to_be_visible()

    expect(page.get_by_role("link", name="Add a destination")).to_have_attribute(
        "href", "/destinations/new"
    )
    hook = {"name": "leads", "url": simulator.crm.hook_url("leads")}
    made = new_console.post("/destinations", hook, status=201)
    simulator.crm.add_hook("leads", made["secret"])
    expect(page.locator("#set-up-state-3")).to_have_text("Added")

    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    [sent] = simulator.send_webhooks([call_id], url=webhook_url)
    assert sent.accepted
    expect(page.locator("#set-up-state-1")).to_have_text("Webhooks arrive")
    expect(page.get_by_role("link", name=call_id)).to_be_visible()
    work()
    expect(page.locator("#set-up-state-2")).to_have_text("They work")
    expect(page.locator("#set-up-state-4")).to_have_text("Delivered")
    expect(page.get_by_text("Delivered to leads")).to_be_visible()
    assert simulator.crm.accepted_call_ids("leads") == {call_id}
    window.check()
    window.shoot("set-up-done")
    page.get_by_role("link", name="All is set: go to the overview").click()
    expect(page.get_by_text("All is well.")).to_be_visible()
    window.check()


def test_a_test_webhook_is_sent_with_a_button(look: Look, console: Api) -> None:
    window = look()
    page = window.sign_in()
    page.get_by_label("Call id").fill("call_made_up")
    page.get_by_role("button", name="Send test webhook").click()
    expect(page.get_by_text("The test webhook is received.")).to_be_visible()
    expect(page.get_by_role("link", name="call_made_up")).to_be_visible()
    window.check()


def test_a_form_that_is_being_filled_stays_while_calls_arrive(look: Look, console: Api) -> None:
    page = look().sign_in()
    expect(page.locator("[data-live-state=open]")).to_be_visible()
    page.get_by_text("Set others").click()
    page.get_by_label("API key").fill("half of it")
    console.webhook({"call_id": "call_1"})
    expect(page.locator("#set-up-state-1")).to_have_text("Webhooks arrive")
    expect(page.get_by_label("API key")).to_have_value("half of it")


def test_when_all_is_well_one_line_says_so_and_numbers_move(
    look: Look, service: Service, simulator: Simulator, clock: Clock
) -> None:
    add_hook(service, simulator)
    fetch(service, accept_rows(service, simulator.twentytwo.make_calls(3, status="completed")))
    deliver(service, queued_ids(service))
    window = look()
    page = window.sign_in()
    expect(page.get_by_text("All is well.")).to_be_visible()
    delivered = page.locator(".tile", has_text="Delivered").locator(".tile-value")
    expect(delivered).to_have_text("3")
    window.check()
    window.shoot("overview-well")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    fetch(service, accept_rows(service, simulator.twentytwo.make_calls(2, status="completed")))
    deliver(service, queued_ids(service))
    expect(delivered).to_have_text("5")
    assert window.complaints == []


def test_a_day_of_work_on_every_screen(
    looked: Looked, service: Service, simulator: Simulator, clock: Clock
) -> None:
    filled = fill(service, simulator, clock)
    page = looked.sign_in()
    expect(page.get_by_text("Not all is well:")).to_be_visible()
    expect(page.get_by_role("heading", name="What failed, worst first")).to_be_visible()
    looked.check()
    looked.shoot("overview-filled")
    page.get_by_role("link", name="7 days").click()
    expect(page.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
    looked.check()
    paths = {
        "/set-up": "set-up",
        "/workspaces": "workspaces",
        f"/workspaces/{filled.blocked_workspace}": "workspace-blocked",
        f"/workspaces/{WORKSPACE.id}": "workspace",
    }
    for path, what in paths.items():
        looked.open(path)
        looked.check()
        looked.shoot(what)


def test_a_blocked_workspace_is_found_and_released(
    look: Look, service: Service, simulator: Simulator, clock: Clock
) -> None:
    fill(service, simulator, clock)
    window = look()
    page = window.sign_in()
    page.get_by_role("link", name=SECOND.id).click()
    now = page.locator("#workspace-now")
    expect(now).to_contain_text("Twenty2 answered 401")
    expect(now).to_contain_text("Copy the API key and the secret anew")
    page.get_by_role("button", name="End the block").click()
    dialog = page.get_by_role("dialog", name="End the block now?")
    window.check()
    dialog.get_by_role("button", name="End the block").click()
    expect(page.get_by_text("The block is over")).to_be_visible()
    expect(now).to_contain_text("Not blocked")
    window.check()


def test_a_reader_looks_and_changes_nothing(
    look: Look, service: Service, simulator: Simulator, clock: Clock
) -> None:
    fill(service, simulator, clock)
    window = look()
    page = window.sign_in(READONLY_TOKEN)
    for path in ("/", "/set-up", "/workspaces", f"/workspaces/{SECOND.id}"):
        window.open(path)
        expect(
            page.get_by_role("button", name=re.compile("Check|Save|Send|End|Add"))
        ).to_have_count(0)
        window.check()


def test_long_names_break_nothing(look: Look, console: Api) -> None:
    console.webhook({"call_id": "c" * 128, "workspace_id": "w" * 128})
    console.post("/destinations", {"name": "n" * 100, "url": "http://127.0.0.1:9/h"}, status=201)
    window = look(size="phone")
    window.sign_in()
    for path in ("/", "/set-up", "/workspaces", f"/workspaces/{'w' * 128}"):
        window.open(path)
        window.check()


def test_days_begin_where_the_viewer_lives(look: Look, console: Api) -> None:
    page = look().sign_in()
    told = {one["name"]: one["value"] for one in page.context.cookies()}
    assert told["utc_offset"] == "330"


def test_without_the_script_the_overview_and_the_set_up_work(look: Look, console: Api) -> None:
    window = look(scripts=False)
    page = window.sign_in(onward="/set-up")
    page.get_by_role("link", name="Show the token and copy").click()
    expect(page.locator(".copyable code")).to_contain_text(WEBHOOK_TOKEN)
    page.get_by_label("Call id").fill("call_1")
    page.get_by_role("button", name="Send test webhook").click()
    expect(page.get_by_text("The test webhook is received.")).to_be_visible()
    window.open("/?window=30d")
    expect(page.locator(".tile", has_text="Received").locator(".tile-value")).to_have_text("1")
