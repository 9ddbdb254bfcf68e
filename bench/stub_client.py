"""The stub, as scenarios use it: started, told its latency, asked what it has seen."""

import http.client
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.load import Outcome
from bench.load_client import send
from bench.processes import Children, free_port, listens, wait_until


@dataclass(frozen=True, slots=True)
class Seen:
    """The stub's tally since the last reset. Times are the machine's monotonic clock."""

    details: int
    posts: int
    distinct: int
    strangers: int
    first_detail_at: float
    last_post_at: float
    cpu_seconds: float

    @property
    def seconds(self) -> float:
        """From the first request at the upstream to the last delivery at the hook."""
        return self.last_post_at - self.first_detail_at


class Stub:
    """A running stub upstream and CRM."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.origin = f"http://127.0.0.1:{port}"
        self.hook_url = f"{self.origin}/hooks/x"

    def reset(self, *, upstream: float = 0.0, crm: float = 0.0) -> None:
        """Forget everything; `upstream` and `crm` are mean latencies in seconds."""
        self._ask("POST", "/bench/reset", {"upstream": upstream, "crm": crm})

    def seen(self) -> Seen:
        return Seen(**self._ask("GET", "/bench/seen"))

    def arrivals(self) -> dict[str, float]:
        """When each call id was first posted to the hook."""
        return dict(self._ask("GET", "/bench/arrivals"))

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def running_stub(children: Children) -> Iterator[Stub]:
    port = free_port()
    children.start("stub", [sys.executable, "-m", "bench.stub", str(port)], environment={})
    wait_until(lambda: listens(port), seconds=20, what="the stub's start", children=children)
    stub = Stub(port)
    try:
        yield stub
    finally:
        children.stop("stub")


def own_maximum(stub: Stub, *, requests: int = 60_000) -> float:
    """Requests a second that the stub answers when nobody works beside it but the sender.

    Half of them details, half of them deliveries.
    """
    delivery = json.dumps({"data": {"call_id": "0" * 24}}).ljust(2_000).encode()
    stub.reset()
    asked = send(
        f"{stub.origin}/call/detail?call_id={'0' * 24}",
        [b""] * (requests // 2),
        method="GET",
        connections=64,
        seconds=20,
    )
    told = send(stub.hook_url, [delivery] * (requests // 2), connections=64, seconds=20)
    stub.reset()
    return 2 / (1 / _rate(asked) + 1 / _rate(told))


def _rate(outcome: Outcome) -> float:
    return max(outcome.ok, 1) / (outcome.ended_at - outcome.began_at)
