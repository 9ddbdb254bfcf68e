"""A backlog of a hundred thousand costs nobody else anything; it is not touched before its turn."""

import time

from sqlalchemy import text

from aftercall.flows.claim_calls import claim_with_permits
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.service import Service
from aftercall.flows.sweep import sweep
from aftercall.queue import TaskName
from tests.flows.test_sweep import no_messages, rung
from tests.flows.work import accept_rows

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
