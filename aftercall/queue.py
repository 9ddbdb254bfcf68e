"""The doorbell: Celery's configuration, the names of the tasks, and how they are rung.

The only place that names a task. A message carries row ids and nothing else;
losing one costs a second, never a call: the sweep finds every row that is due.
Its headers say, for the log, who rang and which request each row came in with.
"""

import time
import uuid
from collections.abc import Sequence
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import redis
import structlog
from celery import Celery
from celery.beat import Scheduler
from kombu.exceptions import KombuError
from redis.backoff import NoBackoff
from redis.retry import Retry

from aftercall.origins import RungBy
from aftercall.redis_address import RedisAddress, read_redis_url

log = structlog.get_logger(__name__)

#: Ids a message, so that one message is about a tenth of a second of work.
IDS_PER_MESSAGE = 100
SWEEP_EVERY = 1.0
#: So many messages of a queue are kept while nobody takes them: the newest.
KEPT_SWEEPS = 20
KEPT_MESSAGES = 10_000
#: While Redis is away, ringing is tried again only after so many seconds.
_QUIET_AFTER_FAILURE = 2.0
_RINGING = {
    "socket_timeout": 2,
    "socket_connect_timeout": 2,
    "retry_on_timeout": False,
    # Of the connection: once. Else kombu tries again for seconds.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}


class TaskName(StrEnum):
    FETCH_CALLS = "aftercall.fetch_calls"
    DELIVER_CALLS = "aftercall.deliver_calls"
    FETCH_ALONE = "aftercall.fetch_alone"
    DELIVER_ALONE = "aftercall.deliver_alone"
    FETCH_MEDIA = "aftercall.fetch_media"
    RECONCILE = "aftercall.reconcile"
    KEEP = "aftercall.keep"
    SWEEP = "aftercall.sweep"


class QueueName(StrEnum):
    """In the order in which a free worker looks at them."""

    SWEEP = "aftercall-sweep"
    DELIVER = "aftercall-deliver"
    FETCH = "aftercall-fetch"
    #: What the sweep found due: behind what has just come in.
    BACKLOG = "aftercall-backlog"
    MEDIA = "aftercall-media"


def ringing_settings(redis_url: str) -> dict[str, Any]:
    """Celery's configuration for those who only ring: somebody waits for them."""
    settings = celery_settings(redis_url)
    options = {**settings["broker_transport_options"], **_RINGING}
    return {**settings, "broker_transport_options": options}


def celery_settings(redis_url: str) -> dict[str, Any]:
    """Celery's configuration for those who work."""
    address = read_redis_url(redis_url)
    return {
        "broker_url": broker_url(address),
        "broker_transport": _transport(address),
        "broker_use_ssl": None if address.tls is None else address.tls.options(),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            # Nothing of ours runs for longer; a message that comes twice finds its rows taken.
            "visibility_timeout": 300,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 20,
            "retry_on_timeout": True,
            "queue_order_strategy": "priority",
            **_sentinel_options(address),
        },
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_default_queue": QueueName.BACKLOG.value,
        "task_queues": None,
        "task_acks_late": True,
        "task_reject_on_worker_lost": False,
        "worker_prefetch_multiplier": 1,
        "task_time_limit": 120,
        "task_soft_time_limit": 90,
        "task_publish_retry": False,
        "worker_soft_shutdown_timeout": 25.0,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_send_task_events": False,
        "worker_max_tasks_per_child": None,
        "beat_scheduler": Scheduler,
        "beat_max_loop_interval": SWEEP_EVERY,
        "enable_utc": True,
        "timezone": "UTC",
    }


def broker_url(address: RedisAddress) -> str:
    """Redis's URL as kombu spells it; TLS and Sentinels stand beside it."""
    names = [quote(part or "", safe="") for part in (address.username, address.password)]
    credentials = f"{names[0]}:{names[1]}@" if any(names) else ""
    if address.socket_path is not None:
        path = quote(address.socket_path.lstrip("/"))
        return f"redis+socket://{credentials}/{path}?virtual_host={address.database}"
    host, port = address.nodes[0]
    scheme = "redis" if address.service is None else "sentinel"
    return (
        f"{scheme}://{credentials}{f'[{host}]' if ':' in host else host}:{port}/{address.database}"
    )


def _transport(address: RedisAddress) -> str:
    kind = "Transport" if address.service is None else "SentinelTransport"
    return f"aftercall.broker:{kind}"


