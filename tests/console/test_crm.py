"""The pages of a destination that is a CRM: made, tried, checked, filled; what was done there."""

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest

from aftercall.crm.description import descriptions
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from aftercall.simulator.crms.hubspot import FakeHubSpot
from tests.api.server import Api, Json
from tests.api.working import work_off
from tests.conftest import Clock
from tests.console.crm import TOKEN, add_call, fake_hubspot, rows, typed
from tests.console.test_destinations import plain, seen_in
from tests.console.visitor import Visitor

NEW = "/destinations/new/hubspot"
PREVIEW = "/destinations/preview/hubspot"
AS_SCRIPT = {"Accept": "application/json, text/plain"}


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


def make(admin: Visitor, console: Api, fake: FakeHubSpot, **more: Any) -> Json:
    answer = admin.submit(NEW, typed(fake, **more))
    assert answer.status_code == 303, plain(answer.text)
    [one] = console.get("/destinations")["items"]
    assert answer.headers["location"] == f"/destinations/{one['id']}"
    return dict(one)


def test_a_new_destination_begins_with_what_it_is(admin: Visitor) -> None:
    for path in ("/destinations/new", NEW):
        page = admin.get(path).text
        assert f'href="{NEW}"' in page
        assert "A hook" in page
    assert admin.get("/destinations/new/nothing").status_code == 404
    assert "Access token" in admin.get(NEW).text


@pytest.mark.parametrize("kind", sorted(descriptions()))
def test_every_kind_has_its_form(admin: Visitor, kind: str) -> None:
    crm = descriptions()[kind]
    page = unescape(admin.get(f"/destinations/new/{kind}").text)
    for need in crm.credentials:
        assert f'id="credential-{need.key}"' in page
    for need in crm.options:
        assert f'id="option-{need.key}"' in page
    assert ("Another address" in page) == (crm.api is not None)
    refused = admin.submit(f"/destinations/new/{kind}", {"name": "x"})
    assert refused.status_code == 422


def test_hubspot_is_connected_with_what_was_typed(
    console: Api, admin: Visitor, hubspot: FakeHubSpot
) -> None:
    made = make(admin, console, hubspot, **rows(
        ("output_parameters.mood", "hs_lead_status", "choice", "when_empty", "Open", "good = Open"),
    ), follow_wanted="output_parameters.callback_requested", when_many="review")  # fmt: skip
    assert made["kind"] == "hubspot"
    assert made["enabled"]
    assert made["credentials"] == {"token": "********"}
    sync = made["sync"]
    assert sync["fields"] == [
        {
            "source": "output_parameters.mood",
            "field": "hs_lead_status",
            "type": "choice",
            "mode": "when_empty",
            "default": "Open",
            "choices": {"good": "Open"},
        }
    ]
    assert sync["when_many"] == "review"
    assert sync["follow_up"]["wanted"] == "output_parameters.callback_requested"
    page = admin.get(f"/destinations/{made['id']}")
    assert TOKEN not in page.text
    assert "hs_lead_status" in page.text
    assert "Nobody gets it until a person has decided" in plain(page.text)


def test_it_can_be_made_paused(console: Api, admin: Visitor, hubspot: FakeHubSpot) -> None:
    assert not make(admin, console, hubspot, paused="yes")["enabled"]


@pytest.mark.parametrize(
    ("fields", "label", "says"),
    [
        ({"name": " "}, "field-name", "It is empty"),
        ({"credential": [""]}, "credential-token", "It is needed: Access token"),
        ({"url": "ftp://x"}, "field-url", "It must begin with https://"),
        ({"events": []}, "field-events", "Choose at least one."),
        ({"filter": "call.x == 'a"}, "field-filter", "Unclosed"),
        ({"follow_time": "output_parameters.["}, "field-follow_time", "column"),
        (
            rows(("output_parameters.a b", "x", "text", "overwrite", "", "")),
            "map-source-0",
            "Line 1, column 21.",
        ),
        (
            rows(
                ("call_id", "a", "text", "overwrite", "", ""),
                ("call_id", "", "text", "overwrite", "", ""),
            ),
            "map-field-1",
            "Say which field of HubSpot it is",
        ),
        (
            rows(
                ("call_id", "a", "text", "overwrite", "", ""),
                ("call_id", "a", "text", "overwrite", "", ""),
            ),
            "map-field-1",
            "a is there already, in field 1",
        ),
        (
            rows(("call_id", "a", "choice", "overwrite", "", "yes: Yes")),
            "map-choices-0",
            "Write “yes: Yes” as",
        ),
        ({"timeout_seconds": "90"}, "field-timeout_seconds", "less than or equal to 30"),
    ],
)
def test_what_is_wrong_stands_at_its_place_and_nothing_is_lost(
    console: Api,
    admin: Visitor,
    hubspot: FakeHubSpot,
    fields: dict[str, Any],
    label: str,
    says: str,
) -> None:
    answer = admin.submit(NEW, {**typed(hubspot), **fields})
    assert answer.status_code == 422
    assert console.get("/destinations")["items"] == []
    page = unescape(answer.text)
    place = page.index(f'id="{label}')
    assert re.search(r'class="fault"', page[place:])
    assert says in plain(page[place : place + 4_000])
    if "name" not in fields:
        assert 'value="HubSpot of sales"' in page


