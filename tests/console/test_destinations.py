"""The pages of destinations: how each stands, the form and its faults, what can be done."""

import re
import uuid
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

from aftercall.db.session import Database
from aftercall.domain.states import DeliveryState
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.api.server import Api, Json
from tests.api.working import work_off
from tests.conftest import Clock
from tests.console.rows import make_deliveries
from tests.console.visitor import READONLY_TOKEN, Visitor

HOOK = "http://127.0.0.1:9/hook"
TYPED: dict[str, Any] = {
    "name": "leads",
    "url": HOOK,
    "events": ["call.completed", "call.failed", "call.updated"],
    "filter": "",
    "mapping": "",
    "timeout_seconds": "15",
    "max_in_flight": "32",
    "rate_limit_per_second": "",
    "header_name": ["", ""],
    "header_value": ["", ""],
}


@pytest.fixture
def add(console: Api) -> Callable[..., Json]:
    def make(name: str = "leads", *, url: str = HOOK, **fields: object) -> Json:
        return console.post("/destinations", {"name": name, "url": url, **fields}, status=201)

    return make


@pytest.fixture
def call_id(console: Api, service: Service, simulator: Simulator, clock: Clock) -> str:
    """Of a call that is saved."""
    [id_] = simulator.twentytwo.make_calls(1, status="completed")
    console.webhook({"call_id": id_})
    work_off(service, clock)
    return id_


def plain(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", page.replace("<br>", " "))).split())


def secrets_in(page: str) -> set[str]:
    return set(re.findall(r"whsec_[A-Za-z0-9+/=]{20,}", unescape(page)))


def test_without_a_destination_the_page_leads_to_the_first(admin: Visitor, reader: Visitor) -> None:
    assert 'href="/destinations/new"' in admin.get("/destinations").text
    assert "/destinations/new" not in reader.get("/destinations").text


def test_the_list_says_how_each_stands(
    database: Database, admin: Visitor, add: Callable[..., Json]
) -> None:
    one, other = add(), add("others", enabled=False)
    make_deliveries(database, one["id"], 3)
    make_deliveries(database, other["id"], 2, state=DeliveryState.HELD)
    page = plain(admin.get("/destinations").text)
    assert "Working" in page
    assert "Paused Disabled by hand" in page
    assert re.search(r"leads http://127.0.0.1:9/hook Working – – – 0 0 3", page), page


def test_a_destination_is_made_and_its_secret_shown_once(console: Api, admin: Visitor) -> None:
    fields = {**TYPED, "header_name": ["X-Key", ""], "header_value": ["hidden-value", ""]}
    made = admin.submit("/destinations/new", fields)
    assert made.status_code == 201
    [secret] = secrets_in(made.text)
    [one] = console.get("/destinations")["items"]
    assert (one["name"], one["headers"]) == ("leads", {"X-Key": "********"})
    for path in (f"/destinations/{one['id']}", f"/destinations/{one['id']}/edit"):
        page = admin.get(path).text
        assert secret not in page
        assert "hidden-value" not in page


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"url": "ftp://x"}, "It must begin with https://"),
        ({"url": "http://10.0.0.1/"}, "not a public address"),
        ({"name": " "}, "It is empty"),
        ({"events": []}, "Choose completed or failed calls, or both."),
        ({"timeout_seconds": "90"}, "less than or equal to 30"),
        ({"timeout_seconds": ""}, "It is not a number"),
        ({"rate_limit_per_second": "many"}, "It is not a number"),
        ({"header_name": ["X-A", "x-a"], "header_value": ["1", "2"]}, "A header is there twice"),
        ({"header_name": ["Host"], "header_value": ["1"]}, "Host is set by aftercall"),
        ({"header_name": [""], "header_value": ["1"]}, "is not a header's name"),
        ({"secret": "short"}, "The secret must be whsec_"),
        ({"mapping": "{a: call.status,\r\n b c}"}, "Line 2, column 4."),
        ({"mapping": "x" * 10_001}, "It is longer than 10000 characters"),
        ({"filter": "call.x == 'a"}, "Unclosed"),
        ({"workspace_id": "nobody's"}, "There is no workspace"),
    ],
)
def test_what_is_wrong_stands_at_its_field_and_nothing_is_lost(
    console: Api, admin: Visitor, fields: dict[str, Any], says: str
) -> None:
    typed = {**TYPED, **fields}
    answer = admin.submit("/destinations/new", typed)
    assert answer.status_code == 422
    assert says in plain(answer.text)
    assert 'class="fault"' in answer.text
    for name in ("name", "url", "mapping", "filter"):
        assert str(typed[name]).replace("\r\n", "\n").strip()[:200] in unescape(
            answer.text
        ).replace("\r\n", "\n")
    assert console.get("/destinations")["items"] == []


