"""What is particular to Zoho CRM: failures inside good answers, its formats, its scopes."""

from datetime import timedelta
from typing import Any

import pytest

from aftercall.flows import configure_destinations as destinations
from aftercall.flows.replay import replay_delivery
from aftercall.simulator.crms.fake import Trouble
from aftercall.simulator.crms.zoho import FakeZoho
from tests.crm_sync.conftest import E164, PHONE, Bench
from tests.flows.work import delivery_rows

pytestmark = pytest.mark.parametrize("vendor", ["zoho"], indirect=True)


def fake_of(bench: Bench) -> FakeZoho:
    assert isinstance(bench.vendor.fake, FakeZoho)
    return bench.vendor.fake


def only(bench: Bench, module: str) -> dict[str, Any]:
    (record,) = fake_of(bench).records[module].values()
    return record


def test_a_call_has_its_local_time_and_minutes_and_seconds(bench: Bench) -> None:
    bench.connect()
    bench.go()
    call = only(bench, "Calls")
    assert call["Call_Start_Time"] == "2024-12-25T15:30:00+05:30"
    assert (call["Call_Type"], call["Call_Duration"]) == ("Outbound", "01:34")
    assert call["$se_module"] == "Leads"
    assert call["Description"].splitlines()[-1].startswith("aftercall")


def test_an_incoming_call_that_nobody_took_is_missed(bench: Bench) -> None:
    bench.connect()
    bench.go(
        direction="inbound",
        caller_phone=PHONE,
        callee_phone="8040000000",
        status="failed",
        duration_seconds=0,
    )
    call = only(bench, "Calls")
    assert (call["Call_Type"], call["Call_Duration"]) == ("Missed", "00:00")


def test_the_follow_up_has_its_day_and_a_reminder_at_its_time(bench: Bench) -> None:
    bench.connect()
    bench.go()
    task = only(bench, "Tasks")
    assert (task["Status"], task["Priority"], task["Due_Date"]) == (
        "Not Started",
        "Normal",
        "2024-12-26",
    )
    assert task["Remind_At"]["ALARM"].endswith("TRIGGER=DATE-TIME:2024-12-26T11:00:00+05:30")


def test_a_follow_up_without_a_certain_time_has_neither_day_nor_reminder(bench: Bench) -> None:
    bench.connect()
    bench.go(output_parameters={"callback_time": "sometime next week maybe"})
    task = only(bench, "Tasks")
    assert task["Priority"] == "High"
    assert not task.keys() & {"Due_Date", "Remind_At"}


def test_a_known_contact_gets_call_and_task_as_a_contact(bench: Bench) -> None:
    contact = bench.vendor.add_person(E164)
    bench.connect()
    bench.go()
    for module in ("Calls", "Tasks"):
        assert only(bench, module)["Who_Id"] == {"id": contact}
        assert "What_Id" not in only(bench, module)


def test_a_known_contact_is_still_one_after_a_break(bench: Bench) -> None:
    contact = bench.vendor.add_person(E164)
    bench.connect(fields=[])
    fake_of(bench).fail_next("call", Trouble.SERVER_ERROR)
    bench.go()
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert only(bench, "Calls")["Who_Id"] == {"id": contact}
    assert len(fake_of(bench).asked("call")) == 2


def test_a_record_that_is_refused_in_a_good_answer_is_a_failure(bench: Bench) -> None:
    wrong = {"source": "output_parameters.note", "field": bench.vendor.interested}
    bench.connect(fields=[wrong])
    bench.go()
    assert bench.states() == ["dead"]
    assert "answered 202: invalid data: Is_Interested" in (bench.errors()[0] or "")
    assert bench.vendor.people() == {}


def test_somebody_whom_no_query_shows_yet_is_not_made_twice(bench: Bench) -> None:
    fake_of(bench).unique = {"Phone"}
    id_ = fake_of(bench).add("Leads", Phone=E164, Last_Name="Known")
    fake_of(bench).hide(id_)
    bench.connect()
    bench.go()
    assert bench.states() == ["queued"]
    assert "unique" in (bench.errors()[0] or "")
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert list(bench.vendor.people()) == [id_]


def test_a_missing_scope_costs_no_new_token(bench: Bench) -> None:
    bench.connect()
    fake_of(bench).scopes -= {"coql"}
    bench.go()
    assert bench.states() == ["queued"]
    assert "lacks a scope" in (bench.errors()[0] or "")
    assert len(fake_of(bench).asked("token")) == 1


def test_too_many_tokens_are_waited_for_and_spend_no_attempt(bench: Bench) -> None:
    bench.connect()
    fake_of(bench).tokens_left = 0
    bench.go()
    (row,) = delivery_rows(bench.service)
    assert (row.state, row.attempts) == ("queued", 0)
    assert row.due_at - bench.clock.now >= timedelta(minutes=10)


def test_a_refresh_token_that_was_revoked_is_told_in_words(bench: Bench) -> None:
    bench.connect()
    fake_of(bench).refresh_token = "1000.the-next-one.88"
    bench.go()
    assert bench.states() == ["queued"]
    assert "refuses the credentials" in (bench.errors()[0] or "")
    assert "invalid_code" in (bench.errors()[0] or "")


def test_what_cannot_be_changed_is_left_out_when_a_call_has_news(bench: Bench) -> None:
    id_ = bench.connect()
    bench.go()
    sync = {"options": {"owner_id": "4876876000000190001"}}
    destinations.change_destination(bench.service, id_, {"sync": sync})
    (row,) = delivery_rows(bench.service)
    replay_delivery(bench.service, row.id)
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert len(fake_of(bench).asked("change_call")) == 1
    # Somebody may have taken the task over.
    assert len(fake_of(bench).asked("change_task")) == 1
    assert "Owner" not in only(bench, "Tasks")


@pytest.mark.parametrize(
    ("scope", "says"),
    [
        ("coql", "ZohoCRM.coql.READ"),
        ("contacts", "scope for leads or contacts"),
        ("calls", "ZohoCRM.modules.calls.ALL"),
        ("tasks", "ZohoCRM.modules.tasks.ALL"),
        ("settings.fields", "ZohoCRM.settings.fields.READ"),
    ],
)
def test_the_check_names_the_scope_that_is_missing(bench: Bench, scope: str, says: str) -> None:
    id_ = bench.connect()
    fake_of(bench).scopes -= {scope}
    found = destinations.test_destination(bench.service, id_)
    assert found.outcome == "dead"
    assert says in (found.reason or "")
