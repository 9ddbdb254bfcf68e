"""a. A backlog: calls are queued, then workers start. Upstream and CRM answer at once.

Counted from the first request at the upstream to the last delivery at the hook,
so that no contestant's start is in it, and all of its work is.
"""

from dataclasses import dataclass
from statistics import median

from bench.contestants import CONTESTANTS
from bench.contestants.contestant import Contestant
from bench.memory import MemoryWatch
from bench.payloads import make_call_ids
from bench.processes import BenchError
from bench.run import Bench
from bench.table import Table, megabytes, rate

CALLS = 20_000
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Drained:
    """One contestant's way through one backlog."""

    calls: int
    seconds: float
    #: Of its worker processes, at their largest.
    memory: int
    #: Deliveries that the hook got twice.
    twice: int

    @property
    def per_second(self) -> float:
        return self.calls / self.seconds


def run(bench: Bench) -> list[Table]:
    """Contestants take turns, run by run, so that a noisy minute hits all of them."""
    calls = bench.options.calls or (2_000 if bench.options.quick else CALLS)
    found: dict[str, list[Drained]] = {name: [] for name in bench.options.contestants}
    failed: dict[str, str] = {}
    for number in range(bench.options.runs):
        for name in bench.options.contestants:
            if name in failed:
                continue
            try:
                result = drain(bench, CONTESTANTS[name](), calls=calls, seed=number)
            except BenchError as error:
                failed[name] = str(error)
                bench.say(f"  {name} failed: {error}")
                continue
            found[name].append(result)
            bench.say(f"a {name}: {rate(result.per_second)} calls/s")
    return [table_of(f"a. Backlog of {calls:,} calls, 0 ms upstream", bench, found, failed)]


def drain(
    bench: Bench,
    contestant: Contestant,
    *,
    calls: int,
    seed: int,
    upstream: float = 0.0,
    crm: float = 0.0,
    processes: int | None = None,
) -> Drained:
    """Queue, start, wait, check."""
    calls = min(calls, contestant.most_calls or calls)
    call_ids = make_call_ids(calls, seed=seed)
    with bench.site(contestant) as site:
        bench.say(f"  {contestant.name}: queueing {calls:,} calls")
        contestant.enqueue(site, call_ids)
        bench.stub.reset(upstream=upstream, crm=crm)
        with MemoryWatch(site.children) as watch:
            contestant.start_workers(site, processes=processes or bench.options.processes)
            seen = bench.wait_for_deliveries(
                calls, children=site.children, patience=_PATIENCE, who=contestant.name
            )
        bench.check_saved(contestant, site, calls)
        return Drained(
            calls=calls,
            seconds=seen.seconds,
            memory=sum(memory.pss for memory in watch.peak.values()),
            twice=bench.stub.seen().posts - calls,
        )


def table_of(
    title: str, bench: Bench, found: dict[str, list[Drained]], failed: dict[str, str]
) -> Table:
    """Medians, and each one's ratio to ours."""
    table = Table(title, ("contestant", "calls/s", "ours is", "each run", "memory", "sent twice"))
    medians = {
        name: median(result.per_second for result in results)
        for name, results in found.items()
        if results
    }
    ours = medians.get("ours")
    for name, value in sorted(medians.items(), key=lambda entry: -entry[1]):
        results = found[name]
        table.rows.append(
            (
                name,
                rate(value),
                f"{ours / value:.2f} x" if ours else "",
                " ".join(rate(result.per_second) for result in results),
                megabytes(median(result.memory for result in results)),
                str(sum(result.twice for result in results)),
            )
        )
    table.notes += [f"{name} failed: {why}" for name, why in failed.items()]
    table.notes.append(
        f"{bench.options.processes} worker processes each; median of {bench.options.runs}; every "
        "call was found in the contestant's table and at the hook. Memory: PSS of all that the "
        "contestant starts, without the stores."
    )
    return table
