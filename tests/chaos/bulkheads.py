"""Bulkheads, measured: `python -m tests.chaos.bulkheads`. Each pair in one run, side by side.

Destinations: ten of them, a steady stream; the same again with one of them
hanging. How much later do the other nine get their deliveries?
Workspaces: a steady stream of seven; the same again beside an eighth that has
100,000 calls of backfill and more fresh ones than its limit lets go.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from aftercall.crm.destination_spec import DestinationSpec
from aftercall.domain.states import Priority
from aftercall.flows.configure_destinations import create_destination
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.service import Service
from aftercall.simulator import Fault, PlannedFault
from tests.chaos.disturbances import Target
from tests.chaos.run import HOOKS, WORKSPACES, Say, everything, plan_of
from tests.chaos.sender import Stream

CALLS = 400
PER_SECOND = 10.0
NAMES = tuple(f"hook{number}" for number in range(10))
DEAD = NAMES[0]
BUSY, *CALM = [workspace.id for workspace in WORKSPACES]
BACKFILL = 100_000
TOO_MANY = 500
#: What the design promises.
MOST = 1.5


@dataclass(frozen=True, slots=True)
class Latency:
    """From the webhook to the hook's answer, milliseconds."""

    p50: float
    p99: float
    delivered: int


def measure_destinations(say: Say) -> tuple[Latency, Latency]:
    """Of the nine living ones: without and with the dead one."""
    with everything(plan_of(minutes=1, calls=None, seed=3)) as (target, service, urls):
        for name in NAMES:
            spec = DestinationSpec(
                name=name, url=target.simulator.crm.hook_url(name), timeout_seconds=15
            )
            target.simulator.crm.add_hook(name, create_destination(service, spec).secret)
        left_out = [DEAD, *HOOKS]
        _stream(target, service, urls, [w.id for w in WORKSPACES], left_out)
        without = _stream(target, service, urls, [w.id for w in WORKSPACES], left_out)
        say(f"  ten destinations, all well: {without}")
        hang = PlannedFault(Fault.HANG, seconds=20)
        target.simulator.crm.hook(DEAD).fail_at_rate(1.0, [hang])
        with_ = _stream(target, service, urls, [w.id for w in WORKSPACES], left_out)
        say(f"  ten destinations, one hangs: {with_}")
        return without, with_


def measure_workspaces(say: Say) -> tuple[Latency, Latency]:
    """Of seven that are calm: without and with an eighth that is far over its limit."""
    with everything(plan_of(minutes=1, calls=None, seed=4)) as (target, service, urls):
        _stream(target, service, urls, CALM, [])
        without = _stream(target, service, urls, CALM, [])
        say(f"  seven workspaces: {without}")
        _make_busy(target, service, urls)
        with_ = _stream(target, service, urls, CALM, [])
        say(f"  beside an eighth with {BACKFILL:,} calls of backfill, over its limit: {with_}")
        return without, with_


def _make_busy(target: Target, service: Service, urls: list[str]) -> None:
    set_workspace(service, BUSY, WorkspaceSpec(rate_limit=60))
    with service.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO calls (workspace_id, call_id, state, priority, due_at, received_at)"
                " SELECT :workspace_id, 'backfill-' || n, 'queued', :priority, now(), now()"
                " FROM generate_series(1, :count) AS n"
            ),
            {"workspace_id": BUSY, "priority": int(Priority.BACKFILL), "count": BACKFILL},
        )
    fresh = target.simulator.twentytwo.make_calls(TOO_MANY, workspace_id=BUSY)
    Stream(target.simulator, urls, per_second=1_000).run(fresh)


def _stream(
    target: Target,
    service: Service,
    urls: list[str],
    workspace_ids: Sequence[str],
    left_out: Sequence[str],
) -> Latency:
    call_ids = [
        call_id
        for workspace_id in workspace_ids
        for call_id in target.simulator.twentytwo.make_calls(
            CALLS // len(workspace_ids), workspace_id=workspace_id, status="completed"
        )
    ]
    Stream(target.simulator, urls, per_second=PER_SECOND).run(call_ids)
    time.sleep(5)
    with service.database.transaction() as session:
        row = session.execute(
            text(
                "SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY"
                " extract(epoch FROM a.started_at - c.received_at) * 1000 + a.duration_ms) AS p,"
                " count(*) AS n"
                " FROM deliveries d JOIN attempts a ON a.delivery_id = d.id"
                " JOIN calls c ON c.id = d.call_row_id JOIN destinations t"
                " ON t.id = d.destination_id"
                " WHERE c.call_id = ANY(:ids) AND t.name <> ALL(CAST(:left_out AS text[]))"
                " AND a.outcome = 'succeeded'"
            ),
            {"ids": call_ids, "left_out": list(left_out)},
        ).one()
    return Latency(round(row.p[0], 1), round(row.p[1], 1), row.n)


def main() -> int:
    say = Say()
    worst = 0.0
    for what, measure in (
        ("the other nine destinations", measure_destinations),
        ("the other seven workspaces", measure_workspaces),
    ):
        without, with_ = measure(say)
        ratio = with_.p99 / without.p99
        say(f"p99 of {what}: {without.p99} ms before, {with_.p99} ms beside: {ratio:.2f} times")
        if with_.delivered != without.delivered:
            say(f"BREACHED: {without.delivered} delivered before, {with_.delivered} beside")
            return 1
        worst = max(worst, ratio)
    if worst > MOST:
        say(f"BREACHED: more than {MOST} times")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
