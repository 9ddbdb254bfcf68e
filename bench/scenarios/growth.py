"""f. Growth: what a long backlog and a long history change, and what a call takes up.

The backlog belongs to a workspace whose limit keeps it waiting, as a backlog
does; meanwhile another workspace's webhooks come in one by one. Then the limit
is raised, and the beginning of the backlog is worked off.
"""

import json
import time
from dataclasses import dataclass
from statistics import median

from aftercall.domain.states import Priority
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.sweep import sweep
from bench.contestants.contestant import WORKSPACE, Site
from bench.contestants.ours import Ours
from bench.history import insert_history, insert_queued
from bench.load_client import send
from bench.payloads import make_call_ids, webhook
from bench.run import Bench
from bench.table import Table, milliseconds, percentile, rate

SIZES = (1_000, 10_000, 100_000, 1_000_000)
WITH_HISTORY = 10_000
#: Calls of the backlog that the throughput is taken from: as many of each size, and at length.
FIRST = 900
COUNTED = 10_000
_WAITING = "bench-waiting"
_PER_SECOND = 20
_SWEEPS = 5
_CALLS_FOR_BYTES = 5_000


@dataclass(frozen=True, slots=True)
class Grown:
    """What was seen at one size."""

    first_per_second: float
    per_second: float
    to_hook: list[float]
    sweep_seconds: float


def run(bench: Bench) -> list[Table]:
    """Ours only."""
    sizes = SIZES[:2] if bench.options.quick else SIZES
    cases = [(size, 0) for size in sizes] + [(WITH_HISTORY, bench.options.history)]
    table = Table(
        "f. Growth",
        (
            "calls waiting",
            "calls of history",
            f"calls/s, first {FIRST}",
            "of the smallest's",
            "calls/s",
            "p50",
            "p99",
            "a sweep",
        ),
    )
    first: float | None = None
    for size, history in cases:
        grown = [
            _grow(bench, size=size, history=history, seed=number)
            for number in range(1 if history else bench.options.runs)
        ]
        per_second = median(each.per_second for each in grown)
        at_first = median(each.first_per_second for each in grown)
        first = first or at_first
        to_hook = [value for each in grown for value in each.to_hook]
        table.rows.append(
            (
                f"{size:,}",
                f"{history:,}",
                rate(at_first),
                f"{at_first / first:.2f} x",
                rate(per_second),
                milliseconds(percentile(to_hook, 0.5)),
                milliseconds(percentile(to_hook, 0.99)),
                milliseconds(median(each.sweep_seconds for each in grown)),
            )
        )
        bench.say(f"f {size:,} waiting, {history:,} old: {rate(per_second)} calls/s")
    table.notes.append(
        f"p50 and p99: from webhook to hook, {_PER_SECOND} a second, of another workspace while "
        "the backlog waits for its limit. "
        f"calls/s: the first {COUNTED:,} of the backlog, or all of it."
    )
    return [table, _bytes(bench)]


def _grow(bench: Bench, *, size: int, history: int, seed: int) -> Grown:
    contestant = Ours()
    contestant.workspaces = (WORKSPACE, _WAITING)
    with bench.site(contestant) as site:
        bench.say(f"  making {size:,} waiting calls and {history:,} old ones")
        _limit(contestant, site, 60)
        insert_history(site.stores, workspace=WORKSPACE, count=history)
        insert_queued(site.stores, workspace=_WAITING, count=size, priority=Priority.FRESH)
        url = contestant.start_receiver(site)
        contestant.start_workers(site, processes=bench.options.processes)
        to_hook = _latencies(bench, site, url, seed=seed)
        sweep_seconds = _time_sweeps(contestant, site)
        done = site.stores.number(
            f"SELECT count(*) FROM calls WHERE workspace_id = '{_WAITING}'"  # noqa: S608 - ours
            " AND state <> 'queued'"
        )
        bench.stub.reset()
        _limit(contestant, site, contestant.rate_limit)
        seen = bench.wait_for_deliveries(
            min(size, COUNTED) - done, children=site.children, patience=60, who="the backlog"
        )
        arrivals = sorted(bench.stub.arrivals().values())
        first_seconds = arrivals[FIRST - 1] - seen.first_detail_at
        return Grown(
            first_per_second=FIRST / first_seconds,
            per_second=seen.distinct / seen.seconds,
            to_hook=to_hook,
            sweep_seconds=sweep_seconds,
        )


