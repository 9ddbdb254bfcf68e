"""A call that kills whichever process works on it: three times, then dead; its neighbours live.

The fake Twenty2 here is the murderer: when it is asked for the poison, it finds
the process behind the connection, and kills that.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from celery import Celery
from sqlalchemy import text

from aftercall.cli.processes import worker_arguments
from aftercall.db.session import Database
from aftercall.domain.states import CallState
from aftercall.embedded import StoreUrls
from aftercall.queue import QueueName, TaskName, celery_settings
from tests.conftest import SECRET_KEY, WORKSPACE

POISON = "poison"
NEIGHBOURS = [f"neighbour-{number}" for number in range(6)]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="finds a connection's process in /proc"
)


class Murderer(ThreadingHTTPServer):
    """Answers for calls; kills who asks for the poison."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.killed: list[int] = []
        #: Set by the test: of its own worker only.
        self.worker_pid = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Murderer

    def do_GET(self) -> None:
        (call_id,) = parse_qs(urlsplit(self.path).query)["call_id"]
        self.server.asked[call_id] += 1
        if call_id == POISON:
            ends = self.client_address[1], int(self.server.server_address[1])
            victim = process_behind(ends, below=self.server.worker_pid)
            self.server.killed.append(victim)
            os.kill(victim, signal.SIGKILL)
            return
        # In hand while the poison is asked for.
        time.sleep(2)
        call = {
            "call_id": call_id,
            "status": "completed",
            "ended_at": "2026-11-24T10:00:00Z",
            "started_at": "2026-11-24T09:59:00Z",
        }
        body = json.dumps({"success": True, "call": call}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def process_behind(ends: tuple[int, int], *, below: int) -> int:
    """Which descendant of `below` has the connection between these TCP ports, its own first."""
    inode = _inode_of(ends)
    for pid in descendants(below):
        try:
            links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        if f"socket:[{inode}]" in links:
            return pid
    raise AssertionError(f"no process of the worker has the connection {ends}")


def _inode_of(ends: tuple[int, int]) -> str:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        # Others' connections may have the same local port.
        if tuple(int(end.rpartition(":")[2], 16) for end in fields[1:3]) == ends:
            return fields[9]
    raise AssertionError(f"no connection between the ports {ends}")


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found: list[int] = []
    # Started by any thread of the process.
    for entry in children.parent.parent.glob("*/children"):
        try:
            for child in map(int, entry.read_text().split()):
                found += [child, *descendants(child)]
        except OSError:
            continue
    return found


@pytest.fixture
def murderer() -> Iterator[Murderer]:
    server = Murderer()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def worker(
    murderer: Murderer, stores: StoreUrls, database: Database, tmp_path: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {
        **os.environ,
        "AFTERCALL_DATABASE_URL": stores.database_url,
        "AFTERCALL_REDIS_URL": stores.redis_url,
        "AFTERCALL_SECRET_KEY": SECRET_KEY,
        "TWENTYTWO_BASE_URL": murderer.url,
        "TWENTYTWO_WORKSPACE_ID": WORKSPACE.id,
        "TWENTYTWO_API_KEY": WORKSPACE.api_key,
        "TWENTYTWO_API_SECRET": WORKSPACE.api_secret,
        "TWENTYTWO_RATE_LIMIT": "6000",
    }
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *worker_arguments(concurrency=1)],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
        )
    murderer.worker_pid = process.pid
    yield process
    process.terminate()
    process.wait(60)


def test_a_call_that_kills_its_worker_is_dead_at_the_third_time_and_its_neighbours_are_done(
    worker: "subprocess.Popen[bytes]", murderer: Murderer, database: Database, stores: StoreUrls
) -> None:
    with database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO workspaces (id) VALUES (:workspace) ON CONFLICT DO NOTHING",
            ),
            {"workspace": WORKSPACE.id},
        )
        session.execute(
            text(
                "INSERT INTO calls (workspace_id, call_id, state, due_at, received_at)"
                " SELECT :workspace, id, 'queued', now(), now()"
                " FROM unnest(CAST(:ids AS text[])) AS id"
            ),
            {"workspace": WORKSPACE.id, "ids": [POISON, *NEIGHBOURS]},
        )
    celery = Celery("poison", set_as_current=False)
    celery.conf.update(celery_settings(stores.redis_url))
    most_lapses, deaths = 0, 0
    deadline = time.monotonic() + 120
    while under_way(database):
        assert time.monotonic() < deadline, under_way(database)
        celery.send_task(TaskName.SWEEP.value, queue=QueueName.SWEEP.value)
        time.sleep(0.5)
        if len(murderer.killed) > deaths:
            deaths = len(murderer.killed)
            end_leases(database, only_the_poison=deaths == 3)
        lapses = under_way(database)
        most_lapses = max(
            [most_lapses, *(count for call_id, count in lapses.items() if call_id != POISON)]
        )
    assert most_lapses == 2, "the neighbours were never in danger: this shows nothing"
    assert murderer.asked[POISON] == len(set(murderer.killed)) == 3
    assert states(database) == {
        POISON: CallState.DEAD,
        **dict.fromkeys(NEIGHBOURS, CallState.FETCHED),
    }
    with database.transaction() as session:
        reason = session.execute(text("SELECT last_error FROM calls WHERE state = 'dead'")).scalar()
    assert "lost 3 times" in str(reason)
    assert worker.poll() is None


def under_way(database: Database) -> dict[str, int]:
    """The lapses of every call that has not come to its end."""
    with database.transaction() as session:
        rows = session.execute(
            text("SELECT call_id, lapses FROM calls WHERE state IN ('queued', 'fetching')")
        )
        return {row.call_id: row.lapses for row in rows}


def states(database: Database) -> dict[str, str]:
    with database.transaction() as session:
        rows = session.execute(text("SELECT call_id, state FROM calls"))
        return {row.call_id: row.state for row in rows}


def end_leases(database: Database, *, only_the_poison: bool) -> None:
    """The leases of the dead need not be waited for."""
    with database.transaction() as session:
        session.execute(
            text(
                "UPDATE calls SET lease_until = now() - interval '1 second'"
                " WHERE state = 'fetching' AND (NOT :only_the_poison OR call_id = :poison)"
            ),
            {"only_the_poison": only_the_poison, "poison": POISON},
        )
