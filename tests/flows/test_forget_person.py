"""Forgetting a person: all of them goes, nothing of others does, and nothing comes back."""

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import event, text

from aftercall.crm.sending import HookSender
from aftercall.db import crm as crm_db
from aftercall.db import everywhere
from aftercall.db.everywhere import held_statistics
from aftercall.db.models import Call, CallPayload, Event, Webhook
from aftercall.domain.states import Priority
from aftercall.embedded import StoreUrls
from aftercall.flows.accept_events import enqueue_calls
from aftercall.flows.deliver_calls import CallDeliverer
from aftercall.flows.errors import Conflict, Invalid
from aftercall.flows.fetch_calls import CallFetcher
from aftercall.flows.fetch_media import MediaFetcher
from aftercall.flows.forget_person import forget_person
from aftercall.flows.people import show_person
from aftercall.flows.service import Service
from aftercall.flows.spool import drain_spool, spool_webhook
from aftercall.media_store import MediaStore
from aftercall.simulator import Fault, Simulator
from aftercall.twentytwo.client import Twenty2
from tests.conftest import WORKSPACE
from tests.flows.media import call_with_media, fetch_media
from tests.flows.people import (
    LINE,
    NATIONAL,
    OTHER,
    PHONE,
    TRACES,
    add_call,
    arrive,
    assert_nowhere,
    call_ids,
    rows,
    spool,
    webhook,
)
from tests.flows.work import accept, add_hook, deliver, delivery_rows, fetch, queued_ids


@pytest.fixture
def service(service: Service, tmp_path: Path) -> Service:
    """One whose files are in a folder of the test's."""
    settings = service.settings.model_copy(update={"data_dir": tmp_path})
    return replace(service, settings=settings)


def saved(service: Service, simulator: Simulator, call_id: str, **facts: object) -> int:
    (row,) = arrive(service, webhook(add_call(simulator, call_id, **facts)))
    fetch(service, [row])
    return row


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


# ---- whose calls -------------------------------------------------------------


@pytest.mark.parametrize(
    "said", ["9871532305", "+91 98715-32305", "09871532305", "919871532305", "0091 98715 32305"]
)
def test_any_spelling_means_the_same_person(
    service: Service, simulator: Simulator, said: str
) -> None:
    saved(service, simulator, "c1", callee_phone="0 98715 32305")
    assert show_person(service, said).calls == 1


def test_the_person_is_the_other_side_of_the_call(service: Service, simulator: Simulator) -> None:
    saved(service, simulator, "out")
    saved(service, simulator, "in", direction="inbound", callee_phone=LINE, caller_phone=PHONE)
    saved(service, simulator, "else", callee_phone=OTHER)
    view = show_person(service, PHONE)
    assert view.calls == 2
    assert view.ending == NATIONAL[-4:]
    assert NATIONAL not in view.model_dump_json()


@pytest.mark.parametrize("line", [LINE, "08040000000"])
def test_a_line_of_the_companys_own_is_refused_and_nothing_changes(
    service: Service, simulator: Simulator, line: str, stores: StoreUrls
) -> None:
    saved(service, simulator, "out")
    saved(service, simulator, "in", direction="inbound", callee_phone=LINE, caller_phone=PHONE)
    before = rows(service.database)
    with pytest.raises(Conflict, match="line of yours and no person"):
        forget_person(service, line)
    assert rows(service.database) == before


def test_a_line_in_calls_without_a_direction_is_refused_as_well(
    service: Service, simulator: Simulator
) -> None:
    for call_id, to in (("c1", PHONE), ("c2", NATIONAL), ("else", OTHER)):
        saved(service, simulator, call_id, direction=None, callee_phone=to)
    before = rows(service.database)
    with pytest.raises(Conflict, match="line of yours and no person"):
        forget_person(service, LINE)
    assert rows(service.database) == before
    assert forget_person(service, PHONE).erased["calls"] == 2
    assert call_ids(service) == {"else"}


