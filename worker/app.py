"""The Celery application: `celery -A worker.app worker`, `celery -A worker.app beat`.

Prefork, one process a core. Settings are read when Celery first asks for its
configuration, so importing this module touches nothing.
"""

from typing import Any

import redis
from celery import Celery, signals
from kombu import Queue

from aftercall.logs import configure_logs
from aftercall.queue import QueueName, celery_settings
from aftercall.settings import load_settings
from aftercall.stores import find_stores, redis_client
from worker.process import WorkerProcess
from worker.schedule import SCHEDULE
from worker.tasks import register_tasks
from worker.watch import DeafnessWatch


def create_app() -> Celery:
    """An application with its tasks and its schedule."""
    celery = Celery("aftercall")
    celery.add_defaults(_configuration)
    process = WorkerProcess(celery)
    register_tasks(celery, process)

    def close(**_: Any) -> None:
        process.close()

    def log(**_: Any) -> None:
        configure_logs()

    def watch(**_: Any) -> None:
        redis_url = find_stores(load_settings()).redis_url
        client = redis_client(redis_url)
        deafness = DeafnessWatch(lambda: _messages_wait(client))

        def note(**_: Any) -> None:
            deafness.note_received()

        signals.task_received.connect(note, weak=False)
        deafness.start()

    signals.worker_ready.connect(watch, weak=False)
    signals.worker_process_shutdown.connect(close, weak=False)
    signals.worker_shutdown.connect(close, weak=False)
    signals.setup_logging.connect(log, weak=False)
    return celery


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
