"""`make upgrade-test`: every migration on a database full of calls, webhooks flowing, old code up.

`--from 0008 --to 0009` for one step; by default from 0003 on, with 1,000,000 calls.
"""

import argparse
import signal
import sys
from datetime import UTC, datetime

from bench.machine import load, machine
from bench.table import Table
from tests.chaos.run import Say
from tests.upgrade.releases import HistoryMissing, Release, libraries_differ, releases
from tests.upgrade.run import Plan, Step, upgrade


def main() -> int:
    arguments = _arguments()
    # The stores are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        chosen = choose(releases(), first=arguments.first, last=arguments.last)
    except HistoryMissing as error:
        raise SystemExit(str(error)) from None
    say = Say()
    say(f"{machine()}; load at the start {load():.1f}; {datetime.now(UTC):%d %B %Y}")
    for release in chosen:
        if libraries_differ(release):
            say(f"{release} was locked to other libraries than those it is run with here")
    plan = Plan(
        calls=arguments.calls,
        per_second=arguments.per_second,
        calm_seconds=8,
        reader_seconds=arguments.reader,
    )
    steps = upgrade(chosen, plan, say=say)
    say(table(steps, calls=arguments.calls, per_second=arguments.per_second))
    breaches = [f"{step.after}: {words}" for step in steps for words in step.breaches]
    say("BREACHED: " + "; ".join(breaches) if breaches else "The promise was kept.")
    return 1 if breaches else 0


def choose(found: list[Release], *, first: str, last: str | None) -> list[Release]:
    """From the newest release whose schema is not newer than `first`, to that of `last`."""
    begin = max(index for index, one in enumerate(found) if one.schema <= first)
    end = next(
        (index for index, one in enumerate(found) if last and one.schema >= last), len(found) - 1
    )
    if begin >= end:
        raise SystemExit(f"there is no upgrade from {first} to {last}")
    return found[begin : end + 1]


def table(steps: list[Step], *, calls: int, per_second: float) -> str:
    made = Table(
        f"Upgrades with {calls:,} calls, {per_second:g} webhooks a second",
        (
            "from",
            "to",
            "took",
            "longest answer before",
            "meanwhile",
            "longest stall of deliveries",
            "accepted",
            "delivered",
            "lost",
            "twice, one id",
            "two ids",
            "old code's errors",
        ),
    )
    for step in steps:
        made.rows.append(
            (
                step.before.schema,
                step.after.schema,
                f"{step.seconds:.1f} s",
                f"{step.longest_answer_before.total_seconds():.2f} s",
                f"{step.longest_answer_migrating.total_seconds():.2f} s",
                f"{step.longest_stall.total_seconds():.2f} s",
                f"{step.accepted:,}",
                f"{step.delivered:,}",
                str(len(step.lost)),
                str(step.again_under_one_id),
                str(step.ids_that_disagree),
                "; ".join(f"{count} × {what}" for what, count in step.old_errors.most_common(4))
                or "none",
            )
        )
    return made.text()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.add_argument("--from", dest="first", default="0003", help="the schema to begin with")
    parser.add_argument("--to", dest="last", help="the schema to end with; by default the newest")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--per-second", type=float, default=50.0)
    parser.add_argument(
        "--reader",
        type=float,
        default=5.0,
        help="seconds for which somebody reads every table when a migration begins",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