@pytest.mark.parametrize("said", ["", "nobody", "12345", "+91 12", "x" * 10_000])
def test_what_is_no_number_is_refused(service: Service, said: str) -> None:
    with pytest.raises(Invalid, match="phone"):
        forget_person(service, said)


def test_the_same_digits_in_another_country_are_somebody_else(
    service: Service, simulator: Simulator
) -> None:
    american = "+1 987 153 2305"
    add_call(simulator, "american", callee_phone=american)
    fetch(service, arrive(service, webhook("american", to=american)))
    before = rows(service.database)
    assert forget_person(service, PHONE).erased == {}
    after = rows(service.database)
    assert {table for table in before if before[table] != after[table]} == set()


# ---- all of them -------------------------------------------------------------


def tell_of_asha(service: Service, simulator: Simulator, folder: Path) -> None:
    """A person in every state, and in what is others'. Needs the hook `leads`."""
    media = {"callee_phone": NATIONAL, "caller_phone": LINE}
    call_with_media(simulator, "delivered", **media, output_parameters={"note": f"is {PHONE}"})
    simulator.twentytwo.storage.say("delivered", "My number is 98715, 32305.")
    fetch(service, arrive(service, webhook("delivered")))
    deliver(service, queued_ids(service))
    simulator.crm.hook("leads").fail_next(Fault.SERVER_ERROR)
    saved(service, simulator, "retried", callee_phone="98715 32305")
    deliver(service, queued_ids(service))
    saved(service, simulator, "inbound", direction="inbound", callee_phone=LINE, caller_phone=PHONE)
    saved(service, simulator, "numberless", callee_phone=None, caller_phone=None)
    arrive(service, webhook("waiting"), webhook("unknown", to="09871532305"))
    spool_webhook(service, webhook("spooled"))
    # What is not theirs, and names them.
    call_with_media(
        simulator,
        "other",
        callee_phone=OTHER,
        caller_phone=LINE,
        input_parameters={"referred_by": "Asha, +91 98715-32305", "lead": int(NATIONAL)},
        output_parameters={"note": "call ९८७१५३२३०५ instead", "score": 1.50},
    )
    simulator.twentytwo.storage.say("other", "Ask my wife: 9871532305, she decides.")
    fetch(service, arrive(service, webhook("other", to=OTHER, note=f"ref {NATIONAL}")))
    spool_webhook(service, webhook("spooled_other", to=OTHER, note=PHONE))
    fetch_media(service, folder)
    with service.database.transaction() as session:
        session.execute(
            text("UPDATE deliveries SET last_error = 'no lead 098715 32305' WHERE call_row_id = "
                 "(SELECT id FROM calls WHERE call_id = 'other')")
        )  # fmt: skip
    (folder.parent / "postgres.log").write_text(f"DETAIL: Failing row contains (1, {PHONE}).\n")


def test_a_person_who_is_everywhere_is_nowhere_afterwards(
    service: Service, simulator: Simulator, stores: StoreUrls, tmp_path: Path
) -> None:
    hook = add_hook(service, simulator)
    folder = tmp_path / "media"
    tell_of_asha(service, simulator, folder)
    with service.database.statements() as connection:
        where = {"hook": hook, "number": PHONE}
        connection.execute(
            text("INSERT INTO crm_people (destination_id, number, remote_id) "
                 "VALUES (:hook, :number, 'p-1')"), where
        )  # fmt: skip
        connection.execute(text("ANALYZE"))
    view = forget_person(service, PHONE, patience=5)
    assert view.left == []
    assert_nowhere(stores, service, tmp_path)
    assert call_ids(service) == {"other"}
    assert view.erased["calls"] == 6
    assert view.erased["crm_people"] == 1
    assert (view.files, view.spooled) == (2, 2)
    assert {(one.where, one.column) for one in view.redacted} == {
        ("call_payloads", "input_parameters"),
        ("call_payloads", "output_parameters"),
        ("call_payloads", "raw"),
        ("deliveries", "last_error"),
        ("logs", None),
        ("media store", "transcript"),
        ("transcripts", "text"),
        ("webhooks", "body"),
    }
    (sent,) = view.elsewhere
    assert len(sent.delivered) == 1
    assert len(sent.perhaps) == 1
    assert [(one.step, one.remote_id) for one in sent.records] == [("person", "p-1")]
    assert NATIONAL not in view.model_dump_json()


