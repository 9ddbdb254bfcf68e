"""An exact sliding-window rate limit: at most `limit` requests in any window of `window_seconds`.

Pure: the caller says when a request arrived, in the order of arrival. A window
is half-open, so a request exactly one window after another no longer meets it.
"""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Admission:
    """What the window says to one request."""

    allowed: bool
    #: How many requests over the limit the window ending now holds; 0 when allowed.
    overrun: int
    #: When the window has room again; 0 when allowed.
    wait_seconds: float


class SlidingWindow:
    """Remembers the requests of the last window. A refused request does not use the limit up."""

    def __init__(self, *, limit: int, window_seconds: float) -> None:
        self.limit = limit
        self._window_seconds = window_seconds
        self._allowed: deque[float] = deque()
        self._refused: deque[float] = deque()
        self.breaches = 0
        self.largest_overrun = 0

    def arrive(self, at: float) -> Admission:
        """Admit or refuse the request that arrived at `at` (seconds on a monotonic clock)."""
        self._forget_before(at)
        if len(self._allowed) < self.limit:
            self._allowed.append(at)
            return Admission(allowed=True, overrun=0, wait_seconds=0.0)
        self._refused.append(at)
        overrun = len(self._allowed) + len(self._refused) - self.limit
        self.breaches += 1
        self.largest_overrun = max(self.largest_overrun, overrun)
        return Admission(allowed=False, overrun=overrun, wait_seconds=self._wait(at))

    def _forget_before(self, at: float) -> None:
        for arrivals in (self._allowed, self._refused):
            while arrivals and at - arrivals[0] >= self._window_seconds:
                arrivals.popleft()

    def _wait(self, at: float) -> float:
        if self.limit <= 0:
            return self._window_seconds
        # A limit lowered meanwhile leaves more in the window than it now allows.
        frees_a_place = self._allowed[len(self._allowed) - self.limit]
        return frees_a_place + self._window_seconds - at
