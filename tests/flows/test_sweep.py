"""The sweep finds what nobody works on, and touches nothing before its turn."""

import json
import uuid
from datetime import timedelta

from sqlalchemy import text

from aftercall.domain.states import CallState, DeliveryState, Priority
from aftercall.flows.claim_calls import LEASE, claim_with_permits
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.deliver_calls import LEASE as DELIVERY_LEASE
from aftercall.flows.deliver_calls import claim_within_limits
from aftercall.flows.service import Service
from aftercall.flows.sweep import ENOUGH_WAITING, sweep
from aftercall.queue import QueueName, TaskName
from aftercall.simulator import Simulator
from tests.conftest import WORKSPACE, Clock
from tests.flows.plans import assert_none_reads, rows_read_by
from tests.flows.work import accept_rows, add_hook, call_row, delivery_rows, fetch, queued_ids


def messages(service: Service) -> dict[str, list[str]]:
    """By task: the ids in the messages that wait, of all queues; empties them."""
    import base64

    found: dict[str, list[str]] = {}
    for queue in QueueName:
        while (raw := service.redis.lpop(queue.value)) is not None:
            message = json.loads(str(raw))
            arguments = json.loads(base64.b64decode(message["body"]))[0]
            ids = found.setdefault(message["headers"]["task"], [])
            ids.extend(str(id_) for id_ in arguments[0])
    return found


def rung(service: Service, task: TaskName) -> list[str]:
    """The ids that were rung for so far; forgets them and all others."""
    return messages(service).get(task.value, [])


def no_messages(_queue: QueueName) -> int:
    return 0


def test_a_call_whose_message_was_lost_is_rung_for(service: Service) -> None:
    rows = accept_rows(service, ["c1", "c2"])
    sweep(service, waiting_messages=no_messages)
    assert rung(service, TaskName.FETCH_CALLS) == [str(row) for row in rows]


def test_a_call_that_is_not_due_is_not_rung_for(service: Service, clock: Clock) -> None:
    accept_rows(service, ["c1"])
    clock.now -= timedelta(seconds=1)
    sweep(service, waiting_messages=no_messages)
    assert rung(service, TaskName.FETCH_CALLS) == []


def test_while_messages_wait_it_rings_no_more(service: Service) -> None:
    accept_rows(service, ["c1"])
    sweep(service, waiting_messages=lambda _: ENOUGH_WAITING)
    assert rung(service, TaskName.FETCH_CALLS) == []


def test_a_call_whose_worker_is_gone_is_due_again_once_its_lease_ran_out(
    service: Service, clock: Clock
) -> None:
    rows = accept_rows(service, ["c1"])
    assert len(claim_with_permits(service, rows)) == 1
    sweep(service, waiting_messages=no_messages)
    assert call_row(service, "c1").state == CallState.FETCHING
    clock.now += LEASE + timedelta(seconds=1)
    sweep(service, waiting_messages=no_messages)
    call = call_row(service, "c1")
    assert (call.state, call.attempts, call.lapses) == (CallState.QUEUED, 0, 1)
    assert rung(service, TaskName.FETCH_CALLS) == [str(rows[0])]


def test_a_call_that_loses_its_worker_three_times_is_dead_with_the_reason(
    service: Service, clock: Clock
) -> None:
    rows = accept_rows(service, ["c1"])
    for alone in (False, False, True):
        assert claim_with_permits(service, rows, alone=not alone) == []
        assert len(claim_with_permits(service, rows, alone=alone)) == 1
        clock.now += LEASE + timedelta(seconds=1)
        sweep(service, waiting_messages=no_messages)
    call = call_row(service, "c1")
    assert call.state == CallState.DEAD
    assert "lost 3 times" in (call.last_error or "")


def test_what_has_cost_its_worker_twice_is_rung_for_alone_and_once_a_minute(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator)
    (call_id,) = simulator.twentytwo.make_calls(1, status="failed")
    fetch(service, accept_rows(service, [call_id]))
    (id_,) = queued_ids(service)
    (row,) = accept_rows(service, ["other"])
    with service.database.transaction() as session:
        session.execute(text("UPDATE calls SET lapses = 2"))
        session.execute(text("UPDATE deliveries SET lapses = 2"))
    assert claim_within_limits(service, [id_]) == ([], set())
    messages(service)
    sweep(service, waiting_messages=no_messages)
    assert messages(service) == {
        TaskName.FETCH_ALONE: [str(row)],
        TaskName.DELIVER_ALONE: [str(id_)],
        # Once an hour.
        TaskName.KEEP: [],
    }
    sweep(service, waiting_messages=no_messages)
    assert messages(service) == {}
    claims, _ = claim_within_limits(service, [id_], alone=True)
    assert [claim.id for claim in claims] == [id_]


