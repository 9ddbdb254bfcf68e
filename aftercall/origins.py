"""Which request brought a row, for the log: request ids travel with the ring, not with the row.

A message's headers say who rang and, for each row, which request it came in with. A process keeps
that for its newest rows. It is a help for reading logs and nothing more: a row that a sweep found
says so, and its call id joins its lines all the same.
"""

import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

#: Rows of which a process knows where they came from: some MB, and minutes at full speed.
REMEMBERED = 10_000


class RungBy(StrEnum):
    """Who found that a row is due."""

    WEBHOOK = "webhook"
    HAND = "hand"
    """Somebody added, refetched or replayed it."""
    SPOOL = "spool"
    """It came from Redis into the database."""
    SWEEP = "sweep"
    WORKER = "worker"
    """The worker itself: it had just fetched the call, or had a place free for the next in line."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row came from, as far as this process knows."""

    rung_by: RungBy
    request_id: str | None = None


class Origins:
    """For any thread. Rows are calls' numbers and deliveries' ids."""

    def __init__(self) -> None:
        self._known: OrderedDict[int | uuid.UUID, Origin] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, rows: Iterable[tuple[int | uuid.UUID, str | None]], *, rung_by: RungBy) -> None:
        """Each row with its request id; one that is known already stays."""
        with self._lock:
            known = self._known
            for row, request_id in rows:
                before = known.pop(row, None)
                if request_id is None and before is not None:
                    request_id = before.request_id
                known[row] = Origin(rung_by, request_id)
            while len(known) > REMEMBERED:
                known.popitem(last=False)

    def of_call(self, row_id: int) -> Origin:
        return self._known.get(row_id) or Origin(RungBy.WORKER)

    def of_delivery(self, id_: uuid.UUID, call_row_id: int) -> Origin:
        """A delivery comes with the request of its call."""
        call = self._known.get(call_row_id)
        own = self._known.get(id_)
        return Origin(
            own.rung_by if own else RungBy.WORKER,
            own.request_id if own and own.request_id else call.request_id if call else None,
        )
