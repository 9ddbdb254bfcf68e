"""What holds for every CRM: the right person, the right fields, and everything once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from aftercall.flows import configure_destinations as destinations
from aftercall.flows.backfill_destination import backfill_destination
from aftercall.flows.crm_ports import CrmPorts
from aftercall.flows.errors import Conflict, Invalid
from aftercall.flows.look import show_call
from aftercall.flows.preview_destination import PreviewSpec, preview_destination
from aftercall.flows.replay import replay_delivery
from aftercall.flows.sweep import sweep
from aftercall.simulator.crms.fake import Trouble
from tests.crm_sync.conftest import E164, Bench
from tests.flows.work import delivery_rows


class Ended(BaseException):
    """The process is killed."""


#: The made-up calls are of Christmas 2024, 15:30 in India: "Tomorrow 11am".
DUE = datetime(2024, 12, 26, 5, 30, tzinfo=UTC)


def test_somebody_new_is_made_with_fields_call_and_task(bench: Bench) -> None:
    bench.connect()
    bench.go()
    assert bench.states() == ["delivered"], bench.errors()
    ((id_, person),) = bench.vendor.people().items()
    assert person["phone"] == E164
    assert person[bench.vendor.interested] == bench.vendor.yes
    assert person[bench.vendor.notes] == "Wants a brochure"
    assert person[bench.vendor.city] == "Pune"
    (call,) = bench.vendor.calls()
    assert (call.person_id, call.seconds) == (id_, 94)
    assert "Wants a brochure" in call.text
    (task,) = bench.vendor.tasks()
    assert (task.person_id, task.due) == (id_, DUE)


@pytest.mark.parametrize(
    "spelling", ["9871532305", "09871532305", "919871532305", "+91 98715 32305", "+91-9871532305"]
)
def test_somebody_known_in_another_spelling_is_found(bench: Bench, spelling: str) -> None:
    id_ = bench.vendor.add_person(spelling)
    bench.connect()
    bench.go()
    assert bench.states() == ["delivered"], bench.errors()
    assert list(bench.vendor.people()) == [id_]
    assert bench.vendor.people()[id_][bench.vendor.interested] == bench.vendor.yes
    assert [call.person_id for call in bench.vendor.calls()] == [id_]


def test_what_a_person_wrote_there_is_kept_by_the_modes(bench: Bench) -> None:
    fields = {bench.vendor.notes: "Met in May", bench.vendor.city: "Mumbai"}
    id_ = bench.vendor.add_person(E164, **fields)
    bench.connect()
    bench.go()
    person = bench.vendor.people()[id_]
    assert person[bench.vendor.city] == "Mumbai"
    assert person[bench.vendor.notes].split("\n") == ["Met in May", "Wants a brochure"]


def test_of_two_with_one_number_the_newest_gets_it(bench: Bench) -> None:
    older, newer = bench.vendor.add_person(E164), bench.vendor.add_person(E164)
    bench.connect()
    bench.go()
    assert bench.states() == ["delivered"], bench.errors()
    assert [call.person_id for call in bench.vendor.calls()] == [newer]
    assert not bench.vendor.people()[older].get(bench.vendor.interested)
    assert bench.vendor.people()[newer][bench.vendor.interested] == bench.vendor.yes


def test_of_two_with_one_number_all_get_the_fields_and_one_the_call(bench: Bench) -> None:
    both = [bench.vendor.add_person(E164), bench.vendor.add_person(E164)]
    if bench.vendor.finds_one:
        assert_refused(bench, "all")
        return
    bench.connect(when_many="all")
    bench.go()
    for id_ in both:
        assert bench.vendor.people()[id_][bench.vendor.interested] == bench.vendor.yes
    assert len(bench.vendor.calls()) == 1
    assert len(bench.vendor.tasks()) == 1


def test_of_two_with_one_number_none_gets_it_when_a_person_is_to_decide(bench: Bench) -> None:
    bench.vendor.add_person(E164)
    bench.vendor.add_person(E164)
    if bench.vendor.finds_one:
        assert_refused(bench, "review")
        return
    bench.connect(when_many="review")
    bench.go()
    assert bench.states() == ["dead"]
    assert "2 people" in (bench.errors()[0] or "")
    assert bench.vendor.calls() == []


def test_nobody_is_made_where_new_people_are_not_wanted(bench: Bench) -> None:
    bench.connect(when_none="skip")
    bench.go()
    assert bench.states() == ["skipped"]
    assert bench.vendor.people() == {}
    assert bench.vendor.calls() == []


@pytest.mark.parametrize("when_none", ["create", "skip"])
def test_a_search_that_is_not_there_does_not_say_that_nobody_is(
    bench: Bench, when_none: str
) -> None:
    id_ = bench.vendor.add_person(E164)
    bench.connect(when_none=when_none)
    bench.vendor.fake.fail_next("find", *[Trouble.NO_SUCH_PLACE] * 3)
    bench.go()
    assert bench.states() == ["queued"], bench.errors()
    assert "answered 404" in (bench.errors()[0] or "")
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert set(bench.vendor.people()) == {id_}


def test_a_crm_that_has_nobody_of_this_number_works(bench: Bench) -> None:
    id_ = bench.connect(when_none="skip")
    bench.save()
    with bench.service.database.transaction() as session:
        session.execute(
            text("UPDATE destinations SET failures_in_a_row = 12, failing_since = :since"),
            {"since": bench.clock.now - timedelta(days=6)},
        )
    bench.deliver()
    assert bench.states() == ["skipped"], bench.errors()
    view = destinations.show_destination(bench.service, id_)
    assert (view.failures_in_a_row, view.failing_since, view.paused_until) == (0, None, None)


def test_a_duplicate_webhook_writes_nothing_twice(bench: Bench) -> None:
    bench.connect()
    bench.go()
    bench.webhook_again()
    bench.fetch("call_9c4d7e12ab")
    bench.go_on()
    assert bench.states() == ["delivered"]
    assert_once(bench)


def test_a_replay_writes_nothing_twice(bench: Bench) -> None:
    bench.connect()
    bench.go()
    (row,) = delivery_rows(bench.service)
    replay_delivery(bench.service, row.id)
    bench.go_on()
    assert bench.states() == ["delivered"]
    assert_once(bench)


@pytest.mark.parametrize("step", ["make", "call", "task"])
@pytest.mark.parametrize(
    "trouble", [Trouble.LOST_ANSWER, Trouble.LOST_REQUEST, Trouble.SERVER_ERROR]
)
def test_a_break_in_any_step_makes_nothing_twice_and_loses_nothing(
    bench: Bench, step: str, trouble: Trouble
) -> None:
    bench.connect()
    bench.vendor.fake.fail_next(step, trouble)
    bench.go()
    assert bench.states() == ["queued"]
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert_once(bench)


@pytest.mark.parametrize("step", ["person", "call", "task"])
def test_a_worker_that_ends_between_the_answer_and_its_record_makes_nothing_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    bench.connect()
    bench.save()
    finish = CrmPorts.finish

    def end(ports: CrmPorts, name: str, **what: Any) -> None:
        if name == step:
            raise Ended
        finish(ports, name, **what)

    with monkeypatch.context() as patch:
        patch.setattr(CrmPorts, "finish", end)
        # Nor does it give anything back.
        patch.setattr(CrmPorts, "release_person", lambda _: None)
        with pytest.raises(Ended):
            bench.run_one()
    assert bench.states() == ["sending"]
    bench.clock.now += timedelta(minutes=1)
    sweep(bench.service, waiting_messages=lambda _: 0)
    assert bench.states() == ["queued"]
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert_once(bench)


def test_another_call_waits_while_a_person_is_in_doubt(bench: Bench) -> None:
    bench.connect()
    bench.vendor.fake.fail_next("make", Trouble.LOST_ANSWER)
    bench.save(call_id="call_1")
    bench.run_one()
    bench.save(call_id="call_2")
    bench.clock.now += timedelta(seconds=5)
    bench.deliver()
    assert len(bench.vendor.fake.asked("make")) == 1
    bench.clock.now += timedelta(minutes=1)
    sweep(bench.service, waiting_messages=lambda _: 0)
    bench.go_on(rounds=12)
    assert bench.states() == ["delivered", "delivered"], bench.errors()
    assert len(bench.vendor.people()) == 1
    assert len(bench.vendor.calls()) == 2


def test_what_the_first_call_appended_is_there_after_the_second(bench: Bench) -> None:
    bench.connect()
    bench.go(call_id="call_1")
    bench.save(call_id="call_2", output_parameters={"note": "Has bought"})
    # Its search may not show them yet.
    bench.deliver()
    bench.go_on()
    assert bench.states() == ["delivered", "delivered"], bench.errors()
    (person,) = bench.vendor.people().values()
    assert person[bench.vendor.notes].split("\n") == ["Wants a brochure", "Has bought"]


def test_an_older_version_is_not_written_over_a_newer(bench: Bench) -> None:
    bench.connect()
    bench.go()
    (first,) = delivery_rows(bench.service)
    with bench.service.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO deliveries SELECT gen_random_uuid(), call_row_id, destination_id, 2, "
                "type, 'delivered', due_at, 1, 0, NULL, NULL, NULL, created_at, now() "
                "FROM deliveries"
            )
        )
    replay_delivery(bench.service, first.id)
    before = len(bench.vendor.fake.asked())
    bench.go_on()
    assert sorted(bench.states()) == ["delivered", "skipped"]
    assert len(bench.vendor.fake.asked()) == before


def test_a_destination_is_not_moved_to_another_account(bench: Bench) -> None:
    id_ = bench.connect()
    destinations.change_destination(bench.service, id_, {"url": "http://127.0.0.1:9"})
    destinations.change_destination(bench.service, id_, {"url": bench.vendor.fake.url})
    bench.go()
    with pytest.raises(Conflict, match="new destination"):
        destinations.change_destination(bench.service, id_, {"url": "http://127.0.0.1:9"})


def test_past_calls_are_filled_in_once(bench: Bench) -> None:
    bench.save()
    id_ = bench.connect()
    assert backfill_destination(bench.service, id_, count=10, preview=True).queued == 1
    assert backfill_destination(bench.service, id_, count=10).queued == 1
    assert backfill_destination(bench.service, id_, count=10).queued == 0
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert_once(bench)


def test_every_request_may_break_once(bench: Bench) -> None:
    bench.connect()
    for step in ("find", "make", "change", "call", "find_call", "task", "find_task"):
        bench.vendor.fake.fail_next(step, Trouble.LOST_ANSWER)
    bench.go()
    bench.go_on(rounds=12)
    assert bench.states() == ["delivered"], bench.errors()
    assert_once(bench)


@pytest.mark.parametrize("step", ["find", "make", "call", "task"])
def test_a_limit_is_waited_for_and_spends_no_attempt(bench: Bench, step: str) -> None:
    bench.connect()
    bench.vendor.fake.fail_next(step, Trouble.LIMIT)
    bench.go()
    (row,) = delivery_rows(bench.service)
    assert (row.state, row.attempts) == ("queued", 0)
    before = len(bench.vendor.fake.asked())
    bench.deliver()
    assert len(bench.vendor.fake.asked()) == before
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    assert_once(bench)


def test_a_token_that_ends_is_replaced(bench: Bench) -> None:
    bench.connect()
    bench.go()
    bench.vendor.expire()
    bench.clock.now += timedelta(minutes=5)
    bench.save(call_id="call_2")
    bench.deliver()
    if bench.vendor.has_oauth:
        assert bench.states() == ["delivered", "delivered"], bench.errors()
        return
    assert bench.states() == ["delivered", "queued"]
    destinations.change_destination(
        bench.service, bench.destination_id, {"credentials": bench.vendor.renew()}
    )
    bench.go_on()
    assert bench.states() == ["delivered", "delivered"], bench.errors()
    assert len(bench.vendor.people()) == 1


def test_two_calls_of_one_person_at_once_make_one_person(bench: Bench) -> None:
    bench.connect()
    bench.save(call_id="call_1")
    bench.save(call_id="call_2")
    bench.deliver()
    bench.go_on()
    assert bench.states() == ["delivered", "delivered"], bench.errors()
    assert len(bench.vendor.people()) == 1
    assert len(bench.vendor.calls()) == 2


def test_somebody_who_was_removed_there_meanwhile_is_made_anew(bench: Bench) -> None:
    id_ = bench.vendor.add_person(E164)
    bench.connect()
    bench.vendor.fake.fail_next("call", Trouble.SERVER_ERROR)
    bench.go()
    bench.vendor.remove_person(id_)
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    (other,) = bench.vendor.people()
    assert [call.person_id for call in bench.vendor.calls()] == [other]


def test_a_call_that_has_news_is_changed_where_it_stands(bench: Bench) -> None:
    id_ = bench.connect()
    bench.go()
    (before,) = bench.vendor.calls()
    assert "Follow-up" in before.text
    row = destinations.show_destination(bench.service, id_)
    assert row.sync is not None
    sync = {**row.sync, "follow_up": None}
    destinations.change_destination(bench.service, id_, {"sync": sync})
    replay_delivery(bench.service, delivery_rows(bench.service)[0].id)
    bench.go_on()
    assert bench.states() == ["delivered"], bench.errors()
    (after,) = bench.vendor.calls()
    assert ("Follow-up" in after.text) is not bench.vendor.changes_calls
    assert len(bench.vendor.tasks()) == 1


def test_a_time_that_is_not_certain_makes_a_task_for_review(bench: Bench) -> None:
    bench.connect()
    bench.go(output_parameters={"interested": "yes", "callback_time": "sometime next week maybe"})
    assert bench.states() == ["delivered"], bench.errors()
    (task,) = bench.vendor.tasks()
    assert task.due is None
    assert "sometime next week maybe" in task.text
    story = show_call(bench.service, "call_9c4d7e12ab")
    notes = [step.note or "" for step in story.deliveries[0].steps if step.step == "task"]
    assert notes
    assert notes[0].startswith("for review")


def test_a_call_without_a_number_waits_for_a_person(bench: Bench) -> None:
    bench.connect()
    bench.go(callee_phone=None)
    assert bench.states() == ["dead"]
    assert "no phone number" in (bench.errors()[0] or "")


def test_the_preview_is_what_is_then_sent(bench: Bench) -> None:
    id_ = bench.connect()
    bench.save()
    with bench.service.database.transaction() as session:
        from aftercall.db.destinations import get_destination

        row = get_destination(session, id_)
        assert row is not None
        spec = PreviewSpec.model_validate({"kind": row.kind, "sync": row.sync})
    (seen,) = preview_destination(bench.service, spec).calls
    assert seen.plan is not None
    asked_before = len(bench.vendor.fake.asked())
    assert asked_before == 0
    bench.deliver()
    (person_id,) = bench.vendor.people()
    for step, planned in (
        ("make", seen.plan.person),
        ("call", seen.plan.call),
        ("task", seen.plan.task),
    ):
        (asked,) = bench.vendor.fake.asked(step)
        assert comparable(asked.body, person_id) == comparable(planned, "(the person's id)")


def test_the_check_of_a_good_connection_finds_nothing(bench: Bench) -> None:
    id_ = bench.connect()
    found = destinations.test_destination(bench.service, id_)
    assert found.outcome == "succeeded", found
    assert found.checks
    assert bench.vendor.people() == {}
    assert bench.vendor.calls() == []


def test_the_check_takes_a_new_token_where_the_old_one_has_ended(bench: Bench) -> None:
    if not bench.vendor.has_oauth:
        return
    id_ = bench.connect()
    destinations.test_destination(bench.service, id_)
    bench.vendor.expire()
    bench.clock.now += timedelta(minutes=5)
    found = destinations.test_destination(bench.service, id_)
    assert found.outcome == "succeeded", found


def test_the_check_names_a_field_that_is_not_there(bench: Bench) -> None:
    id_ = bench.connect(fields=[{"source": "output_parameters.note", "field": "nobody_made_this"}])
    found = destinations.test_destination(bench.service, id_)
    if bench.vendor.fake.asked("fields"):
        assert found.outcome == "dead"
        assert "nobody_made_this" in (found.reason or "")


def test_secrets_are_in_no_answer_that_is_kept(bench: Bench) -> None:
    bench.connect()
    bench.vendor.fake.fail_next("find", Trouble.EXPIRED)
    bench.go()
    story = show_call(bench.service, "call_9c4d7e12ab").model_dump_json()
    for secret in bench.vendor.credentials.values():
        if len(secret) >= 6:
            assert secret not in story


def assert_refused(bench: Bench, when_many: str) -> None:
    """A rule that could never apply is not taken: nobody is to rely on it."""
    with pytest.raises(Invalid, match="newest"):
        bench.connect(when_many=when_many)


def assert_once(bench: Bench) -> None:
    assert len(bench.vendor.people()) == 1
    assert len(bench.vendor.calls()) == 1
    assert len(bench.vendor.tasks()) == 1


def comparable(body: object, person_id: str) -> str:
    """Without the marker, which has the destination in it, and whose id it is."""
    import json
    import re

    text = re.sub(r"aftercall[0-9a-f]{20}", "MARKER", json.dumps(body, sort_keys=True))
    # Some CRMs take ids as numbers.
    return text.replace(f'"{person_id}"', "PERSON").replace(person_id, "PERSON")
