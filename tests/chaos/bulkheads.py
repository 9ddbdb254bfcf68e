"""Bulkheads, measured: `python -m tests.chaos.bulkheads`.

Ten destinations, a steady stream; the same again with one of them hanging. How
much later do the other nine get their deliveries? One run, side by side.
"""

import sys
import time
from dataclasses import dataclass

from sqlalchemy import text

from aftercall.crm.destination_spec import DestinationSpec
from aftercall.flows.configure_destinations import create_destination
from aftercall.flows.service import Service
from aftercall.simulator import Fault, PlannedFault
from tests.chaos.run import HOOKS, WORKSPACES, Say, everything, plan_of
from tests.chaos.sender import Stream

CALLS = 200
PER_SECOND = 10.0
NAMES = tuple(f"hook{number}" for number in range(10))
DEAD = NAMES[0]


@dataclass(frozen=True, slots=True)
class Latency:
    """Of the nine living destinations: from the call's save to the hook's answer, milliseconds."""

    p50: float
    p99: float
    delivered: int


def measure(say: Say) -> tuple[Latency, Latency]:
    """Without and with the dead one."""
    with everything(plan_of(minutes=1, calls=None, seed=3)) as (target, service, urls):
        for name in NAMES:
            spec = DestinationSpec(
                name=name, url=target.simulator.crm.hook_url(name), timeout_seconds=15
            )
            target.simulator.crm.add_hook(name, create_destination(service, spec).secret)
        results = []
        for is_dead in (None, False, True):
            if is_dead:
                hang = PlannedFault(Fault.HANG, seconds=20)
                target.simulator.crm.hook(DEAD).fail_at_rate(1.0, [hang])
            call_ids = [
                call_id
                for workspace in WORKSPACES
                for call_id in target.simulator.twentytwo.make_calls(
                    CALLS // len(WORKSPACES), workspace_id=workspace.id, status="completed"
                )
            ]
            Stream(target.simulator, urls, per_second=PER_SECOND).run(call_ids)
            time.sleep(5)
            latency = _latency(service, call_ids)
            say(
                f"  {'warm-up' if is_dead is None else 'with' if is_dead else 'without'}: {latency}"
            )
            results.append(latency)
        return results[1], results[2]


def _latency(service: Service, call_ids: list[str]) -> Latency:
    with service.database.transaction() as session:
        row = session.execute(
            text(
                "SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY"
                " extract(epoch FROM a.started_at - d.created_at) * 1000 + a.duration_ms) AS p,"
                " count(*) AS n"
                " FROM deliveries d JOIN attempts a ON a.delivery_id = d.id"
                " JOIN calls c ON c.id = d.call_row_id JOIN destinations t"
                " ON t.id = d.destination_id"
                " WHERE c.call_id = ANY(:ids) AND t.name <> ALL(:left_out)"
                " AND a.outcome = 'succeeded'"
            ),
            {"ids": call_ids, "left_out": [DEAD, *HOOKS]},
        ).one()
    return Latency(round(row.p[0], 1), round(row.p[1], 1), row.n)


def main() -> int:
    say = Say()
    without, with_ = measure(say)
    ratio = with_.p99 / without.p99
    say(f"p99 of the other nine: {without.p99} ms; with a dead one {with_.p99} ms: {ratio:.2f}")
    return 0 if with_.delivered == without.delivered == CALLS * 9 else 1


if __name__ == "__main__":
    sys.exit(main())
