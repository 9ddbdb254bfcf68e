"""The contestants: each does the same job, written as its own documentation would have it.

Take a call id from a durable queue, GET the call's detail, upsert the call into
PostgreSQL, POST it to the hook. `CONTESTANTS` names them in the order in which
they run.
"""

from bench.contestants.asyncio_loop import AsyncioLoop
from bench.contestants.bullmq import BullMQ
from bench.contestants.celery_plain import CeleryPlain
from bench.contestants.contestant import Contestant, Site
from bench.contestants.n8n import N8n
from bench.contestants.nodered import NodeRed
from bench.contestants.ours import Ours

__all__ = ["CONTESTANTS", "Contestant", "Site", "contestants_named"]

CONTESTANTS: dict[str, type[Contestant]] = {
    kind.name: kind for kind in (Ours, CeleryPlain, BullMQ, NodeRed, N8n, AsyncioLoop)
}


def contestants_named(names: list[str]) -> list[Contestant]:
    return [CONTESTANTS[name]() for name in names]
