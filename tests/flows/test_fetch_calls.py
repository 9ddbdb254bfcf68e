"""From a due call to a saved one with its deliveries, on real stores, against the simulator."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select, text
from structlog.testing import capture_logs

from aftercall.db.models import Attempt, CallPayload, Workspace
from aftercall.db.workspaces import get_workspace
from aftercall.domain.states import CallState, DeliveryState, Priority
from aftercall.domain.work import UNSPECIFIED
from aftercall.flows.claim_calls import LEASE, claim_with_permits
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.fetch_calls import CallFetcher
from aftercall.flows.replay import refetch_call
from aftercall.flows.service import Service
from aftercall.origins import RungBy
from aftercall.simulator import Fault, PlannedFault, SimulatedWorkspace, Simulator
from aftercall.twentytwo.client import Twenty2
from tests.conftest import WORKSPACE, Clock
from tests.flows.work import accept, accept_rows, add_hook, call_row, delivery_rows, fetch


def attempts(service: Service) -> list[Attempt]:
    with service.database.transaction() as session:
        return list(session.scalars(select(Attempt).order_by(Attempt.id)))


def payload(service: Service) -> CallPayload:
    with service.database.transaction() as session:
        return session.scalars(
            select(CallPayload).order_by(CallPayload.revision.desc()).limit(1)
        ).one()


def workspace(service: Service, id_: str = WORKSPACE.id) -> Workspace:
    with service.database.transaction() as session:
        row = get_workspace(session, id_)
    assert row is not None
    return row


def test_a_call_is_saved_as_twentytwo_tells_it(service: Service, simulator: Simulator) -> None:
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    truth = simulator.twentytwo.call(call_id)
    fetch(service, accept_rows(service, [call_id]))
    call = call_row(service, call_id)
    assert call.state == CallState.FETCHED
    assert call.status == "completed"
    assert call.callee_phone == truth.callee_phone
    assert call.duration_seconds == truth.duration_seconds
    assert f"{call.cost_amount} {call.cost_currency}" == truth.cost
    assert isinstance(call.cost_amount, Decimal)
    assert payload(service).output_parameters == truth.output_parameters
    assert (call.attempts, call.last_error, call.revision) == (1, None, 1)
    (attempt,) = attempts(service)
    assert (attempt.number, attempt.outcome, attempt.status_code) == (1, "succeeded", 200)


def test_the_log_says_who_rang_before_a_call_was_asked_for(
    service: Service, simulator: Simulator
) -> None:
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    (row,) = accept_rows(service, [call_id])
    simulator.twentytwo.fail_next(call_id, PlannedFault(Fault.SLOW, seconds=0.5))
    service.origins.note([(row, "gateway-7f3a")], rung_by=RungBy.WEBHOOK)
    twentytwo = Twenty2(service.settings.twentytwo_base_url)
    fetcher = CallFetcher(service, twentytwo, size=1)
    with capture_logs() as lines:
        fetcher.fetch([row])
        service.origins.note([(row, None)], rung_by=RungBy.SWEEP)
        assert fetcher.close(30)
    twentytwo.close()
    (line,) = [line for line in lines if line["event"] == "fetch.attempted"]
    assert (line["rung_by"], line["request_id"]) == ("webhook", "gateway-7f3a")


def test_a_permit_counts_from_the_end_of_a_request_that_took_long(
    service: Service, simulator: Simulator
) -> None:
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    simulator.twentytwo.fail_next(call_id, PlannedFault(Fault.SLOW, seconds=0.8))
    rows = accept_rows(service, [call_id])
    seconds, microseconds = service.redis.time()
    fetch(service, rows)
    lane = f"aftercall:limit:{{workspace:{WORKSPACE.id}}}"
    [(_, counted_from)] = service.redis.zrange(lane, 0, -1, withscores=True)
    assert counted_from - (int(seconds) * 1_000_000 + int(microseconds)) >= 800_000


def test_each_matching_destination_gets_one_delivery_in_the_same_transaction(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, "all")
    add_hook(service, simulator, "failed-only", events=["call.failed"])
    add_hook(service, simulator, "filtered", filter="call.duration_seconds > `100000`")
    add_hook(service, simulator, "broken", filter="length(call.duration_seconds)")
    add_hook(service, simulator, "paused", enabled=False)
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    fetch(service, accept_rows(service, [call_id]))
    errors = {row.state: row.last_error for row in delivery_rows(service)}
    assert set(errors) == {
        DeliveryState.QUEUED,
        DeliveryState.SKIPPED,
        DeliveryState.DEAD,
        DeliveryState.HELD,
    }
    assert "filter failed" in (errors[DeliveryState.DEAD] or "")


@pytest.mark.parametrize(
    ("fault", "state", "attempts_spent", "error"),
    [
        (Fault.SERVER_ERROR, CallState.QUEUED, 1, "answered 500"),
        (Fault.RESET, CallState.QUEUED, 1, ""),
        (Fault.TRUNCATED, CallState.QUEUED, 1, ""),
        (Fault.NOT_JSON, CallState.QUEUED, 1, "not JSON"),
        (Fault.EMPTY, CallState.QUEUED, 1, "empty"),
        (Fault.JSON_LIST, CallState.QUEUED, 1, "no call"),
        (Fault.HUGE, CallState.QUEUED, 1, "longer than"),
        (Fault.DEEP_JSON, CallState.QUEUED, 1, "nested"),
        (Fault.FORBIDDEN, CallState.QUEUED, 1, "403"),
        (Fault.NOT_FOUND, CallState.QUEUED, 0, "404"),
        (Fault.BAD_REQUEST, CallState.DEAD, 1, "400"),
        (Fault.UNPROCESSABLE, CallState.DEAD, 1, "422"),
        (PlannedFault(Fault.UNPROCESSABLE, second_envelope=True), CallState.DEAD, 1, "422"),
        (PlannedFault(Fault.SUCCESS_FALSE, status_inside=404), CallState.QUEUED, 0, "404"),
        (PlannedFault(Fault.SUCCESS_FALSE, status_inside=422), CallState.DEAD, 1, "422"),
    ],
)
def test_what_one_answer_means(
    service: Service,
    simulator: Simulator,
    fault: Fault | PlannedFault,
    state: CallState,
    attempts_spent: int,
    error: str,
) -> None:
    (call_id,) = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, fault)
    fetch(service, accept_rows(service, [call_id]))
    call = call_row(service, call_id)
    assert (call.state, call.attempts) == (state, attempts_spent)
    assert error in (call.last_error or "")
    assert len(attempts(service)) == 1


def test_a_call_under_way_is_looked_at_again_without_an_attempt_for_two_days(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    (call_id,) = simulator.twentytwo.make_calls(1, ready_after_looks=10_000)
    rows = accept_rows(service, [call_id])
    fetch(service, rows)
    call = call_row(service, call_id)
    assert (call.state, call.attempts) == (CallState.QUEUED, 0)
    assert call.due_at == clock.now + timedelta(seconds=15)
    clock.now += timedelta(hours=47, minutes=59)
    fetch(service, rows)
    assert call_row(service, call_id).due_at == clock.now + timedelta(minutes=15)
    clock.now += timedelta(minutes=15)
    fetch(service, rows)
    call = call_row(service, call_id)
    assert call.state == CallState.DEAD
    assert "gave up after" in (call.last_error or "")


def test_a_call_that_is_not_due_is_left_alone(service: Service, simulator: Simulator) -> None:
    (call_id,) = simulator.twentytwo.make_calls(1, ready_after_looks=2)
    rows = accept_rows(service, [call_id])
    fetch(service, rows)
    fetch(service, rows)
    assert simulator.twentytwo.looks(call_id) == 1


def test_one_bad_item_never_costs_its_neighbours(service: Service, simulator: Simulator) -> None:
    call_ids = simulator.twentytwo.make_calls(12, status="completed")
    poison = [
        Fault.NUL_IN_TEXT,
        Fault.DEEP_JSON,
        Fault.HUGE,
        Fault.NULL_FIELDS,
        Fault.MISSING_FIELDS,
    ]
    for call_id, fault in zip(call_ids, poison, strict=False):
        simulator.twentytwo.fail_next(call_id, fault)
    fetch(service, accept_rows(service, call_ids))
    states = {call_id: call_row(service, call_id).state for call_id in call_ids}
    assert states[call_ids[1]] == states[call_ids[2]] == CallState.QUEUED
    others = [state for call_id, state in states.items() if call_id not in call_ids[1:3]]
    assert others == [CallState.FETCHED] * 10


def test_another_id_in_the_answer_is_kept_beside_the_one_asked_for(
    service: Service, simulator: Simulator
) -> None:
    (call_id,) = simulator.twentytwo.make_calls(1, quirks=(Fault.OTHER_ID,))
    fetch(service, accept_rows(service, [call_id]))
    call = call_row(service, call_id)
    assert call.state == CallState.FETCHED
    assert call.answered_call_id not in (None, call_id)


def test_the_other_spelling_saves_the_same(service: Service, simulator: Simulator) -> None:
    (call_id,) = simulator.twentytwo.make_calls(
        1, status="completed", quirks=(Fault.OTHER_SPELLING,)
    )
    truth = simulator.twentytwo.call(call_id)
    fetch(service, accept_rows(service, [call_id]))
    call = call_row(service, call_id)
    assert call.callee_phone == truth.callee_phone
    assert call.agent_id == truth.agent_id
    assert truth.cost is not None
    assert (call.cost_amount, call.cost_currency) == (Decimal(truth.cost.split()[0]), "INR")
    assert payload(service).output_parameters == truth.output_parameters


def test_a_429_blocks_the_workspace_for_as_long_as_it_asks_and_spends_nothing(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    first, second = simulator.twentytwo.make_calls(2)
    simulator.twentytwo.fail_next(first, PlannedFault(Fault.RATE_LIMITED, retry_after="7"))
    rows = accept_rows(service, [first, second])
    fetch(service, rows[:1])
    call = call_row(service, first)
    assert (call.state, call.attempts, call.priority) == (CallState.QUEUED, 0, Priority.FRESH)
    assert workspace(service).blocked_until == clock.now + timedelta(seconds=7)
    fetch(service, rows)
    assert simulator.twentytwo.looks(second) == 0


def test_a_401_blocks_the_workspace_and_one_call_at_a_time_finds_out_when_it_works(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    simulator.twentytwo.set_workspace(replace(WORKSPACE, api_secret="another"))
    call_ids = simulator.twentytwo.make_calls(5)
    rows = accept_rows(service, call_ids)
    fetch(service, rows[:1])
    blocked = workspace(service)
    assert blocked.block_kind == "credentials"
    assert call_row(service, call_ids[0]).attempts == 0
    fetch(service, rows)
    assert len(attempts(service)) == 1
    for round_ in (2, 3):
        clock.now += timedelta(minutes=4)
        service.limiter.unblock(f"workspace:{WORKSPACE.id}")
        fetch(service, rows)
        assert len(attempts(service)) == round_
    simulator.twentytwo.set_workspace(WORKSPACE)
    clock.now += timedelta(minutes=4)
    service.limiter.unblock(f"workspace:{WORKSPACE.id}")
    fetch(service, rows)
    assert workspace(service).block_kind is None
    fetch(service, rows)
    assert {call_row(service, call_id).state for call_id in call_ids} == {CallState.FETCHED}


def test_new_credentials_release_the_block_at_once(service: Service, simulator: Simulator) -> None:
    simulator.twentytwo.set_workspace(replace(WORKSPACE, api_secret="another"))
    (call_id,) = simulator.twentytwo.make_calls(1)
    rows = accept_rows(service, [call_id])
    fetch(service, rows)
    spec = WorkspaceSpec.model_validate({"api_key": WORKSPACE.api_key, "api_secret": "another"})
    set_workspace(service, WORKSPACE.id, spec)
    fetch(service, rows)
    assert call_row(service, call_id).state == CallState.FETCHED


def test_a_403_dies_after_three_and_ten_in_a_row_block_the_workspace(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    call_ids = simulator.twentytwo.make_calls(10)
    for call_id in call_ids:
        simulator.twentytwo.fail_next(call_id, *[Fault.FORBIDDEN] * 3)
    rows = accept_rows(service, call_ids)
    for _ in range(3):
        fetch(service, rows[:3])
        clock.now += timedelta(minutes=10)
    assert {call_row(service, call_id).state for call_id in call_ids[:3]} == {CallState.DEAD}
    assert workspace(service).block_kind is None
    fetch(service, rows[3:4])
    assert workspace(service).block_kind == "credentials"


def test_a_workspace_without_credentials_waits_and_says_so(
    service: Service, simulator: Simulator
) -> None:
    other = SimulatedWorkspace(id="w2", api_key="k2", api_secret="s2", rate_limit=100)
    simulator.twentytwo.set_workspace(other)
    (call_id,) = simulator.twentytwo.make_calls(1, workspace_id="w2")
    rows = accept_rows(service, [call_id], workspace_id="w2")
    fetch(service, rows)
    assert simulator.twentytwo.looks(call_id) == 0
    set_workspace(
        service, "w2", WorkspaceSpec.model_validate({"api_key": "k2", "api_secret": "s2"})
    )
    fetch(service, rows)
    assert call_row(service, call_id).state == CallState.FETCHED


def test_the_same_content_again_makes_no_second_delivery(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator)
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    fetch(service, accept_rows(service, [call_id], type="call.failed"))
    fetch(service, accept_rows(service, [call_id], type="call.completed"))
    assert simulator.twentytwo.looks(call_id) == 2
    assert call_row(service, call_id).revision == 1
    assert len(delivery_rows(service)) == 1


def test_new_content_makes_a_delivery_of_its_own(service: Service, simulator: Simulator) -> None:
    add_hook(service, simulator)
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    fetch(service, accept_rows(service, [call_id], type="call.failed"))
    truth = simulator.twentytwo.call(call_id)
    simulator.twentytwo.add_call(replace(truth, output_parameters={"interested": "now yes"}))
    fetch(service, accept_rows(service, [call_id], type="call.completed"))
    assert call_row(service, call_id).revision == 2
    assert [row.revision for row in delivery_rows(service)] == [1, 2]


def test_a_newer_event_during_the_fetch_is_fetched_after_it(
    service: Service, simulator: Simulator
) -> None:
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    simulator.twentytwo.fail_next(call_id, PlannedFault(Fault.SLOW, seconds=2))
    rows = accept_rows(service, [call_id], type="call.failed")
    fetching = threading.Thread(target=fetch, args=(service, rows))
    fetching.start()
    while call_row(service, call_id).state != CallState.FETCHING:
        pass
    accept(service, [call_id], type="call.completed")
    fetching.join()
    assert call_row(service, call_id).state == CallState.QUEUED
    fetch(service, rows)
    assert call_row(service, call_id).state == CallState.FETCHED


@contextmanager
def under_way(service: Service, simulator: Simulator, call_id: str, row: int) -> Iterator[None]:
    """While Twenty2 is asked for it."""
    simulator.twentytwo.fail_next(call_id, PlannedFault(Fault.SLOW, seconds=0.5))
    fetching = threading.Thread(target=fetch, args=(service, [row]))
    fetching.start()
    while call_row(service, call_id).state != CallState.FETCHING:
        pass
    yield
    fetching.join()


@pytest.mark.parametrize("status", ["completed", "initiated"])
def test_a_webhook_during_a_fetch_from_the_backlog_is_as_fresh_as_one_before_it(
    service: Service, simulator: Simulator, status: str
) -> None:
    (call_id,) = simulator.twentytwo.make_calls(1, status=status)
    (row,) = accept_rows(service, [call_id], type=UNSPECIFIED, priority=Priority.BACKFILL)
    with service.database.transaction() as session:
        session.execute(
            text("UPDATE calls SET attempts = 8, not_ready_since = :since, unknown_since = :since"),
            {"since": service.clock() - timedelta(hours=47)},
        )
    with under_way(service, simulator, call_id, row):
        accept(service, [call_id], type="call.completed")
    waiting = call_row(service, call_id)
    assert (waiting.state, waiting.priority) == (CallState.QUEUED, Priority.FRESH)
    assert (waiting.attempts, waiting.not_ready_since, waiting.unknown_since) == (0, None, None)


def test_who_asks_again_by_hand_during_a_look_need_not_wait_for_the_backlog(
    service: Service, simulator: Simulator
) -> None:
    (call_id,) = simulator.twentytwo.make_calls(1, status="initiated")
    (row,) = accept_rows(service, [call_id], type=UNSPECIFIED, priority=Priority.BACKFILL)
    with under_way(service, simulator, call_id, row):
        refetch_call(service, call_id)
    waiting = call_row(service, call_id)
    assert (waiting.state, waiting.priority) == (CallState.QUEUED, Priority.FRESH)


def test_a_result_that_comes_after_its_lease_ran_out_changes_nothing(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    (call_id,) = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, PlannedFault(Fault.SLOW, seconds=2))
    rows = accept_rows(service, [call_id])
    fetching = threading.Thread(target=fetch, args=(service, rows))
    fetching.start()
    while call_row(service, call_id).state != CallState.FETCHING:
        pass
    with service.database.transaction() as session:
        session.execute(
            text("UPDATE calls SET lease_token = gen_random_uuid()"),
        )
    fetching.join()
    assert call_row(service, call_id).state == CallState.FETCHING
    assert attempts(service) == []


def test_two_workers_never_claim_the_same_call(service: Service, simulator: Simulator) -> None:
    call_ids = simulator.twentytwo.make_calls(100)
    rows = accept_rows(service, call_ids)
    claimed: list[int] = []
    lock = threading.Lock()

    def claim() -> None:
        mine = [job.claim.row_id for job in claim_with_permits(service, rows)]
        with lock:
            claimed.extend(mine)

    threads = [threading.Thread(target=claim) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(rows)


def test_no_more_is_claimed_than_the_rate_limit_grants(
    service: Service, simulator: Simulator
) -> None:
    set_workspace(service, WORKSPACE.id, WorkspaceSpec.model_validate({"rate_limit": 10}))
    rows = accept_rows(service, [f"c{number}" for number in range(30)])
    assert len(claim_with_permits(service, rows)) == 10
    assert claim_with_permits(service, rows) == []


def test_when_permits_are_short_a_ring_serves_the_front_of_the_line(
    service: Service, clock: Clock
) -> None:
    set_workspace(service, WORKSPACE.id, WorkspaceSpec.model_validate({"rate_limit": 4}))
    old = accept_rows(service, ["old1", "old2", "old3", "old4", "old5", "old6"])
    claim_with_permits(service, old[:5])
    clock.now += timedelta(seconds=1)
    new = accept_rows(service, ["new"])
    service.redis.delete(f"aftercall:limit:{{workspace:{WORKSPACE.id}}}")
    claimed = [job.claim.call_id for job in claim_with_permits(service, new)]
    assert claimed == ["old5"]


def test_permits_of_calls_that_somebody_else_took_are_given_back(service: Service) -> None:
    set_workspace(service, WORKSPACE.id, WorkspaceSpec.model_validate({"rate_limit": 10}))
    rows = accept_rows(service, [f"c{number}" for number in range(10)])
    assert len(claim_with_permits(service, rows[:5])) == 5
    with service.database.transaction() as session:
        session.execute(text("UPDATE calls SET due_at = due_at - interval '1 s'"))
    assert len(claim_with_permits(service, rows)) == 5


def test_the_lease_is_longer_than_any_request_and_shorter_than_a_minute() -> None:
    from aftercall.flows.recording import PATIENCE
    from aftercall.twentytwo.client import LIMITS

    assert LIMITS.deadline + timedelta(seconds=PATIENCE) < LEASE < timedelta(seconds=55)
