"""What is HubSpot's own: everything is a text, milliseconds, its associations, its refusals."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aftercall.crm.answers import Bad, read_answer
from aftercall.crm.description import descriptions
from aftercall.domain.exchange import Answer
from aftercall.domain.outcomes import Blocked, Dead, Retry
from aftercall.flows import configure_destinations as destinations
from aftercall.flows.replay import replay_delivery
from aftercall.simulator.crms.fake import Trouble
from tests.crm_sync.conftest import E164, Bench
from tests.crm_sync.vendors.hubspot import HubSpot
from tests.flows.work import delivery_rows

CRM = descriptions()["hubspot"]
NOW = datetime(2024, 12, 25, 10, tzinfo=UTC)


@pytest.fixture
def vendor() -> Iterator[HubSpot]:
    vendor = HubSpot()
    with vendor.fake:
        yield vendor


def test_a_call_is_told_in_utc_and_milliseconds_on_the_contact(bench: Bench) -> None:
    bench.connect()
    bench.go()
    ((person_id, _),) = bench.vendor.people().items()
    (asked,) = bench.vendor.fake.asked("call")
    properties = asked.body["properties"]
    assert properties["hs_timestamp"] == "2024-12-25T10:00:00Z"
    assert properties["hs_call_duration"] == "94000"
    assert properties["hs_call_direction"] == "OUTBOUND"
    assert properties["hs_call_status"] == "COMPLETED"
    assert (properties["hs_call_from_number"], properties["hs_call_to_number"]) == (
        "+918040000000",
        E164,
    )
    assert asked.body["associations"] == [
        {
            "to": {"id": person_id},
            "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 194}],
        }
    ]


@pytest.mark.parametrize(
    ("status", "word"), [("failed", "FAILED"), ("no_answer", "NO_ANSWER"), ("busy", "NO_ANSWER")]
)
def test_a_call_that_nobody_took_says_so(bench: Bench, status: str, word: str) -> None:
    bench.connect()
    bench.go(status=status)
    (asked,) = bench.vendor.fake.asked("call")
    assert asked.body["properties"]["hs_call_status"] == word


def test_every_value_is_a_text(bench: Bench) -> None:
    fake = fake_of(bench)
    for name in ("budget", "price", "visit"):
        fake.add_property(name)
    fake.add_property("stage", options=("warm_lead", "cold_lead"))
    bench.connect(
        fields=[
            {"source": "output_parameters.budget", "field": "budget", "type": "number"},
            {"source": "output_parameters.price", "field": "price", "type": "money"},
            {"source": "output_parameters.visit", "field": "visit", "type": "date"},
            {
                "source": "output_parameters.stage",
                "field": "stage",
                "type": "choice",
                "choices": {"Warm": "warm_lead"},
            },
        ]
    )
    said = {"budget": "1500.50", "price": "₹2,00,000", "visit": "2025-01-04", "stage": "warm"}
    bench.go(output_parameters=said)
    assert bench.states() == ["delivered"], bench.errors()
    ((_, person),) = bench.vendor.people().items()
    wanted = {"budget": "1500.50", "price": "200000", "visit": "2025-01-04", "stage": "warm_lead"}
    assert {name: person[name] for name in wanted} == wanted


def test_a_spelling_that_nobody_thought_of_is_found_by_the_calculated_number(
    bench: Bench,
) -> None:
    id_ = bench.vendor.add_person("(98) 715.323/05")
    bench.connect()
    bench.go()
    assert bench.states() == ["delivered"], bench.errors()
    assert list(bench.vendor.people()) == [id_]


def test_what_the_search_does_not_show_yet_is_not_written_over(bench: Bench) -> None:
    vendor = bench.vendor
    id_ = vendor.add_person(E164, **{vendor.notes: "Met in May"})
    bench.connect()
    bench.go(call_id="call_1")
    assert bench.states() == ["delivered"], bench.errors()
    bench.save(call_id="call_2", output_parameters={"note": "Has bought"})
    bench.deliver()
    assert bench.states() == ["delivered", "delivered"], bench.errors()
    notes = vendor.people()[id_][vendor.notes].split("\n")
    assert notes == ["Met in May", "Wants a brochure", "Has bought"]


def test_somebody_is_found_by_their_mobile_number(bench: Bench) -> None:
    id_ = fake_of(bench).add_person("", mobilephone="+91 98715 32305", lastname="Known")
    bench.connect()
    bench.go()
    assert list(bench.vendor.people()) == [id_]


def test_somebody_without_a_name_is_called_by_their_number(bench: Bench) -> None:
    bench.connect()
    bench.go(input_parameters={})
    ((_, person),) = bench.vendor.people().items()
    assert person["lastname"] == E164
    assert "firstname" not in person


def test_a_call_and_a_task_that_have_news_are_changed_and_not_made_again(bench: Bench) -> None:
    id_ = bench.connect()
    bench.go()
    (row,) = delivery_rows(bench.service)
    sync = {"follow_up": {"subject": "Ring again"}, "options": {"owner_id": "4711"}}
    destinations.change_destination(bench.service, id_, {"sync": sync})
    replay_delivery(bench.service, row.id)
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    objects = fake_of(bench).objects
    ((_, call),) = objects["calls"].items()
    ((_, task),) = objects["tasks"].items()
    assert call["hubspot_owner_id"] == "4711"
    # Somebody may have taken the task over.
    assert "hubspot_owner_id" not in task
    assert task["hs_task_subject"] == "Ring again"


def test_what_people_say_is_text_in_what_hubspot_shows_as_html(bench: Bench) -> None:
    bench.connect()
    bench.go(output_parameters={"note": "a <b> & c", "callback_time": "<i>soon</i>, 6 pm or so?"})
    (call,), (task,) = bench.vendor.calls(), bench.vendor.tasks()
    assert "note: a &lt;b&gt; &amp; c" in call.text
    assert "They said: &lt;i&gt;soon&lt;/i&gt;" in task.text


@pytest.mark.parametrize(
    ("step", "trouble", "words"),
    [
        ("find", Trouble.EXPIRED, "The token is not valid"),
        ("find", Trouble.FORBIDDEN, "crm.objects.contacts.read"),
        ("fields", Trouble.FORBIDDEN, "crm.schemas.contacts.read"),
    ],
)
def test_the_check_names_the_scope_that_is_missing(
    bench: Bench, step: str, trouble: Trouble, words: str
) -> None:
    id_ = bench.connect()
    bench.vendor.fake.fail_next(step, trouble)
    found = destinations.test_destination(bench.service, id_)
    assert found.outcome == "dead"
    assert words in (found.reason or "")


def test_the_check_tells_a_field_that_only_hubspot_writes(bench: Bench) -> None:
    id_ = bench.connect(
        fields=[{"source": "output_parameters.note", "field": "notes_last_updated"}]
    )
    found = destinations.test_destination(bench.service, id_)
    assert found.outcome == "dead"
    assert "notes_last_updated cannot be written" in (found.reason or "")


@pytest.mark.parametrize(
    ("status", "said", "outcome", "words"),
    [
        (
            429,
            {"policyName": "DAILY", "message": "You have reached it"},
            Blocked,
            "the day's limit",
        ),
        (429, {"policyName": "TEN_SECONDLY_ROLLING", "message": "Slow"}, Blocked, "Slow"),
        (403, {"category": "MISSING_SCOPES", "message": "No"}, Retry, "a scope of the token"),
        (409, {"category": "CONFLICT", "message": "Contact already exists"}, Retry, "exists"),
        (400, {"category": "VALIDATION_ERROR", "message": "Property x"}, Dead, "Property x"),
        (401, {"category": "INVALID_AUTHENTICATION", "message": "No"}, Retry, "401"),
    ],
)
def test_a_refusal_means(status: int, said: Any, outcome: type, words: str) -> None:
    reading = read(status, said)
    assert isinstance(reading.outcome, outcome)
    assert words in str(reading.outcome)


def test_the_days_limit_is_waited_for_longer_than_the_seconds() -> None:
    day, seconds = (
        read(429, {"policyName": name}).outcome for name in ("DAILY", "TEN_SECONDLY_ROLLING")
    )
    assert isinstance(day, Blocked)
    assert isinstance(seconds, Blocked)
    assert (day.wait, seconds.wait) == (timedelta(hours=1), timedelta(seconds=10))


def read(status: int, said: Any) -> Bad:
    answer = Answer(
        status=status,
        body=json.dumps(said).encode(),
        body_was_cut=False,
        retry_after=None,
        elapsed=timedelta(),
    )
    reading = read_answer(answer, CRM, doing="find the person", now=NOW)
    assert isinstance(reading, Bad)
    return reading


def fake_of(bench: Bench) -> Any:
    return bench.vendor.fake
