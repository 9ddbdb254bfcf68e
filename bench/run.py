"""What every scenario is given: what was asked for, the stub, and a way to say how far it is."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.contestants.contestant import Contestant, Site
from bench.processes import BenchError, Children, children_in, wait_until
from bench.stores import fresh_stores
from bench.stub_client import Seen, Stub

#: Seconds that any contestant may take for any one run.
_LONGEST = 1_200.0


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    contestants: Sequence[str]
    #: None: what the scenario would take.
    calls: int | None
    runs: int
    quick: bool
    #: Worker processes of each contestant.
    processes: int
    #: Calls of long ago, in scenario f.
    history: int = 5_000_000


class Say:
    """Prints a line with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"{time.monotonic() - self._began:6.0f} s  {line}", flush=True)  # noqa: T201


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the benchmark."""

    options: Options
    stub: Stub
    say: Say = field(default_factory=Say)
    _installed: set[str] = field(default_factory=set)

    @contextmanager
    def site(self, contestant: Contestant) -> Iterator[Site]:
        """Fresh stores with the contestant's tables; all that it starts is ended afterwards."""
        if contestant.name not in self._installed:
            contestant.install()
            self._installed.add(contestant.name)
        with fresh_stores() as stores, children_in(stores.directory) as children:
            site = Site(stores, self.stub, children)
            contestant.set_up(site)
            yield site

    def wait_for_deliveries(
        self, count: int, *, children: Children, patience: float, who: str
    ) -> Seen:
        """When so many distinct calls have reached the hook.

        BenchError when none has come for `patience` seconds, or after twenty minutes.
        """
        moved_at = said_at = began = time.monotonic()
        last = -1
        while (seen := self.stub.seen()).distinct < count:
            children.check()
            now = time.monotonic()
            if seen.distinct != last:
                moved_at, last = now, seen.distinct
            if now - moved_at > patience or now - began > _LONGEST:
                raise BenchError(
                    f"{who} stands still: {seen.distinct} of {count} calls reached the hook, "
                    f"none in the last {patience:.0f} s. {children.last_words()}"
                )
            if now - said_at > 10:
                self.say(f"  {who}: {seen.distinct:,} of {count:,}")
                said_at = now
            time.sleep(0.1)
        return seen

    def check_saved(self, contestant: Contestant, site: Site, count: int) -> None:
        """BenchError unless every call is in the contestant's table, soon."""
        try:
            wait_until(
                lambda: contestant.saved(site) >= count, seconds=20, what="saving every call"
            )
        except BenchError:
            saved = contestant.saved(site)
            raise BenchError(
                f"{contestant.name} delivered {count} calls and saved {saved}"
            ) from None
        seen = self.stub.seen()
        if seen.strangers or seen.distinct != count:
            raise BenchError(
                f"{contestant.name}: the hook saw {seen.distinct} calls of {count}, and "
                f"{seen.strangers} posts without a call id"
            )
