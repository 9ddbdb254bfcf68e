"""How it goes, at a glance: what came and went, what waits, who is unwell, and what to do."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import redis

from aftercall.db import overview as overview_db
from aftercall.db.activity import Activity, activity_since
from aftercall.db.destinations import list_destinations
from aftercall.db.events import newest_event_at
from aftercall.db.models import Destination
from aftercall.domain.breaker import is_tripped
from aftercall.domain.cures import cure_for
from aftercall.domain.durations import percentile_ms
from aftercall.flows.look import show_workspaces
from aftercall.flows.service import Service
from aftercall.flows.views import (
    ActivityView,
    DestinationHealthView,
    FailureView,
    OverviewView,
    WaitingView,
    WorkspaceUseView,
    WorkspaceView,
)
from aftercall.rate_limit import Wish
from aftercall.twentytwo.rate_limit import workspace_lane

_DAY = timedelta(days=1)
_SHOWN_FAILURES = 20
#: What the first tries again mend is no failing.
_FAILS_FOR = timedelta(minutes=5)


class Window(StrEnum):
    """What the series and the destinations' health look at."""

    TODAY = "today"
    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"


_STEPS = {
    Window.TODAY: timedelta(hours=1),
    Window.DAY: timedelta(hours=1),
    Window.WEEK: timedelta(hours=6),
    Window.MONTH: _DAY,
}


def show_overview(
    service: Service, *, window: Window = Window.DAY, utc_offset: timedelta = timedelta(0)
) -> OverviewView:
    """`utc_offset`: of the zone in which days begin; counted by the half hour."""
    now = service.clock()
    begins = _begins(now, utc_offset)
    with service.database.transaction() as session:
        activity, is_complete = activity_since(
            session,
            begins[Window.MONTH],
            fine_since=min(begins[Window.TODAY], begins[Window.DAY]),
            step=_STEPS[window] if window is Window.WEEK else _DAY,
        )
        calls, deliveries = overview_db.count_waiting(session, now=now)
        undone = overview_db.count_undone(session)
        destinations = list_destinations(session)
        failed = [
            # What died with a destination that was removed is over: nobody can mend it.
            *overview_db.delivery_groups(
                session,
                newest=overview_db.NEWEST,
                count=_SHOWN_FAILURES,
                with_removed=False,
            ),
            *overview_db.call_groups(session, newest=overview_db.NEWEST, count=_SHOWN_FAILURES),
        ]
        newest = newest_event_at(session)
    workspaces = [use_of(service, view) for view in show_workspaces(service)]
    of_window = [one for one in activity if one.at >= begins[window]]
    health = [_health(row, of_window, undone.get(row.id, {}), now=now) for row in destinations]
    failures = [failure_view(one) for one in failed]
    failures.sort(key=lambda one: (one.count, one.newest_at), reverse=True)
    totals = {name: _total(activity, since) for name, since in begins.items()}
    return OverviewView(
        at=now,
        window=window,
        is_well=not failures
        and not any(one.is_blocked for one in workspaces)
        and all(one.enabled and not one.is_failing for one in health),
        is_complete=is_complete,
        today=totals[Window.TODAY],
        last_24h=totals[Window.DAY],
        last_7d=totals[Window.WEEK],
        last_30d=totals[Window.MONTH],
        series_step_seconds=int(_STEPS[window].total_seconds()),
        series=_series(of_window, begins[window], _STEPS[window], now=now),
        waiting_calls=_waiting(calls, now=now),
        waiting_deliveries=_waiting(deliveries, now=now),
        workspaces=workspaces,
        destinations=health,
        failures=failures[:_SHOWN_FAILURES],
        newest_event_at=newest,
    )


def show_health(
    service: Service, destination_id: uuid.UUID | None = None
) -> list[DestinationHealthView]:
    """Of the last 24 h: of every destination, or of one."""
    now = service.clock()
    since = _half_hour(now - _DAY)
    with service.database.transaction() as session:
        activity, _ = activity_since(session, since, fine_since=since, step=_DAY)
        undone = overview_db.count_undone(session, destination_id)
        destinations = list_destinations(session)
    return [
        _health(row, activity, undone.get(row.id, {}), now=now)
        for row in destinations
        if destination_id in (None, row.id)
    ]


