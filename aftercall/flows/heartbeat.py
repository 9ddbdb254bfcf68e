"""Whether the work goes on: each sweep leaves its time in Redis, for those who watch.

A worker that lives but consumes nothing sweeps nothing either, and rows that
are due grow old: both show here.
"""

from datetime import datetime, timedelta

from aftercall.flows.service import Service

_KEY = "aftercall:swept_at"
#: A sweep comes every second.
SILENT_AFTER = timedelta(seconds=60)


def note_sweep(service: Service, *, now: datetime) -> None:
    """redis.RedisError when Redis does not answer."""
    service.redis.set(_KEY, now.isoformat())


def last_sweep_at(service: Service) -> datetime | None:
    """None before the first; redis.RedisError when Redis does not answer."""
    value = service.redis.get(_KEY)
    return None if value is None else datetime.fromisoformat(str(value))


def silence(service: Service) -> str | None:
    """What to say when nothing was swept for long; None when all is well."""
    last = last_sweep_at(service)
    if last is None:
        return "nothing was ever swept: start `aftercall worker` and `aftercall beat`"
    age = service.clock() - last
    if age <= SILENT_AFTER:
        return None
    return (
        f"nothing was swept for {age.total_seconds():.0f} s: "
        "see whether `aftercall worker` and `aftercall beat` run"
    )
