"""Natural batching: whatever waits, travels together; alone, nothing waits for company.

`Batcher` is one thread that hands everything that has come in meanwhile, as one
list, to a function. `Crew` has so many places for claimed rows that wait for an
answer, and a Batcher that reads and records the answers. Neither knows what the
rows are.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")
Job = TypeVar("Job")
Said = TypeVar("Said")
Result = TypeVar("Result")

log = structlog.get_logger(__name__)

#: Seconds to gather a batch once more than `_ALONE` are under way: a claim or a record costs
#: nearly as much for one row as for fifty (docs/benchmarks.md).
_GATHER = 0.02
_ALONE = 8


class Batcher(Generic[T]):
    """Calls `write` with all that waits, at most `limit` at a time, in one thread.

    `write` must deal with its own failures; one that escapes is logged, and the
    thread goes on.
    """

    def __init__(
        self,
        write: Callable[[list[T]], None],
        *,
        name: str,
        limit: int = 500,
        coming: Callable[[], int] | None = None,
    ) -> None:
        """`coming`: how many more are on their way, worth waiting a moment for."""
        self._write = write
        self._coming = coming
        self._limit = limit
        self._waiting: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        self._waiting.put(item)

    def size(self) -> int:
        """How many wait."""
        return self._waiting.qsize()

    def close(self, timeout: float) -> bool:
        """Writes what waits, then ends. Whether it was done in `timeout` seconds."""
        self._waiting.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, is_last = self._take_what_waits(first)
            try:
                self._write(batch)
            except Exception:
                log.exception("batch.failed", batch=self._thread.name, size=len(batch))
            if is_last:
                return

    def _take_what_waits(self, first: T) -> tuple[list[T], bool]:
        batch = [first]
        if self._coming is not None and self._coming() > _ALONE:
            # Asleep, not woken by each of them.
            time.sleep(_GATHER)
        while len(batch) < self._limit:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return batch, True
            batch.append(item)
        return batch, False


class Crew(Generic[Job, Said, Result]):
    """Places for jobs that wait for an answer, and one thread that reads and records them.

    A place is taken from `start` until the result is recorded, so whoever claims
    no more rows than there are places claims only what starts at once. The
    caller does not wait for the end: a straggler holds its own place and no
    other.
    """

    def __init__(
        self,
        *,
        name: str,
        size: int,
        send: Callable[[Job, Callable[[Said], None]], None],
        read: Callable[[Job, Said], Result],
        record: Callable[[list[Result]], None],
        go_on: Callable[[list[Result]], None] | None = None,
    ) -> None:
        """`send` asks, and has what was said given to the function that it gets, from any thread.

        `read` makes of it what `record` takes. `go_on`: called once the places of what was
        recorded are free again.
        """
        self.name = name
        self.size = size
        self._send = send
        self._read = read
        self._record = record
        self._go_on = go_on
        self._free = size
        self._is_open = True
        self._under_way: set[_Place[Job]] = set()
        self._changed = threading.Condition()
        self._answers: Batcher[tuple[_Place[Job], Said]] = Batcher(
            self._write,
            name=f"{name}-record",
            limit=size,
            coming=self.under_way,
        )

    def room(self, timeout: float = 0) -> int:
        """How many could start now; waits up to `timeout` seconds for one place."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 or not self._is_open, timeout)
            return self._free if self._is_open else 0

    def reserve(self, wanted: int, timeout: float = 0) -> int:
        """Takes up to `wanted` places for `start` or `cancel`; waits for the first.

        Who wants many waits a moment for more than one.
        """
        enough = min(wanted, self.size // 2)
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 or not self._is_open, timeout)
            if timeout:
                self._changed.wait_for(lambda: self._free >= enough or not self._is_open, _GATHER)
            taken = min(wanted, self._free) if self._is_open else 0
            self._free -= taken
            return taken

    def cancel(self, places: int) -> None:
        """Gives reserved places back."""
        if places:
            with self._changed:
                self._free += places
                self._changed.notify_all()

    def start(self, jobs: Sequence[Job]) -> None:
        """Starts jobs in places that were reserved."""
        for job in jobs:
            place = _Place(job, time.monotonic())
            self._under_way.add(place)
            try:
                self._send(job, self._then(place))
            except BaseException:
                # A bug of ours: the row's lease runs out, and the sweep counts it.
                log.exception("work.failed", crew=self.name)
                self._give_up(place)

    def under_way(self) -> int:
        """How many are worked on."""
        return len(self._under_way)

    def overdue(self, seconds: float) -> list[Job]:
        """What has been worked on for longer than that."""
        since = time.monotonic() - seconds
        return [place.job for place in list(self._under_way) if place.began < since]

    def close(self, timeout: float) -> bool:
        """Takes nothing new, waits for what is under way. Whether all was recorded in time."""
        end = time.monotonic() + timeout
        with self._changed:
            self._is_open = False
            self._changed.notify_all()
            is_idle = self._changed.wait_for(lambda: self._free == self.size, timeout)
        return self._answers.close(max(end - time.monotonic(), 0.1)) and is_idle

    def _then(self, place: "_Place[Job]") -> Callable[[Said], None]:
        return lambda said: self._answers.put((place, said))

    def _give_up(self, place: "_Place[Job]") -> None:
        if self._leave(place):
            self.cancel(1)

    def _leave(self, place: "_Place[Job]") -> bool:
        """Whether it was still under way: whoever ends it frees its place, and nobody after."""
        try:
            self._under_way.remove(place)
        except KeyError:
            return False
        return True

    def _write(self, answers: "list[tuple[_Place[Job], Said]]") -> None:
        results: list[Result] = []
        for place, said in answers:
            try:
                result = self._read(place.job, said)
            except BaseException:
                # A bug of ours: the row's lease runs out, and the sweep counts it.
                log.exception("work.failed", crew=self.name)
                self._give_up(place)
            else:
                if self._leave(place):
                    results.append(result)
        if not results:
            return
        try:
            self._record(results)
        finally:
            self.cancel(len(results))
        if self._go_on is not None:
            self._go_on(results)


@dataclass(frozen=True, slots=True, eq=False)
class _Place(Generic[Job]):
    """A job under way, since when by the monotonic clock."""

    job: Job
    began: float
