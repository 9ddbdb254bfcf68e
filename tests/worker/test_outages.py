"""A real worker, and a Redis that goes away and comes back."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aftercall.cli.processes import worker_arguments
from aftercall.embedded import StoreUrls, Valkey
from aftercall.queue import QueueName, TaskName
from aftercall.stores import redis_client
from tests.conftest import SECRET_KEY
from worker.schedule import SCHEDULE


def until(happens: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory(prefix="aftercall-") as folder:
        Path(folder).chmod(0o711)
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def worker(
    valkey: Valkey, stores: StoreUrls, tmp_path: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {
        **os.environ,
        "AFTERCALL_DATABASE_URL": stores.database_url,
        "AFTERCALL_REDIS_URL": valkey.url,
        "AFTERCALL_SECRET_KEY": SECRET_KEY,
    }
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *worker_arguments(concurrency=1)],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
        )
    yield process
    process.terminate()
    process.wait(60)


def send_sweep(valkey: Valkey, stores: StoreUrls, **options: object) -> None:
    from celery import Celery

    from aftercall.queue import celery_settings

    celery = Celery("outages", set_as_current=False)
    celery.conf.update(celery_settings(valkey.url))
    celery.send_task(TaskName.SWEEP.value, queue=QueueName.SWEEP.value, **options)


def sweeps(valkey: Valkey) -> str | None:
    with redis_client(valkey.url) as client:
        value = client.get("aftercall:swept_at")
    return None if value is None else str(value)


@pytest.mark.usefixtures("database")
def test_a_worker_survives_redis_going_away_and_works_again_when_it_is_back(
    worker: "subprocess.Popen[bytes]", valkey: Valkey, stores: StoreUrls
) -> None:
    send_sweep(valkey, stores)
    until(lambda: sweeps(valkey) is not None, "the first sweep")
    for _ in range(3):
        # With a message in hand, as in the outage that killed it.
        send_sweep(valkey, stores)
        valkey.stop()
        time.sleep(1)
        valkey.start()
        before = sweeps(valkey)

        def swept_again(before: str | None = before) -> bool:
            send_sweep(valkey, stores)
            return sweeps(valkey) not in (None, before)

        until(swept_again, "a sweep after the outage")
        assert worker.poll() is None


def test_an_acknowledgement_through_a_connection_that_is_gone_is_let_go(valkey: Valkey) -> None:
    from kombu import Connection

    connection = Connection(valkey.url, transport="aftercall.broker:Transport")
    queue = connection.SimpleQueue("forgiving")
    queue.put("ring")
    message = queue.get(timeout=5)
    connection.release()
    message.ack()
    assert message.acknowledged


@pytest.mark.usefixtures("database")
def test_a_beat_whose_clock_is_half_a_minute_behind_is_heard(
    worker: "subprocess.Popen[bytes]", valkey: Valkey, stores: StoreUrls
) -> None:
    send_sweep(valkey, stores, expires=SCHEDULE["sweep"]["options"]["expires"] - 30)
    until(lambda: sweeps(valkey) is not None, "a sweep")
