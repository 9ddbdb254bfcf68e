"""b. Real latency: the upstream takes 150 ms, the CRM 200 ms, both with a long tail.

The plain recipe gets fewer calls, since each of its processes waits for both.
What counts is what the same memory buys, so memory stands beside the rate.
"""

from statistics import median

from bench.contestants import CONTESTANTS
from bench.contestants.contestant import Contestant
from bench.processes import BenchError
from bench.run import Bench
from bench.scenarios.backlog import Drained, drain
from bench.table import Table, megabytes, rate

UPSTREAM = 0.150
CRM = 0.200
CALLS = 6_000
#: Of a contestant that waits for each call: about six a second.
CALLS_ONE_BY_ONE = 300


def run(bench: Bench) -> list[Table]:
    """Contestants take turns, run by run."""
    found: dict[str, list[Drained]] = {}
    failed: dict[str, str] = {}
    for number in range(bench.options.runs):
        for name in bench.options.contestants:
            if name in failed:
                continue
            contestant = CONTESTANTS[name]()
            contestant.tune_for_latency()
            try:
                result = drain(
                    bench,
                    contestant,
                    calls=_calls(bench, contestant),
                    seed=number,
                    upstream=UPSTREAM,
                    crm=CRM,
                )
            except BenchError as error:
                failed[name] = str(error)
                bench.say(f"  {name} failed: {error}")
                continue
            found.setdefault(name, []).append(result)
            bench.say(f"b {name}: {rate(result.per_second)} calls/s")
    return [_table(bench, found, failed)]


def _calls(bench: Bench, contestant: Contestant) -> int:
    most = bench.options.calls or (1_000 if bench.options.quick else CALLS)
    if contestant.waits_for_each_call:
        return min(most, 60 if bench.options.quick else CALLS_ONE_BY_ONE)
    return most


def _table(bench: Bench, found: dict[str, list[Drained]], failed: dict[str, str]) -> Table:
    title = f"b. Upstream {UPSTREAM * 1000:.0f} ms, CRM {CRM * 1000:.0f} ms, long-tailed"
    columns = (
        "contestant",
        "calls/s",
        "ours is",
        "memory",
        "calls/s per 100 MB",
        "ours is, at equal memory",
        "calls a run",
    )
    table = Table(title, columns)
    per_memory = {
        name: median(result.per_second / (result.memory / 2**20) * 100 for result in results)
        for name, results in found.items()
    }
    rates = {
        name: median(result.per_second for result in results) for name, results in found.items()
    }
    for name, value in sorted(rates.items(), key=lambda entry: -entry[1]):
        ours, ours_per_memory = rates.get("ours"), per_memory.get("ours")
        table.rows.append(
            (
                name,
                rate(value),
                f"{ours / value:.2f} x" if ours else "",
                megabytes(median(result.memory for result in found[name])),
                rate(per_memory[name]),
                f"{ours_per_memory / per_memory[name]:.2f} x" if ours_per_memory else "",
                f"{found[name][0].calls:,}",
            )
        )
    table.notes += [f"{name} failed: {why}" for name, why in failed.items()]
    table.notes.append(
        "Means; lognormal, so that the slowest of a hundred takes three and a half times as long. "
        f"{bench.options.processes} worker processes each; median of {bench.options.runs}. "
        "Memory: PSS of all that the contestant starts, without the stores."
    )
    return table