def test_a_delivery_whose_worker_is_gone_goes_again_under_its_id(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    add_hook(service, simulator)
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    fetch(service, accept_rows(service, [call_id]))
    rung(service, TaskName.DELIVER_CALLS)
    (id_,) = queued_ids(service)
    claim_within_limits(service, [id_])
    clock.now += DELIVERY_LEASE + timedelta(seconds=1)
    sweep(service, waiting_messages=no_messages)
    assert rung(service, TaskName.DELIVER_CALLS) == [str(id_)]
    (row,) = delivery_rows(service)
    assert (row.id, row.state, row.attempts) == (id_, DeliveryState.QUEUED, 0)


def test_no_more_of_a_backlog_is_rung_for_than_the_rate_limit_lets_go(service: Service) -> None:
    set_workspace(service, WORKSPACE.id, WorkspaceSpec.model_validate({"rate_limit": 7}))
    accept_rows(service, [f"c{number}" for number in range(200)])
    sweep(service, waiting_messages=no_messages)
    assert len(rung(service, TaskName.FETCH_CALLS)) == 7


def test_fresh_calls_go_before_retries_and_those_before_backfill(
    service: Service, clock: Clock
) -> None:
    backfill = accept_rows(service, ["b1", "b2"], priority=Priority.BACKFILL)
    retry = accept_rows(service, ["r1"], priority=Priority.RETRY)
    clock.now += timedelta(minutes=5)
    fresh = accept_rows(service, ["f1", "f2"], priority=Priority.FRESH)
    sweep(service, waiting_messages=no_messages)
    assert rung(service, TaskName.FETCH_CALLS) == [str(row) for row in [*fresh, *retry, *backfill]]


def test_a_backlog_leaves_room_for_the_fresh_call_that_comes_next(service: Service) -> None:
    set_workspace(service, WORKSPACE.id, WorkspaceSpec.model_validate({"rate_limit": 60}))
    accept_rows(service, [f"b{number}" for number in range(100)], priority=Priority.BACKFILL)
    sweep(service, waiting_messages=no_messages)
    offered = [int(id_) for id_ in rung(service, TaskName.FETCH_CALLS)]
    assert 1 <= len(offered) <= 4
    assert len(claim_with_permits(service, offered)) == len(offered)
    (fresh,) = accept_rows(service, ["f1"])
    assert [job.claim.row_id for job in claim_with_permits(service, [fresh])] == [fresh]


def test_a_workspace_that_is_blocked_is_not_touched(service: Service, clock: Clock) -> None:
    accept_rows(service, ["c1"])
    with service.database.transaction() as session:
        session.execute(
            text("UPDATE workspaces SET block_kind = 'rate_limit', blocked_until = :until"),
            {"until": clock.now + timedelta(seconds=30)},
        )
    sweep(service, waiting_messages=no_messages)
    assert rung(service, TaskName.FETCH_CALLS) == []
    clock.now += timedelta(seconds=31)
    sweep(service, waiting_messages=no_messages)
    assert len(rung(service, TaskName.FETCH_CALLS)) == 1


def test_one_workspaces_backlog_does_not_delay_another(service: Service) -> None:
    for id_, limit in (("w1", 5), ("w2", 5)):
        spec = {"api_key": "k", "api_secret": "s", "rate_limit": limit}
        set_workspace(service, id_, WorkspaceSpec.model_validate(spec))
    accept_rows(service, [f"c{number}" for number in range(500)], workspace_id="w1")
    (fresh,) = accept_rows(service, ["other"], workspace_id="w2")
    sweep(service, waiting_messages=no_messages)
    assert str(fresh) in rung(service, TaskName.FETCH_CALLS)


def test_a_delivery_made_while_its_destination_was_disabled_is_held(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator)
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    fetch(service, accept_rows(service, [call_id]))
    with service.database.transaction() as session:
        session.execute(text("UPDATE destinations SET enabled = false"))
    sweep(service, waiting_messages=no_messages)
    assert [row.state for row in delivery_rows(service)] == [DeliveryState.HELD]


def test_a_destination_is_offered_what_it_takes_and_one_more(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, max_in_flight=4)
    call_ids = simulator.twentytwo.make_calls(20, status="completed")
    fetch(service, accept_rows(service, call_ids))
    rung(service, TaskName.DELIVER_CALLS)
    sweep(service, waiting_messages=no_messages)
    offered = rung(service, TaskName.DELIVER_CALLS)
    assert len(offered) == 5
    claimed, crowded = claim_within_limits(service, [uuid.UUID(id_) for id_ in offered])
    assert (len(claimed), len(crowded)) == (4, 1)
    sweep(service, waiting_messages=no_messages)
    assert rung(service, TaskName.DELIVER_CALLS) == []


def test_a_replay_that_cannot_go_on_stops_no_sweep(service: Service) -> None:
    rows = accept_rows(service, ["c1"])
    with service.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO replays (id, state, conditions, total, after_id, last_id, created_at)"
                " VALUES (gen_random_uuid(), 'running', '{\"since\": \"never\"}', 1,"
                " CAST(:first AS uuid), CAST(:last AS uuid), now())"
            ),
            {"first": str(uuid.UUID(int=0)), "last": str(uuid.UUID(int=2**128 - 1))},
        )
    sweep(service, waiting_messages=no_messages)
    assert rung(service, TaskName.FETCH_CALLS) == [str(row) for row in rows]


def test_no_statement_of_a_sweep_reads_through_all_that_waits(service: Service) -> None:
    set_workspace(service, "waiting", WorkspaceSpec(api_key="k", api_secret="s", rate_limit=1))
    with service.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO calls (workspace_id, call_id, state, due_at, received_at, priority)"
                " SELECT 'waiting', n::text, 'queued', now() - interval '1 hour', now(), n % 3"
                " FROM generate_series(1, 20000) AS n"
            )
        )
    # What came in since the last round is counted: all of it, the first time.
    sweep(service, waiting_messages=no_messages)
    with service.database.engine.connect().execution_options(
        isolation_level="AUTOCOMMIT"
    ) as connection:
        connection.execute(text("VACUUM (ANALYZE) calls, workspaces"))
    read = rows_read_by(service, lambda: sweep(service, waiting_messages=no_messages))
    assert len(read) > 15
    assert_none_reads(500, read)
