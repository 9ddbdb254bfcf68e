"""A real beat beside no worker at all."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aftercall.cli.processes import beat_arguments
from aftercall.embedded import StoreUrls
from aftercall.queue import KEPT_MESSAGES, KEPT_SWEEPS, QueueName
from aftercall.stores import redis_client
from tests.conftest import SECRET_KEY


@pytest.mark.usefixtures("database")
def test_messages_that_nobody_takes_do_not_pile_up(stores: StoreUrls, tmp_path: Path) -> None:
    many = KEPT_MESSAGES + 50
    with redis_client(stores.redis_url) as client:
        for queue in (QueueName.SWEEP, QueueName.FETCH):
            client.lpush(queue.value, *(f"message {number}" for number in range(many)))
        with (tmp_path / "beat.log").open("wb") as log:
            beat = subprocess.Popen(
                [sys.executable, "-m", *beat_arguments()],
                cwd=tmp_path,
                env={
                    **os.environ,
                    "AFTERCALL_DATABASE_URL": stores.database_url,
                    "AFTERCALL_REDIS_URL": stores.redis_url,
                    "AFTERCALL_SECRET_KEY": SECRET_KEY,
                },
                stdout=log,
                stderr=log,
            )
        try:
            end = time.monotonic() + 60
            # Before each message that it sends it looks; the newest is the first.
            while "aftercall.sweep" not in str(client.lindex(QueueName.SWEEP.value, 0)):
                assert time.monotonic() < end, (tmp_path / "beat.log").read_text()
                time.sleep(0.1)
            assert client.llen(QueueName.SWEEP.value) <= KEPT_SWEEPS + 1
            assert client.llen(QueueName.FETCH.value) == KEPT_MESSAGES
            assert client.lindex(QueueName.FETCH.value, 0) == f"message {many - 1}"
        finally:
            beat.terminate()
            beat.wait(60)
