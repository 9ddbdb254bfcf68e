"""What beat sends. Two beats do no harm: every round skips what another has locked."""

from typing import Any

from aftercall.queue import SWEEP_EVERY, QueueName, TaskName

SCHEDULE: dict[str, Any] = {
    "sweep": {
        "task": TaskName.SWEEP.value,
        "schedule": SWEEP_EVERY,
        # A round that nobody had time for is not made up for.
        "options": {"queue": QueueName.SWEEP.value, "expires": 5},
    },
}
