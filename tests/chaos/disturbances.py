"""What chaos does to a running aftercall: kills, restarts, outages. One at a time, then a pause."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from aftercall.cli.processes import Supervisor
from aftercall.embedded import Postgres, Valkey
from aftercall.simulator import Simulator
from aftercall.stores import redis_client


@dataclass(frozen=True, slots=True)
class Target:
    """Everything that can be broken."""

    supervisor: Supervisor
    postgres: Postgres
    valkey: Valkey
    simulator: Simulator
    #: How long a store or the network stays away.
    outage_seconds: float


def kill_worker(target: Target, rng: random.Random) -> str:
    return _kill(target, rng, "worker")


def kill_api(target: Target, rng: random.Random) -> str:
    return _kill(target, rng, "api")


def kill_beat(target: Target, rng: random.Random) -> str:
    return _kill(target, rng, "beat")


def kill_worker_child(target: Target, rng: random.Random) -> str:
    """A pool process: its calls are in the middle of their requests."""
    children = [
        child
        for name, pid in target.supervisor.pids().items()
        if name.startswith("worker")
        for child in _children(pid)
    ]
    if not children:
        return "no worker child to kill"
    child = rng.choice(children)
    _kill_pid(child.pid)
    return f"kill -9 of a worker's child, {child.pid}"


def restart_redis(target: Target, _: random.Random) -> str:
    target.valkey.stop()
    target.valkey.start()
    return "Redis restarted"


def flush_redis(target: Target, _: random.Random) -> str:
    with redis_client(target.valkey.url) as client:
        if client.xlen("aftercall:spool"):
            # The one thing that is kept nowhere else (docs/reliability.md).
            return "Redis not flushed: it holds webhooks for the database"
        client.flushall()
    return "Redis flushed"


def stop_redis(target: Target, _: random.Random) -> str:
    target.valkey.stop()
    time.sleep(target.outage_seconds)
    target.valkey.start()
    return f"Redis away for {target.outage_seconds:.0f} s"


def restart_postgres(target: Target, _: random.Random) -> str:
    target.postgres.stop(immediate=True)
    target.postgres.start()
    return "PostgreSQL restarted (immediate)"


def stop_postgres(target: Target, _: random.Random) -> str:
    target.postgres.stop(immediate=True)
    time.sleep(target.outage_seconds)
    target.postgres.start()
    return f"PostgreSQL away for {target.outage_seconds:.0f} s"


def cut_crm(target: Target, _: random.Random) -> str:
    target.simulator.crm.cut()
    time.sleep(target.outage_seconds)
    target.simulator.crm.restore()
    return f"the CRM cut off for {target.outage_seconds:.0f} s"


Disturbance = Callable[[Target, random.Random], str]
DISTURBANCES: tuple[Disturbance, ...] = (
    kill_worker,
    kill_worker_child,
    kill_api,
    kill_beat,
    restart_redis,
    flush_redis,
    stop_redis,
    restart_postgres,
    stop_postgres,
    cut_crm,
)


def _kill(target: Target, rng: random.Random, prefix: str) -> str:
    running = sorted(
        (name, pid) for name, pid in target.supervisor.pids().items() if name.startswith(prefix)
    )
    if not running:
        return f"no {prefix} to kill"
    name, pid = rng.choice(running)
    _kill_pid(pid)
    return f"kill -9 of {name}, {pid}"


def _kill_pid(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _children(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children())
    except psutil.NoSuchProcess:
        return []
