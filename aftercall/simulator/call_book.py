"""The calls that the fake Twenty2 knows, and how far each of them is.

Here a call becomes ready: until then it is under way, by time or by the number
of looks at it. Nothing here knows HTTP. Thread-safe.
"""

import threading
from bisect import insort
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

from aftercall.simulator.calls import SimulatedCall, random_call
from aftercall.simulator.faults import Fault


@dataclass(frozen=True, slots=True)
class Look:
    """A call as somebody sees it now."""

    call: SimulatedCall
    #: `initiated` or `connected` while the call is not final; None once it is.
    status_under_way: str | None


@dataclass(slots=True)
class _Entry:
    """A call and what has happened to it here."""

    call: SimulatedCall
    added_at: float
    looks: int = 0

    def seen_at(self, now: float) -> Look:
        progress = 1.0
        if self.call.ready_after_looks > 0:
            progress = min(progress, self.looks / self.call.ready_after_looks)
        if self.call.ready_after_seconds > 0:
            progress = min(progress, (now - self.added_at) / self.call.ready_after_seconds)
        if progress >= 1:
            return Look(self.call, None)
        return Look(self.call, "initiated" if progress < 0.5 else "connected")


class CallBook:
    """Adds, makes up and looks up calls."""

    def __init__(self, *, rng: Random, clock: Callable[[], float]) -> None:
        self._rng = rng
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        #: (started_at, order of arrival, entry) of each workspace's calls, oldest first.
        self._by_time: defaultdict[str, list[tuple[str, int, _Entry]]] = defaultdict(list)
        self._added = 0

    def add(self, call: SimulatedCall) -> None:
        """Make a call known. One with the same id is replaced, and its looks are forgotten."""
        entry = _Entry(call=call, added_at=self._clock())
        with self._lock:
            if (replaced := self._entries.get(call.call_id)) is not None:
                ordered = self._by_time[replaced.call.workspace_id]
                ordered[:] = [line for line in ordered if line[2] is not replaced]
            self._added += 1
            self._entries[call.call_id] = entry
            insort(
                self._by_time[call.workspace_id],
                (call.started_at or "", self._added, entry),
                key=lambda line: line[:2],
            )

    def make(
        self,
        count: int,
        *,
        workspace_id: str,
        status: str | None,
        ready_after_seconds: float,
        ready_after_looks: int,
        quirks: tuple[Fault, ...],
    ) -> list[str]:
        """Make up calls, one ended every second until now; their ids, oldest first."""
        now = datetime.now(UTC)
        with self._lock:
            calls = [
                random_call(
                    self._rng,
                    workspace_id=workspace_id,
                    ended_at=now - timedelta(seconds=seconds_ago),
                    status=status,
                )
                for seconds_ago in range(count, 0, -1)
            ]
        for call in calls:
            self.add(
                replace(
                    call,
                    ready_after_seconds=ready_after_seconds,
                    ready_after_looks=ready_after_looks,
                    quirks=quirks,
                )
            )
        return [call.call_id for call in calls]

    def call(self, call_id: str) -> SimulatedCall:
        """The facts of a call; KeyError when it is not known."""
        with self._lock:
            return self._entries[call_id].call

    def look(self, call_id: str, *, workspace_id: str) -> Look | None:
        """The call as it is now, and one look more; None when this workspace has no such call."""
        with self._lock:
            entry = self._entries.get(call_id)
            if entry is None or entry.call.workspace_id != workspace_id:
                return None
            look = entry.seen_at(self._clock())
            entry.looks += 1
            return look

    def looks(self, call_id: str) -> int:
        """How often `look` has found this call; KeyError when it is not known."""
        with self._lock:
            return self._entries[call_id].looks

    def page(self, *, workspace_id: str, page: int, limit: int) -> list[Look]:
        """A page (from 1) of the workspace's calls, newest first."""
        with self._lock:
            ordered = self._by_time[workspace_id]
            end = max(0, len(ordered) - (page - 1) * limit)
            now = self._clock()
            return [entry.seen_at(now) for _, _, entry in ordered[max(0, end - limit) : end][::-1]]