def test_an_edit_keeps_the_credentials_that_are_left_alone(
    console: Api, admin: Visitor, hubspot: FakeHubSpot
) -> None:
    made = make(admin, console, hubspot)
    path = f"/destinations/{made['id']}"
    assert admin.get(f"{path}/edit").headers["location"] == f"{path}/sync"
    page = unescape(admin.get(f"{path}/sync").text)
    assert TOKEN not in page
    assert 'value="output_parameters.note"' in page
    kept = typed(hubspot, credential=[""], name="Renamed")
    assert admin.submit(f"{path}/sync", kept).status_code == 303
    assert console.get(path)["name"] == "Renamed"
    assert "The connection works" in admin.submit(f"{path}/test").text
    assert admin.submit(f"{path}/sync", {**kept, "credential": ["wrong"]}).status_code == 303
    page = plain(admin.submit(f"{path}/test").text)
    assert "Something is missing" in page
    assert "The token is not valid" in page


def test_of_two_who_change_it_at_once_the_second_is_told(
    console: Api, admin: Visitor, hubspot: FakeHubSpot
) -> None:
    path = f"/destinations/{make(admin, console, hubspot)['id']}"
    theirs = typed(hubspot, credential=[""], seen=seen_in(admin.get(f"{path}/sync").text))
    ours = {**theirs, "when_many": "review"}
    assert admin.submit(f"{path}/sync", ours).status_code == 303
    told = admin.submit(f"{path}/sync", {**theirs, "name": "Renamed"})
    assert told.status_code == 422
    assert "changed by somebody else" in plain(told.text)
    assert console.get(path)["sync"]["when_many"] == "review"
    again = {**theirs, "name": "Renamed", "seen": seen_in(told.text)}
    assert admin.submit(f"{path}/sync", again).status_code == 303
    assert console.get(path)["name"] == "Renamed"


def test_the_check_names_a_field_that_hubspot_does_not_have(
    console: Api, admin: Visitor, hubspot: FakeHubSpot
) -> None:
    fields = rows(("call_id", "nobody_made_this", "text", "overwrite", "", ""))
    made = make(admin, console, hubspot, **fields)
    page = plain(admin.submit(f"/destinations/{made['id']}/test").text)
    assert re.search(r"No Field nobody_made_this ?HubSpot has no field nobody_made_this", page), (
        page
    )


def test_the_fields_of_hubspot_are_offered(
    console: Api, admin: Visitor, reader: Visitor, hubspot: FakeHubSpot
) -> None:
    made = make(admin, console, hubspot)
    path = f"/destinations/{made['id']}/fields"
    assert "agent_notes" in reader.get(path).text
    part = reader.get(path, headers=AS_SCRIPT).text
    assert '<option value="agent_notes"' in part
    assert "notes_last_updated" not in part
    hubspot.token = "another"
    assert "HubSpot did not tell its fields" in plain(reader.get(path).text)


def test_a_preview_says_field_by_field_what_would_be_written(
    admin: Visitor, reader: Visitor, hubspot: FakeHubSpot, call_id: str
) -> None:
    fields = typed(hubspot, **rows(
        ("output_parameters.interested", "is_interested", "yes_no", "overwrite", "", ""),
        ("output_parameters.note", "score", "number", "when_empty", "", ""),
        ("output_parameters.not_there", "gone", "text", "append", "", ""),
    ))  # fmt: skip
    page = admin.submit(PREVIEW, fields)
    assert page.status_code == 200
    said = plain(page.text)
    assert "Would be written" in said
    assert re.search(r"is_interested ?true overwrites what is there", said)
    assert re.search(r"score ?Stays as it is: .*Wants a brochure", said)
    assert re.search(r"gone ?Stays as it is: the call says nothing about it", said)
    assert "If nobody has it, a new person is made." in said
    assert "9871532305" not in said
    assert "“Call back” due" in said
    assert "They said: Tomorrow 11am" in said
    headers = {**AS_SCRIPT, "X-CSRF-Token": reader.csrf_token()}
    part = reader.post(PREVIEW, fields, headers=headers).text
    assert "<html" not in part
    assert 'id="fault-area-source-0"' in part
    assert hubspot.asked() == []


