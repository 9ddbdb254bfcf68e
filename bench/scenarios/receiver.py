"""d. The receiver: durable webhooks a second on one process, with nobody working behind it."""

import json
from dataclasses import dataclass
from statistics import median

from bench.contestants import CONTESTANTS
from bench.contestants.contestant import WORKSPACE, Contestant
from bench.load import Outcome
from bench.load_client import send
from bench.payloads import make_call_ids, webhook
from bench.processes import BenchError
from bench.run import Bench
from bench.table import Table, milliseconds, percentile, rate

#: At saturation: so many senders, each with one webhook under way.
CONNECTIONS = (32, 64, 128, 256)
COUNT = 30_000
STEADY_RATE = 500
STEADY_SECONDS = 15
_WARM_UP = 1_000


@dataclass(frozen=True, slots=True)
class Received:
    """One load's outcome."""

    per_second: float
    latencies: list[float]


def run(bench: Bench) -> list[Table]:
    """Those that have a receiver whose webhooks are durable when they are answered."""
    found: dict[tuple[str, str], list[Received]] = {}
    notes: list[str] = []
    for number in range(bench.options.runs):
        for name in bench.options.contestants:
            contestant = CONTESTANTS[name]()
            if not contestant.has_durable_receiver:
                continue
            try:
                for load, received in _receive(bench, contestant, seed=number).items():
                    found.setdefault((name, load), []).append(received)
            except BenchError as error:
                notes.append(f"{name} failed: {error}")
                bench.say(f"  {name} failed: {error}")
    table = Table(
        "d. Receiver: durable webhooks a second on one process",
        ("contestant, load", "webhooks/s", "p50", "p99", "slowest"),
        notes=notes,
    )
    for (name, load), results in found.items():
        latencies = [value for result in results for value in result.latencies]
        table.rows.append(
            (
                f"{name}, {load}",
                rate(median(result.per_second for result in results)),
                milliseconds(percentile(latencies, 0.5)),
                milliseconds(percentile(latencies, 0.99)),
                milliseconds(max(latencies)),
            )
        )
    table.notes.append(
        "The sender and the stores are on the same cores. Ours is durable in PostgreSQL "
        "(fsync), BullMQ's in Redis (written every second)."
    )
    return [table]


def _receive(bench: Bench, contestant: Contestant, *, seed: int) -> dict[str, Received]:
    count = 3_000 if bench.options.quick else COUNT
    seconds = 3 if bench.options.quick else STEADY_SECONDS
    total = _WARM_UP + count * len(CONNECTIONS) + STEADY_RATE * seconds
    call_ids = iter(make_call_ids(total, seed=seed))

    def bodies(number: int) -> list[bytes]:
        return [json.dumps(webhook(next(call_ids), WORKSPACE)).encode() for _ in range(number)]

    found = {}
    with bench.site(contestant) as site:
        url = contestant.start_receiver(site)
        send(url, bodies(_WARM_UP), connections=32, seconds=60)
        steady = send(
            url, bodies(STEADY_RATE * seconds), connections=64, seconds=90, rate=STEADY_RATE
        )
        found[f"{STEADY_RATE}/s"] = _received(steady, STEADY_RATE * seconds)
        for connections in CONNECTIONS:
            outcome = send(url, bodies(count), connections=connections, seconds=120)
            found[f"{connections} senders"] = received = _received(outcome, count)
            bench.say(
                f"d {contestant.name}, {connections} senders: {rate(received.per_second)}/s, "
                f"p99 {milliseconds(percentile(received.latencies, 0.99))}"
            )
        stored = contestant.received(site)
        if stored != total:
            raise BenchError(f"{contestant.name} answered {total} webhooks and has {stored}")
    return found


def _received(outcome: Outcome, count: int) -> Received:
    if outcome.ok != count:
        raise BenchError(f"{outcome.ok} of {count} webhooks were answered 2xx")
    return Received(count / (outcome.ended_at - outcome.began_at), outcome.latencies)
