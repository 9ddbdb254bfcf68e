"""When to try again: backoff for fetches, the table for deliveries, the looks at calls under way.

Pure; the random source is an argument. Attempts count from 1: `attempt` is the
one that has just failed, and the answer is the wait before the next, or None
when there is no next.
"""

import email.utils
import math
import random
from datetime import UTC, datetime, timedelta

MAX_RETRY_AFTER = timedelta(hours=24)

# Exponential with full jitter: uniform between nothing and the cap, so that a
# thousand calls that failed together come back spread out.
#
# | after attempt | cap    | mean so far |
# |---------------|--------|-------------|
# | 1             | 5 s    | 3 s         |
# | 2             | 25 s   | 15 s        |
# | 3             | 2 min  | 1 min       |
# | 4             | 10 min | 6 min       |
# | 5             | 52 min | 33 min      |
# | 6             | 4 h    | 2 h 43 min  |
# | 7, 8, 9       | 12 h   | 20 h 43 min |
FETCH_ATTEMPTS = 10
_FETCH_BASE = timedelta(seconds=5)
_FETCH_FACTOR = 5
_FETCH_CAP = timedelta(hours=12)

# | after attempt | wait   | so far |
# |---------------|--------|--------|
# | 1             | 5 s    | 5 s    |
# | 2             | 30 s   | 35 s   |
# | 3             | 2 min  | 3 min  |
# | 4             | 10 min | 13 min |
# | 5             | 30 min | 43 min |
# | 6             | 2 h    | 3 h    |
# | 7             | 5 h    | 8 h    |
# | 8             | 10 h   | 18 h   |
# | 9             | 14 h   | 32 h   |
# | 10            | 20 h   | 52 h   |
# | 11            | 24 h   | 76 h   |
DELIVERY_WAITS = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
DELIVERY_ATTEMPTS = len(DELIVERY_WAITS) + 1
DELIVERY_JITTER = 0.1

_FIRST_LOOK = timedelta(seconds=15)
_LAST_LOOK = timedelta(minutes=15)


def fetch_wait(
    attempt: int, *, asked: timedelta | None, at_most: int | None, rng: random.Random
) -> timedelta | None:
    """The wait after fetch attempt `attempt` failed; at least what Twenty2 asked for."""
    if attempt >= min(FETCH_ATTEMPTS, at_most or FETCH_ATTEMPTS):
        return None
    cap = min(_FETCH_BASE * math.pow(_FETCH_FACTOR, attempt - 1), _FETCH_CAP)
    return max(cap * rng.random(), _bounded(asked))


def delivery_wait(attempt: int, *, asked: timedelta | None, rng: random.Random) -> timedelta | None:
    """The wait after delivery attempt `attempt` failed; at least what the hook asked for."""
    if attempt >= DELIVERY_ATTEMPTS:
        return None
    jitter = 1 + DELIVERY_JITTER * (2 * rng.random() - 1)
    return max(DELIVERY_WAITS[attempt - 1] * jitter, _bounded(asked))


def look_wait(age: timedelta) -> timedelta:
    """The wait before the next look at a call that has not been ready for `age`.

    Half of the age, so each look is half as late again: 15 s, growing to 15 min.
    """
    return min(max(age / 2, _FIRST_LOOK), _LAST_LOOK)


def parse_retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """RFC 9110, section 10.2.3: seconds or a date. None when absent, malformed or in the past."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Longer than any cap of ours, and safe from overflow.
        return timedelta(seconds=min(int(text.lstrip("0")[:12] or "0"), 10**9))
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        # Of a year, or a zone, beyond what a machine's word holds.
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return at - now if at > now else None


def _bounded(asked: timedelta | None) -> timedelta:
    return timedelta(0) if asked is None else min(asked, MAX_RETRY_AFTER)
