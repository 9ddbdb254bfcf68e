"""A real worker and beat tell the operator's webhook, without anybody's doing."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from aftercall.crm.signing import new_secret
from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from tests.api.server import SETTINGS
from tests.cli.command import environment
from tests.raw_server import RawServer, always, answer


def test_a_blocked_workspace_is_told_by_the_sweeps(
    database: Database, stores: StoreUrls, tmp_path: Path
) -> None:
    with psycopg.connect(stores.database_url) as connection:
        connection.execute(
            "INSERT INTO workspaces (id, block_kind, block_reason, blocked_until) "
            "VALUES ('w1', 'credentials', 'Twenty2 answered 401', now() + interval '1 hour')"
        )
    with RawServer(always(answer())) as server:
        settings = {
            **SETTINGS,
            "AFTERCALL_DATABASE_URL": stores.database_url,
            "AFTERCALL_REDIS_URL": stores.redis_url,
            "AFTERCALL_OPERATOR_WEBHOOK_URL": server.url("/"),
            "AFTERCALL_OPERATOR_WEBHOOK_SECRET": new_secret(),
        }
        processes = []
        for program in (["worker", "--concurrency", "1"], ["beat"]):
            with (tmp_path / f"{program[0]}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "aftercall.cli.main", *program],
                        cwd=tmp_path,
                        env=environment(**settings),
                        stdout=log,
                        stderr=log,
                    )
                )
        try:
            give_up_at = time.monotonic() + 120
            while not server.requests:
                assert time.monotonic() < give_up_at, (tmp_path / "worker.log").read_text()
                assert [process.poll() for process in processes] == [None, None]
                time.sleep(0.05)
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
            for process in processes:
                process.wait(60)
        [request] = server.requests
    body = json.loads(request.partition(b"\r\n\r\n")[2])
    assert (body["notice"], body["data"]["workspace_id"]) == ("workspace.blocked", "w1")
    with psycopg.connect(stores.database_url) as connection:
        found = connection.execute("SELECT state, attempts FROM notices").fetchall()
    assert found == [("sent", 1)]
