"""What is Freshsales' own: its form for calls, its two sorts of fields, its refusals."""

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
from aftercall.flows.errors import Invalid
from aftercall.flows.replay import replay_delivery
from aftercall.simulator.crms.fake import Trouble
from tests.crm_sync.conftest import E164, Bench
from tests.crm_sync.vendors.freshsales import Freshsales
from tests.flows.work import delivery_rows

CRM = descriptions()["freshsales"]


@pytest.fixture
def vendor() -> Iterator[Freshsales]:
    vendor = Freshsales()
    with vendor.fake:
        yield vendor


def test_a_call_goes_as_a_form_whose_note_says_when_and_how_long(bench: Bench) -> None:
    bench.connect()
    bench.go()
    ((person_id, _),) = bench.vendor.people().items()
    (asked,) = bench.vendor.fake.asked("call")
    assert asked.headers["content-type"].startswith("multipart/form-data")
    note = asked.body.pop("phone_call[note][description]")
    assert asked.body == {
        "phone_call[call_direction]": "false",
        "phone_call[targetable_type]": "contact",
        "phone_call[targetable][id]": person_id,
    }
    assert note.startswith("AI call, outgoing, Wed 25 Dec 2024, 15:30<br>Outcome: completed")
    assert "1 min 34 s" in note


def test_a_call_from_the_person_is_an_incoming_one(bench: Bench) -> None:
    bench.connect()
    bench.go(direction="inbound", caller_phone="9871532305", callee_phone="8040000000")
    (asked,) = bench.vendor.fake.asked("call")
    assert asked.body["phone_call[call_direction]"] == "true"
    assert [person["phone"] for person in bench.vendor.people().values()] == [E164]


def test_a_companys_own_fields_stand_apart_from_the_standard_ones(bench: Bench) -> None:
    fake = fake_of(bench)
    fake.add_field("cf_budget", type_="number")
    fake.add_field("cf_visit", type_="date")
    fake.add_field("cf_stage", type_="dropdown", choices=("Warm", "Cold"))
    bench.connect(
        fields=[
            {"source": "output_parameters.budget", "field": "cf_budget", "type": "number"},
            {"source": "output_parameters.visit", "field": "cf_visit", "type": "date"},
            {
                "source": "output_parameters.stage",
                "field": "cf_stage",
                "type": "choice",
                "choices": {"warm": "Warm"},
            },
            {"source": "input_parameters.city", "field": "city"},
        ]
    )
    bench.go(output_parameters={"budget": "1500", "visit": "2025-01-04", "stage": "warm"})
    assert bench.states() == ["delivered"], bench.errors()
    (asked,) = bench.vendor.fake.asked("make")
    assert asked.body == {
        "contact": {
            "first_name": "Asha",
            "last_name": "Menon",
            "mobile_number": E164,
            "city": "Pune",
            "custom_field": {"cf_budget": 1500, "cf_visit": "2025-01-04", "cf_stage": "Warm"},
        }
    }


def test_somebody_is_found_by_their_work_number(bench: Bench) -> None:
    id_ = fake_of(bench).add_contact(last_name="Known", work_number="098715 32305")
    bench.connect()
    bench.go()
    assert bench.states() == ["delivered"], bench.errors()
    assert list(bench.vendor.people()) == [id_]


def test_two_searches_find_somebody_new_whatever_the_number_of_spellings(bench: Bench) -> None:
    bench.connect()
    bench.go()
    rules = [asked.body["filter_rule"] for asked in bench.vendor.fake.asked("find")]
    assert [[one["attribute"] for one in rule] for rule in rules] == [
        ["mobile_number"],
        ["work_number"],
    ]
    assert all(E164 in rule[0]["value"] and "9871532305" in rule[0]["value"] for rule in rules)


def test_somebody_whom_the_search_does_not_show_yet_is_not_made_twice(bench: Bench) -> None:
    fake = fake_of(bench)
    fake.numbers_are_unique = True
    id_ = fake.add_contact(last_name="Just made", mobile_number=E164)
    fake.hide(id_)
    bench.connect()
    bench.go()
    assert bench.states() == ["queued"]
    assert "MobileNumber is not unique" in (bench.errors()[0] or "")
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert list(bench.vendor.people()) == [id_]


def test_a_call_in_doubt_is_told_from_other_calls_of_the_person(bench: Bench) -> None:
    fake = fake_of(bench)
    id_ = bench.vendor.add_person(E164)
    fake.phone_calls["7"] = {"targetable_id": id_, "note": {"description": "by hand"}}
    bench.connect()
    fake.fail_next("call", Trouble.LOST_REQUEST)
    bench.go()
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert len(fake.phone_calls) == 2
    assert len(bench.vendor.tasks()) == 1


def test_a_task_in_doubt_is_looked_for_among_the_tasks_of_the_person(bench: Bench) -> None:
    fake = fake_of(bench)
    id_ = bench.vendor.add_person(E164)
    fake.tasks["7"] = {"targetable_id": id_, "description": "by hand"}
    bench.connect()
    fake.fail_next("task", Trouble.LOST_ANSWER)
    bench.go()
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert len(fake.tasks) == 2
    assert fake.asked("find_task")


