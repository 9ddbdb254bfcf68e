"""The Celery application: `celery -A worker.app worker`, `celery -A worker.app beat`.

Prefork, one process a core. Settings are read when Celery first asks for its
configuration, so importing this module touches nothing.
"""

import atexit
import time
from contextlib import suppress
from typing import Any

import redis
from celery import Celery, signals
from kombu import Queue

from aftercall.logs import configure_logs
from aftercall.queue import QueueName, celery_settings, drop_unheard
from aftercall.settings import load_settings
from aftercall.stores import find_stores, redis_client
from worker.process import WorkerProcess
from worker.schedule import SCHEDULE
from worker.tasks import register_tasks
from worker.watch import DEAF_AFTER, DeafnessWatch
from worker.watched import Watched


def create_app() -> Celery:
    """An application with its tasks and its schedule."""
    celery = Celery("aftercall")
    celery.add_defaults(_configuration)
    process = WorkerProcess(celery)
    register_tasks(celery, process)
    _watch_worker()
    _watch_beat()

    def close(**_: Any) -> None:
        process.close()

    def log(**_: Any) -> None:
        configure_logs()

    signals.worker_process_shutdown.connect(close, weak=False)
    signals.worker_shutdown.connect(close, weak=False)
    signals.setup_logging.connect(log, weak=False)
    return celery


def _watch_worker() -> None:
    """In its main process: from before the fork to the end."""
    watched = Watched("worker")

    def before_fork(**_: Any) -> None:
        watched.before_fork(load_settings())

    def watch(**_: Any) -> None:
        settings = load_settings()
        client = redis_client(find_stores(settings).redis_url)
        deafness = DeafnessWatch(lambda: _messages_wait(client))

        def note(**_: Any) -> None:
            deafness.note_received()

        signals.task_received.connect(note, weak=False)
        deafness.start()
        watched.start(
            settings, idle=deafness.silence, is_well=lambda: deafness.silence() < DEAF_AFTER
        )

    def end(**_: Any) -> None:
        watched.end()

    signals.worker_init.connect(before_fork, weak=False)
    signals.worker_ready.connect(watch, weak=False)
    signals.worker_shutdown.connect(end, weak=False)


def _watch_beat() -> None:
    """Each message that it sends is a sign of life; it sends one a second, and first looks that
    those before it do not pile up."""
    watched = Watched("beat")
    sent_at = time.monotonic()

    def watch(**_: Any) -> None:
        settings = load_settings()
        client = redis_client(find_stores(settings).redis_url)

        def note(**_: Any) -> None:
            nonlocal sent_at
            sent_at = time.monotonic()
            # While Redis is away the message does not go out either.
            with suppress(redis.RedisError):
                drop_unheard(client)

        signals.before_task_publish.connect(note, weak=False)
        # While Redis is away it sends nothing, and starting it anew would not help.
        watched.start(settings, idle=lambda: time.monotonic() - sent_at, is_well=lambda: True)
        atexit.register(watched.end)

    signals.beat_init.connect(watch, weak=False)


def _messages_wait(client: "redis.Redis") -> bool:
    try:
        return any(client.llen(name.value) for name in QueueName)
    except redis.RedisError:
        return False


def _configuration() -> dict[str, Any]:
    settings = load_settings()
    return {
        **celery_settings(find_stores(settings).redis_url),
        "beat_schedule": SCHEDULE,
        "task_queues": [_queue(name) for name in QueueName],
    }


def _queue(name: QueueName) -> Queue:
    return Queue(name.value, routing_key=name.value)


app = create_app()
