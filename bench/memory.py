"""Memory of processes: RSS, and PSS, which shares what processes share between them."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped]  # comes with the embedded stores

from bench.processes import Children


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, summed over a process and all that it has started."""

    processes: int
    rss: int
    pss: int

    def __add__(self, other: "Memory") -> "Memory":
        return Memory(self.processes + other.processes, self.rss + other.rss, self.pss + other.pss)


NOTHING = Memory(0, 0, 0)


def memory_of(processes: Sequence[psutil.Process]) -> Memory:
    """Of those that still run."""
    total = NOTHING
    for process in processes:
        try:
            full = process.memory_full_info()
        except psutil.Error:
            continue
        # Only Linux knows the PSS.
        total += Memory(1, full.rss, getattr(full, "pss", full.rss))
    return total


def tree_of(pid: int) -> list[psutil.Process]:
    """The process and all that it has started; none when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


class MemoryWatch:
    """Looks every second; `peak` is the largest sum of all processes' PSS that it saw."""

    def __init__(self, children: Children, *, every: float = 1.0) -> None:
        self._children = children
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak: Mapping[str, Memory] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            seen = {name: memory_of(tree) for name, tree in self._children.trees().items()}
            if _total(seen) > _total(self.peak):
                self.peak = seen


def _total(seen: Mapping[str, Memory]) -> int:
    return sum(memory.pss for memory in seen.values())
