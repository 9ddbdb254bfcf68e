"""A backlog of a hundred thousand costs nobody else anything; it is not touched before its turn."""

import time

from sqlalchemy import text

from aftercall.domain.states import CallState
from aftercall.flows.claim_calls import claim_with_permits
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.service import Service
from aftercall.flows.sweep import sweep
from aftercall.queue import TaskName
from aftercall.simulator import Simulator
from tests.flows.plans import assert_none_reads, rows_read_by
from tests.flows.test_sweep import no_messages, rung
from tests.flows.work import accept_rows, add_hook, call_row, deliver, fetch

BACKLOG = 100_000


def make_backlog(service: Service, workspace_id: str) -> None:
    with service.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO calls (workspace_id, call_id, state, priority, due_at, received_at)"
                " SELECT :workspace_id, 'backfill-' || n, 'queued', 2, :now, :now"
                " FROM generate_series(1, :count) AS n"
            ),
            {"workspace_id": workspace_id, "now": service.clock(), "count": BACKLOG},
        )


def test_a_backfill_of_one_workspace_does_not_delay_anothers_fresh_call(service: Service) -> None:
    for id_ in ("busy", "calm"):
        spec = {"api_key": "k", "api_secret": "s", "rate_limit": 60}
        set_workspace(service, id_, WorkspaceSpec.model_validate(spec))
    make_backlog(service, "busy")
    (fresh,) = accept_rows(service, ["fresh"], workspace_id="calm")
    (own,) = accept_rows(service, ["own"], workspace_id="busy")
    began = time.monotonic()
    sweep(service, waiting_messages=no_messages)
    seconds = time.monotonic() - began
    offered = [int(id_) for id_ in rung(service, TaskName.FETCH_CALLS)]
    assert {fresh, own} <= set(offered)
    assert len(offered) <= 2 + 4
    assert seconds < 1
    claimed = {job.claim.row_id for job in claim_with_permits(service, [fresh, own])}
    assert claimed == {fresh, own}
    with service.database.transaction() as session:
        touched = session.execute(
            text("SELECT count(*) FROM calls WHERE priority = 2 AND state <> 'queued'")
        ).scalar_one()
    assert touched == 0


def test_what_is_claimed_and_recorded_is_read_by_its_ids_and_nothing_else_that_waits(
    service: Service, simulator: Simulator
) -> None:
    set_workspace(service, "waiting", WorkspaceSpec(api_key="k", api_secret="s"))
    hook = add_hook(service, simulator, max_in_flight=100)
    call_ids = simulator.twentytwo.make_calls(30, status="completed")
    with service.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO calls (workspace_id, call_id, state, due_at, received_at)"
                " SELECT 'waiting', n::text, 'fetched', :now, :now"
                " FROM generate_series(1, 10000) AS n"
            ),
            {"now": service.clock()},
        )
        session.execute(
            text(
                "INSERT INTO deliveries (id, call_row_id, destination_id, revision, type, state,"
                "  due_at, created_at)"
                " SELECT gen_random_uuid(), id, :hook, 1, 'call.completed', 'delivered', :now, :now"
                " FROM calls"
            ),
            {"hook": hook, "now": service.clock()},
        )
        # The planner learns that next to nothing waits, as it does on any quiet day.
        session.execute(text("ANALYZE"))
    with service.database.transaction() as session:
        session.execute(text("UPDATE calls SET state = 'queued' WHERE id % 2 = 0"))
        session.execute(text("UPDATE deliveries SET state = 'queued' WHERE call_row_id % 2 = 0"))
    rows = accept_rows(service, call_ids)

    fetched = rows_read_by(service, lambda: fetch(service, rows, size=64))
    assert {call_row(service, call_id).state for call_id in call_ids} == {CallState.FETCHED}
    assert_none_reads(500, fetched)
    with service.database.transaction() as session:
        ids = session.scalars(
            text("SELECT id FROM deliveries WHERE call_row_id = ANY(:ids)"), {"ids": rows}
        ).all()
    delivered = rows_read_by(service, lambda: deliver(service, ids, size=64))
    assert simulator.crm.accepted_call_ids("leads") == set(call_ids)
    assert_none_reads(500, delivered)
