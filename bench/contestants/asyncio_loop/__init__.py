"""The limit: a bare asyncio loop with batched commits and no queue. Nothing survives a crash."""

import sys
from collections.abc import Sequence

from bench.contestants.contestant import Contestant, Site


class AsyncioLoop(Contestant):
    """See `loop.py`. The "queue" is a file of ids for each process."""

    name = "asyncio_loop"
    what = "the limit: a bare asyncio loop, batched commits, no queue, no retries, no attempts"

    def __init__(self) -> None:
        self._call_ids: list[str] = []
        self._connections = 64

    def tune_for_latency(self) -> None:
        self._connections = 512

    def enqueue(self, site: Site, call_ids: Sequence[str]) -> None:  # noqa: ARG002
        self._call_ids.extend(call_ids)

    def start_workers(self, site: Site, *, processes: int) -> None:
        for number in range(processes):
            share = site.directory / f"share-{number}.txt"
            share.write_text("\n".join(self._call_ids[number::processes]))
            site.children.start(
                f"worker{number}",
                [sys.executable, "-m", "bench.contestants.asyncio_loop.loop", str(share)],
                environment={**site.environment(), "CONNECTIONS": str(self._connections)},
            )
