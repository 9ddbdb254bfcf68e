"""/metrics: what the processes counted, and gauges that are read from the stores at each scrape.

The gauges are the same from every api. Workspaces and destinations beyond the first 200 are added
up as "other": a label is paid for in every scrape, and by everybody who keeps it.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import redis
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from aftercall import metrics
from aftercall.counters import registry_of
from aftercall.db.gauges import DestinationNow, Queued, Standing, WorkspaceNow, standing
from aftercall.domain.breaker import is_tripped
from aftercall.domain.outcomes import BlockKind
from aftercall.flows.heartbeat import last_sweep_at, last_webhook_at, processes_seen
from aftercall.flows.service import Service
from aftercall.flows.spool import spool_length
from aftercall.metrics import MOST_LABELS, OTHER, Metric
from aftercall.rate_limit import Wish
from aftercall.twentytwo.rate_limit import workspace_lane
from api.probes import Probes


class StoreGauges(Collector):
    """What PostgreSQL and Redis know; without them, that they do not answer."""

    def __init__(self, service: Service, probes: Probes) -> None:
        self._service = service
        self._probes = probes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = self._service.clock()
        found = self._of_database(now)
        yield _single(metrics.DATABASE_UP, 0.0 if found is None else 1.0)
        if found is not None:
            yield from _rows(found, now=now, keeps_media=self._service.settings.keep_media)
            yield from _workspaces(found.workspaces, now=now)
            yield from _destinations(found.destinations, now=now)
        yield from self._of_redis(found, now=now)

    def _of_database(self, now: datetime) -> Standing | None:
        if not self._probes.is_up("database"):
            return None
        try:
            with self._service.database.transaction() as session:
                return standing(session, now=now)
        except SQLAlchemyError:
            return None

    def _of_redis(self, found: Standing | None, *, now: datetime) -> Iterator[GaugeMetricFamily]:
        is_up = self._probes.is_up("redis")
        try:
            said = list(self._ask_redis(found, now=now)) if is_up else []
        except redis.RedisError:
            is_up, said = False, []
        yield _single(metrics.REDIS_UP, float(is_up))
        yield from said

    def _ask_redis(self, found: Standing | None, *, now: datetime) -> Iterator[GaugeMetricFamily]:
        service = self._service
        yield _single(metrics.SPOOLED_WEBHOOKS, spool_length(service))
        # Redis knows of the duplicates too, and of those without a type; the database of those
        # before Redis was emptied.
        webhooks = (last_webhook_at(service.redis), found and found.newest_webhook_at)
        for metric, at in (
            (metrics.LAST_SWEEP_AGE, last_sweep_at(service)),
            (metrics.LAST_WEBHOOK_AGE, max((at for at in webhooks if at), default=None)),
        ):
            if at is not None:
                yield _single(metric, max((now - at).total_seconds(), 0.0))
        beats = _family(metrics.HEARTBEAT_AGE)
        for seen in processes_seen(service.redis):
            beats.add_metric([seen.process, seen.instance], seen.age.total_seconds())
        yield beats
        yield self._rate_limits([] if found is None else found.workspaces, now=now)

    def _rate_limits(
        self, workspaces: Sequence[WorkspaceNow], *, now: datetime
    ) -> GaugeMetricFamily:
        family = _family(metrics.RATE_LIMIT_USED)
        asked = [
            one
            for one in workspaces[:MOST_LABELS]
            if (one.has_own_key or one.id == self._service.own_workspace)
            and not any(_is_blocked(one, kind, now=now) for kind in BlockKind)
        ]
        default = self._service.settings.twentytwo_rate_limit
        lanes = [
            workspace_lane(one.id, requests_per_minute=one.rate_limit or default) for one in asked
        ]
        grants = self._service.limiter.look(
            [Wish(lane, fresh=lane.limit, paced=0) for lane in lanes]
        )
        for one, lane, grant in zip(asked, lanes, grants, strict=True):
            family.add_metric([one.id], 1 - grant.fresh / lane.limit)
        return family


class DiskGauges(Collector):
    """Of the directory of the embedded stores and of recordings, where there is one."""

    def __init__(self, service: Service) -> None:
        self._data_dir = service.settings.data_dir

    def collect(self) -> Iterator[GaugeMetricFamily]:
        try:
            disk = shutil.disk_usage(self._data_dir)
        except OSError:
            return
        yield _single(metrics.DATA_DISK_FREE, disk.free)
        yield _single(metrics.DATA_DISK_SIZE, disk.total)


def make_registry(service: Service, probes: Probes) -> CollectorRegistry:
    registry = registry_of(service.counters)
    registry.register(StoreGauges(service, probes))
    registry.register(DiskGauges(service))
    return registry


# ---- families ----------------------------------------------------------------


def _family(metric: Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)


def _single(metric: Metric, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.help, value=value)


def _grouped(
    metric: Metric,
    samples: Iterable[tuple[tuple[str, ...], float]],
    *,
    rest: Callable[[list[float]], float],
    count: int = MOST_LABELS,
) -> GaugeMetricFamily:
    """The first `count` samples each by itself; `rest` makes one value of the others."""
    family = _family(metric)
    given = list(samples)
    for labels, value in given[:count]:
        family.add_metric(list(labels), value)
    if others := [value for _, value in given[count:]]:
        family.add_metric([OTHER] * len(metric.labels), rest(others))
    return family


def _rows(found: Standing, *, now: datetime, keeps_media: bool) -> Iterator[GaugeMetricFamily]:
    # What nobody fetches any more waits for nobody, however long it lies there.
    media = found.media if keeps_media else replace(found.media, due=0, oldest_due_at=None)
    by_kind = {"call": found.calls, "delivery": found.deliveries, "media": [media]}
    rows, due, age = (
        _family(metric) for metric in (metrics.ROWS, metrics.DUE_ROWS, metrics.OLDEST_DUE_AGE)
    )
    for kind, queued in by_kind.items():
        rows.add_metric([kind, "queued"], sum(one.count for one in queued))
        due.add_metric([kind], sum(one.due for one in queued))
        age.add_metric([kind], max((_age(one, now=now) for one in queued), default=0.0))
    for kind, state, count in found.others:
        rows.add_metric([kind, state], count)
    yield from (rows, due, age)
    # In the order of the workspaces, so that those beyond the last label are always the same.
    places = {one.id: place for place, one in enumerate(found.workspaces)}
    calls = sorted(
        (one for one in found.calls if one.due), key=lambda one: places.get(one.owner, 0)
    )
    first = [one for one in calls if places.get(one.owner, 0) < MOST_LABELS]
    yield _grouped(
        metrics.DUE_CALLS,
        (((one.owner,), one.due) for one in calls),
        rest=sum,
        count=len(first),
    )
    yield _grouped(
        metrics.OLDEST_DUE_CALL_AGE,
        (((one.owner,), _age(one, now=now)) for one in calls),
        rest=max,
        count=len(first),
    )
    waiting = {one.owner: one.due for one in found.deliveries}
    yield _grouped(
        metrics.DUE_DELIVERIES,
        ((_labels(one), waiting.get(str(one.id), 0)) for one in found.destinations),
        rest=sum,
    )


def _workspaces(
    workspaces: Sequence[WorkspaceNow], *, now: datetime
) -> Iterator[GaugeMetricFamily]:
    family = _family(metrics.WORKSPACE_BLOCKED)
    others = workspaces[MOST_LABELS:]
    for kind in BlockKind:
        for one in workspaces[:MOST_LABELS]:
            family.add_metric([one.id, kind.value], float(_is_blocked(one, kind, now=now)))
        if others:
            any_ = any(_is_blocked(one, kind, now=now) for one in others)
            family.add_metric([OTHER, kind.value], float(any_))
    yield family


def _destinations(
    destinations: Sequence[DestinationNow], *, now: datetime
) -> Iterator[GaugeMetricFamily]:
    yield _grouped(
        metrics.DESTINATION_ENABLED,
        ((_labels(one), float(one.enabled)) for one in destinations),
        rest=min,
    )
    yield _grouped(
        metrics.DESTINATION_BREAKER_OPEN,
        ((_labels(one), float(is_tripped(one.failures_in_a_row))) for one in destinations),
        rest=max,
    )
    yield _grouped(
        metrics.DESTINATION_FAILING,
        ((_labels(one), _failing_seconds(one, now=now)) for one in destinations),
        rest=max,
    )


def _labels(destination: DestinationNow) -> tuple[str, str]:
    return str(destination.id), destination.name


def _failing_seconds(destination: DestinationNow, *, now: datetime) -> float:
    since = destination.failing_since
    return 0.0 if since is None else max((now - since).total_seconds(), 0.0)


def _age(queued: Queued, *, now: datetime) -> float:
    oldest = queued.oldest_due_at
    return 0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0)


def _is_blocked(workspace: WorkspaceNow, kind: BlockKind, *, now: datetime) -> bool:
    """Refused credentials block until a probe shows otherwise, a 429 until its time is over."""
    if workspace.block_kind is not kind:
        return False
    until = workspace.blocked_until
    return kind is BlockKind.CREDENTIALS or (until is not None and until > now)
