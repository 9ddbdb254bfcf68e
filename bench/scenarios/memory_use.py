"""g. Memory of `aftercall up`, process by process: idle, and with a backlog on it."""

import sys
import time
from collections.abc import Mapping

import psutil  # type: ignore[import-untyped]  # comes with the embedded stores
import requests

from bench.contestants import CONTESTANTS
from bench.contestants.contestant import WORKSPACE, Contestant
from bench.memory import NOTHING, Memory, memory_of, tree_of
from bench.payloads import make_call_ids
from bench.processes import BenchError, Children, children_in, free_port, wait_until
from bench.run import Bench
from bench.scenarios.backlog import CALLS
from bench.stores import fresh_directory
from bench.table import Table, megabytes

_TOKEN = "bench-token-that-opens-nothing"  # noqa: S105 - it opens nothing
_SETTLE = 10.0


def run(bench: Bench) -> list[Table]:
    """aftercall with its embedded stores; beside it what n8n takes, where it was asked for."""
    beside = [name for name in ("n8n", "nodered") if name in bench.options.contestants]
    return [_of_up(bench), *(_of_peer(bench, CONTESTANTS[name]()) for name in beside)]


def _of_up(bench: Bench) -> Table:
    calls = bench.options.calls or (1_000 if bench.options.quick else CALLS)
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    with fresh_directory() as directory, children_in(directory) as children:
        environment = {
            "AFTERCALL_DATA_DIR": str(directory / "data"),
            "AFTERCALL_ADMIN_TOKEN": _TOKEN,
            "AFTERCALL_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
            "AFTERCALL_KEEP_MEDIA": "false",
            "TWENTYTWO_BASE_URL": bench.stub.origin,
            "TWENTYTWO_WORKSPACE_ID": WORKSPACE,
            "TWENTYTWO_API_KEY": "bench-key",
            "TWENTYTWO_API_SECRET": "bench-secret",
            "TWENTYTWO_RATE_LIMIT": "10000000",
        }
        command = [sys.executable, "-m", "aftercall.cli.main", "up", "--port", str(port)]
        up = children.start("up", command, environment=environment)
        wait_until(lambda: _is_ready(origin), seconds=120, what="aftercall up", children=children)
        _post(f"{origin}/api/v1/destinations", _destination(bench))
        bench.stub.reset()
        time.sleep(_SETTLE)
        idle = _by_kind(up.process.pid)
        bench.say(f"  up is idle; queueing {calls:,} calls")
        call_ids = make_call_ids(calls, seed=1)
        for start in range(0, calls, 500):
            _post(f"{origin}/api/v1/calls", {"call_ids": call_ids[start : start + 500]})
        largest = _largest_while_busy(bench, children, up.process.pid, calls)
    table = Table("g. Memory of `aftercall up`", ("process", "idle", f"with {calls:,} calls"))
    for kind in sorted(idle.keys() | largest.keys(), key=lambda kind: _ORDER.index(kind)):
        before, after = idle.get(kind, NOTHING), largest.get(kind, NOTHING)
        table.rows.append(
            (f"{kind} ({after.processes})", megabytes(before.pss), megabytes(after.pss))
        )
    table.rows.append(
        (
            "all",
            megabytes(sum(memory.pss for memory in idle.values())),
            megabytes(sum(memory.pss for memory in largest.values())),
        )
    )
    table.notes.append("PSS: what processes share is counted once. In brackets: processes.")
    return table


def _largest_while_busy(
    bench: Bench, children: Children, pid: int, calls: int
) -> Mapping[str, Memory]:
    largest: Mapping[str, Memory] = {}
    moved_at, last = time.monotonic(), -1
    while (seen := bench.stub.seen()).distinct < calls:
        children.check()
        now = _by_kind(pid)
        if sum(each.pss for each in now.values()) > sum(each.pss for each in largest.values()):
            largest = now
        if seen.distinct != last:
            moved_at, last = time.monotonic(), seen.distinct
        elif time.monotonic() - moved_at > 60:
            raise BenchError(f"up stands still: {seen.distinct} of {calls} calls were delivered")
        time.sleep(0.5)
    return largest


_ORDER = ("up", "api", "worker, main", "worker, child", "beat", "PostgreSQL", "Valkey", "other")


def _by_kind(pid: int) -> dict[str, Memory]:
    processes = tree_of(pid)
    worker = {process.pid for process in processes if _role(process) == "worker"}
    found: dict[str, Memory] = {}
    for process in processes:
        kind = _role(process)
        if kind == "worker":
            kind = "worker, child" if process.ppid() in worker else "worker, main"
        found[kind] = found.get(kind, NOTHING) + memory_of([process])
    return found


def _role(process: "psutil.Process") -> str:
    try:
        words = process.cmdline()
    except psutil.Error:
        return "other"
    line = " ".join(words)
    for mark, role in (
        ("aftercall.cli.main", "up"),
        ("aftercall up", "up"),
        ("uvicorn", "api"),
        ("worker.app worker", "worker"),
        ("worker.app beat", "beat"),
        ("postgres", "PostgreSQL"),
        ("valkey-server", "Valkey"),
    ):
        if mark in line:
            return role
    return "other"


def _of_peer(bench: Bench, contestant: Contestant) -> Table:
    """Its processes and, on their own line, the stores that it was given."""
    calls = min(bench.options.calls or 1_000, 1_000)
    with bench.site(contestant) as site:
        contestant.enqueue(site, make_call_ids(calls, seed=1))
        bench.stub.reset()
        contestant.start_workers(site, processes=1)
        bench.wait_for_deliveries(
            min(calls, 50), children=site.children, patience=120, who=contestant.name
        )
        largest, stores = NOTHING, NOTHING
        while bench.stub.seen().distinct < calls:
            site.children.check()
            now = NOTHING
            for tree in site.children.trees().values():
                now += memory_of(tree)
            largest = max(largest, now, key=lambda memory: memory.pss)
            stores = memory_of(tree_of(site.stores.postgres_pid or 0))
            time.sleep(0.5)
        time.sleep(_SETTLE)
        idle = NOTHING
        for tree in site.children.trees().values():
            idle += memory_of(tree)
    table = Table(
        f"g. Memory of {contestant.name}", ("process", "idle, afterwards", f"with {calls:,} calls")
    )
    table.rows += [
        (f"{contestant.name} ({largest.processes})", megabytes(idle.pss), megabytes(largest.pss)),
        ("PostgreSQL", "", megabytes(stores.pss)),
    ]
    return table


def _destination(bench: Bench) -> dict[str, object]:
    return {"name": "hook", "url": bench.stub.hook_url, "max_in_flight": 256}


def _post(url: str, body: object) -> None:
    answer = requests.post(
        url, json=body, headers={"Authorization": f"Bearer {_TOKEN}"}, timeout=60
    )
    if not answer.ok:
        raise BenchError(f"{url} answered {answer.status_code}: {answer.text[:200]}")


def _is_ready(origin: str) -> bool:
    try:
        return requests.get(f"{origin}/readyz", timeout=2).ok
    except requests.RequestException:
        return False
