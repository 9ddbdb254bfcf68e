"""Whether the work goes on: each sweep and each process leaves its time in Redis, for those who
watch.

A worker that lives but consumes nothing sweeps nothing either, and rows that
are due grow old: both show here.
"""

import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import redis
import structlog

from aftercall.flows.service import Service

log = structlog.get_logger(__name__)

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


# ---- webhooks ----------------------------------------------------------------

_WEBHOOK_KEY = "aftercall:webhook_at"


def note_webhook(client: "redis.Redis", at: datetime) -> None:
    """The last one that this process took; it may be older than another's."""
    known = client.get(_WEBHOOK_KEY)
    if known is None or datetime.fromisoformat(str(known)) < at:
        client.set(_WEBHOOK_KEY, at.isoformat())


def last_webhook_at(client: "redis.Redis") -> datetime | None:
    """None when none was taken since Redis was empty."""
    value = client.get(_WEBHOOK_KEY)
    return None if value is None else datetime.fromisoformat(str(value))


# ---- processes ---------------------------------------------------------------

#: Seconds between two signs of life.
BEAT_EVERY = 5.0
#: A process that was lost is remembered for so long.
REMEMBERED = timedelta(minutes=10)
_PROCESSES = "aftercall:processes"
# One clock for all machines: Redis's. KEYS: the set. ARGV: process, age, how long to remember.
_BEAT = """
local now = redis.call('TIME')[1] - tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1] - tonumber(ARGV[3]))
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """A process, and since when it has shown no sign of life."""

    process: str
    instance: str
    age: timedelta


class Heartbeat:
    """One process's sign of life. redis.RedisError when Redis does not answer."""

    def __init__(self, client: "redis.Redis", process: str) -> None:
        self._client = client
        self._member = f"{process} {socket.gethostname()}:{os.getpid()}"
        self._script = client.register_script(_BEAT)

    def beat(self, *, age: float = 0.0) -> None:
        """`age`: seconds since it was seen to work."""
        remembered = int(REMEMBERED.total_seconds())
        self._script(keys=[_PROCESSES], args=[self._member, int(age), remembered])

    def end(self) -> None:
        """It stops in order: nobody shall miss it."""
        self._client.zrem(_PROCESSES, self._member)


def processes_seen(client: "redis.Redis") -> list[ProcessSeen]:
    """Those that live, and those that were lost within the last minutes."""
    seconds, _ = client.time()
    found = cast(list[tuple[str, float]], client.zrange(_PROCESSES, 0, -1, withscores=True))
    return [_seen(member, timedelta(seconds=max(int(seconds) - at, 0))) for member, at in found]


def _seen(member: str, age: timedelta) -> ProcessSeen:
    process, _, instance = member.partition(" ")
    return ProcessSeen(process, instance, age)


def beat_in_background(heartbeat: Heartbeat, age: Callable[[], float]) -> Callable[[], None]:
    """In a thread, until what is answered is called."""
    ended = threading.Event()

    def run() -> None:
        while True:
            try:
                heartbeat.beat(age=age())
            except redis.RedisError:
                pass  # whoever watches sees that Redis is away
            if ended.wait(BEAT_EVERY):
                return

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)

    def end() -> None:
        ended.set()
        thread.join(BEAT_EVERY)
        try:
            heartbeat.end()
        except redis.RedisError:
            pass

    thread.start()
    return end
