"""What is particular to Salesforce: contacts and leads, its formats, its refusals."""

from datetime import timedelta
from typing import Any

import pytest

from aftercall.flows import configure_destinations as destinations
from aftercall.flows.replay import replay_delivery
from aftercall.simulator.crms.fake import Trouble
from aftercall.simulator.crms.salesforce import FakeSalesforce
from tests.crm_sync.conftest import E164, PHONE, Bench
from tests.flows.work import delivery_rows

pytestmark = pytest.mark.parametrize("vendor", ["salesforce"], indirect=True)


def fake_of(bench: Bench) -> FakeSalesforce:
    assert isinstance(bench.vendor.fake, FakeSalesforce)
    return bench.vendor.fake


def tasks(bench: Bench, subtype: str) -> list[dict[str, Any]]:
    found = fake_of(bench).records["Task"].values()
    return [task for task in found if task["TaskSubtype"] == subtype]


def test_a_call_is_a_completed_task_with_its_marker(bench: Bench) -> None:
    bench.connect()
    bench.go()
    (call,) = tasks(bench, "Call")
    assert call["Status"] == "Completed"
    assert call["ActivityDate"] == "2024-12-25"
    assert (call["CallType"], call["CallDurationInSeconds"]) == ("Outbound", 94)
    assert call["CallDisposition"] == "completed"
    assert call["CallObject"].startswith("aftercall")


def test_the_follow_up_has_its_day_and_a_reminder_at_its_time(bench: Bench) -> None:
    bench.connect()
    bench.go()
    (task,) = tasks(bench, "Task")
    assert (task["Status"], task["Priority"]) == ("Not Started", "Normal")
    assert task["ActivityDate"] == "2024-12-26"
    assert (task["IsReminderSet"], task["ReminderDateTime"]) == (True, "2024-12-26T05:30:00Z")


def test_a_follow_up_without_a_certain_time_has_neither_day_nor_reminder(bench: Bench) -> None:
    bench.connect()
    bench.go(output_parameters={"callback_time": "sometime next week maybe"})
    (task,) = tasks(bench, "Task")
    assert (task["IsReminderSet"], task["Priority"]) == (False, "High")
    assert not task.keys() & {"ActivityDate", "ReminderDateTime"}


def test_an_incoming_call_is_of_whoever_called(bench: Bench) -> None:
    bench.connect()
    bench.go(direction="inbound", caller_phone=PHONE, callee_phone="8040000000")
    (call,) = tasks(bench, "Call")
    assert call["CallType"] == "Inbound"
    assert bench.vendor.people()[call["WhoId"]]["phone"] == E164


def test_somebody_new_becomes_a_lead_with_a_company(bench: Bench) -> None:
    bench.connect(options={"lead_source": "Phone Inquiry"})
    bench.go()
    (lead,) = fake_of(bench).records["Lead"].values()
    assert (lead["FirstName"], lead["LastName"]) == ("Asha", "Menon")
    assert (lead["Company"], lead["LeadSource"]) == ("[not provided]", "Phone Inquiry")


def test_somebody_new_becomes_a_contact_where_contacts_are_wanted(bench: Bench) -> None:
    bench.connect(object="contact")
    bench.go()
    (contact,) = fake_of(bench).records["Contact"].values()
    assert "Company" not in contact
    assert fake_of(bench).records["Lead"] == {}


def test_a_lead_is_found_where_no_contact_has_the_number(bench: Bench) -> None:
    lead = fake_of(bench).add("Lead", Phone="098715 32305", LastName="Known", Company="Acme")
    bench.connect()
    bench.go()
    assert bench.states() == ["delivered"], bench.errors()
    assert list(bench.vendor.people()) == [lead]
    assert fake_of(bench).records["Lead"][lead]["Is_Interested__c"] is True


def test_a_contact_goes_before_a_lead_with_the_same_number(bench: Bench) -> None:
    lead = fake_of(bench).add("Lead", Phone=E164, LastName="Known", Company="Acme")
    contact = fake_of(bench).add("Contact", MobilePhone=E164, LastName="Known", Phone="")
    bench.connect()
    bench.go()
    assert [call.person_id for call in bench.vendor.calls()] == [contact]
    assert "Is_Interested__c" not in fake_of(bench).records["Lead"][lead]