def _limit(contestant: Ours, site: Site, limit: int) -> None:
    service = contestant.open_service(site)
    try:
        set_workspace(service, _WAITING, WorkspaceSpec(rate_limit=limit))
    finally:
        service.close()


def _latencies(bench: Bench, site: Site, url: str, *, seed: int) -> list[float]:
    seconds = 5 if bench.options.quick else 15
    warm_up = 2 * _PER_SECOND
    call_ids = make_call_ids(warm_up + seconds * _PER_SECOND, seed=seed)
    bodies = [json.dumps(webhook(call_id, WORKSPACE)).encode() for call_id in call_ids]
    bench.stub.reset()
    send(url, bodies[:warm_up], connections=4, seconds=60, rate=_PER_SECOND)
    # The first task of each process opens its connections.
    time.sleep(5)
    outcome = send(url, bodies[warm_up:], connections=4, seconds=120, rate=_PER_SECOND)
    end = time.monotonic() + 60
    arrivals: dict[str, float] = {}
    while not set(call_ids) <= arrivals.keys() and time.monotonic() < end:
        site.children.check()
        time.sleep(0.2)
        arrivals = bench.stub.arrivals()
    counted = zip(call_ids[warm_up:], outcome.due_at, strict=True)
    return [arrivals.get(call_id, end) - due_at for call_id, due_at in counted]


def _time_sweeps(contestant: Ours, site: Site) -> float:
    """The median of a few whole rounds, beside those that beat sends."""
    service = contestant.open_service(site)
    try:
        taken = []
        for _ in range(_SWEEPS):
            began = time.monotonic()
            sweep(service, waiting_messages=lambda _: 0)
            taken.append(time.monotonic() - began)
        return median(taken)
    finally:
        service.close()


def _bytes(bench: Bench) -> Table:
    """What a call takes up: in Redis while its message waits, in the database when it is done."""
    contestant = Ours()
    call_ids = make_call_ids(_CALLS_FOR_BYTES, seed=1)
    bodies = [json.dumps(webhook(call_id, WORKSPACE)).encode() for call_id in call_ids]
    with bench.site(contestant) as site:
        url = contestant.start_receiver(site)
        database, redis = site.stores.database_bytes(), site.stores.redis_bytes()
        bench.stub.reset()
        send(url, bodies, connections=32, seconds=120)
        queued_database, queued_redis = site.stores.database_bytes(), site.stores.redis_bytes()
        contestant.start_workers(site, processes=bench.options.processes)
        bench.wait_for_deliveries(
            len(call_ids), children=site.children, patience=60, who="bytes a call"
        )
        bench.check_saved(contestant, site, len(call_ids))
        site.stores.execute("VACUUM")
        done_database = site.stores.database_bytes()
    table = Table("f. Bytes a call", ("state", "database", "Redis"))
    count = len(call_ids)
    waiting_redis = (queued_redis - redis) / count
    table.rows += [
        ("received", f"{(queued_database - database) / count:,.0f}", f"{waiting_redis:,.0f}"),
        ("delivered", f"{(done_database - database) / count:,.0f}", "0"),
    ]
    table.notes.append(
        f"Of {count:,} webhooks of {len(bodies[0]):,} bytes with a detail of about 2,000, one "
        "destination; with indexes and all revisions, attempts and raw webhooks."
    )
    return table