def _sentinel_options(address: RedisAddress) -> dict[str, Any]:
    if address.service is None:
        return {}
    # They answer at once or not at all: then the next is asked, not ten times the same.
    patience = {
        "socket_timeout": 2,
        "socket_connect_timeout": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    return {
        "master_name": address.service,
        "sentinels": address.nodes,
        "sentinel_kwargs": {**address.sentinel_options(), **patience},
    }


def drop_unheard(client: "redis.Redis") -> None:
    """Without workers a queue would grow until Redis's memory is full, and whoever comes back would
    first have to go through it. A sweep rings anew for what is due. redis.RedisError.
    """
    with client.pipeline(transaction=False) as pipeline:
        for name in QueueName:
            kept = KEPT_SWEEPS if name is QueueName.SWEEP else KEPT_MESSAGES
            # The newest is the first.
            pipeline.ltrim(name.value, 0, kept - 1)
        pipeline.execute()


class Doorbell:
    """Rings for rows. Never raises because Redis is away: the sweep will find the rows."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._quiet_until = 0.0

    def ring_fetch(
        self,
        row_ids: Sequence[int],
        *,
        queue: QueueName = QueueName.FETCH,
        rung_by: RungBy = RungBy.HAND,
        request_ids: Sequence[str | None] = (),
    ) -> None:
        """Calls of these rows are due. `request_ids`: what each of them came in with."""
        self._ring(TaskName.FETCH_CALLS, list(row_ids), queue, rung_by, request_ids)

    def ring_deliver(
        self,
        ids: Sequence[uuid.UUID],
        *,
        queue: QueueName = QueueName.DELIVER,
        rung_by: RungBy = RungBy.HAND,
    ) -> None:
        """Deliveries of these ids are due."""
        self._ring(TaskName.DELIVER_CALLS, [str(id_) for id_ in ids], queue, rung_by)

    def ring_fetch_alone(self, row_id: int) -> None:
        """This call is due, in a process of its own."""
        self._ring(TaskName.FETCH_ALONE, [row_id], QueueName.BACKLOG)

    def ring_deliver_alone(self, id_: uuid.UUID) -> None:
        """This delivery is due, in a process of its own."""
        self._ring(TaskName.DELIVER_ALONE, [str(id_)], QueueName.BACKLOG)

    def ring_media(self, call_row_ids: Sequence[int]) -> None:
        """Recordings or transcripts of these calls are due."""
        self._ring(TaskName.FETCH_MEDIA, list(call_row_ids), QueueName.MEDIA)

    def ring_reconcile(self, ids: Sequence[uuid.UUID]) -> None:
        """The next pages of these reconciliations are due."""
        self._ring(TaskName.RECONCILE, [str(id_) for id_ in ids], QueueName.BACKLOG)

    def ring_keep(self) -> None:
        """Something may be past its time; a message of no ids."""
        self._send(TaskName.KEEP, [([[]], {})], QueueName.MEDIA, RungBy.SWEEP)

    def workers(self, *, timeout: float) -> list[str]:
        """The names of the workers that answer within so many seconds."""
        answers = self._celery.control.ping(timeout=timeout) or []
        return sorted(name for answer in answers for name in answer)

    def _ring(
        self,
        task: TaskName,
        ids: list[Any],
        queue: QueueName,
        rung_by: RungBy = RungBy.SWEEP,
        request_ids: Sequence[str | None] = (),
    ) -> None:
        messages: list[tuple[list[Any], dict[str, Any]]] = []
        for start in range(0, len(ids), IDS_PER_MESSAGE):
            end = start + IDS_PER_MESSAGE
            # One for each id: 16 characters, where ours are.
            headers = {"request_ids": list(request_ids[start:end])} if request_ids else {}
            messages.append(([ids[start:end]], headers))
        self._send(task, messages, queue, rung_by)

    def _send(
        self,
        task: TaskName,
        messages: list[tuple[list[Any], dict[str, Any]]],
        queue: QueueName,
        rung_by: RungBy,
    ) -> None:
        """Each message's arguments, and headers of its own."""
        if not messages or time.monotonic() < self._quiet_until:
            return
        headers: dict[str, Any] = {"rung_by": rung_by.value}
        # Of a person's request: bound where it came in.
        if asked := structlog.contextvars.get_contextvars().get("request_id"):
            headers["request_id"] = asked
        try:
            with self._celery.producer_or_acquire() as producer:
                for arguments, own_headers in messages:
                    self._celery.send_task(
                        task.value,
                        args=arguments,
                        headers=headers | own_headers,
                        queue=queue.value,
                        producer=producer,
                    )
        except (KombuError, OSError) as error:
            # kombu's OperationalError among them: whatever the transport raises, it wraps.
            self._quiet_until = time.monotonic() + _QUIET_AFTER_FAILURE
            log.warning("queue.unreachable", error=type(error).__name__, task=task.value)
