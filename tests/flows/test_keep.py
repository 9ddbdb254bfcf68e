"""What is past its time goes, and nothing that is not settled; files before their rows."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.orm import Session

from aftercall.db.activity import count_activity
from aftercall.db.call_search import CallQuery
from aftercall.db.models import Reconciliation
from aftercall.db.notices import may_tell
from aftercall.db.partitions import ATTEMPTS, PARTITIONED, WEBHOOKS, rows_in_default
from aftercall.db.replays import ReplayConditions
from aftercall.db.retention import take_turn
from aftercall.db.schema import migrate
from aftercall.db.session import Database, database_url
from aftercall.domain.ids import new_id
from aftercall.domain.retention import following, month_of
from aftercall.domain.states import DeliveryState
from aftercall.embedded import StoreUrls
from aftercall.flows.audit import list_entries
from aftercall.flows.backfill_destination import backfill_destination
from aftercall.flows.configure_destinations import disable_destination, enable_destination
from aftercall.flows.errors import Conflict, NotFound
from aftercall.flows.export_calls import export_calls
from aftercall.flows.keep import MIN_FILE_AGE, RECONCILIATIONS_KEPT, Kept, keep
from aftercall.flows.look import list_calls, show_call
from aftercall.flows.preview_destination import show_request
from aftercall.flows.replay import preview_replay, refetch_call, replay_delivery, replay_matching
from aftercall.flows.replay_call import replay_call
from aftercall.flows.retention import partition_fault, show_retention
from aftercall.flows.service import Service
from aftercall.media_store import MediaStore, MediaStoreError
from aftercall.simulator import SimulatedCall, Simulator
from aftercall.stores import redis_client
from tests.conftest import WORKSPACE, Clock
from tests.flows.media import call_with_media, fetch_media, states
from tests.flows.work import (
    accept,
    accept_rows,
    add_hook,
    deliver,
    delivery_rows,
    fetch,
    queued_ids,
)

DAY = timedelta(days=1)
#: So far from the migration the first partition reaches at least: to the end of that month.
SLACK = 60 * DAY
DAYS = 30


def kept_for(service: Service, **days: int | None) -> Service:
    """With these days, by kind; everything else for ever."""
    nothing = dict.fromkeys(("raw_events", "attempts", "payloads", "calls", "media"))
    chosen = {f"keep_{kind}_days": number for kind, number in {**nothing, **days}.items()}
    return replace(service, settings=service.settings.model_copy(update=chosen))


def counted(service: Service) -> None:
    """As sweeps count, until all is."""
    for _ in range(6):
        with service.database.transaction() as session:
            count_activity(session, lag=timedelta())


def kept(service: Service, folder: Path, **options: object) -> Kept:
    counted(service)
    return keep(service, MediaStore(str(folder)), **options)  # type: ignore[arg-type]


def count(service: Service, table: str) -> int:
    with service.database.transaction() as session:
        return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608


EVERYTHING = (
    *("calls", "events", "webhooks", "attempts", "call_payloads"),
    *("deliveries", "media", "transcripts", "crm_steps"),
)


def done(service: Service, simulator: Simulator, folder: Path, call_id: str = "call_1") -> None:
    """A call with a recording and a transcript, delivered to the hook that there is."""
    rows = accept_rows(service, [call_with_media(simulator, call_id)])
    fetch(service, rows)
    deliver(service, queued_ids(service))
    fetch_media(service, folder)


@pytest.fixture(scope="module")
def _template(stores: StoreUrls) -> Iterator[Engine]:
    """Whose database each test here gets a copy of: it drops tables."""
    admin = create_engine(database_url(stores.database_url), isolation_level="AUTOCOMMIT")
    _execute(admin, "CREATE DATABASE kept_template")
    migrate(_named(stores, "kept_template"))
    yield admin
    _execute(admin, "DROP DATABASE IF EXISTS kept WITH (FORCE)", "DROP DATABASE kept_template")
    admin.dispose()


@pytest.fixture
def database(_template: Engine, stores: StoreUrls) -> Iterator[Database]:
    _execute(
        _template,
        "DROP DATABASE IF EXISTS kept WITH (FORCE)",
        "CREATE DATABASE kept TEMPLATE kept_template",
    )
    with redis_client(stores.redis_url) as client:
        client.flushdb()
    database = Database(_named(stores, "kept"), pool_size=5)
    yield database
    database.close()


def _named(stores: StoreUrls, name: str) -> str:
    url = database_url(stores.database_url).set(database=name)
    return url.render_as_string(hide_password=False)


def _execute(engine: Engine, *statements: str) -> None:
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


# ---- whole months ------------------------------------------------------------


def test_months_are_made_ahead_across_a_year(
    service: Service, clock: Clock, tmp_path: Path
) -> None:
    clock.now = datetime(2031, 11, 30, 23, tzinfo=UTC)
    made = kept(service, tmp_path).made
    assert sorted(made) == sorted(
        f"{table.name}_{month}"
        for table in PARTITIONED
        for month in ("2031_11", "2031_12", "2032_01", "2032_02")
    )
    assert kept(service, tmp_path).made == []
    assert partition_fault(service) is None
    with service.database.transaction() as session:
        for name in made:
            session.execute(text(f"DROP TABLE {name}"))
    assert "has no partition for 2031-11, 2031-12" in str(partition_fault(service))


def test_a_month_goes_when_its_last_day_is_past_its_time(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    add_hook(service, simulator)
    done(service, simulator, tmp_path)
    service = kept_for(service, raw_events=90, attempts=180)
    end = following(month_of(clock.now + SLACK))
    clock.now = end + 90 * DAY - timedelta(seconds=1)
    assert kept(service, tmp_path).dropped == []
    clock.now = end + 90 * DAY
    assert kept(service, tmp_path).dropped == ["webhooks_old"]
    assert (count(service, "webhooks"), count(service, "events")) == (0, 1)
    assert count(service, "attempts") == 2
    clock.now = end + 180 * DAY
    assert "attempts_old" in kept(service, tmp_path).dropped
    assert count(service, "attempts") == 0
    # The story goes on without them, and says so.
    story = show_call(service, "call_1")
    assert story.attempts == []
    assert [one.message for one in story.not_kept] == [
        "Attempts were removed after 180 days by retention"
    ]
    [delivery] = story.deliveries
    assert (delivery.state, delivery.attempts) == ("delivered", [])
    assert story.output_parameters == {"interested": "yes", "notes": "Wants a quiet balcony."}


def test_attempts_that_are_not_counted_yet_wait_for_it(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    done(service, simulator, tmp_path)
    service = kept_for(service, attempts=7)
    clock.now += 100 * DAY
    first = keep(service, MediaStore(str(tmp_path)))
    assert "attempts_old is not counted for the overview yet" in first.faults[0]
    assert count(service, "attempts") == 1
    assert "attempts_old" in kept(service, tmp_path).dropped
    assert count(service, "activity_counts") == 2


def test_events_are_still_known_when_their_webhook_is_gone(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    done(service, simulator, tmp_path)
    service = kept_for(service, raw_events=7)
    clock.now += 100 * DAY
    assert "webhooks_old" in kept(service, tmp_path).dropped
    [again] = accept(service, ["call_1"])
    assert again.is_duplicate
    assert len(show_call(service, "call_1").events) == 1


def test_calls_that_come_and_go_on_both_sides_of_a_month_are_worked_on(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    add_hook(service, simulator)
    turn = following(month_of(clock.now + SLACK))
    clock.now = turn - timedelta(milliseconds=1)
    kept(service, tmp_path)
    rows = accept_rows(service, [call_with_media(simulator)])
    clock.now = turn + timedelta(milliseconds=1)
    rows += accept_rows(service, [call_with_media(simulator, "call_2")])
    fetch(service, rows)
    deliver(service, queued_ids(service))
    for call_id in ("call_1", "call_2"):
        story = show_call(service, call_id)
        assert len(story.attempts) == len(story.deliveries[0].attempts) == 1
    with service.database.transaction() as session:
        assert rows_in_default(session, WEBHOOKS) == rows_in_default(session, ATTEMPTS) == 0


# ---- payloads ----------------------------------------------------------------


def test_a_payload_goes_and_the_call_stays_and_says_so(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    add_hook(service, simulator)
    done(service, simulator, tmp_path)
    service = kept_for(service, payloads=DAYS)
    clock.now += (DAYS - 1) * DAY
    assert kept(service, tmp_path).removed == {}
    clock.now += 2 * DAY
    assert kept(service, tmp_path).removed == {"payloads": 1}
    story = show_call(service, "call_1")
    assert (story.state, story.status, story.raw) == ("fetched", "completed", None)
    assert [one.kind for one in story.not_kept] == ["payload"]
    assert "removed after 30 days by retention: fetch the call again" in story.not_kept[0].message
    assert len(list_calls(service, CallQuery()).items) == 1
    assert "call_1" in "".join(export_calls(service, CallQuery()))
    [entry] = list_entries(service).items
    assert (entry.actor, entry.action) == ("retention", "retention.removed")
    assert entry.detail == {"payloads": 1}


def test_what_has_no_payload_is_not_sent_again_until_it_is_fetched(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    hook = add_hook(service, simulator)
    done(service, simulator, tmp_path)
    [delivery] = delivery_rows(service)
    service = kept_for(service, payloads=DAYS)
    clock.now += (DAYS + 1) * DAY
    kept(service, tmp_path)
    with pytest.raises(Conflict, match="removed after 30 days by retention: fetch the call again"):
        replay_delivery(service, delivery.id)
    with pytest.raises(Conflict, match="removed after 30 days by retention"):
        replay_call(service, "call_1")
    with pytest.raises(NotFound, match="removed after 30 days by retention"):
        show_request(service, delivery.id)
    everything = ReplayConditions(destination_id=hook)
    assert preview_replay(service, everything).total == 0
    assert replay_matching(service, everything).replayed == 0
    other = add_hook(service, simulator, "tickets")
    assert backfill_destination(service, other, count=10).queued == 0
    assert delivery_rows(service, state=DeliveryState.QUEUED) == []

    refetch_call(service, "call_1")
    fetch(service, [1])
    assert show_call(service, "call_1").not_kept == []
    assert replay_delivery(service, delivery.id).state == "queued"


def test_a_held_deliverys_payload_stays_until_it_is_delivered(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    hook = add_hook(service, simulator)
    disable_destination(service, hook)
    rows = accept_rows(service, [call_with_media(simulator)])
    fetch(service, rows)
    fetch_media(service, tmp_path)
    service = kept_for(service, payloads=DAYS, media=DAYS, calls=DAYS)
    clock.now += 400 * DAY
    assert kept(service, tmp_path).removed == {}
    assert count(service, "call_payloads") == count(service, "calls") == 1
    assert states(service) == {"recording": "stored", "transcript": "stored"}
    enable_destination(service, hook)
    assert kept(service, tmp_path).removed == {}
    with service.database.transaction() as session:
        session.execute(text("UPDATE deliveries SET state = 'delivered'"))
    assert kept(service, tmp_path).removed == {"media": 2, "calls": 1}


def test_while_a_bulk_replay_runs_nothing_goes_that_it_may_send(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    add_hook(service, simulator)
    done(service, simulator, tmp_path)
    with service.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO replays (id, state, conditions, total, after_id, last_id, created_at)"
                " SELECT gen_random_uuid(), 'running', '{}', 1, gen_random_uuid(),"
                " gen_random_uuid(), now()"
            )
        )
    service = kept_for(service, payloads=DAYS, calls=DAYS)
    clock.now += 40 * DAY
    assert "payloads" not in kept(service, tmp_path).removed
    assert count(service, "calls") == count(service, "call_payloads") == 1


# ---- media -------------------------------------------------------------------


def test_a_file_goes_before_its_row_and_a_store_that_does_not_do_it_keeps_both(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    done(service, simulator, tmp_path)
    service = kept_for(service, media=DAYS)
    clock.now += (DAYS + 1) * DAY

    class Stuck(MediaStore):
        def remove(self, _: str) -> None:
            raise MediaStoreError("The media store cannot be changed (Permission denied)")

    counted(service)
    stuck = keep(service, Stuck(str(tmp_path)))
    assert stuck.faults == ["media: The media store cannot be changed (Permission denied)"]
    assert states(service) == {"recording": "stored", "transcript": "stored"}

    assert kept(service, tmp_path).removed == {"media": 2}
    assert states(service) == {}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert count(service, "transcripts") == 0
    story = show_call(service, "call_1")
    assert [one.kind for one in story.not_kept] == ["media"]


def test_a_round_that_died_between_the_file_and_the_row_is_finished_by_the_next(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    add_hook(service, simulator)
    done(service, simulator, tmp_path)
    service = kept_for(service, calls=DAYS)
    clock.now += (DAYS + 1) * DAY

    class Dying(MediaStore):
        def remove(self, path: str) -> None:
            super().remove(path)
            raise KeyboardInterrupt

    counted(service)
    with pytest.raises(KeyboardInterrupt):
        keep(service, Dying(str(tmp_path)))
    assert count(service, "media") == 2
    assert count(service, "calls") == 1
    assert kept(service, tmp_path).removed == {"media": 2, "calls": 1}
    assert {table: count(service, table) for table in EVERYTHING} == dict.fromkeys(EVERYTHING, 0)


def test_files_that_no_row_names_stay_and_are_told_until_somebody_asks(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    done(service, simulator, tmp_path)
    ours = {path for path in tmp_path.rglob("*") if path.is_file()}
    store = MediaStore(str(tmp_path))
    replaced = tmp_path / store.put(1, "recording", b"another one")
    left = tmp_path / store.put(77, "transcript", b"of a call that is gone")
    unfinished = tmp_path / "001" / f"1-recording-{'0' * 16}.{'0' * 32}.part"
    somebodys = tmp_path / "001" / "notes.txt"
    for path in (unfinished, somebodys):
        path.write_text("?")
    assert kept(service, tmp_path).removed == {}
    clock.now += MIN_FILE_AGE + timedelta(minutes=5)
    told = kept(service, tmp_path)
    assert (told.removed, told.unnamed) == ({"files": 1}, 2)
    assert not unfinished.exists()
    assert replaced.exists()
    assert left.exists()
    asked = kept(service, tmp_path, removes_unnamed=True)
    assert (asked.removed, asked.unnamed) == ({"files": 2}, 0)
    assert not any(path.exists() for path in (replaced, left))
    assert somebodys.exists()
    assert all(path.exists() for path in ours)


def test_another_installations_files_stay_whatever_database_is_asked(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    done(service, simulator, tmp_path)
    ours = {path for path in tmp_path.rglob("*") if path.is_file()}
    with service.database.transaction() as session:
        session.execute(text("TRUNCATE media, calls CASCADE"))
    clock.now += 400 * DAY
    told = kept(kept_for(service), tmp_path)
    assert (told.removed, told.unnamed) == ({}, 2)
    assert all(path.exists() for path in ours)


# ---- calls -------------------------------------------------------------------


def test_a_call_goes_with_all_that_hangs_on_it(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    add_hook(service, simulator)
    done(service, simulator, tmp_path)
    clock.now += 20 * DAY
    done(service, simulator, tmp_path, "call_2")
    service = kept_for(service, calls=DAYS)
    clock.now += 20 * DAY
    before = {table: count(service, table) for table in EVERYTHING}
    assert kept(service, tmp_path).removed == {"media": 2, "calls": 1}
    after = {table: count(service, table) for table in EVERYTHING}
    assert after == {table: number // 2 for table, number in before.items()}
    with pytest.raises(NotFound):
        show_call(service, "call_1")
    assert show_call(service, "call_2").not_kept == []


def test_a_call_that_was_fetched_anew_stays(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    done(service, simulator, tmp_path)
    service = kept_for(service, calls=DAYS, payloads=DAYS)
    clock.now += (DAYS - 1) * DAY
    refetch_call(service, "call_1")
    fetch(service, [1])
    clock.now += 2 * DAY
    assert kept(service, tmp_path).removed == {}


def test_two_calls_of_one_webhook_lose_it_with_the_last(
    service: Service, clock: Clock, tmp_path: Path
) -> None:
    accept(service, ["call_1", "call_2"])
    with service.database.transaction() as session:
        session.execute(
            text("UPDATE events SET webhook_id = (SELECT min(id::text)::uuid FROM webhooks)")
        )
        session.execute(
            text("DELETE FROM webhooks WHERE id NOT IN (SELECT webhook_id FROM events)")
        )
        session.execute(text("UPDATE calls SET state = 'dead' WHERE call_id = 'call_1'"))
    service = kept_for(service, calls=DAYS)
    clock.now += (DAYS + 1) * DAY
    assert kept(service, tmp_path).removed == {"calls": 1}
    assert (count(service, "events"), count(service, "webhooks")) == (1, 1)
    with service.database.transaction() as session:
        session.execute(text("UPDATE calls SET state = 'dead'"))
    assert kept(service, tmp_path).removed == {"calls": 1}
    assert (count(service, "events"), count(service, "webhooks")) == (0, 0)


def test_readings_of_the_log_go_when_they_ended_long_ago_but_for_the_newest_complete_one(
    service: Service, clock: Clock, tmp_path: Path
) -> None:
    accept(service, ["call_1"])
    old = clock.now
    clock.now += RECONCILIATIONS_KEPT + DAY
    some = {
        "an old complete one": ("periodic", "done", None, old),
        "the newest complete one": ("by_hand", "done", None, old),
        "the newest one": ("by_hand", "done", old, old),
        "a failed one": ("periodic", "failed", None, old),
        "a canceled one": ("by_hand", "canceled", None, old),
        "a young one": ("periodic", "failed", None, clock.now - DAY),
        "a running one": ("by_hand", "running", None, None),
    }
    with service.database.transaction() as session:
        for note, (kind, state, since, finished_at) in some.items():
            session.add(
                Reconciliation(
                    id=new_id(),
                    workspace_id=WORKSPACE.id,
                    kind=kind,
                    state=state,
                    since=since,
                    note=note,
                    due_at=old,
                    created_at=old,
                    finished_at=finished_at,
                )
            )
            session.flush()
    assert kept(kept_for(service), tmp_path).removed == {"reconciliations": 3}
    with service.database.transaction() as session:
        left = set(session.scalars(select(Reconciliation.note)))
    assert left == {
        "the newest complete one",
        "the newest one",
        "a young one",
        "a running one",
    }


def test_what_happened_is_still_counted(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    done(service, simulator, tmp_path)
    service = kept_for(service, calls=DAYS)
    clock.now += (DAYS + 1) * DAY
    assert keep(service, MediaStore(str(tmp_path))).removed == {}
    assert kept(service, tmp_path).removed == {"media": 2, "calls": 1}
    with service.database.transaction() as session:
        counts = session.execute(text("SELECT kind, count FROM activity_counts ORDER BY kind"))
        assert [tuple(row) for row in counts] == [("fetch", 1), ("received", 1)]


# ---- laws --------------------------------------------------------------------

CALL_STATES = ("queued", "fetching", "fetched", "dead")
DELIVERY_STATES = ("queued", "sending", "delivered", "dead", "held", "skipped")
MEDIA_STATES = ("queued", "fetching", "stored", "dead")


@settings(
    max_examples=20,
    # Each is a second of work: the first that fails is told as it is.
    phases=(Phase.generate,),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(CALL_STATES),
            st.lists(st.sampled_from(DELIVERY_STATES), max_size=3),
            st.lists(st.sampled_from(MEDIA_STATES), max_size=2),
            st.integers(0, 60),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    ),
    keeps_media=st.booleans(),
)
def test_nothing_that_is_not_settled_is_ever_removed(
    service: Service,
    clock: Clock,
    tmp_path: Path,
    rows: list[tuple[str, list[str], list[str], int, bool]],
    keeps_media: bool,
) -> None:
    with service.database.transaction() as session:
        for table in ("calls", "destinations", "activity_marks", "workspaces"):
            session.execute(text(f"DELETE FROM {table}"))  # noqa: S608
        _insert(session, rows, now=clock.now)
    limited = kept_for(service, payloads=10, media=20, calls=30)
    update = {"keep_media": keeps_media}
    limited = replace(limited, settings=limited.settings.model_copy(update=update))
    kept(limited, tmp_path)
    with service.database.transaction() as session:
        calls = set(session.scalars(text("SELECT id FROM calls")))
        payloads = set(session.scalars(text("SELECT call_row_id FROM call_payloads")))
        media = list(session.scalars(text("SELECT call_row_id FROM media")))
    for number, (state, deliveries, its, age, looks) in enumerate(rows, 1):
        waits = bool({"queued", "sending", "held"} & set(deliveries))
        is_open = state in ("queued", "fetching") or waits
        fetches = {"queued", "fetching"} if keeps_media else {"fetching"}
        is_looked_at = looks and state == "fetched"
        is_busy = is_open or is_looked_at or bool(fetches & set(its))
        assert (number in calls) == (is_busy or age < 30), (number, rows)
        assert (number in payloads) == (is_open or (number in calls and age < 10)), (number, rows)
        assert media.count(number) == (len(its) if is_busy or age < 20 else 0), (number, rows)


def _insert(
    session: Session, rows: list[tuple[str, list[str], list[str], int, bool]], *, now: datetime
) -> None:
    execute = session.execute
    execute(text("INSERT INTO workspaces (id) VALUES ('w')"))
    for number in range(1, 4):
        execute(
            text(
                "INSERT INTO destinations (id, name, url, events, secret_sealed)"
                " VALUES (CAST(CAST(:id AS text) AS uuid), :name, 'x', '{}', 'x')"
            ),
            {"id": f"00000000-0000-0000-0000-00000000000{number}", "name": f"d{number}"},
        )
    for number, (state, deliveries, media, age, looks) in enumerate(rows, 1):
        known = {"id": number, "at": now - age * DAY - timedelta(minutes=1)}
        execute(
            text(
                "INSERT INTO calls (id, workspace_id, call_id, state, due_at, received_at,"
                " fetched_at, revision, lease_token, look_again_at) VALUES (:id, 'w', :name,"
                " CAST(:state AS text), :at, :at, :at, 1,"
                " CASE WHEN CAST(:state AS text) = 'fetching'"
                " THEN gen_random_uuid() END, CASE WHEN :looks THEN CAST(:at AS timestamptz) END)"
            ),
            {**known, "name": f"call_{number}", "state": state, "looks": looks},
        )
        execute(
            text(
                "INSERT INTO call_payloads (call_row_id, revision, saved_at, call,"
                " input_parameters, output_parameters, raw)"
                " VALUES (:id, 1, :at, '{}', '{}', '{}', '{}')"
            ),
            known,
        )
        for place, one in enumerate(deliveries, 1):
            execute(
                text(
                    "INSERT INTO deliveries (id, call_row_id, destination_id, revision, type,"
                    " state, due_at, created_at, lease_token) VALUES (gen_random_uuid(), :id,"
                    " CAST(CAST(:to AS text) AS uuid), 1, 'call.completed',"
                    " CAST(:state AS text), :at, :at,"
                    " CASE WHEN CAST(:state AS text) = 'sending' THEN gen_random_uuid() END)"
                ),
                {**known, "to": f"00000000-0000-0000-0000-00000000000{place}", "state": one},
            )
        for kind, one in zip(("recording", "transcript"), media, strict=False):
            execute(
                text(
                    "INSERT INTO media (call_row_id, kind, state, due_at, lease_token)"
                    " VALUES (:id, :kind, CAST(:state AS text), :at,"
                    " CASE WHEN CAST(:state AS text) = 'fetching' THEN gen_random_uuid() END)"
                ),
                {**known, "kind": kind, "state": one},
            )


def test_two_keepers_at_once_do_it_once_and_one_says_that_it_stopped(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    for number in range(12):
        simulator.twentytwo.add_call(
            SimulatedCall(call_id=f"call_{number}", workspace_id=WORKSPACE.id)
        )
    rows = accept_rows(service, [f"call_{number}" for number in range(12)])
    fetch(service, rows)
    service = kept_for(service, calls=DAYS)
    clock.now += (DAYS + 1) * DAY
    counted(service)
    with service.database.transaction() as session:
        session.execute(text("DELETE FROM media"))
        session.execute(text("UPDATE calls SET look_again_at = NULL"))
    found: list[Kept] = []
    threads = [
        threading.Thread(target=lambda: found.append(keep(service, MediaStore(str(tmp_path)))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(one.removed.get("calls", 0) for one in found) == 12
    assert count(service, "calls") == 0
    for one in found:
        assert one.faults in ([], ["another keeper is at work: this one stopped"])


def test_a_keeper_does_nothing_while_another_one_has_its_turn(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    done(service, simulator, tmp_path)
    service = kept_for(service, calls=DAYS)
    clock.now += (DAYS + 1) * DAY
    counted(service)
    with service.database.transaction() as session:
        assert take_turn(session)
        stopped = keep(service, MediaStore(str(tmp_path)))
    assert (stopped.removed, stopped.is_complete) == ({}, False)
    assert count(service, "calls") == 1


def test_who_looks_for_what_the_operator_should_know_stops_no_keeper(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    done(service, simulator, tmp_path)
    service = kept_for(service, calls=DAYS)
    clock.now += (DAYS + 1) * DAY
    counted(service)
    with service.database.transaction() as session:
        # A sweep does, each second.
        assert may_tell(session)
        told = keep(service, MediaStore(str(tmp_path)))
    assert (told.faults, told.removed) == ([], {"media": 2, "calls": 1})


def test_when_the_time_is_over_the_rest_goes_in_the_next_round(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    done(service, simulator, tmp_path)
    service = kept_for(service, calls=DAYS)
    clock.now += (DAYS + 1) * DAY
    cut = kept(service, tmp_path, budget=timedelta(seconds=-1))
    assert (cut.removed, cut.is_complete) == ({}, False)
    assert kept(service, tmp_path, budget=timedelta(seconds=60)).is_complete


# ---- for those who look ------------------------------------------------------


def test_what_would_go_is_told_beforehand(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    add_hook(service, simulator)
    done(service, simulator, tmp_path)
    service = kept_for(service, raw_events=7, attempts=None, payloads=DAYS, calls=None, media=DAYS)
    clock.now += 100 * DAY
    told = {one.kind: one for one in show_retention(service).items}
    assert told["raw_events"].due_partitions[0] == "webhooks_old"
    assert (told["payloads"].due_rows, told["media"].due_rows) == (1, 2)
    assert (told["calls"].keep_days, told["calls"].due_rows) == (None, 0)
    assert told["media"].size_bytes > sum(
        path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()
    )
    assert all(one.oldest_at is not None for one in told.values())
    kept(service, tmp_path)
    told = {one.kind: one for one in show_retention(service).items}
    assert [one.due_rows for one in told.values()] == [0] * 5
    assert told["raw_events"].due_partitions == []
