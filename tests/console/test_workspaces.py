"""Workspaces on the console: credentials go in, are checked, and never come out."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest

from aftercall.db.call_search import CallQuery
from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.flows.look import list_calls
from aftercall.flows.reconcile import step_here
from aftercall.flows.reconciliations import list_reconciliations
from aftercall.flows.service import Service
from aftercall.simulator import Fault, Simulator
from aftercall.twentytwo.client import Twenty2
from tests.api.server import Api, running_api
from tests.conftest import WORKSPACE, Clock
from tests.console.visitor import READONLY_TOKEN, Visitor
from tests.flows.work import accept_rows, fetch

HERE = f"/workspaces/{WORKSPACE.id}"


@pytest.fixture
def asking(
    stores: StoreUrls, database: Database, simulator: Simulator, tmp_path: Path
) -> Iterator[Api]:
    """An api whose Twenty2 is the simulator."""
    with running_api(
        tmp_path,
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
        AFTERCALL_READONLY_TOKEN=READONLY_TOKEN,
        TWENTYTWO_BASE_URL=simulator.twentytwo.base_url,
    ) as api:
        yield api


@pytest.fixture
def asker(asking: Api) -> Iterator[Visitor]:
    with Visitor(asking.origin) as visitor:
        visitor.sign_in()
        yield visitor


def after(visitor: Visitor, path: str, fields: dict[str, str] | None = None) -> str:
    """The page to which a form leads."""
    answer = visitor.submit(path, fields)
    assert answer.status_code == 303, answer.text
    return unescape(visitor.get(answer.headers["location"]).text)


def test_a_workspace_is_added_checked_and_never_tells_its_credentials(
    asker: Visitor, simulator: Simulator
) -> None:
    second = replace(WORKSPACE, id="ws_2", api_key="key-of-2", api_secret="secret-of-2")
    simulator.twentytwo.set_workspace(second)
    fields = {"workspace_id": "ws_2", "api_key": "key-of-2", "api_secret": "secret-of-2"}
    page = after(asker, "/workspaces", {**fields, "rate_limit": "120"})
    assert "It is added. Twenty2 accepts its credentials." in page
    assert "Twenty2 is asked at most 120 times a minute." in page
    for path in ("/workspaces", "/workspaces/ws_2", "/", "/audit"):
        text = asker.get(path).text
        assert "key-of-2" not in text
        assert "secret-of-2" not in text


def test_a_wrong_secret_is_said_plainly_with_what_to_do(asker: Visitor) -> None:
    fields = {"api_key": WORKSPACE.api_key, "api_secret": "wrong"}
    page = after(asker, f"{HERE}/credentials", fields)
    assert "Twenty2 does not accept the API key and secret (401)." in page
    assert "Copy both anew from Twenty2's dashboard" in page


def test_check_now_asks_twenty2_once(asker: Visitor, simulator: Simulator) -> None:
    assert "Twenty2 accepts its credentials." in after(asker, f"{HERE}/check")
    simulator.twentytwo.fail_next_requests(Fault.SERVER_ERROR)
    assert "Twenty2 has a fault of its own (500)." in after(asker, f"{HERE}/check")


def test_a_block_is_told_and_ended_by_hand(
    admin: Visitor, service: Service, simulator: Simulator
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, Fault.UNAUTHORIZED)
    fetch(service, accept_rows(service, [call_id]))
    for path in ("/workspaces", HERE):
        page = unescape(admin.get(path).text)
        assert "Twenty2 answered 401" in page
        assert "Copy the API key and the secret anew" in page
    page = after(admin, f"{HERE}/release")
    assert "The block is over" in page
    assert "Twenty2 answered 401" not in page


def test_its_dead_calls_are_listed_with_their_cures(
    admin: Visitor, service: Service, simulator: Simulator
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, Fault.BAD_REQUEST)
    fetch(service, accept_rows(service, [call_id]))
    page = unescape(admin.get(HERE).text)
    assert f'href="/calls/{call_id}?workspace_id={WORKSPACE.id}"' in page
    assert "Twenty2 refuses this id" in page


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "It is missing"),
        ({"workspace_id": "ws", "api_key": "k"}, "It is missing"),
        ({"workspace_id": "w" * 129, "api_key": "k", "api_secret": "s"}, "longer than 128"),
        ({"workspace_id": "ws", "api_key": "k" * 501, "api_secret": "s"}, "at most 500"),
        (
            {"workspace_id": "ws", "api_key": "k", "api_secret": "s", "rate_limit": "0"},
            "greater than or equal to 1",
        ),
        (
            {"workspace_id": WORKSPACE.id, "api_key": "k", "api_secret": "s"},
            "is here already",
        ),
    ],
)
def test_a_fault_in_the_form_stands_at_its_field(
    console: Api, admin: Visitor, fields: dict[str, str], says: str
) -> None:
    answer = admin.submit("/workspaces", fields)
    assert answer.status_code == 422
    assert says in unescape(answer.text)
    assert 'aria-invalid="true"' in answer.text
    assert len(console.get("/workspaces")["items"]) == 1


def test_a_limit_is_set_and_taken_back(console: Api, admin: Visitor) -> None:
    assert "The limit is 30 requests a minute." in after(
        admin, f"{HERE}/limit", {"rate_limit": "30"}
    )
    assert console.get(HERE)["rate_limit"] == 30
    after(admin, f"{HERE}/limit", {"rate_limit": ""})
    assert console.get(HERE)["rate_limit"] == WORKSPACE.rate_limit
    refused = admin.submit(f"{HERE}/limit", {"rate_limit": "many"})
    assert refused.status_code == 422
    assert 'value="many"' in refused.text


def test_a_workspace_without_credentials_says_what_to_do(console: Api, admin: Visitor) -> None:
    console.webhook({"call_id": "call_1", "workspace_id": "ws_2"})
    page = unescape(admin.get("/workspaces/ws_2").text)
    assert "It has no credentials." in page
    assert "aftercall workspaces set" not in page
    assert "Check now" not in page


@pytest.mark.parametrize("id_", ["a/b?c#d", "<script>alert(1)</script>", "w" * 128, "a%2Fb"])
def test_an_id_may_have_anything_in_it(console: Api, admin: Visitor, id_: str) -> None:
    console.webhook({"call_id": "call_1", "workspace_id": id_})
    path = f"/workspaces/{quote(id_, safe='')}"
    assert f'href="{path}"' in admin.get("/workspaces").text
    page = admin.get(path).text
    assert "<script>alert" not in page
    assert f'action="{path}/limit"' in page
    assert "The limit is 30" in after(admin, f"{path}/limit", {"rate_limit": "30"})


def test_a_workspace_that_there_is_not_is_a_404(admin: Visitor) -> None:
    assert admin.get("/workspaces/nobody").status_code == 404
    for verb in ("credentials", "limit", "check", "release"):
        assert admin.submit(f"/workspaces/nobody/{verb}").status_code == 404


def test_a_reader_sees_no_form_and_changes_nothing(console: Api, reader: Visitor) -> None:
    for path in ("/workspaces", HERE):
        page = reader.get(path)
        assert page.status_code == 200
        assert page.text.count("<form") == 1  # to sign out
    for path in ("/workspaces", f"{HERE}/credentials", f"{HERE}/check", f"{HERE}/release"):
        assert reader.submit(path).status_code == 403


def test_what_is_live_is_the_part_of_the_page(admin: Visitor) -> None:
    for path, wanted in (
        ("/live/workspaces", 'id="workspaces"'),
        (f"/live/workspaces?workspace_id={WORKSPACE.id}", 'id="workspace-now"'),
        (f"/live/readings?workspace_id={WORKSPACE.id}", 'id="readings"'),
    ):
        with admin.get(path, stream=True) as answer:
            lines = answer.iter_lines(decode_unicode=True)
            assert any(wanted in line for line in lines)


def test_where_a_workspace_is_can_be_changed_and_is_checked(
    console: Api, admin: Visitor, reader: Visitor
) -> None:
    console.call("PUT", "/workspaces/ws_1", json={"rate_limit": 60})
    path = "/workspaces/ws_1"
    assert 'value="Asia/Kolkata"' in admin.get(path).text
    good = {"region": "gb", "time_zone": "Europe/London"}
    assert admin.submit(f"{path}/place", good).status_code == 303
    one = console.get(path)
    assert (one["region"], one["time_zone"]) == ("GB", "Europe/London")
    assert reader.submit(f"{path}/place", good).status_code == 403
    answer = admin.submit(f"{path}/place", {"region": "Mars", "time_zone": "Mars/Olympus"})
    assert answer.status_code == 422
    assert "It is no country" in answer.text
    assert "There is no such zone" in answer.text
    assert 'value="Mars/Olympus"' in answer.text
    assert console.get(path)["region"] == "GB"


def test_missed_calls_are_looked_for_by_a_click_and_told(
    admin: Visitor, service: Service, simulator: Simulator, clock: Clock
) -> None:
    simulator.twentytwo.make_calls(3)
    assert "It was not read yet." in admin.get(HERE).text
    page = after(admin, f"{HERE}/reconcile")
    assert "What was missed is queued." in page
    assert "Reads page 1" in page
    assert "being read already" in after(admin, f"{HERE}/reconcile")
    [view] = list_reconciliations(service).items
    # Ours stands still, and the page is due by the api's.
    clock.now += timedelta(hours=1)
    twentytwo = Twenty2(service.settings.twentytwo_base_url)
    while step_here(service, twentytwo, view.id):
        pass
    twentytwo.close()
    page = unescape(admin.get(HERE).text)
    assert "3 missed calls were queued." in page
    [call, *_] = list_calls(service, CallQuery()).items
    story = unescape(admin.get(f"/calls/{call.call_id}").text)
    assert "Found in Twenty2's log" in story


def test_a_reading_is_stopped_by_a_click(admin: Visitor, service: Service) -> None:
    after(admin, f"{HERE}/reconcile")
    [view] = list_reconciliations(service).items
    assert "Stopped: 0 missed calls" in after(admin, f"{HERE}/reconciliations/{view.id}/stop")
    assert "Canceled" in admin.get(HERE).text
