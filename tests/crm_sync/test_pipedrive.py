"""What only Pipedrive does: keys of 40 characters, numbers that are numbers, a search for parts."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from aftercall.crm.answers import Bad, read_answer
from aftercall.crm.description import descriptions
from aftercall.crm.phones import cores, read_number, spellings
from aftercall.domain.exchange import Answer
from aftercall.domain.outcomes import Blocked, Dead, DeliveryOutcome, Retry
from aftercall.flows import configure_destinations as destinations
from aftercall.flows.check_destination import list_crm_fields
from aftercall.simulator.crms.fake import Trouble
from tests.crm_sync.conftest import E164, Bench
from tests.crm_sync.vendors.pipedrive import Pipedrive


@pytest.fixture
def vendor() -> Iterator[Pipedrive]:
    vendor = Pipedrive()
    with vendor.fake:
        yield vendor


@pytest.fixture
def pipedrive(vendor: Pipedrive) -> Pipedrive:
    return vendor


def test_a_call_is_in_utc_and_seconds_as_texts(bench: Bench, pipedrive: Pipedrive) -> None:
    bench.connect()
    bench.go()
    (call,) = pipedrive.fake.calls.values()
    assert (call["start_time"], call["end_time"]) == ("2024-12-25 10:00:00", "2024-12-25 10:01:34")
    assert (call["duration"], call["outcome"]) == ("94", "connected")
    assert (call["from_phone_number"], call["to_phone_number"]) == ("+918040000000", E164)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("completed", "connected"), ("busy", "busy"), ("no_answer", "no_answer")],
)
def test_an_outcome_is_one_of_pipedrives(
    bench: Bench, pipedrive: Pipedrive, status: str, outcome: str
) -> None:
    bench.connect()
    bench.go(status=status)
    assert [call["outcome"] for call in pipedrive.fake.calls.values()] == [outcome]


def test_values_go_where_version_2_wants_them(bench: Bench, pipedrive: Pipedrive) -> None:
    stage = pipedrive.fake.add_field("Stage", type_="enum", options=("Cold", "Hot"))
    budget = pipedrive.fake.add_field("Budget", type_="monetary")
    visit = pipedrive.fake.add_field("Visit", type_="date")
    seats = pipedrive.fake.add_field("Seats", type_="double")
    bench.connect(
        fields=[
            _field("interested", stage, type="choice", choices={"yes": "2", "no": "1"}),
            _field("budget", budget, type="money"),
            _field("visit", visit, type="date"),
            _field("seats", seats, type="number"),
            _field("job", "job_title"),
            _field("email", "emails"),
        ]
    )
    said = {
        "interested": "yes",
        "budget": "₹2,500",
        "visit": "2025-01-05",
        "seats": "12",
        "job": "Principal",
        "email": "asha@example.com",
    }
    bench.go(output_parameters=said)
    assert bench.states() == ["delivered"], bench.errors()
    (person,) = pipedrive.fake.persons.values()
    assert person["custom_fields"] == {
        stage: 2,
        budget: {"value": 2500, "currency": "INR"},
        visit: "2025-01-05",
        seats: 12,
    }
    assert person["job_title"] == "Principal"
    assert person["emails"] == [{"value": "asha@example.com", "primary": True, "label": "work"}]


def test_somebody_known_keeps_what_is_there_by_the_modes(
    bench: Bench, pipedrive: Pipedrive
) -> None:
    id_ = bench.vendor.add_person(E164)
    pipedrive.fake.persons[id_] |= {
        "job_title": "Dean",
        "emails": [{"value": "old@example.com", "primary": True, "label": "work"}],
    }
    bench.connect(
        fields=[
            _field("job", "job_title", mode="when_empty"),
            _field("email", "emails", mode="when_empty"),
            _field("note", pipedrive.notes),
        ]
    )
    bench.go(output_parameters={"job": "Principal", "email": "asha@example.com", "note": "Hi"})
    person = pipedrive.fake.persons[id_]
    assert (person["job_title"], person["emails"][0]["value"]) == ("Dean", "old@example.com")
    assert person["custom_fields"][pipedrive.notes] == "Hi"


def test_another_number_with_these_digits_in_it_is_nobodys_match(
    bench: Bench, pipedrive: Pipedrive
) -> None:
    # The Indian number's ten digits stand in a number of the USA as well.
    stranger = bench.vendor.add_person("+1 9871532305")
    bench.connect()
    bench.go()
    (made,) = pipedrive.fake.persons.keys() - {stranger}
    assert [call.person_id for call in bench.vendor.calls()] == [made]


@pytest.mark.parametrize("newest", [0, 1, 2])
def test_of_several_in_any_spelling_the_last_updated_is_the_newest(
    bench: Bench, pipedrive: Pipedrive, newest: int
) -> None:
    spellings = [E164, "098715 32305", "98715-32305"]
    ids = [bench.vendor.add_person(spelling) for spelling in spellings]
    pipedrive.fake.persons[ids[newest]]["update_time"] = "2024-11-01T00:00:00Z"
    bench.connect()
    bench.go()
    assert [call.person_id for call in bench.vendor.calls()] == [ids[newest]]


@pytest.mark.parametrize(
    "written", [E164, "+12015550123", "+442079460958", "+390612345678", "+6561234567"]
)
def test_in_every_spelling_stands_one_of_a_numbers_cores(written: str) -> None:
    number = read_number(written, region="IN")
    assert number is not None
    for spelling in spellings(number):
        assert any(core in spelling for core in cores(number)), spelling


def test_a_task_without_a_certain_time_has_the_calls_day_and_no_hour(
    bench: Bench, pipedrive: Pipedrive
) -> None:
    bench.connect()
    bench.go(output_parameters={"callback_time": "sometime next week maybe"})
    (task,) = [one for one in pipedrive.fake.activities.values() if not one["done"]]
    assert task["due_date"] == "2024-12-25"
    assert "due_time" not in task


def test_a_burst_is_waited_for_as_long_as_pipedrive_says(bench: Bench) -> None:
    bench.connect()
    bench.vendor.fake.fail_next("find", Trouble.LIMIT)
    bench.go()
    assert "429" in (bench.errors()[0] or "")
    assert bench.states() == ["queued"]


@pytest.mark.parametrize(
    ("status", "body", "outcome", "is_certain"),
    [
        (429, {"success": False, "error": "Too Many Requests"}, Blocked, True),
        (200, {"success": False, "error": "It was not done", "data": None}, Dead, True),
        (403, {"success": False, "error": "Limit", "code": "feature_capping_x"}, Dead, True),
        (403, {"success": False, "error": "Scope and URL mismatch"}, Retry, True),
        (402, {"success": False, "error": "Feature is not enabled"}, Dead, True),
        (500, {"success": False, "error": "Server error."}, Retry, False),
    ],
)
def test_an_answer_means_what_pipedrive_says(
    status: int, body: Any, outcome: type[DeliveryOutcome], is_certain: bool
) -> None:
    answer = Answer(
        status=status,
        body=json.dumps(body).encode(),
        body_was_cut=False,
        retry_after=None,
        elapsed=timedelta(),
    )
    now = datetime(2024, 12, 25, tzinfo=UTC)
    reading = read_answer(answer, descriptions()["pipedrive"], doing="log the call", now=now)
    assert isinstance(reading, Bad)
    assert isinstance(reading.outcome, outcome)
    assert reading.is_certain is is_certain
    assert body["error"] in reading.outcome.reason


@pytest.mark.parametrize(
    ("step", "trouble", "words"),
    [
        ("me", Trouble.EXPIRED, "The API token is not valid"),
        ("calls", Trouble.FORBIDDEN, "no right to the call log"),
        ("find", Trouble.FORBIDDEN, "no right to this"),
    ],
)
def test_the_check_says_what_is_missing(
    bench: Bench, step: str, trouble: Trouble, words: str
) -> None:
    id_ = bench.connect()
    bench.vendor.fake.fail_next(step, trouble)
    found = destinations.test_destination(bench.service, id_)
    assert found.outcome == "dead"
    assert words in (found.reason or "")


def test_a_wrong_address_is_named_by_the_check(bench: Bench) -> None:
    id_ = bench.connect()
    url = f"{bench.vendor.fake.url}/elsewhere"
    destinations.change_destination(bench.service, id_, {"url": url})
    found = destinations.test_destination(bench.service, id_)
    assert "no Pipedrive at this address" in (found.reason or "")


def test_the_numbers_of_options_are_listed_with_their_names(
    bench: Bench, pipedrive: Pipedrive
) -> None:
    stage = pipedrive.fake.add_field("Stage", type_="enum", options=("Cold", "Hot"))
    fields = {one.field: one for one in list_crm_fields(bench.service, bench.connect())}
    assert fields[stage].label == "Stage"
    assert fields[stage].type == "enum: 1 = Cold, 2 = Hot"
    assert fields[stage].choices == ["1", "2"]
    assert fields["phones"].read_only


def test_the_token_is_in_a_header_and_in_no_address(bench: Bench, pipedrive: Pipedrive) -> None:
    bench.connect()
    bench.go()
    for asked in pipedrive.fake.asked():
        assert pipedrive.fake.token not in f"{asked.path} {asked.query}"
        assert asked.headers["x-api-token"] == pipedrive.fake.token


def test_the_pages_example_is_taken() -> None:
    page = (Path(__file__).parents[2] / "docs/crm/pipedrive.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (destination,) = yaml.safe_load(example)["destinations"]
    assert destinations.read_spec(destination).kind == "pipedrive"


def _field(parameter: str, field: str, **more: Any) -> dict[str, Any]:
    return {"source": f"output_parameters.{parameter}", "field": field, **more}
