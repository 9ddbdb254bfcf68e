"""`python -m tests.chaos`: CHAOS_MINUTES (3), CHAOS_CALLS (5,000 or more), CHAOS_SEED (any)."""

import os
import secrets
import sys

from tests.chaos.run import Say, plan_of, run


def main() -> int:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(100_000))
    calls = os.environ.get("CHAOS_CALLS")
    plan = plan_of(
        minutes=float(os.environ.get("CHAOS_MINUTES") or 3),
        calls=int(calls) if calls else None,
        seed=seed,
    )
    say = Say()
    found = run(plan, say=say)
    say(f"chaos:\n{found}")
    if found.breaches:
        say("BREACHED: " + "; ".join(found.breaches))
        return 1
    say("The promise was kept.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
