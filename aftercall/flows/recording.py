"""How results are written down: together, or one by one when one of them spoils the rest.

A database that is away for a moment is waited for, as long as the leases hold:
what a request learned is not thrown away, and no hook is called twice for it.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from aftercall.db.models import AttemptOutcome
from aftercall.db.session import DATABASE_AWAY
from aftercall.domain.outcomes import Blocked, NotReady, Outcome, Retry, Skipped, Succeeded

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: With the longest request, still inside the lease.
PATIENCE = 12.0
_PAUSE = 0.25


def write_all(
    items: list[T], *, write: Callable[[list[T]], None], spoil: Callable[[T, str], T]
) -> None:
    """Writes all; what cannot be written is written as `spoil(item, why)` instead."""
    try:
        _write_patiently(items, write)
    except (DBAPIError, UnicodeError) as error:
        if isinstance(error, DATABASE_AWAY):
            raise
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        why = type(cause).__name__
        if len(items) == 1:
            log.error("record.spoiled", error=why)
            _write_patiently([spoil(items[0], why)], write)
            return
        # A bulk statement fails as a whole: find the one that does it.
        for item in items:
            _write_by_itself(item, write=write, spoil=spoil)


def _write_by_itself(
    item: T, *, write: Callable[[list[T]], None], spoil: Callable[[T, str], T]
) -> None:
    """One that cannot be written in any way costs no other."""
    try:
        write_all([item], write=write, spoil=spoil)
    except (DBAPIError, UnicodeError) as error:
        if isinstance(error, DATABASE_AWAY):
            raise
        log.exception("record.failed", error=type(error).__name__)


def _write_patiently(items: list[T], write: Callable[[list[T]], None]) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return write(items)
        except DATABASE_AWAY as error:
            if time.monotonic() > end:
                raise
            log.warning("database.unreachable", error=type(error).__name__)
            time.sleep(_PAUSE)


def attempt_outcome(outcome: Outcome, *, is_dead: bool) -> AttemptOutcome:
    """How the story calls it. The last of the retries reads as dead."""
    match outcome:
        case Succeeded() | Skipped():
            return AttemptOutcome.SUCCEEDED
        case Blocked():
            return AttemptOutcome.BLOCKED
        case Retry() if not is_dead:
            return AttemptOutcome.RETRY
        case NotReady() if not is_dead:
            return AttemptOutcome.NOT_READY
        case _:
            return AttemptOutcome.DEAD
