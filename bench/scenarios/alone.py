"""c. Alone: twenty webhooks a second on an idle machine, from the webhook to the hook."""

import json
from dataclasses import dataclass

from bench.contestants import CONTESTANTS
from bench.contestants.contestant import WORKSPACE, Contestant
from bench.load_client import send
from bench.payloads import make_call_ids, webhook
from bench.processes import BenchError
from bench.run import Bench
from bench.table import Table, milliseconds, percentile

PER_SECOND = 20
SECONDS = 30
#: Before anything is counted: connections are opened, code is compiled.
_WARM_UP = 100


@dataclass(frozen=True, slots=True)
class Passage:
    """Seconds from when a webhook was sent, and until it was answered."""

    to_hook: list[float]
    to_answer: list[float]


def run(bench: Bench) -> list[Table]:
    """Those that have a receiver. All runs' latencies are taken together."""
    table = Table(
        f"c. Alone: {PER_SECOND} webhooks a second, webhook sent to hook received",
        ("contestant", "p50", "p99", "slowest", "webhook answered p50", "p99", "webhooks"),
    )
    found: dict[str, list[Passage]] = {}
    for number in range(bench.options.runs):
        for name in bench.options.contestants:
            contestant = CONTESTANTS[name]()
            if not contestant.has_receiver:
                continue
            try:
                passage = _pass(bench, contestant, seed=number)
            except BenchError as error:
                table.notes.append(f"{name} failed: {error}")
                bench.say(f"  {name} failed: {error}")
                continue
            found.setdefault(name, []).append(passage)
            bench.say(f"c {name}: p50 {milliseconds(percentile(passage.to_hook, 0.5))}")
    for name, passages in found.items():
        to_hook = [value for passage in passages for value in passage.to_hook]
        to_answer = [value for passage in passages for value in passage.to_answer]
        table.rows.append(
            (
                name,
                milliseconds(percentile(to_hook, 0.5)),
                milliseconds(percentile(to_hook, 0.99)),
                milliseconds(max(to_hook)),
                milliseconds(percentile(to_answer, 0.5)),
                milliseconds(percentile(to_answer, 0.99)),
                f"{len(to_hook):,}",
            )
        )
    return [table]


def _pass(bench: Bench, contestant: Contestant, *, seed: int) -> Passage:
    seconds = 5 if bench.options.quick else SECONDS
    count = PER_SECOND * seconds
    call_ids = make_call_ids(_WARM_UP + count, seed=seed)
    bodies = [json.dumps(webhook(call_id, WORKSPACE)).encode() for call_id in call_ids]
    with bench.site(contestant) as site:
        bench.say(f"  {contestant.name}: {PER_SECOND} a second for {seconds} s")
        url = contestant.start_receiver(site)
        contestant.start_workers(site, processes=bench.options.processes)
        bench.stub.reset()
        send(url, bodies[:_WARM_UP], connections=4, seconds=30, rate=PER_SECOND)
        bench.wait_for_deliveries(
            _WARM_UP, children=site.children, patience=60, who=contestant.name
        )
        outcome = send(url, bodies[_WARM_UP:], connections=4, seconds=seconds + 30, rate=PER_SECOND)
        if outcome.ok != count:
            raise BenchError(f"{outcome.refused} of {count} webhooks were not answered 2xx")
        bench.wait_for_deliveries(
            len(call_ids), children=site.children, patience=30, who=contestant.name
        )
        bench.check_saved(contestant, site, len(call_ids))
        arrivals = bench.stub.arrivals()
    counted = zip(call_ids[_WARM_UP:], outcome.due_at, strict=True)
    return Passage([arrivals[call_id] - due_at for call_id, due_at in counted], outcome.latencies)