def test_only_leads_are_searched_where_only_leads_are_wanted(bench: Bench) -> None:
    contact = bench.vendor.add_person(E164)
    bench.connect(object="lead")
    bench.go()
    (lead,) = fake_of(bench).records["Lead"]
    assert [call.person_id for call in bench.vendor.calls()] == [lead]
    assert "Is_Interested__c" not in fake_of(bench).records["Contact"][contact]


def test_a_lead_that_is_converted_meanwhile_is_followed_to_its_contact(bench: Bench) -> None:
    lead = fake_of(bench).add("Lead", Phone=E164, LastName="Known", Company="Acme")
    bench.connect()
    fake_of(bench).fail_next("change", Trouble.SERVER_ERROR)
    bench.go()
    fake_of(bench).records["Lead"][lead]["IsConverted"] = True
    contact = bench.vendor.add_person(E164)
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert [call.person_id for call in bench.vendor.calls()] == [contact]


def test_the_limit_of_24_hours_stops_the_destination_for_a_while(bench: Bench) -> None:
    bench.connect()
    fake_of(bench).fail_next("find", Trouble.LIMIT)
    bench.go()
    (row,) = delivery_rows(bench.service)
    assert (row.state, row.attempts) == ("queued", 0)
    assert row.due_at - bench.clock.now >= timedelta(minutes=15)
    assert "24 hours are used up" in (row.last_error or "")


def test_a_duplicate_rule_that_blocks_is_told_to_a_person(bench: Bench) -> None:
    bench.connect()
    fake_of(bench).blocks_duplicates = True
    bench.go()
    assert bench.states() == ["dead"]
    assert "duplicate rule" in (bench.errors()[0] or "")


def test_what_cannot_be_changed_is_left_out_when_a_call_has_news(bench: Bench) -> None:
    id_ = bench.connect()
    bench.go()
    sync = {"options": {"call_status": "Deferred"}}
    destinations.change_destination(bench.service, id_, {"sync": sync})
    (row,) = delivery_rows(bench.service)
    replay_delivery(bench.service, row.id)
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    (call,) = tasks(bench, "Call")
    assert len(fake_of(bench).asked("change_call")) == 1
    assert call["Status"] == "Completed"


def test_the_check_says_that_the_secret_is_wrong_and_not_the_secret(bench: Bench) -> None:
    id_ = bench.connect()
    fake_of(bench).client_secret = "another-secret-than-ours"
    found = destinations.test_destination(bench.service, id_)
    assert found.outcome == "dead"
    assert "invalid client credentials" in (found.reason or "")
    assert "made-up-consumer-secret" not in found.model_dump_json()


def test_the_check_says_that_leads_may_not_be_made(bench: Bench) -> None:
    id_ = bench.connect()
    fake_of(bench).read_only_objects = {"Lead"}
    found = destinations.test_destination(bench.service, id_)
    assert "Create and Edit" in (found.reason or "")


def test_the_check_says_that_the_edition_has_no_api(bench: Bench) -> None:
    id_ = bench.connect()
    fake_of(bench).fail_next("find", Trouble.FORBIDDEN)
    found = destinations.test_destination(bench.service, id_)
    assert "edition" in (found.reason or "")


def test_the_check_names_a_field_that_only_leads_have(bench: Bench) -> None:
    fake_of(bench).add_field("Lead", "Budget__c")
    fields = [{"source": "output_parameters.budget", "field": "Budget__c"}]
    id_ = bench.connect(fields=fields)
    found = destinations.test_destination(bench.service, id_)
    assert "Budget__c" in (found.reason or "")
    assert "Contact" in (found.reason or "")
    sync = {"fields": fields, "object": "lead"}
    destinations.change_destination(bench.service, id_, {"sync": sync})
    assert destinations.test_destination(bench.service, id_).outcome == "succeeded"


def test_a_long_name_and_long_answers_still_fit(bench: Bench) -> None:
    bench.connect()
    bench.go(
        input_parameters={"name": f"{'Very ' * 30}Long{'g' * 100}"},
        output_parameters={f"answer_{number}": "word " * 400 for number in range(30)},
    )
    assert bench.states() == ["delivered"], bench.errors()
    (call,) = tasks(bench, "Call")
    assert call["Description"].splitlines()[-1] == "Call call_9c4d7e12ab"