def test_parameters_that_no_field_takes_are_offered_and_become_a_line(
    admin: Visitor, hubspot: FakeHubSpot, call_id: str
) -> None:
    fields = typed(hubspot, **rows())
    page = unescape(admin.submit(PREVIEW, fields).text)
    assert 'name="add" value="output_parameters.note"' in page
    added = unescape(admin.submit(PREVIEW, {**fields, "add": "output_parameters.note"}).text)
    assert 'name="map_source" value="output_parameters.note"' in added
    assert 'name="add" value="output_parameters.note"' not in added
    two = typed(hubspot)
    removed = unescape(admin.submit(PREVIEW, {**two, "remove": "0"}).text)
    assert (
        'value="output_parameters.interested"'
        not in re.findall(r'<input[^>]*name="map_source"[^>]*>', removed)[0]
    )


def test_a_call_goes_into_hubspot_and_its_pages_say_what_was_done(
    console: Api,
    admin: Visitor,
    hubspot: FakeHubSpot,
    service: Service,
    simulator: Simulator,
    clock: Clock,
) -> None:
    make(admin, console, hubspot)
    id_ = add_call(simulator, callback_time="sometime next week maybe")
    console.webhook({"call_id": id_})
    work_off(service, clock)
    [delivery] = console.get("/deliveries")["items"]
    assert delivery["state"] == "delivered", delivery
    page = plain(admin.get(f"/deliveries/{delivery['id']}").text)
    for says in (
        "Nobody had the number: the person was made",
        "The fields were written",
        "The call was logged",
        "The follow-up task was made",
        "For review: no certain time",
    ):
        assert says in page
    story = plain(admin.get(f"/calls/{id_}").text)
    assert "HubSpot of sales: The call was logged" in story


def test_a_call_of_somebody_whom_the_crm_does_not_know_says_so_everywhere(
    console: Api,
    admin: Visitor,
    hubspot: FakeHubSpot,
    simulator: Simulator,
    service: Service,
    clock: Clock,
) -> None:
    make(admin, console, hubspot, when_none="skip")
    call_id = add_call(simulator)
    console.webhook({"call_id": call_id})
    work_off(service, clock)
    says = "HubSpot knows nobody with this number, and the destination does not make new people"
    story = plain(admin.get(f"/calls/{call_id}").text)
    assert f"Not sent HubSpot of sales: {says}" in story
    assert "Skipped for HubSpot of sales" in story
    assert "Delivered to" not in story
    assert "filter did not want" not in story
    [one] = console.get("/deliveries")["items"]
    page = plain(admin.get(f"/deliveries/{one['id']}").text)
    assert f"It was skipped {says}" in page
    assert "What to do Add the person in the CRM" in page
    assert "Attempt 1: skipped" in page
    assert console.get("/stats/overview")["today"]["delivered"] == 0


def test_past_calls_of_a_paused_destination_are_said_to_be_held(
    console: Api, admin: Visitor, hubspot: FakeHubSpot, call_id: str
) -> None:
    made = make(admin, console, hubspot, paused="yes")
    path = f"/destinations/{made['id']}"
    answer = admin.submit(f"{path}/backfill", {"count": "50", "since": "", "until": ""})
    says = "1 past call is held until HubSpot of sales is resumed."
    assert says in plain(admin.get(answer.headers["location"]).text)


def test_past_calls_are_counted_and_then_sent_once(
    console: Api,
    admin: Visitor,
    reader: Visitor,
    hubspot: FakeHubSpot,
    call_id: str,
    service: Service,
    clock: Clock,
) -> None:
    made = make(admin, console, hubspot)
    path = f"/destinations/{made['id']}/backfill"
    assert reader.get(path).status_code == 403
    assert "1 call would go" in plain(admin.get(path).text)
    assert console.get("/deliveries")["items"] == []
    assert admin.get(f"{path}?count=none").status_code == 422
    answer = admin.submit(path, {"count": "50", "since": "", "until": ""})
    assert answer.status_code == 303
    work_off(service, clock)
    assert len(hubspot.objects["contacts"]) == 1
    assert "0 calls would go" in plain(admin.get(path).text)
    assert "it has 1 already" in plain(admin.get(path).text)


def test_a_reader_sees_the_mapping_and_no_form(
    console: Api, admin: Visitor, reader: Visitor, hubspot: FakeHubSpot
) -> None:
    made = make(admin, console, hubspot)
    page = reader.get(f"/destinations/{made['id']}").text
    assert "agent_notes" in page
    assert "/sync" not in page
    for path in (NEW, f"/destinations/{made['id']}/sync"):
        assert reader.get(path).status_code == 403
        assert reader.submit(path, typed(hubspot)).status_code == 403
