"""Twenty2's log is read for calls that never came: each found once, whatever happens meanwhile."""

import threading
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
import redis
from sqlalchemy import select, text

from aftercall.db.forgotten import note_forgotten
from aftercall.db.models import Call, Event, Reconciliation
from aftercall.domain.call_log import PAGE_SIZE
from aftercall.domain.outcomes import FORBIDDEN_ATTEMPTS, FORBIDDEN_IN_A_ROW
from aftercall.domain.plans import MAX_LAPSES
from aftercall.domain.schedules import FETCH_ATTEMPTS
from aftercall.domain.states import CallState, Priority
from aftercall.domain.work import FOUND_IN_LOG, UNSPECIFIED, Credentials
from aftercall.embedded import StoreUrls
from aftercall.flows.claim_calls import LEASE, claim_with_permits
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.errors import Conflict, Invalid, NotFound
from aftercall.flows.reconcile import (
    PLACES,
    Reconciler,
    claim_pages,
    read_page,
    record_pages,
    step_here,
)
from aftercall.flows.reconciliations import (
    LOOK_BACK,
    cancel_reconciliation,
    list_reconciliations,
    show_reconciliation,
    start_periodic,
    start_reconciliation,
)
from aftercall.flows.service import Service
from aftercall.flows.sweep import sweep
from aftercall.flows.views import ReconciliationView
from aftercall.rate_limit import Wish
from aftercall.simulator import Fault, PlannedFault, Simulator
from aftercall.twentytwo.call_logs import parameters_of
from aftercall.twentytwo.client import Twenty2
from aftercall.twentytwo.rate_limit import workspace_lane
from tests.conftest import WORKSPACE, Clock, make_service, make_settings
from tests.flows.work import accept, accept_rows, call_row, fetch

#: What the simulator makes ends a second apart: a small log of a few pages.
SOME = 2 * PAGE_SIZE + 40
KEYS = Credentials(api_key=WORKSPACE.api_key, api_secret=WORKSPACE.api_secret)


@pytest.fixture
def twentytwo(service: Service) -> Iterator[Twenty2]:
    client = Twenty2(service.settings.twentytwo_base_url, keep=4)
    yield client
    client.close()


def start(service: Service, **bounds: object) -> uuid.UUID:
    return start_reconciliation(service, WORKSPACE.id, **bounds).id  # type: ignore[arg-type]


def read_on(
    service: Service, twentytwo: Twenty2, id_: uuid.UUID, *, steps: int = 100
) -> ReconciliationView:
    """Until it ends, or waits."""
    while steps and step_here(service, twentytwo, id_):
        steps -= 1
    return show_reconciliation(service, id_)


def calls_here(service: Service) -> dict[str, Call]:
    with service.database.transaction() as session:
        return {row.call_id: row for row in session.scalars(select(Call))}


def counts(view: ReconciliationView) -> tuple[int, int, int]:
    return view.calls_seen, view.already_known, view.missing


# ---- what is missing ---------------------------------------------------------


