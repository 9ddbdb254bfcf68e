"""The Celery application: what it registers, and what it must never be set to."""

import json
import subprocess
import sys

import pytest

from aftercall.queue import QueueName, TaskName, broker_url, celery_settings
from aftercall.redis_address import read_redis_url
from worker.app import create_app
from worker.schedule import SCHEDULE


def test_every_task_name_has_a_body_and_every_body_a_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AFTERCALL_DATABASE_URL", "postgresql://nowhere/aftercall")
    monkeypatch.setenv("AFTERCALL_REDIS_URL", "redis://nowhere")
    ours = {name for name in create_app().tasks if not name.startswith("celery.")}
    assert ours == {name.value for name in TaskName}


def test_the_schedule_sends_only_tasks_and_queues_that_exist() -> None:
    for entry in SCHEDULE.values():
        assert entry["task"] in {name.value for name in TaskName}
        assert entry["options"]["queue"] in {name.value for name in QueueName}


def test_importing_the_applications_touches_nothing(tmp_path: object) -> None:
    program = (
        "import sys, api.app, worker.app, json;"
        "print(json.dumps(sorted(m for m in sys.modules if m == 'psycopg_binary')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=str(tmp_path),
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("task_acks_late", True),
        ("task_ignore_result", True),
        ("task_serializer", "json"),
        ("accept_content", ["json"]),
        ("worker_prefetch_multiplier", 1),
    ],
)
def test_the_queue_is_a_doorbell(option: str, value: object) -> None:
    assert celery_settings("redis://localhost")[option] == value


def test_no_wait_on_the_broker_is_endless() -> None:
    options = celery_settings("redis://localhost")["broker_transport_options"]
    assert 0 < options["visibility_timeout"] <= 600
    assert 0 < options["socket_timeout"] <= 60
    assert 0 < options["socket_connect_timeout"] <= 10


def test_the_broker_understands_the_urls_that_redis_understands() -> None:
    for url, kombus in (
        ("redis://:secret@host:1/0", "redis://:secret@host:1/0"),
        ("redis://host", "redis://host:6379/0"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
    ):
        assert broker_url(read_redis_url(url)) == kombus