def test_a_task_has_an_owner_and_its_time_in_utc(bench: Bench) -> None:
    bench.connect()
    bench.go()
    ((person_id, _),) = bench.vendor.people().items()
    (asked,) = bench.vendor.fake.asked("task")
    task = asked.body["task"]
    assert task["due_date"] == "2024-12-26T05:30:00Z"
    assert task["owner_id"] == fake_of(bench).owner_id
    assert (task["targetable_type"], task["targetable_id"]) == ("Contact", person_id)


def test_a_task_that_has_news_is_changed_and_a_call_is_left_as_it_is(bench: Bench) -> None:
    id_ = bench.connect()
    bench.go()
    (row,) = delivery_rows(bench.service)
    sync = {"follow_up": {"subject": "Ring again"}, "options": bench.vendor.options}
    destinations.change_destination(bench.service, id_, {"sync": sync})
    replay_delivery(bench.service, row.id)
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert [task["title"] for task in fake_of(bench).tasks.values()] == ["Ring again"]
    assert len(bench.vendor.calls()) == 1


def test_no_destination_without_an_owner_for_its_tasks(bench: Bench) -> None:
    bench.vendor.options = {}
    with pytest.raises(Invalid) as refused:
        bench.connect()
    assert "Owner of tasks" in str(refused.value.errors)


def test_a_field_that_the_company_requires_is_named_and_a_default_mends_it(bench: Bench) -> None:
    fake_of(bench).require("lead_source_id")
    id_ = bench.connect()
    bench.go()
    assert bench.states() == ["dead"]
    assert "Lead_source_id can't be empty" in (bench.errors()[0] or "")
    field = {
        "source": "input_parameters.nothing",
        "field": "lead_source_id",
        "type": "number",
        "default": "17001",
    }
    destinations.change_destination(
        bench.service, id_, {"sync": {"fields": [field], "options": bench.vendor.options}}
    )
    bench.save(call_id="call_2")
    bench.deliver()
    assert sorted(bench.states()) == ["dead", "delivered"], bench.errors()


def test_the_hours_limit_is_waited_for_as_long_as_it_says(bench: Bench) -> None:
    bench.connect()
    bench.vendor.fake.fail_next("find", Trouble.LIMIT)
    bench.go()
    (row,) = delivery_rows(bench.service)
    assert (row.state, row.attempts) == ("queued", 0)
    assert row.due_at - bench.clock.now >= timedelta(minutes=29)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (Trouble.EXPIRED, "Copy it anew from Profile settings"),
        (Trouble.FORBIDDEN, "has no right to this"),
    ],
)
def test_the_check_says_what_to_do_about_the_key(
    bench: Bench, trouble: Trouble, words: str
) -> None:
    id_ = bench.connect()
    bench.vendor.fake.fail_next("owners", trouble)
    found = destinations.test_destination(bench.service, id_)
    assert found.outcome == "dead"
    assert words in (found.reason or "")


def test_the_check_tells_a_wrong_address(bench: Bench) -> None:
    id_ = bench.connect()
    address = bench.vendor.fake.url.removesuffix("/api")
    destinations.change_destination(bench.service, id_, {"url": address})
    found = destinations.test_destination(bench.service, id_)
    assert "It ends with /crm/sales/api" in (found.reason or "")


def test_the_check_tells_who_may_not_see_contacts(bench: Bench) -> None:
    id_ = bench.connect()
    bench.vendor.fake.fail_next("find", Trouble.FORBIDDEN)
    found = destinations.test_destination(bench.service, id_)
    assert "may not see contacts" in (found.reason or "")


@pytest.mark.parametrize(
    ("status", "said", "outcome", "words"),
    [
        (
            400,
            {
                "errors": {
                    "code": 400,
                    "message": [
                        "UCR contact fetch failure :: response_code :: 429 :: response :: "
                        "Too many requests"
                    ],
                }
            },
            Blocked,
            "a part of Freshsales is busy",
        ),
        (
            400,
            {"errors": {"code": 400, "message": ["Email is not unique"]}},
            Retry,
            "Email is not unique",
        ),
        (400, {"errors": {"message": ["Source can't be empty"]}}, Dead, "Source can't be empty"),
        (403, {"errors": {"message": "Forbidden"}}, Retry, "the key's user has no right"),
        (401, {"login": "failed", "message": "Invalid credentials"}, Retry, "Invalid credentials"),
    ],
)
def test_a_refusal_means(status: int, said: Any, outcome: type, words: str) -> None:
    answer = Answer(
        status=status,
        body=json.dumps(said).encode(),
        body_was_cut=False,
        retry_after=None,
        elapsed=timedelta(),
    )
    now = datetime(2024, 12, 25, 10, tzinfo=UTC)
    reading = read_answer(answer, CRM, doing="make the person", now=now)
    assert isinstance(reading, Bad)
    assert isinstance(reading.outcome, outcome)
    assert words in str(reading.outcome)


def fake_of(bench: Bench) -> Any:
    return bench.vendor.fake
