"""The small benchmark for CI: `python -m bench.ratio`. A ratio, not a time.

aftercall and the plain Celery recipe each drain a backlog on the same machine,
in turns, so that noise hits both. Exits 1 when aftercall is not at
least so many times as fast.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench.contestants.celery_plain import CeleryPlain
from bench.contestants.contestant import Contestant
from bench.contestants.ours import Ours
from bench.machine import load, machine
from bench.processes import BenchError, children_in
from bench.run import Bench, Options, Say
from bench.scenarios.backlog import drain
from bench.stub_client import running_stub
from bench.table import rate

LEAST = 2.5
#: Each about as long: neither is measured while its processes are still warming up.
CALLS = {"ours": 12_000, "celery_plain": 4_000}
RUNS = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.ratio", description=__doc__)
    parser.add_argument("--part", type=float, default=1.0, help="of the usual number of calls")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--least", type=float, default=LEAST)
    arguments = parser.parse_args()
    # As Ctrl-C: everything that was started is ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say = Say()
    say(f"{machine()}; load at the start {load():.1f}")
    try:
        found = measure(part=arguments.part, runs=arguments.runs, say=say)
    except BenchError as error:
        say(f"FAILED: {error}")
        return 1
    ours, plain = median(found["ours"]), median(found["celery_plain"])
    ratio = ours / plain
    say(
        f"ours {rate(ours)} calls/s, plain recipe {rate(plain)} calls/s: {ratio:.2f} times as fast "
        f"(at least {arguments.least:.2f} wanted)"
    )
    return 0 if ratio >= arguments.least else 1


def measure(*, part: float, runs: int, say: Say) -> dict[str, list[float]]:
    """Calls a second of each run."""
    kinds: tuple[type[Contestant], ...] = (Ours, CeleryPlain)
    found: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    options = Options(
        contestants=[kind.name for kind in kinds], calls=None, runs=runs, quick=False, processes=2
    )
    with (
        tempfile.TemporaryDirectory(prefix="aftercall-bench-") as folder,
        children_in(Path(folder)) as children,
        running_stub(children) as stub,
    ):
        bench = Bench(options, stub, say)
        for number in range(runs):
            # Each goes first in every other round.
            for kind in kinds[:: 1 if number % 2 == 0 else -1]:
                calls = int(CALLS[kind.name] * part)
                drained = drain(bench, kind(), calls=calls, seed=number)
                found[kind.name].append(drained.per_second)
                say(f"{kind.name}: {rate(drained.per_second)} calls/s")
    return found


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
