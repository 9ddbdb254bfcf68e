"""What only LeadSquared does: faults in the body, keys that must not be seen, +91-9871532305."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from aftercall.crm.answers import Bad, Good, read_answer
from aftercall.crm.connection import Connection, as_request
from aftercall.crm.description import descriptions
from aftercall.crm.sync import CrmRequest
from aftercall.domain.exchange import Answer
from aftercall.domain.outcomes import Blocked, Dead, DeliveryOutcome, Retry
from aftercall.flows import configure_destinations as destinations
from aftercall.flows.look import show_call
from aftercall.flows.replay import replay_delivery
from aftercall.simulator.crms.fake import Trouble
from tests.crm_sync.conftest import E164, Bench
from tests.crm_sync.vendors.leadsquared import LeadSquared
from tests.flows.work import delivery_rows


@pytest.fixture
def vendor() -> Iterator[LeadSquared]:
    vendor = LeadSquared()
    with vendor.fake:
        yield vendor


@pytest.fixture
def leadsquared(vendor: LeadSquared) -> LeadSquared:
    return vendor


def test_a_new_lead_has_its_number_as_leadsquared_writes_it(
    bench: Bench, leadsquared: LeadSquared
) -> None:
    leadsquared.options["source"] = "AI call"
    bench.connect()
    bench.go()
    (lead,) = leadsquared.fake.leads.values()
    assert lead["Phone"] == "+91-9871532305"
    assert (lead["FirstName"], lead["LastName"], lead["Source"]) == ("Asha", "Menon", "AI call")


def test_times_are_in_utc_and_everything_else_is_text(
    bench: Bench, leadsquared: LeadSquared
) -> None:
    leadsquared.fake.add_field("mx_Visit", type_="Date")
    leadsquared.fake.add_field("mx_Seats", type_="Number")
    leadsquared.options |= {"outcome_field": "mx_Custom_2", "direction_field": "mx_Custom_3"}
    bench.connect(
        fields=[
            {"source": "output_parameters.visit", "field": "mx_Visit", "type": "date_time"},
            {"source": "output_parameters.seats", "field": "mx_Seats", "type": "number"},
        ]
    )
    said = {"visit": "2025-01-05T16:00:00", "seats": "12", "callback_time": "Tomorrow 11am"}
    bench.go(output_parameters=said)
    assert bench.states() == ["delivered"], bench.errors()
    (lead,) = leadsquared.fake.leads.values()
    assert (lead["mx_Visit"], lead["mx_Seats"]) == ("2025-01-05 10:30:00", "12")
    (activity,) = leadsquared.fake.activities.values()
    assert activity["ActivityDateTime"] == "2024-12-25 10:00:00"
    assert activity["Fields"] == [
        {"SchemaName": "mx_Custom_1", "Value": "94"},
        {"SchemaName": "mx_Custom_2", "Value": "completed"},
        {"SchemaName": "mx_Custom_3", "Value": "Outbound"},
    ]
    (task,) = leadsquared.fake.tasks.values()
    assert task["DueDate"] == "2024-12-26 05:30:00"


def test_another_countrys_number_with_the_same_digits_is_nobodys_match(
    bench: Bench, leadsquared: LeadSquared
) -> None:
    stranger = bench.vendor.add_person("+1-9871532305")
    bench.connect()
    bench.go()
    (made,) = leadsquared.fake.leads.keys() - {stranger}
    assert [call.person_id for call in bench.vendor.calls()] == [made]


@pytest.mark.parametrize("step", ["find", "make", "call", "task"])
def test_a_limit_that_comes_as_200_is_waited_for(
    bench: Bench, leadsquared: LeadSquared, step: str
) -> None:
    leadsquared.fake.limit_in_200 = True
    bench.connect()
    bench.vendor.fake.fail_next(step, Trouble.LIMIT)
    bench.go()
    (row,) = delivery_rows(bench.service)
    assert (row.state, row.attempts) == ("queued", 0)
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    counts = [len(bench.vendor.people()), len(bench.vendor.calls()), len(bench.vendor.tasks())]
    assert counts == [1, 1, 1]


@pytest.mark.parametrize(
    ("status", "type_", "outcome", "is_certain"),
    [
        (200, "MXAPIRateLimitExceededException", Blocked, True),
        (429, "MXAPIRateLimitExceededException", Blocked, True),
        (500, "MXDuplicateEntryException", Retry, True),
        (500, "MXMandatoryAttributeMissingException", Dead, True),
        (200, "MXInvalidInputException", Dead, True),
        (200, None, Retry, True),
        # A breakdown: nobody knows what was done.
        (500, None, Retry, False),
    ],
)
def test_a_fault_means_what_its_type_says(
    status: int, type_: str | None, outcome: type[DeliveryOutcome], is_certain: bool
) -> None:
    body = {"Status": "Error", "ExceptionType": type_, "ExceptionMessage": "It did not work"}
    reading = _read(status, body)
    assert isinstance(reading, Bad)
    assert isinstance(reading.outcome, outcome)
    assert reading.is_certain is is_certain
    assert "It did not work" in reading.outcome.reason


@pytest.mark.parametrize("body", [[], [{"ProspectID": "x"}], {"Status": "Success", "Message": {}}])
def test_an_answer_without_a_fault_is_good(body: Any) -> None:
    assert isinstance(_read(200, body), Good)


def test_a_lead_that_is_gone_is_looked_for_anew() -> None:
    body = {
        "Status": "Error",
        "ExceptionType": "MXAnyException",
        "ExceptionMessage": "Lead with Id 1 does not exist",
    }
    reading = _read(500, body)
    assert isinstance(reading, Bad)
    assert reading.is_missing


def test_a_replay_finds_anew_whom_leadsquared_did_not_call_gone(
    bench: Bench, leadsquared: LeadSquared
) -> None:
    leadsquared.fake.gone_says = "Something else about {}"
    id_ = bench.vendor.add_person(E164)
    bench.connect()
    bench.vendor.fake.fail_next("call", Trouble.SERVER_ERROR)
    bench.go()
    bench.vendor.remove_person(id_)
    bench.go_on()
    assert bench.states() == ["dead"]
    replay_delivery(bench.service, delivery_rows(bench.service)[0].id)
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    (other,) = bench.vendor.people()
    assert [call.person_id for call in bench.vendor.calls()] == [other]


def test_keys_are_in_no_address_log_attempt_or_answer(
    bench: Bench, leadsquared: LeadSquared, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = list(leadsquared.credentials.values())
    id_ = bench.connect()
    # This refusal repeats them.
    bench.vendor.fake.fail_next("find", Trouble.EXPIRED)
    bench.go()
    bench.go_on()
    bench.vendor.fake.fail_next("fields", Trouble.EXPIRED)
    check = destinations.test_destination(bench.service, id_)
    assert "do not belong together" in (check.reason or "")
    logs = capsys.readouterr()
    assert "delivery.attempted" in logs.out
    seen = [
        logs.out,
        logs.err,
        check.model_dump_json(),
        show_call(bench.service, "call_9c4d7e12ab").model_dump_json(),
        destinations.show_destination(bench.service, id_).model_dump_json(),
        *(f"{asked.method} {asked.path} {asked.query}" for asked in leadsquared.fake.asked()),
    ]
    for key in keys:
        assert not [text for text in seen if key in text]


def test_keys_are_in_no_repr(leadsquared: LeadSquared) -> None:
    crm = descriptions()["leadsquared"]
    connection = Connection("https://api-in21.leadsquared.com", leadsquared.credentials)
    asked = CrmRequest("GET", "/v2/x", {}, None, "json")
    request = as_request(asked, connection, crm.auth, timeout=timedelta(seconds=5))
    for key in leadsquared.credentials.values():
        assert key not in repr(connection) + repr(request) + request.url
        assert key not in str(request.params)
        assert key in request.headers.values()


def test_the_check_names_an_activity_type_that_is_not_there(
    bench: Bench, leadsquared: LeadSquared
) -> None:
    id_ = bench.connect(options={**leadsquared.options, "activity_event": "999"})
    found = destinations.test_destination(bench.service, id_)
    assert "no activity type of this code" in (found.reason or "")


def test_a_wrong_address_is_named_by_the_check(bench: Bench) -> None:
    id_ = bench.connect()
    url = f"{bench.vendor.fake.url}/elsewhere"
    destinations.change_destination(bench.service, id_, {"url": url})
    found = destinations.test_destination(bench.service, id_)
    assert "no LeadSquared at this address" in (found.reason or "")


@pytest.mark.parametrize("wanted", ["true", "false"])
def test_automations_start_only_where_they_are_wanted(
    bench: Bench, leadsquared: LeadSquared, wanted: str
) -> None:
    bench.vendor.add_person(E164)
    bench.connect(options={**leadsquared.options, "trigger_automations": wanted})
    bench.go()
    (asked,) = leadsquared.fake.asked("change")
    assert asked.query["postUpdatedLead"] == wanted


def test_the_pages_example_is_taken() -> None:
    page = (Path(__file__).parents[2] / "docs/crm/leadsquared.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (destination,) = yaml.safe_load(example)["destinations"]
    assert destinations.read_spec(destination).kind == "leadsquared"


def _read(status: int, body: Any) -> Good | Bad:
    answer = Answer(
        status=status,
        body=json.dumps(body).encode(),
        body_was_cut=False,
        retry_after=None,
        elapsed=timedelta(),
    )
    now = datetime(2024, 12, 25, tzinfo=UTC)
    return read_answer(answer, descriptions()["leadsquared"], doing="make it", now=now)
