"""Gauges that are read from the database at each scrape, so any number of processes agree."""

from collections.abc import Iterator

import redis
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from aftercall.db.reading import count_states
from aftercall.flows.heartbeat import last_sweep_at
from aftercall.flows.service import Service
from aftercall.flows.spool import spool_length
from api.probes import Probes


class RowGauges(Collector):
    """How many rows are in which state, and for how long the oldest due one has waited."""

    def __init__(self, service: Service, probes: Probes) -> None:
        self._service = service
        self._probes = probes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        rows = GaugeMetricFamily("aftercall_rows", "Rows by state", labels=["kind", "state"])
        due = GaugeMetricFamily("aftercall_due_rows", "Rows due now", labels=["kind"])
        age = GaugeMetricFamily(
            "aftercall_oldest_due_age_seconds",
            "How long the oldest due row has waited",
            labels=["kind"],
        )
        up = GaugeMetricFamily("aftercall_database_up", "Whether the database answers")
        yield from self._of_redis()
        now = self._service.clock()
        if not self._probes.is_up("database"):
            up.add_metric([], 0)
            yield up
            return
        try:
            with self._service.database.transaction() as session:
                counts = count_states(session, now=now)
        except SQLAlchemyError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        for count in counts:
            rows.add_metric([count.kind, count.state], count.count)
        for kind in ("call", "delivery"):
            its = [count for count in counts if count.kind == kind]
            oldest = min((c.oldest_due_at for c in its if c.oldest_due_at), default=now)
            due.add_metric([kind], sum(count.due for count in its))
            age.add_metric([kind], (now - oldest).total_seconds())
        yield from (up, rows, due, age)

    def _of_redis(self) -> Iterator[GaugeMetricFamily]:
        up = GaugeMetricFamily("aftercall_redis_up", "Whether Redis answers")
        if not self._probes.is_up("redis"):
            up.add_metric([], 0)
            yield up
            return
        try:
            swept_at = last_sweep_at(self._service)
            spooled = spool_length(self._service)
        except redis.RedisError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield GaugeMetricFamily(
            "aftercall_spooled_webhooks", "Webhooks that wait for the database", value=spooled
        )
        if swept_at is not None:
            age = self._service.clock() - swept_at
            yield GaugeMetricFamily(
                "aftercall_last_sweep_age_seconds",
                "Since when nothing was swept: more than some seconds means that no worker works",
                value=age.total_seconds(),
            )


def make_registry(service: Service, probes: Probes) -> CollectorRegistry:
    # Not described at registration: that would ask the stores.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(RowGauges(service, probes))
    return registry
