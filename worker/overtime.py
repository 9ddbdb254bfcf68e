"""Bounds what one row can take of its worker: time and memory.

A row that is worked on for longer than any request may take ends its process,
whether its thread loops or holds the interpreter. Leases cover what else was in
hand, and the sweep counts who was there when it happened (`lapses`).
"""

import faulthandler
import os
import resource
import sys
import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

#: Seconds. Longer than the longest lease: by then somebody else may have the row.
OVERTIME = 75.0
#: Bytes of one worker process. Past it an allocation fails, and with it the row that made it.
MEMORY = 4 * 1024**3
#: Bytes of a thread's stack: by default 8 MiB, which count as memory. The deepest recursion that
#: Python allows takes less than half a MiB.
STACK = 2 * 1024**2
_CHECK_EVERY = 5.0
_EXIT_CODE = 70


def limit_memory(limit: int = MEMORY) -> None:
    """Of this process. Systems that know no such limit have none. To be called before threads
    are started: their stacks count as memory, used or not."""
    threading.stack_size(STACK)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if sys.platform == "linux" and (hard == resource.RLIM_INFINITY or hard > limit):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def watch_overtime(
    overdue: Callable[[float], list[str]],
    *,
    overtime: float = OVERTIME,
    check_every: float = _CHECK_EVERY,
) -> None:
    """Ends this process once `overdue(overtime)` names something, or once nothing answers."""

    def watch() -> None:
        while not (rows := overdue(overtime)):
            # Fires without the interpreter, should a row hold it for so long.
            faulthandler.dump_traceback_later(overtime, exit=True)
            time.sleep(check_every)
        log.critical("row.overtime", rows=rows, for_seconds=overtime, cure="ending this process")
        os._exit(_EXIT_CODE)

    threading.Thread(target=watch, name="overtime", daemon=True).start()