def use_of(service: Service, view: WorkspaceView) -> WorkspaceUseView:
    """With how much of its rate limit is used now; takes nothing of it."""
    lane = workspace_lane(view.workspace_id, requests_per_minute=view.rate_limit)
    used: int | None = None
    try:
        if not view.is_blocked:
            [free] = service.limiter.look([Wish(lane, fresh=lane.limit, paced=0)])
            used = lane.limit - free.fresh
    except redis.RedisError:
        pass  # the rest is known all the same
    return WorkspaceUseView(**view.model_dump(), used_now=used)


def failure_view(group: overview_db.FailureCount) -> FailureView:
    return FailureView(**asdict(group), cure=cure_for(group.reason, held=group.state == "held"))


def _begins(now: datetime, utc_offset: timedelta) -> dict[Window, datetime]:
    local = now.astimezone(UTC) + utc_offset
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0) - utc_offset
    return {
        Window.TODAY: _half_hour(midnight),
        Window.DAY: _half_hour(now - _DAY),
        # In whole days of the zone, with today: what is drawn as a day is one.
        Window.WEEK: _half_hour(midnight - 6 * _DAY),
        Window.MONTH: _half_hour(midnight - 29 * _DAY),
    }


def _half_hour(at: datetime) -> datetime:
    return at.replace(minute=at.minute // 30 * 30, second=0, microsecond=0)


def _total(activity: Sequence[Activity], since: datetime) -> ActivityView:
    view = ActivityView(since=since)
    for one in activity:
        if one.at >= since:
            _add(view, one)
    return view


def _series(
    activity: Sequence[Activity], since: datetime, step: timedelta, *, now: datetime
) -> list[ActivityView]:
    series = [ActivityView(since=since + step * n) for n in range((now - since) // step + 1)]
    for one in activity:
        place = (one.at - since) // step
        if place < len(series):
            _add(series[place], one)
    return series


def _add(view: ActivityView, one: Activity) -> None:
    match one.kind, one.outcome:
        case "received", _:
            view.received += one.count
        case "fetch", "succeeded":
            view.saved += one.count
        case "delivery", "succeeded":
            view.delivered += one.count
        case _, "dead":
            view.dead += one.count


def _waiting(waiting: overview_db.Waiting, *, now: datetime) -> WaitingView:
    oldest = waiting.oldest_due_at
    return WaitingView(
        count=waiting.count,
        due=waiting.due,
        oldest_due_at=oldest,
        oldest_due_seconds=None if oldest is None else (now - oldest).total_seconds(),
    )


def _health(
    row: Destination, activity: Sequence[Activity], undone: dict[str, int], *, now: datetime
) -> DestinationHealthView:
    # What was blocked was not sent, and what was skipped was not wanted: neither tells of the hook.
    its = [
        one
        for one in activity
        if one.kind == "delivery"
        and one.scope == str(row.id)
        and one.outcome not in ("blocked", "skipped")
    ]
    buckets: dict[int, int] = {}
    for one in its:
        buckets[one.duration_bucket] = buckets.get(one.duration_bucket, 0) + one.count
    attempts = sum(buckets.values())
    breaker = breaker_of(row, now=now)
    waits = undone.get("queued", 0) + undone.get("sending", 0) > 0
    fails = row.failing_since is not None and now - row.failing_since >= _FAILS_FOR
    succeeded = sum(one.count for one in its if one.outcome == "succeeded")
    return DestinationHealthView(
        id=row.id,
        name=row.name,
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        breaker=breaker,
        is_failing=row.enabled and (breaker != "closed" or (fails and waits)),
        failing_since=row.failing_since,
        paused_until=row.paused_until,
        attempts=attempts,
        succeeded=succeeded,
        success_rate=succeeded / attempts if attempts else None,
        p50_ms=percentile_ms(buckets, 0.5),
        p95_ms=percentile_ms(buckets, 0.95),
        waiting=undone.get("queued", 0),
        sending=undone.get("sending", 0),
        dead=undone.get("dead", 0),
        held=undone.get("held", 0),
    )


def breaker_of(row: Destination, *, now: datetime) -> str:
    """closed; open: nothing is sent; probing: one delivery finds out whether it works again.

    Closed, too, while a CRM's limit is waited for: that is no failure.
    """
    if not is_tripped(row.failures_in_a_row):
        return "closed"
    is_paused = row.paused_until is not None and row.paused_until > now
    return "open" if is_paused else "probing"
