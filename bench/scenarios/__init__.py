"""The scenarios, by their letter in the issue that asked for them."""

from collections.abc import Callable

from bench.run import Bench
from bench.scenarios import alone, backlog, growth, latency, memory_use, rate_limit, receiver
from bench.table import Table

SCENARIOS: dict[str, tuple[str, Callable[[Bench], list[Table]]]] = {
    "a": ("backlog, 0 ms upstream", backlog.run),
    "b": ("real latency: upstream 150 ms, CRM 200 ms", latency.run),
    "c": ("alone: 20 webhooks a second, webhook sent to hook received", alone.run),
    "d": ("receiver: durable webhooks a second on one process", receiver.run),
    "e": ("rate limit: use of the allowance, and 429s", rate_limit.run),
    "f": ("growth: long backlogs, long history, bytes a call", growth.run),
    "g": ("memory of aftercall up", memory_use.run),
}