def test_exactly_the_missing_calls_are_queued_behind_everything_and_tell_their_source(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    made = simulator.twentytwo.make_calls(SOME)
    accept(service, made[::3])
    view = read_on(service, twentytwo, start(service))
    missing = SOME - len(made[::3])
    assert (view.state, view.last_error, view.note) == ("done", None, None)
    assert counts(view) == (SOME, len(made[::3]), missing)
    here = calls_here(service)
    assert set(here) == set(made)
    found = {call_id for call_id, row in here.items() if row.priority == Priority.BACKFILL}
    assert found == set(made) - set(made[::3])
    with service.database.transaction() as session:
        types = session.scalars(select(Event.type).where(Event.call_id.in_(found)))
        assert set(types) == {FOUND_IN_LOG}
        bodies = session.execute(text("SELECT convert_from(body, 'UTF8') FROM webhooks")).scalars()
        assert f"aftercall reconciliation {view.id}" in set(bodies)


def test_reading_again_finds_nothing(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    simulator.twentytwo.make_calls(SOME)
    read_on(service, twentytwo, start(service))
    view = read_on(service, twentytwo, start(service))
    assert counts(view) == (SOME, SOME, 0)


def test_a_call_that_is_known_under_the_other_id_is_known(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    [asked, listed] = simulator.twentytwo.make_calls(2, status="completed")
    accept(service, [asked])
    with service.database.transaction() as session:
        # Twenty2 was asked for the one, and answered with the other.
        session.execute(
            text("UPDATE calls SET answered_call_id = :other WHERE call_id = :id"),
            {"other": listed, "id": asked},
        )
    assert counts(read_on(service, twentytwo, start(service))) == (2, 2, 0)


def test_a_call_that_was_forgotten_is_not_missing(
    service: Service, simulator: Simulator, twentytwo: Twenty2, clock: Clock
) -> None:
    forgotten, missing = simulator.twentytwo.make_calls(2, status="completed")
    with service.database.statements() as connection:
        note_forgotten(connection, [(WORKSPACE.id, forgotten)], now=clock())
    assert counts(read_on(service, twentytwo, start(service))) == (2, 1, 1)
    assert set(calls_here(service)) == {missing}


def test_what_retention_has_removed_is_not_missing(
    service: Service, simulator: Simulator, twentytwo: Twenty2, stores: StoreUrls, clock: Clock
) -> None:
    simulator.twentytwo.make_calls(3, status="completed")
    settings = service.settings.model_copy(update={"keep_calls_days": 30})
    thrifty = make_service(service.database, stores, settings, clock)
    clock.now += timedelta(days=31)
    view = read_on(thrifty, twentytwo, start(thrifty))
    assert (view.state, view.missing, view.outside) == ("done", 0, 3)


def test_where_ids_have_two_spellings_what_may_be_waiting_under_the_other_is_left(
    service: Service, simulator: Simulator, twentytwo: Twenty2, clock: Clock
) -> None:
    old, fetched, listed = simulator.twentytwo.make_calls(3, status="completed")
    accept(service, [fetched, "the other id of the one that is listed"])
    with service.database.transaction() as session:
        session.execute(
            text(
                "UPDATE calls SET answered_call_id = 'call_x', state = 'fetched' "
                "WHERE call_id = :id"
            ),
            {"id": fetched},
        )
    id_ = start(service)
    view = read_on(service, twentytwo, id_)
    assert (view.missing, view.under_way) == (0, 2)
    # It was fetched, and Twenty2 answered with the id that the log has.
    with service.database.transaction() as session:
        session.execute(
            text(
                "UPDATE calls SET answered_call_id = :listed, state = 'fetched', revision = 1 "
                "WHERE state = 'queued'"
            ),
            {"listed": listed},
        )
    assert read_on(service, twentytwo, start(service)).missing == 1
    assert old in calls_here(service)


def test_ids_from_a_list_that_may_name_the_same_calls_differently_are_waited_for(
    service: Service, simulator: Simulator, twentytwo: Twenty2, clock: Clock
) -> None:
    fetched, *listed = simulator.twentytwo.make_calls(3, status="completed")
    accept(service, [fetched])
    with service.database.transaction() as session:
        session.execute(
            text("UPDATE calls SET answered_call_id = 'call_x', state = 'fetched', revision = 1")
        )
    # Long after they began: when they came says nothing of that.
    clock.now += timedelta(days=2)
    accept(service, ["its other id"], type=UNSPECIFIED, priority=Priority.BACKFILL)
    view = read_on(service, twentytwo, start(service))
    assert (view.missing, view.under_way) == (0, 2)
    with service.database.transaction() as session:
        session.execute(
            text(
                "UPDATE calls SET answered_call_id = :listed, state = 'fetched', revision = 1 "
                "WHERE state = 'queued'"
            ),
            {"listed": listed[0]},
        )
    assert read_on(service, twentytwo, start(service)).missing == 1
    # Its own finds wait for their first fetch, and hold up none.
    simulator.twentytwo.make_calls(1, status="completed")
    assert read_on(service, twentytwo, start(service)).missing == 1


def test_a_webhook_that_comes_late_is_no_second_call(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    read_on(service, twentytwo, start(service))
    accept(service, [call_id])
    assert call_row(service, call_id).priority == Priority.FRESH
    assert len(calls_here(service)) == 1


def test_what_is_under_way_is_left_for_the_next_time(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    simulator.twentytwo.make_calls(3)
    later = simulator.twentytwo.make_calls(2, ready_after_looks=1)
    view = read_on(service, twentytwo, start(service))
    assert (view.missing, view.under_way) == (3, 2)
    for call_id in later:
        twentytwo.call_detail(call_id, workspace_id=WORKSPACE.id, credentials=KEYS)
    assert read_on(service, twentytwo, start(service)).missing == 2


def test_only_calls_between_since_and_until_are_queued(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    made = simulator.twentytwo.make_calls(SOME, status="completed")
    times = sorted(_began(simulator, call_id) for call_id in made)
    since, until = times[20], times[100]
    view = read_on(service, twentytwo, start(service, since=since, until=until))
    wanted = {one for one in made if since <= _began(simulator, one) < until}
    assert set(calls_here(service)) == wanted
    assert (view.missing, view.outside) == (len(wanted), SOME - len(wanted))


def _began(simulator: Simulator, call_id: str) -> datetime:
    return datetime.fromisoformat(simulator.twentytwo.call(call_id).started_at or "")


# ---- interruptions -----------------------------------------------------------


def test_new_calls_between_the_pages_hide_none(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    made = simulator.twentytwo.make_calls(SOME)
    id_ = start(service)
    while step_here(service, twentytwo, id_):
        # By the clock: at the front, and pages shift. A webhook may come for some of them.
        if len(made) < SOME + 2 * PAGE_SIZE:
            made += simulator.twentytwo.make_calls(PAGE_SIZE)
            accept(service, made[-10:])
    assert show_reconciliation(service, id_).state == "done"
    assert set(calls_here(service)) == set(made)


def test_many_at_once_never_read_one_page_twice(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    simulator.twentytwo.make_calls(SOME)
    id_ = start(service)

    def read() -> None:
        while show_reconciliation(service, id_).state == "running":
            step_here(service, twentytwo, id_)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    view = show_reconciliation(service, id_)
    # Three pages, the empty one behind them, and the beginning once more.
    assert (view.pages_read, *counts(view)) == (5, SOME, 0, SOME)


def test_whoever_lost_the_lease_writes_nothing(
    service: Service, simulator: Simulator, twentytwo: Twenty2, clock: Clock
) -> None:
    simulator.twentytwo.make_calls(SOME)
    id_ = start(service)
    [job] = claim_pages(service, [id_])
    assert claim_pages(service, [id_]) == []
    exchange = twentytwo.call_logs(
        parameters_of(job.claim.position), workspace_id=WORKSPACE.id, credentials=job.credentials
    )
    clock.now += LEASE + timedelta(seconds=1)
    read_on(service, twentytwo, id_, steps=1)
    before = show_reconciliation(service, id_)
    record_pages(service, [read_page(service, job, exchange)])
    assert show_reconciliation(service, id_) == before
    assert counts(read_on(service, twentytwo, id_)) == (SOME, 0, SOME)


def test_a_permit_that_cannot_be_had_costs_the_pages_before_it_nothing(
    service: Service, simulator: Simulator
) -> None:
    set_workspace(
        service, "other", WorkspaceSpec.model_validate({"api_key": "key", "api_secret": "secret"})
    )
    first = start(service)
    other = start_reconciliation(service, "other").id
    # Redis refuses to count there.
    service.redis.set("aftercall:limit:{workspace:other}", "no set")
    with pytest.raises(redis.RedisError):
        claim_pages(service, [other])
    assert [job.claim.id for job in claim_pages(service, [first, other])] == [first]


def test_a_page_that_costs_its_process_again_and_again_ends_it_with_a_reason(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    id_ = start(service)
    for _ in range(MAX_LAPSES):
        assert claim_pages(service, [id_])
        clock.now += LEASE + timedelta(seconds=1)
    assert claim_pages(service, [id_]) == []
    view = show_reconciliation(service, id_)
    assert view.state == "failed"
    assert "lost 3 times while it read page 1" in str(view.last_error)


def test_one_that_failed_goes_on_from_its_page_by_hand(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    simulator.twentytwo.make_calls(SOME)
    id_ = start(service)
    read_on(service, twentytwo, id_, steps=2)
    _end(service, id_, "failed")
    assert start(service) == id_
    assert show_reconciliation(service, id_).page == 3
    assert counts(read_on(service, twentytwo, id_)) == (SOME, 0, SOME)


def _end(service: Service, id_: uuid.UUID, state: str) -> None:
    with service.database.transaction() as session:
        session.execute(
            text("UPDATE reconciliations SET state = :state WHERE id = :id"),
            {"state": state, "id": id_},
        )


# ---- Twenty2's answers -------------------------------------------------------


def test_a_429_in_the_middle_blocks_the_workspace_and_spends_nothing(
    service: Service, simulator: Simulator, twentytwo: Twenty2, clock: Clock
) -> None:
    made = simulator.twentytwo.make_calls(SOME)
    id_ = start(service)
    read_on(service, twentytwo, id_, steps=1)
    simulator.twentytwo.fail_next_logs(PlannedFault(Fault.RATE_LIMITED, retry_after="30"))
    view = read_on(service, twentytwo, id_)
    assert (view.state, view.page) == ("running", 2)
    assert "429" in str(view.last_error)
    # The block is everybody's.
    assert claim_with_permits(service, accept_rows(service, ["call_1"])) == []
    clock.now += timedelta(seconds=31)
    service.limiter.unblock(f"workspace:{WORKSPACE.id}")
    assert counts(read_on(service, twentytwo, id_)) == (SOME, 0, SOME)
    assert set(made) < set(calls_here(service))


def test_a_401_in_the_middle_waits_for_credentials_and_a_page_finds_out_that_they_work(
    service: Service, simulator: Simulator, twentytwo: Twenty2, clock: Clock
) -> None:
    simulator.twentytwo.make_calls(SOME)
    id_ = start(service)
    read_on(service, twentytwo, id_, steps=1)
    simulator.twentytwo.fail_next_logs(Fault.UNAUTHORIZED)
    view = read_on(service, twentytwo, id_)
    assert (view.state, view.page) == ("running", 2)
    clock.now += timedelta(minutes=4)
    service.limiter.unblock(f"workspace:{WORKSPACE.id}")
    assert counts(read_on(service, twentytwo, id_)) == (SOME, 0, SOME)
    with service.database.transaction() as session:
        blocks = session.execute(text("SELECT block_kind FROM workspaces")).scalars().all()
    assert blocks == [None]


@pytest.mark.parametrize(
    "fault", [Fault.SERVER_ERROR, Fault.NOT_JSON, Fault.RESET, Fault.NOT_FOUND, Fault.FORBIDDEN]
)
def test_a_page_that_fails_is_tried_again_later(
    service: Service, simulator: Simulator, twentytwo: Twenty2, clock: Clock, fault: Fault
) -> None:
    simulator.twentytwo.make_calls(3)
    simulator.twentytwo.fail_next_logs(fault)
    id_ = start(service)
    view = read_on(service, twentytwo, id_, steps=1)
    assert view.state == "running"
    assert view.last_error
    clock.now += timedelta(minutes=1)
    assert counts(read_on(service, twentytwo, id_)) == (3, 0, 3)


def test_of_one_that_came_to_its_end_no_ids_are_kept(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    simulator.twentytwo.make_calls(SOME)
    canceled = start(service)
    read_on(service, twentytwo, canceled, steps=2)
    assert cancel_reconciliation(service, canceled).page == 3
    read_on(service, twentytwo, start(service))
    with service.database.transaction() as session:
        positions = session.scalars(select(Reconciliation.position).order_by(Reconciliation.id))
        assert list(positions) == [{"page": 3}, {"page": 1}]


@pytest.mark.parametrize("fault", [Fault.NOT_FOUND, Fault.BAD_REQUEST, Fault.UNPROCESSABLE])
def test_a_log_that_refuses_the_page_after_its_last_one_is_read_to_its_end(
    service: Service, simulator: Simulator, twentytwo: Twenty2, fault: Fault
) -> None:
    simulator.twentytwo.make_calls(SOME)
    id_ = start(service)
    read_on(service, twentytwo, id_, steps=3)
    simulator.twentytwo.fail_next_logs(fault)
    view = read_on(service, twentytwo, id_)
    assert (view.state, view.last_error) == ("done", None)
    assert "to page 4, and that was taken for the end" in str(view.note)
    # The three, the refused one, and the beginning once more.
    assert (view.pages_read, *counts(view)) == (5, SOME, 0, SOME)


def test_a_log_that_never_answers_is_given_up_with_a_reason(
    service: Service, simulator: Simulator, twentytwo: Twenty2, clock: Clock
) -> None:
    simulator.twentytwo.fail_next_logs(*[Fault.SERVER_ERROR] * FETCH_ATTEMPTS)
    id_ = start(service)
    for _ in range(FETCH_ATTEMPTS):
        assert step_here(service, twentytwo, id_)
        clock.now += timedelta(hours=13)
    view = show_reconciliation(service, id_)
    assert view.state == "failed"
    assert f"gave up after {FETCH_ATTEMPTS} attempts" in str(view.last_error)
    assert view.finished_at is not None


def test_a_key_that_may_not_read_the_log_does_not_block_the_workspace(
    service: Service, simulator: Simulator, twentytwo: Twenty2, clock: Clock
) -> None:
    for _ in range(FORBIDDEN_IN_A_ROW // FORBIDDEN_ATTEMPTS + 1):
        simulator.twentytwo.fail_next_logs(*[Fault.FORBIDDEN] * FORBIDDEN_ATTEMPTS)
        id_ = start(service)
        for _ in range(FORBIDDEN_ATTEMPTS):
            assert step_here(service, twentytwo, id_)
            clock.now += timedelta(hours=13)
        view = show_reconciliation(service, id_)
        assert (view.state, "403" in str(view.last_error)) == ("failed", True)
    with service.database.transaction() as session:
        assert session.execute(text("SELECT block_kind FROM workspaces")).scalars().all() == [None]


def test_parameters_that_are_refused_are_left_out(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    simulator.twentytwo.make_calls(45)
    simulator.twentytwo.fail_next_logs(Fault.UNPROCESSABLE)
    view = read_on(service, twentytwo, start(service))
    # Twenty a page, which is the simulator's own size.
    assert (view.state, view.pages_read, view.missing) == ("done", 5, 45)


# ---- the line ----------------------------------------------------------------


def test_a_fresh_call_overtakes_the_pages_and_what_they_found(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    set_workspace(service, WORKSPACE.id, WorkspaceSpec(rate_limit=60))
    made = simulator.twentytwo.make_calls(20 * PAGE_SIZE)
    id_ = start(service)
    view = read_on(service, twentytwo, id_)
    # Evenly spaced: no more than a few pages at once, of sixty that there are permits for.
    assert (view.state, view.pages_read < 10) == ("running", True)
    fresh = accept_rows(service, ["call_fresh"])
    [job] = claim_with_permits(service, fresh)
    assert job.claim.call_id == "call_fresh"
    backfill = [row.id for row in calls_here(service).values() if row.call_id in set(made)]
    assert claim_with_permits(service, backfill) == []


def test_logs_without_a_permit_stand_in_no_other_logs_way(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    keys = WorkspaceSpec.model_validate({"api_key": "key", "api_secret": "secret"})
    crowded = [f"crowded_{number}" for number in range(PLACES)]
    ids = []
    for workspace_id in crowded:
        set_workspace(service, workspace_id, keys)
        ids.append(start_reconciliation(service, workspace_id).id)
        lane = workspace_lane(workspace_id, requests_per_minute=WORKSPACE.rate_limit)
        service.limiter.take([Wish(lane, fresh=lane.limit, paced=0)])
    free = start(service)
    reconciler = Reconciler(service, twentytwo)
    reconciler.step([*ids, free])
    assert reconciler.close(10)
    assert show_reconciliation(service, free).pages_read == 1


def test_the_limit_is_never_exceeded(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    simulator.twentytwo.make_calls(SOME)
    read_on(service, twentytwo, start(service))
    assert simulator.twentytwo.breaches() == (0, 0)


# ---- beginning, stopping, listing --------------------------------------------


def test_one_runs_at_a_time_and_by_hand_goes_before_periodic(
    service: Service, clock: Clock
) -> None:
    accept(service, ["call_1"])
    _periodic(service, clock)
    [periodic] = list_reconciliations(service).items
    assert (periodic.kind, periodic.state) == ("periodic", "running")
    id_ = start(service)
    assert show_reconciliation(service, periodic.id).state == "canceled"
    with pytest.raises(Conflict, match="being read already"):
        start(service)
    start_periodic(service)
    assert show_reconciliation(service, id_).state == "running"
    view = cancel_reconciliation(service, id_)
    assert (view.state, view.due_at) == ("canceled", None)
    with pytest.raises(Conflict, match="canceled already"):
        cancel_reconciliation(service, id_)
    assert [one.id for one in list_reconciliations(service).items] == [id_, periodic.id]


def _periodic(service: Service, clock: Clock) -> None:
    clock.now += service.settings.reconcile_every + timedelta(seconds=60)
    start_periodic(service)


def test_one_that_is_canceled_in_the_middle_of_a_page_queues_nothing_more(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    simulator.twentytwo.make_calls(3)
    id_ = start(service)
    [job] = claim_pages(service, [id_])
    exchange = twentytwo.call_logs(
        parameters_of(job.claim.position), workspace_id=WORKSPACE.id, credentials=job.credentials
    )
    cancel_reconciliation(service, id_)
    record_pages(service, [read_page(service, job, exchange)])
    assert calls_here(service) == {}
    assert show_reconciliation(service, id_).state == "canceled"


def test_what_cannot_be_read_is_refused_with_what_to_do(service: Service, clock: Clock) -> None:
    with pytest.raises(NotFound):
        start_reconciliation(service, "nobody")
    set_workspace(service, "other", WorkspaceSpec(rate_limit=5))
    with pytest.raises(Conflict, match="aftercall workspaces set other"):
        start_reconciliation(service, "other")
    with pytest.raises(Invalid, match="later than since"):
        start(service, since=clock.now, until=clock.now)
    with pytest.raises(NotFound):
        show_reconciliation(service, uuid.UUID(int=5))


# ---- periodic ----------------------------------------------------------------


def test_each_workspace_with_credentials_has_its_turn_and_no_other(
    service: Service, clock: Clock
) -> None:
    set_workspace(service, "without", WorkspaceSpec(rate_limit=5))
    start_periodic(service)
    # The first comes after the first six hours: what was before was not missed here.
    assert list_reconciliations(service).items == []
    _periodic(service, clock)
    start_periodic(service)
    [one] = list_reconciliations(service).items
    assert (one.workspace_id, one.kind) == (WORKSPACE.id, "periodic")
    _end(service, one.id, "done")
    start_periodic(service)
    assert len(list_reconciliations(service).items) == 1
    _periodic(service, clock)
    assert len(list_reconciliations(service).items) == 2


def test_it_looks_back_from_the_last_complete_one_and_not_before_the_workspace_came(
    service: Service, clock: Clock
) -> None:
    start_periodic(service)
    _periodic(service, clock)
    [first] = list_reconciliations(service).items
    with service.database.transaction() as session:
        came = session.execute(text("SELECT created_at FROM workspaces")).scalar_one()
    assert first.since == came
    for _ in range(3):
        clock.now += timedelta(days=4)
        _end(service, list_reconciliations(service).items[0].id, "done")
        start_periodic(service)
    latest, before, *_ = list_reconciliations(service).items
    assert latest.since == before.created_at - LOOK_BACK
    # One that failed has covered nothing.
    _end(service, latest.id, "failed")
    clock.now += timedelta(days=4)
    start_periodic(service)
    assert list_reconciliations(service).items[0].since == before.created_at - LOOK_BACK


def test_what_was_read_while_the_clock_was_ahead_counts_once_the_clock_gets_there(
    service: Service, clock: Clock
) -> None:
    start_periodic(service)
    _periodic(service, clock)
    [right] = list_reconciliations(service).items
    _end(service, right.id, "done")
    clock.now += timedelta(days=365)
    start_periodic(service)
    ahead = list_reconciliations(service).items[0]
    assert ahead.id != right.id
    _end(service, ahead.id, "done")
    clock.now -= timedelta(days=365)
    _periodic(service, clock)
    latest = list_reconciliations(service).items[0]
    assert latest.id not in {right.id, ahead.id}
    assert latest.since == max(right.since, right.created_at - LOOK_BACK)


def test_none_is_begun_when_it_is_turned_off(
    service: Service, stores: StoreUrls, clock: Clock
) -> None:
    settings = make_settings(AFTERCALL_RECONCILE_EVERY="0")
    off = make_service(service.database, stores, settings, clock)
    accept(service, ["call_1"])
    clock.now += timedelta(days=30)
    start_periodic(off)
    assert list_reconciliations(service).items == []
    off.redis.close()


def test_a_periodic_one_leaves_what_has_only_just_ended(
    service: Service, simulator: Simulator, twentytwo: Twenty2, clock: Clock
) -> None:
    accept(service, ["call_1"])
    made = simulator.twentytwo.make_calls(300)
    with service.database.transaction() as session:
        session.execute(text("UPDATE workspaces SET created_at = now() - interval '1 day'"))
    start_periodic(service)
    [one] = list_reconciliations(service).items
    view = read_on(service, twentytwo, one.id)
    # They ended a second apart, until now: two minutes' worth are left.
    assert view.state == "done"
    assert 110 <= view.under_way <= 125
    assert view.missing == 300 - view.under_way
    assert set(calls_here(service)) - {"call_1"} == set(made[: view.missing])


def test_a_sweep_rings_for_its_pages_and_a_worker_reads_them(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    simulator.twentytwo.make_calls(SOME)
    id_ = start(service)
    service.redis.flushdb()
    sweep(service, waiting_messages=lambda _: 0)
    assert "aftercall.reconcile" in str(service.redis.lrange("aftercall-backlog", 0, -1))
    reconciler = Reconciler(service, twentytwo)
    for _ in range(50):
        if show_reconciliation(service, id_).state != "running":
            break
        reconciler.step([id_])
        _until_idle(reconciler)
    assert reconciler.close(10)
    assert counts(show_reconciliation(service, id_)) == (SOME, 0, SOME)


def test_sweeps_look_once_a_minute_for_logs_that_were_not_read_for_long(
    service: Service, clock: Clock
) -> None:
    accept(service, ["call_1"])
    sweep(service, waiting_messages=lambda _: 0)
    clock.now += service.settings.reconcile_every + timedelta(seconds=60)
    sweep(service, waiting_messages=lambda _: 0)
    assert list_reconciliations(service).items == []
    # As when the minute is over.
    assert 0 < service.redis.ttl("aftercall:reconciled") <= 60
    service.redis.delete("aftercall:reconciled")
    sweep(service, waiting_messages=lambda _: 0)
    assert len(list_reconciliations(service).items) == 1


def _until_idle(reconciler: Reconciler) -> None:
    done = threading.Event()
    while reconciler.overdue(0):
        done.wait(0.01)


def test_what_was_found_is_fetched_like_every_call(
    service: Service, simulator: Simulator, twentytwo: Twenty2
) -> None:
    made = simulator.twentytwo.make_calls(5, status="completed")
    read_on(service, twentytwo, start(service))
    rows = [row.id for row in calls_here(service).values()]
    fetch(service, rows)
    assert {row.state for row in calls_here(service).values()} == {CallState.FETCHED}
    assert set(calls_here(service)) == set(made)