def test_a_name_that_is_taken_is_said_at_the_name(admin: Visitor, add: Callable[..., Json]) -> None:
    add()
    answer = admin.submit("/destinations/new", TYPED)
    assert answer.status_code == 422
    assert "There is a destination named" in plain(answer.text)


def test_a_change_keeps_what_is_masked(
    console: Api, admin: Visitor, add: Callable[..., Json]
) -> None:
    one = add(headers={"X-Key": "kept", "X-Gone": "1"})
    fields = {**TYPED, "mapping": "{id: call_id}", "timeout_seconds": "20"}
    fields |= {"header_name": ["X-Key", "X-New"], "header_value": ["********", "new"]}
    answer = admin.submit(f"/destinations/{one['id']}/edit", fields)
    assert answer.headers["location"] == f"/destinations/{one['id']}"
    after = console.get(f"/destinations/{one['id']}")
    assert (after["mapping"], after["timeout_seconds"]) == ("{id: call_id}", 20)
    assert set(after["headers"]) == {"X-Key", "X-New"}
    [entry, *_] = console.get("/audit", subject=one["id"])["items"]
    assert entry["via"] == "console"
    assert entry["detail"]["fields"] == ["headers", "mapping", "timeout_seconds"]


def seen_in(page: str) -> str:
    found = re.search(r'name="seen" value="([^"]*)"', page)
    assert found
    return unescape(found[1])


def test_of_two_who_change_it_at_once_the_second_is_told(
    console: Api, admin: Visitor, add: Callable[..., Json]
) -> None:
    path = f"/destinations/{add()['id']}"
    theirs = {**TYPED, "seen": seen_in(admin.get(f"{path}/edit").text)}
    ours = {**theirs, "mapping": "{id: call_id}"}
    assert admin.submit(f"{path}/edit", ours).status_code == 303
    told = admin.submit(f"{path}/edit", {**theirs, "timeout_seconds": "20"})
    assert told.status_code == 422
    assert "changed by somebody else" in plain(told.text)
    assert 'value="20"' in told.text
    assert console.get(path)["mapping"] == "{id: call_id}"
    again = {**theirs, "timeout_seconds": "20", "seen": seen_in(told.text)}
    assert admin.submit(f"{path}/edit", again).status_code == 303
    assert console.get(path)["timeout_seconds"] == 20


def test_a_preview_shows_the_body_of_a_past_call(
    admin: Visitor, reader: Visitor, call_id: str
) -> None:
    fields = {**TYPED, "mapping": "{id: call_id}", "name": ""}
    page = admin.submit("/destinations/preview", fields)
    assert page.status_code == 200
    assert "Would be sent" in page.text
    assert f'"id": "{call_id}"' in unescape(page.text)
    as_script = {"Accept": "application/json, text/plain", "X-CSRF-Token": reader.csrf_token()}
    skipped = reader.post(
        "/destinations/preview",
        {"filter": "call.status == 'x'", "events": "call.completed", "preview_call_id": call_id},
        headers=as_script,
    )
    assert "<html" not in skipped.text
    assert "Would be skipped" in skipped.text
    assert "The filter says no" in skipped.text
    faulty = reader.post("/destinations/preview", {"mapping": "{a: call."}, headers=as_script)
    assert "Line 1, column 10." in plain(faulty.text)
    assert "<mark>" in faulty.text


@pytest.mark.parametrize("given", ["no-such-call", "\x00", "x" * 300])
def test_a_call_that_cannot_be_tried_is_said_so(admin: Visitor, given: str) -> None:
    page = admin.submit("/destinations/preview", {**TYPED, "preview_call_id": given})
    assert page.status_code == 200
    assert "preview-note" in page.text


def test_a_preview_masks_phone_numbers_until_it_is_asked_for_them(
    admin: Visitor, call_id: str, console: Api
) -> None:
    [call] = console.calls(q=call_id)
    fields = {**TYPED, "mapping": "{phone: call.callee_phone}"}
    masked = plain(admin.submit("/destinations/preview", fields).text)
    assert call["callee_phone"] not in masked
    shown = admin.submit("/destinations/preview", {**fields, "phones": "shown"}).text
    assert call["callee_phone"] in plain(shown)


def test_a_test_shows_what_the_hook_answered(
    admin: Visitor, simulator: Simulator, add: Callable[..., Json]
) -> None:
    one = add(url=simulator.crm.hook_url("leads"))
    simulator.crm.add_hook("leads", one["secret"])
    assert "The hook took the test" in admin.submit(f"/destinations/{one['id']}/test").text
    simulator.crm.hook("leads").set_secrets("whsec_" + "A" * 32)
    refused = plain(admin.submit(f"/destinations/{one['id']}/test").text)
    assert "The hook did not take the test" in refused
    assert "It answered 401" in refused


