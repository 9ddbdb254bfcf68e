"""What beat sends. Two beats do no harm: every round skips what another has locked."""

from typing import Any

from aftercall.queue import SWEEP_EVERY, QueueName, TaskName

SCHEDULE: dict[str, Any] = {
    "sweep": {
        "task": TaskName.SWEEP.value,
        "schedule": SWEEP_EVERY,
        # A round that nobody had time for is not made up for. By the clocks of two machines: so far
        # may the worker's be ahead of beat's. `drop_unheard` keeps those that wait few.
        "options": {"queue": QueueName.SWEEP.value, "expires": 60},
    },
}
