"""e. The rate limit: a simulator that enforces an exact sliding window, four worker processes.

Of L requests a minute, request number n + L may not come before a minute has
passed since request n. So from request L to request (w + 1) L at least w
minutes pass; what was used is that least time by the time it took. Backfill
leaves evenly spaced: its rate is taken from the last three quarters. The
simulator is aftercall's own; it shares no code with what it tests.
"""

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aftercall.domain.states import Priority
from aftercall.simulator import SimulatedWorkspace, Simulator
from aftercall.twentytwo.rate_limit import WINDOW
from bench.contestants.ours import Ours
from bench.run import Bench
from bench.table import Table, rate

LIMIT = 300
WINDOWS = 3
WINDOW_SECONDS = 60.0
_PROCESSES = 4


@dataclass(frozen=True, slots=True)
class Case:
    """So many workspaces, each with calls of one priority."""

    name: str
    workspaces: int
    priority: int


CASES = (
    Case("1 workspace, fresh calls", 1, Priority.FRESH),
    Case("10 workspaces, fresh calls", 10, Priority.FRESH),
    Case("1 workspace, backfill", 1, Priority.BACKFILL),
)


@dataclass(frozen=True, slots=True)
class Used:
    """What one case made of its allowance."""

    requests: int
    seconds: float
    share: float
    refused: int


def run(bench: Bench) -> list[Table]:
    """Ours only: nobody else here has a limiter that several processes share."""
    windows, window = 1 if bench.options.quick else WINDOWS, WINDOW.total_seconds()
    title = f"e. Rate limit: {LIMIT} requests in any 60 s and workspace, {_PROCESSES} processes"
    table = Table(
        title, ("case", "requests/min", "of one workspace", "allowance used", "429", "requests")
    )
    one: float | None = None
    for case in CASES:
        used = _use(bench, case, windows=windows)
        per_minute = used.requests / used.seconds * 60 if used.seconds else 0.0
        one = one or per_minute
        table.rows.append(
            (
                case.name,
                rate(per_minute),
                f"{per_minute / one:.2f} x",
                f"{used.share:.1%}",
                str(used.refused),
                f"{used.requests:,}",
            )
        )
        bench.say(f"e {case.name}: {used.share:.1%} used, {used.refused} times 429")
    table.notes.append(
        f"Over {windows} windows. Fresh calls take what the window has free at once; backfill "
        "leaves evenly spaced, so that there is always room for a fresh call. The limiter's "
        f"window is {window:g} s, which costs {1 - WINDOW_SECONDS / window:.1%}."
    )
    return [table]


def _use(bench: Bench, case: Case, *, windows: int) -> Used:
    workspaces = [
        SimulatedWorkspace(
            id=f"bench-{number}",
            api_key="bench-key",
            api_secret="bench-secret",  # noqa: S106 - opens nothing
            rate_limit=LIMIT,
        )
        for number in range(case.workspaces)
    ]
    watch = ArrivalWatch()
    with Simulator(workspaces=workspaces, rate_window_seconds=WINDOW_SECONDS) as simulator:
        contestant = Ours()
        contestant.rate_limit = LIMIT
        contestant.base_url = simulator.twentytwo.base_url
        contestant.workspaces = tuple(workspace.id for workspace in workspaces)
        calls = LIMIT * (windows + 1)
        with bench.site(contestant) as site:
            bench.say(f"  {case.name}: {calls * case.workspaces:,} calls, {windows} windows")
            for workspace in workspaces:
                call_ids = simulator.twentytwo.make_calls(calls, workspace_id=workspace.id)
                contestant.enqueue_for(
                    site, call_ids, workspace=workspace.id, priority=case.priority
                )
            bench.stub.reset()
            contestant.start_workers(site, processes=_PROCESSES)
            with watch.on(simulator):
                bench.wait_for_deliveries(
                    calls * case.workspaces,
                    children=site.children,
                    patience=WINDOW_SECONDS + 60,
                    who=case.name,
                )
            bench.check_saved(contestant, site, calls * case.workspaces)
        breaches, _ = simulator.twentytwo.breaches()
    total = calls * case.workspaces
    skipped = LIMIT * case.workspaces if case.priority == Priority.FRESH else total // 4
    seconds = watch.when(total) - watch.when(skipped)
    requests = total - skipped
    allowed = LIMIT * case.workspaces * seconds / WINDOW_SECONDS
    return Used(requests, seconds, requests / allowed, breaches)


@dataclass(slots=True)
class ArrivalWatch:
    """When the simulator had had so many requests, to a twentieth of a second."""

    _seen: list[tuple[int, float]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def on(self, simulator: Simulator) -> Self:
        def watch() -> None:
            while not self._stop.wait(0.05):
                count = sum(simulator.twentytwo.server.request_counts().values())
                if not self._seen or count != self._seen[-1][0]:
                    self._seen.append((count, time.monotonic()))

        self._thread = threading.Thread(target=watch, daemon=True)
        return self

    def when(self, count: int) -> float:
        return next((at for seen, at in self._seen if seen >= count), time.monotonic())

    def __enter__(self) -> Self:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