def test_pausing_and_resuming_say_how_many_are_held(
    database: Database, console: Api, admin: Visitor, add: Callable[..., Json]
) -> None:
    one = add()
    path = f"/destinations/{one['id']}"
    make_deliveries(database, one["id"], 12, state=DeliveryState.QUEUED, reason=None)
    assert "12 deliveries wait and are held" in plain(admin.get(path).text)
    admin.submit(f"{path}/pause")
    page = plain(admin.get(path).text)
    assert "leads is paused; 12 deliveries are held until it is resumed." in page
    assert "12 deliveries are held and go once it is resumed" in page
    assert console.get(path)["held"] == 12
    admin.submit(f"{path}/resume")
    assert "leads is resumed; 12 deliveries that were held go now." in plain(admin.get(path).text)
    assert (console.get(path)["waiting"], console.get(path)["held"]) == (12, 0)


def test_a_rotated_secret_is_shown_once_and_a_second_press_rotates_nothing(
    console: Api, admin: Visitor, add: Callable[..., Json]
) -> None:
    one = add()
    path = f"/destinations/{one['id']}"
    seen = re.search(r'name="seen" value="([^"]+)"', admin.get(path).text)
    assert seen
    fields = {"hours": "24", "seen": unescape(seen[1])}
    rotated = admin.submit(f"{path}/rotate", fields)
    [secret] = secrets_in(rotated.text)
    assert secret != one["secret"]
    assert "signed with the secret before as well" in rotated.text
    assert console.get(path)["old_secret_until"] is not None
    assert admin.submit(f"{path}/rotate", fields).status_code == 409
    assert admin.submit(f"{path}/rotate", {**fields, "hours": "-1"}).status_code == 422
    assert secrets_in(admin.get(path).text) == set()


def test_removing_says_what_dies(
    database: Database, admin: Visitor, add: Callable[..., Json]
) -> None:
    one = add(enabled=False)
    path = f"/destinations/{one['id']}"
    [held] = make_deliveries(database, one["id"], 1, state=DeliveryState.HELD, reason=None)
    assert "1 delivery that waits or is held will be dead" in plain(admin.get(path).text)
    assert admin.submit(f"{path}/remove").headers["location"] == "/destinations"
    assert "leads is removed; 1 delivery is dead." in plain(admin.get("/destinations").text)
    assert admin.get(path).status_code == 404
    page = admin.get(f"/deliveries/{held}").text
    assert "its destination was removed" in page


def test_a_reader_sees_how_it_is_set_up_and_no_button(
    database: Database, reader: Visitor, add: Callable[..., Json]
) -> None:
    one = add(mapping="{id: call_id}")
    path = f"/destinations/{one['id']}"
    make_deliveries(database, one["id"], 2)
    page = reader.get(path)
    assert page.status_code == 200
    assert "{id: call_id}" in page.text
    assert re.findall(r'<form method="post" action="([^"]+)"', page.text) == []
    assert f"{path}/edit" not in page.text
    for verb in ("test", "pause", "resume", "rotate", "remove", "edit"):
        assert reader.submit(f"{path}/{verb}").status_code == 403
    for form in ("/destinations/new", f"{path}/edit"):
        assert reader.get(form).status_code == 403


def test_a_destination_that_is_not_there_is_not_found(admin: Visitor) -> None:
    path = f"/destinations/{uuid.uuid4()}"
    assert admin.get(path).status_code == 404
    assert admin.submit(f"{path}/pause").status_code == 404


def test_a_reader_does_not_see_the_query_of_a_hooks_url(
    admin: Visitor, reader: Visitor, console: Api, add: Callable[..., Json]
) -> None:
    short = add("short", url=f"{HOOK}?token=canary")
    long = add("long", url=f"{HOOK}/{'x' * 10}?token=canary-{'y' * 60}")
    for one in (short, long):
        path = f"/destinations/{one['id']}"
        assert "canary" in admin.get(path).text
        page = reader.get(path).text
        assert "canary" not in page
        assert f"{one['url'].partition('?')[0]}?…" in page
    for visitor in (admin, reader):
        assert "canary" not in visitor.get("/destinations").text
    as_reader = {"Authorization": f"Bearer {READONLY_TOKEN}"}
    for path in ("/destinations", f"/destinations/{short['id']}"):
        assert "canary" in console.call("GET", path).text
        answer = console.call("GET", path, headers=as_reader)
        assert answer.ok
        assert "canary" not in answer.text
        assert f"{HOOK}?…" in answer.text
