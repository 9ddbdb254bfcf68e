"""Ends a worker that is alive but no longer consumes, so that its supervisor starts another.

Seen after some reconnects to Redis: the process idles while messages wait. Runs
in the worker's main process; beside a sweep a second, a minute without a
message while messages wait can only be that.
"""

import os
import signal
import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

DEAF_AFTER = 60.0
_CHECK_EVERY = 5.0
_GRACE = 30.0


class DeafnessWatch:
    """Notes what is received; `is_deaf` once messages have waited unheard for too long."""

    def __init__(
        self,
        messages_wait: Callable[[], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
        deaf_after: float = DEAF_AFTER,
    ) -> None:
        self._messages_wait = messages_wait
        self._clock = clock
        self._deaf_after = deaf_after
        self._heard_at = clock()

    def note_received(self) -> None:
        self._heard_at = self._clock()

    def is_deaf(self) -> bool:
        """Silence alone is not deafness: with Redis or beat away there is nothing to hear."""
        if not self._messages_wait():
            self._heard_at = self._clock()
        return self._clock() - self._heard_at > self._deaf_after

    def silence(self) -> float:
        """For how many seconds it has heard nothing while something waited."""
        return self._clock() - self._heard_at

    def run(self) -> None:
        """Until it is deaf; then ends this process."""
        while not self.is_deaf():
            time.sleep(_CHECK_EVERY)
        log.critical("worker.deaf", for_seconds=round(self._deaf_after), cure="ending it")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
        os._exit(70)

    def start(self) -> None:
        threading.Thread(target=self.run, name="deafness-watch", daemon=True).start()