def test_what_is_somebody_elses_keeps_all_but_the_number(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    add_hook(service, simulator)
    tell_of_asha(service, simulator, tmp_path / "media")
    forget_person(service, PHONE, patience=5)
    with service.database.transaction() as session:
        payload = session.query(CallPayload).one()
        body = session.scalars(text("SELECT body FROM webhooks")).one()
        words = session.scalars(text("SELECT text FROM transcripts")).one()
        path = session.scalars(text("SELECT path FROM media WHERE kind = 'transcript'")).one()
    assert payload.input_parameters == {"referred_by": "Asha, ***", "lead": "***"}
    assert payload.output_parameters == {"note": "call *** instead", "score": 1.50}
    assert payload.call["callee_phone"] == OTHER
    assert body == webhook("other", to=OTHER, note="ref ***")
    assert words == "Ask my wife: ***, she decides."
    assert (tmp_path / "media" / path).read_text() == words
    assert len(list((tmp_path / "media").rglob("*-transcript-*"))) == 1
    assert spool(service.redis) == [webhook("spooled_other", to=OTHER, note="***").decode()]
    assert drain_spool(service) == 1
    assert call_ids(service) == {"other", "spooled_other"}


def test_the_neighbours_are_the_same_to_the_last_byte(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    add_hook(service, simulator)
    for number in range(3):
        to = f"+9191234567{number:02}"
        (row,) = arrive(service, webhook(add_call(simulator, f"n{number}", callee_phone=to), to=to))
        fetch(service, [row])
    deliver(service, queued_ids(service))
    before = rows(service.database)
    tell_of_asha(service, simulator, tmp_path / "media")
    forget_person(service, PHONE, patience=5)
    after = rows(service.database)
    # A destination's health is everybody's.
    for table in before.keys() - {"destinations"}:
        assert set(before[table]) <= set(after[table]), table


def test_doing_it_again_finds_nothing(service: Service, simulator: Simulator) -> None:
    saved(service, simulator, "c1")
    forget_person(service, PHONE)
    again = forget_person(service, PHONE)
    assert (again.erased, again.redacted, again.left, again.files) == ({}, [], [], 0)


def test_the_planners_samples_of_a_table_that_is_empty_now_go_too(
    service: Service, simulator: Simulator, stores: StoreUrls
) -> None:
    """ANALYZE keeps the old samples where no row is left."""
    saved(service, simulator, "c1")
    saved(service, simulator, "c2")
    with service.database.statements() as connection:
        connection.execute(text("ANALYZE"))
        assert {"calls", "webhooks"} <= {one.table for one in held_statistics(connection, TRACES)}
    view = forget_person(service, PHONE)
    assert view.left == []
    with service.database.statements() as connection:
        assert held_statistics(connection, TRACES) == []
    assert_nowhere(stores, service)


def test_samples_that_an_older_postgresql_keeps_are_told(
    service: Service, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everywhere, "_MAJOR_VERSION", text("SELECT 17"))
    saved(service, simulator, "c1")
    saved(service, simulator, "c2")
    with service.database.statements() as connection:
        connection.execute(text("ANALYZE"))
    view = forget_person(service, PHONE)
    assert ("pg_statistic of calls", "callee_phone") in {
        (one.where, one.column) for one in view.left
    }
    (remark,) = [one for one in view.remarks if "PostgreSQL 18" in one]
    assert "call_payloads, calls" in remark
    monkeypatch.undo()
    assert forget_person(service, PHONE).left == []


def test_what_an_operator_wrote_is_left_to_them_and_told(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, filter=f"call.callee_phone != '{NATIONAL}'")
    saved(service, simulator, "c1")
    view = forget_person(service, PHONE)
    assert [(one.where, one.column, one.count) for one in view.left] == [
        ("destinations", "filter", 1)
    ]


# ---- nothing comes back ------------------------------------------------------


def test_a_late_webhook_is_counted_and_dropped_whoever_brings_it(
    service: Service, simulator: Simulator
) -> None:
    saved(service, simulator, "c1")
    forget_person(service, PHONE)
    for type_ in ("call.completed", "call.failed"):
        (answer,) = accept(service, ["c1"], type=type_)
        assert answer.is_duplicate
        assert answer.call_row_id is None
    (answer,) = enqueue_calls(
        service, ["c1"], workspace_id=None, priority=Priority.BACKFILL, body=b"reconciled"
    )
    assert answer.call_row_id is None
    spool_webhook(service, webhook("c1"))
    drain_spool(service)
    with service.database.transaction() as session:
        for model in (Call, Event, Webhook):
            assert session.query(model).count() == 0
        assert session.scalar(text("SELECT arrivals FROM forgotten_calls")) == 4


def test_beside_a_forgotten_call_the_others_of_a_webhook_are_taken(
    service: Service, simulator: Simulator
) -> None:
    saved(service, simulator, "c1")
    forget_person(service, PHONE)
    assert [answer.is_duplicate for answer in accept(service, ["c0", "c1", "c2"])] == [
        False,
        True,
        False,
    ]
    assert call_ids(service) == {"c0", "c2"}


def test_the_same_id_in_another_workspace_is_another_call(
    service: Service, simulator: Simulator
) -> None:
    saved(service, simulator, "c1")
    forget_person(service, PHONE)
    (answer,) = accept(service, ["c1"], workspace_id="another")
    assert not answer.is_duplicate


def test_a_fetch_under_way_writes_nothing_back(
    service: Service, simulator: Simulator, stores: StoreUrls, tmp_path: Path
) -> None:
    """Even when it takes longer than anybody waits for it."""
    (row,) = arrive(service, webhook(add_call(simulator, "c1")))
    simulator.twentytwo.fail_next("c1", Fault.SLOW)
    with closing(Twenty2(service.settings.twentytwo_base_url, keep=1)) as twentytwo:
        fetcher = CallFetcher(service, twentytwo, size=1)
        fetcher.fetch([row])
        view = forget_person(service, PHONE, patience=0)
        assert fetcher.close(30)
    assert "did not end in time" in view.remarks[0]
    assert call_ids(service) == set()
    assert_nowhere(stores, service, tmp_path)


def test_what_a_delivery_under_way_did_is_in_the_report(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator)
    saved(service, simulator, "c1")
    simulator.crm.hook("leads").fail_next(Fault.SLOW)
    with closing(HookSender(guard=service.guard(), keep=1)) as sender:
        deliverer = CallDeliverer(service, sender, size=1)
        deliverer.deliver(queued_ids(service))
        view = forget_person(service, PHONE, patience=30)
        assert deliverer.close(30)
    assert len(view.elsewhere[0].delivered) == 1
    assert view.erased["deliveries"] == 1


def test_a_recording_that_arrives_afterwards_is_not_kept(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    media = {"callee_phone": NATIONAL, "caller_phone": LINE}
    call_with_media(simulator, "c1", **media)
    (row,) = arrive(service, webhook("c1"))
    fetch(service, [row])
    simulator.twentytwo.storage.fail_next("c1", "recording", Fault.SLOW)
    fetcher = MediaFetcher(service, MediaStore(str(tmp_path / "media")), size=2)
    fetcher.fetch([row])
    forget_person(service, PHONE, patience=0)
    assert fetcher.close(60)
    assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []


def test_a_crm_turn_that_begins_afterwards_leaves_no_number(
    service: Service, simulator: Simulator
) -> None:
    hook = add_hook(service, simulator)
    saved(service, simulator, "c1")
    (delivery,) = queued_ids(service)
    token = uuid.uuid4()
    now = service.clock()
    with service.database.statements() as connection:
        connection.execute(
            text("UPDATE deliveries SET state = 'sending', lease_token = :token, "
                 "lease_until = :now"), {"token": token, "now": now}
        )  # fmt: skip
    forget_person(service, PHONE, patience=0)
    with service.database.statements() as connection:
        leased = crm_db.lease_person(
            connection,
            delivery,
            PHONE,
            delivery_token=token,
            token=token,
            until=now + timedelta(minutes=1),
            now=now,
        )
        crm_db.finish_step(
            connection, 1, hook, "call", remote_id="7", content_hash=None, note=PHONE, now=now
        )
        assert leased is None
        assert connection.scalar(text("SELECT count(*) FROM crm_people")) == 0
        assert connection.scalar(text("SELECT count(*) FROM crm_steps")) == 0


def test_an_event_that_was_being_stored_meanwhile_is_waited_for(
    service: Service, simulator: Simulator
) -> None:
    """Its transaction began before the call was forgotten, and ends after that."""
    saved(service, simulator, "c1")
    with service.database.engine.connect() as connection:
        connection.execute(
            text("INSERT INTO calls (workspace_id, call_id, state, due_at, received_at, "
                 "callee_phone, direction) VALUES (:w, 'c2', 'queued', now(), now(), :n, "
                 "'outbound')"), {"w": WORKSPACE.id, "n": PHONE}
        )  # fmt: skip
        thread = in_background(lambda: forget_person(service, PHONE, patience=20))
        end = time.monotonic() + 10
        while not forgotten(service) and time.monotonic() < end:
            time.sleep(0.02)
        assert forgotten(service) == 1
        assert thread.is_alive()
        assert call_ids(service) == {"c1"}
        connection.commit()
        thread.join(20)
    assert call_ids(service) == set()
    assert forgotten(service) == 2


def forgotten(service: Service) -> int:
    with service.database.transaction() as session:
        return session.scalar(text("SELECT count(*) FROM forgotten_calls")) or 0


# ---- files -------------------------------------------------------------------


def with_files(service: Service, simulator: Simulator, folder: Path, call_id: str = "c1") -> int:
    call_with_media(simulator, call_id, callee_phone=NATIONAL, caller_phone=LINE)
    (row,) = arrive(service, webhook(call_id))
    fetch(service, [row])
    fetch_media(service, folder)
    return row


def test_files_that_are_not_where_the_rows_say_are_told_by_their_paths(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    row = with_files(service, simulator, tmp_path / "elsewhere")
    named = sorted(
        str(path.relative_to(tmp_path / "elsewhere"))
        for path in (tmp_path / "elsewhere").rglob(f"{row}-*")
    )
    view = forget_person(service, PHONE)
    assert [(one.where, one.column, one.count) for one in view.left] == [
        ("media store", path, 1) for path in named
    ]
    assert len(named) == 2
    assert "another machine's folder" in view.remarks[0]


def test_a_store_that_does_not_answer_ends_it_before_anything_is_erased(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    with_files(service, simulator, tmp_path / "media")
    settings = service.settings.model_copy(update={"media_url": SecretStr("nonsense://there")})
    with pytest.raises(Conflict, match="nothing is proven"):
        forget_person(replace(service, settings=settings), PHONE)
    assert call_ids(service) == {"c1"}
    assert forget_person(service, PHONE).left == []
    assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()] == []


def others_long_transcript(service: Service, simulator: Simulator, folder: Path) -> Path:
    """Somebody else's, with the number behind what is in the database."""
    call_with_media(simulator, "other", callee_phone=OTHER, caller_phone=LINE)
    words = "All of this is said. " * 60_000 + f"Ask my wife: {NATIONAL}."
    simulator.twentytwo.storage.say("other", words)
    fetch(service, arrive(service, webhook("other", to=OTHER)))
    fetch_media(service, folder)
    (path,) = folder.rglob("*-transcript-*")
    assert NATIONAL in path.read_text()
    return path


def test_of_a_transcript_that_is_whole_in_its_file_alone_no_file_has_the_number(
    service: Service, simulator: Simulator, tmp_path: Path, stores: StoreUrls
) -> None:
    path = others_long_transcript(service, simulator, tmp_path / "media")
    # Of a turn that was broken off after it had changed the row.
    (path.parent / f"{path.name[:-4]}beef").write_text(NATIONAL)
    assert forget_person(service, PHONE).left == []
    (left,) = (tmp_path / "media").rglob("*-transcript-*")
    assert left.read_text().endswith("Ask my wife: ***.")
    assert_nowhere(stores, service, tmp_path)


def test_a_transcript_that_cannot_be_read_is_no_proof(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    path = others_long_transcript(service, simulator, tmp_path / "media")
    path.unlink()
    path.mkdir()
    with pytest.raises(Conflict, match="nothing is proven"):
        forget_person(service, PHONE)
    path.rmdir()
    view = forget_person(service, PHONE)
    assert view.left == []
    assert "were not looked into" in view.remarks[0]


# ---- at the same moment ------------------------------------------------------


def test_a_delivery_that_a_fetch_makes_due_meanwhile_is_kept_off(
    service: Service, simulator: Simulator
) -> None:
    """It ends after due rows were postponed, and before those under way are counted."""
    add_hook(service, simulator)
    saved(service, simulator, "c1")
    now = service.clock()
    with service.database.statements() as connection:
        connection.execute(
            text("UPDATE deliveries SET due_at = :later"), {"later": now + timedelta(days=1)}
        )
    ended: list[bool] = []

    def end_the_fetch(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith("UPDATE media SET due_at") and not ended:
            ended.append(True)
            with service.database.statements() as connection:
                connection.execute(text("UPDATE deliveries SET due_at = :now"), {"now": now})

    due: list[datetime] = []
    event.listen(service.database.engine, "after_cursor_execute", end_the_fetch)
    try:
        forget_person(
            service,
            PHONE,
            draft=lambda _: due.extend(row.due_at for row in delivery_rows(service)),
        )
    finally:
        event.remove(service.database.engine, "after_cursor_execute", end_the_fetch)
    assert ended
    assert due[0] > now + timedelta(minutes=30)


def test_a_call_that_only_a_kept_webhook_named_is_waited_for(
    service: Service, simulator: Simulator
) -> None:
    saved(service, simulator, "else", callee_phone=OTHER)
    spool_webhook(service, webhook("c2"))
    with service.database.engine.connect() as connection:
        connection.execute(
            text("INSERT INTO calls (workspace_id, call_id, state, due_at, received_at, "
                 "callee_phone, direction) VALUES (:w, 'c2', 'queued', now(), now(), :n, "
                 "'outbound')"), {"w": WORKSPACE.id, "n": PHONE}
        )  # fmt: skip
        thread = in_background(lambda: forget_person(service, PHONE, patience=20))
        end = time.monotonic() + 10
        while not forgotten(service) and time.monotonic() < end:
            time.sleep(0.02)
        thread.join(1)
        assert thread.is_alive()
        connection.commit()
        thread.join(20)
    assert call_ids(service) == {"else"}


def test_somebody_elses_kept_webhook_with_the_number_in_an_id_is_not_lost(
    service: Service, simulator: Simulator
) -> None:
    body = webhook(f"call {NATIONAL}", to=OTHER, note=PHONE)
    spool_webhook(service, body)
    view = forget_person(service, PHONE)
    assert [(one.where, one.count) for one in view.left] == [("redis", 1)]
    assert drain_spool(service) == 1
    assert call_ids(service) == {f"call {NATIONAL}"}


def test_what_may_have_arrived_is_told_when_its_attempts_are_gone(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator)
    saved(service, simulator, "c1")
    simulator.crm.hook("leads").fail_next(Fault.SERVER_ERROR)
    deliver(service, queued_ids(service))
    with service.database.statements() as connection:
        connection.execute(text("DELETE FROM attempts"))
    (sent,) = forget_person(service, PHONE).elsewhere
    assert (len(sent.delivered), len(sent.perhaps)) == (0, 1)
