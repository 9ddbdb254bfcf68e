"""What a call costs, stage by stage: `python -m bench.stages`. CPU microseconds a call.

One thread runs the flows batch by batch on real stores against the stub, so
that each stage's processor time can be told apart: ours, and PostgreSQL's.
Real workers add to it what many threads cost each other.
"""

import argparse
import os
import queue
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sqlalchemy import text

from aftercall.crm.sending import HookSender
from aftercall.flows import deliver_calls, fetch_calls
from aftercall.flows.claim_calls import claim_with_permits
from aftercall.flows.deliver_calls import CallDeliverer, claim_within_limits
from aftercall.flows.fetch_calls import CallFetcher
from aftercall.flows.service import Service
from aftercall.logs import configure_logs
from aftercall.twentytwo.client import Twenty2
from bench.contestants.contestant import WORKSPACE, Site
from bench.contestants.ours import Ours
from bench.machine import machine
from bench.processes import children_in
from bench.stores import fresh_stores
from bench.stub_client import Stub, running_stub
from bench.table import Table
from worker.process import PLACES

T = TypeVar("T")

STAGES = ("fetch: claim", "ask", "record", "deliver: claim", "send", "record ")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Meter:
    """Adds up processor time by stage; `calls` is what it is divided by."""

    postgres_pid: int
    calls: int = 0
    ours: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    postgres: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def stage(self, name: str, work: Callable[[], T]) -> T:
        theirs, began = self._postgres_seconds(), time.process_time()
        result = work()
        self.ours[name] += time.process_time() - began
        self.postgres[name] += self._postgres_seconds() - theirs
        return result

    def row(self, batch: int) -> list[str]:
        cells = [
            f"{self.ours[name] / self.calls * 1e6:,.0f} + "
            f"{self.postgres[name] / self.calls * 1e6:,.0f}"
            for name in STAGES
        ]
        total = (sum(self.ours.values()) + sum(self.postgres.values())) / self.calls * 1e6
        return [str(batch), *cells, f"{total:,.0f}"]

    def _postgres_seconds(self) -> float:
        children = Path(f"/proc/{self.postgres_pid}/task/{self.postgres_pid}/children")
        ticks = 0
        for pid in children.read_text().split():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / _TICKS


Job = TypeVar("Job")
Said = TypeVar("Said")


def measure(service: Service, stub: Stub, postgres_pid: int, *, batch: int, rounds: int) -> Meter:
    """One batch to warm up, then `rounds` of them."""
    twentytwo = Twenty2(stub.origin, keep=PLACES)
    sender = HookSender(guard=service.guard(), keep=PLACES)
    made: list[uuid.UUID] = []
    fetcher = CallFetcher(service, twentytwo, size=1, pass_on=made.extend)
    deliverer = CallDeliverer(service, sender, size=1)
    row_ids = _queue_calls(service, batch * (rounds + 1))
    meter = Meter(postgres_pid)
    for number in range(rounds + 1):
        if number == 1:
            meter = Meter(postgres_pid, calls=batch * rounds)
        ids = row_ids[number * batch : (number + 1) * batch]
        _one_batch(meter, service, fetcher, deliverer, ids, made)
        made.clear()
    fetcher.close(1)
    deliverer.close(1)
    twentytwo.close()
    sender.close()
    return meter


def _one_batch(
    meter: Meter,
    service: Service,
    fetcher: CallFetcher,
    deliverer: CallDeliverer,
    ids: list[int],
    made: list[uuid.UUID],
) -> None:
    claim, ask, record, claim_delivery, send, record_delivery = STAGES
    jobs = meter.stage(claim, lambda: claim_with_permits(service, ids))
    fetched: list[fetch_calls.Fetched] = meter.stage(
        ask,
        lambda: [fetcher._read(job, asked) for job, asked in _ask_all(fetcher._ask, jobs)],
    )
    meter.stage(record, lambda: fetcher._write(fetched))
    claims, _ = meter.stage(claim_delivery, lambda: claim_within_limits(service, made))
    sent: list[deliver_calls.Sent] = meter.stage(
        send,
        lambda: [
            deliver_calls._read(each, said) for each, said in _ask_all(deliverer._send, claims)
        ],
    )
    meter.stage(record_delivery, lambda: deliverer._write(sent))
    if not len(jobs) == len(claims) == len(sent) == len(ids):
        raise SystemExit("a batch was not worked on as a whole: nothing can be said")


def _ask_all(
    ask: Callable[[Job, Callable[[Said], None]], None], jobs: Sequence[Job]
) -> list[tuple[Job, Said]]:
    """All at once, as a crew does; with what was said."""
    answers: queue.SimpleQueue[tuple[Job, Said]] = queue.SimpleQueue()
    for job in jobs:
        ask(job, lambda said, job=job: answers.put((job, said)))  # type: ignore[misc]
    return [answers.get(timeout=60) for _ in jobs]


def _queue_calls(service: Service, count: int) -> list[int]:
    with service.database.transaction() as session:
        rows = session.execute(
            text(
                "INSERT INTO calls (workspace_id, call_id, state, due_at, received_at)"
                " SELECT :workspace, md5(random()::text || n), 'queued', now(), now()"
                " FROM generate_series(1, :count) AS n RETURNING id"
            ),
            {"workspace": WORKSPACE, "count": count},
        )
        return list(rows.scalars())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stages", description=__doc__)
    parser.add_argument("--batches", default="1,16,64,200", help="sizes, comma-separated")
    parser.add_argument("--calls", type=int, default=4_000, help="of each size")
    arguments = parser.parse_args()
    table = Table(
        f"CPU microseconds a call, ours + PostgreSQL's, by batch size ({machine()})",
        ("batch", *STAGES, "sum"),
    )
    ours = Ours()
    with (
        tempfile.TemporaryDirectory(prefix="aftercall-bench-") as folder,
        children_in(Path(folder)) as children,
        running_stub(children) as stub,
        fresh_stores() as stores,
        (Path(folder) / "log").open("w") as log,
    ):
        # Lines are written, as a worker does, but not over the table.
        with redirect_stderr(log):
            configure_logs(as_json=True)
        site = Site(stores, stub, children)
        ours.set_up(site)
        service = ours.open_service(site)
        for batch in [int(size) for size in arguments.batches.split(",")]:
            rounds = max(min(arguments.calls // batch, 200), 5)
            meter = measure(service, stub, stores.postgres_pid or 0, batch=batch, rounds=rounds)
            table.rows.append(meter.row(batch))
        service.close()
    print(table.text())  # noqa: T201 - a command's output
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
