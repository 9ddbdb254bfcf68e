"""The circuit breaker of a destination: when it opens, for how long, and who finds out.

Pure. While it is open nothing is sent and no attempt is spent; the deliveries
wait where they are. When the pause is over, one delivery is the probe. What was
under way when it opened, and fails too, counts no more.
"""

from datetime import timedelta

#: So many failures without a success between them open it.
OPENS_AFTER = 10
_FIRST_PAUSE = timedelta(seconds=10)
_LONGEST_PAUSE = timedelta(minutes=5)


def is_tripped(failures_in_a_row: int) -> bool:
    """Whether only a probe may go."""
    return failures_in_a_row >= OPENS_AFTER


def pause(failures_in_a_row: int) -> timedelta | None:
    """How long to send nothing after the newest failure; None while it is closed.

    10 s, doubled with every failed probe, up to 5 minutes.
    """
    if not is_tripped(failures_in_a_row):
        return None
    doublings = min(failures_in_a_row - OPENS_AFTER, 10)
    return min(_FIRST_PAUSE * (1 << doublings), _LONGEST_PAUSE)
