"""BullMQ with undici and postgres.js, two processes; its receiver is fastify."""

from collections.abc import Sequence
from pathlib import Path

import redis

from bench.contestants.contestant import Contestant, Site
from bench.contestants.npm import installed, node
from bench.processes import free_port, listens, run_to_end, wait_until

#: Jobs at once in each process: the best of 50, 100 and 200 here.
CONCURRENCY = 200


class BullMQ(Contestant):
    """See `job.js` for the job."""

    name = "bullmq"
    what = "BullMQ on Node: undici, postgres.js, a fastify receiver"
    has_receiver = True
    has_durable_receiver = True
    concurrency = CONCURRENCY

    def tune_for_latency(self) -> None:
        self.concurrency = 400

    def received(self, site: Site) -> int:
        with redis.Redis.from_url(site.stores.redis_url, protocol=2) as client:
            return int(client.llen("bull:calls:wait"))

    def install(self) -> None:
        installed("bullmq")

    def enqueue(self, site: Site, call_ids: Sequence[str]) -> None:
        ids = site.directory / "ids.txt"
        ids.write_text("\n".join(call_ids))
        run_to_end(
            self._node("enqueue.js", str(ids)),
            environment=site.environment(),
            log=site.directory / "enqueue.log",
        )

    def start_workers(self, site: Site, *, processes: int) -> None:
        environment = {**site.environment(), "CONCURRENCY": str(self.concurrency)}
        for number in range(processes):
            site.children.start(f"worker{number}", self._node("worker.js"), environment=environment)

    def start_receiver(self, site: Site) -> str:
        port = free_port()
        site.children.start(
            "receiver",
            self._node("receiver.js"),
            environment={**site.environment(), "PORT": str(port)},
        )
        wait_until(lambda: listens(port), seconds=30, what="the receiver", children=site.children)
        return f"http://127.0.0.1:{port}/webhook"

    def _node(self, script: str, *arguments: str) -> list[str]:
        folder: Path = installed("bullmq")
        return [str(node()), str(folder / script), *arguments]
