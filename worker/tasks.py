"""The tasks: each runs one flow. Messages carry row ids; doing one twice does nothing twice."""

import uuid
from collections.abc import Sequence

import structlog
from celery import Celery, Task

from aftercall.flows.keep import keep_in_turn
from aftercall.flows.sweep import sweep
from aftercall.origins import RungBy
from aftercall.queue import QueueName, TaskName
from worker.process import Parts, WorkerProcess

log = structlog.get_logger(__name__)


def register_tasks(celery: Celery, process: WorkerProcess) -> None:
    """Gives the tasks of `aftercall.queue` their bodies."""

    @celery.task(name=TaskName.FETCH_CALLS.value, shared=False, bind=True)
    def fetch_calls(task: "Task[..., None]", row_ids: list[int]) -> None:
        parts = process.parts()
        _note(parts, task, row_ids)
        parts.fetcher.fetch(row_ids)

    @celery.task(name=TaskName.DELIVER_CALLS.value, shared=False, bind=True)
    def deliver_calls(task: "Task[..., None]", ids: list[str]) -> None:
        parts = process.parts()
        deliveries = [uuid.UUID(id_) for id_ in ids]
        _note(parts, task, deliveries)
        parts.deliverer.deliver(deliveries)

    @celery.task(name=TaskName.FETCH_ALONE.value, shared=False)
    def fetch_alone(row_ids: list[int]) -> None:
        for row_id in row_ids:
            process.parts().last_chances.give("call", str(row_id))

    @celery.task(name=TaskName.DELIVER_ALONE.value, shared=False)
    def deliver_alone(ids: list[str]) -> None:
        for id_ in ids:
            process.parts().last_chances.give("delivery", id_)

    @celery.task(name=TaskName.FETCH_MEDIA.value, shared=False)
    def fetch_media(call_row_ids: list[int]) -> None:
        process.parts().media.fetch(call_row_ids)

    @celery.task(name=TaskName.RECONCILE.value, shared=False)
    def reconcile(ids: list[str]) -> None:
        process.parts().reconciler.step([uuid.UUID(id_) for id_ in ids])

    @celery.task(name=TaskName.KEEP.value, shared=False)
    def keep_what_is_young(_: list[int]) -> None:
        keep_in_turn(process.parts().service, process.parts().store)

    @celery.task(name=TaskName.SWEEP.value, shared=False)
    def sweep_due() -> None:
        service = process.parts().service
        # First: whatever a sweep comes upon, what is to be told goes out.
        try:
            process.parts().notices.send_due()
        except Exception:
            # Whatever it is: calls that are due do not wait for it.
            log.exception("notices.failed")

        def waiting_messages(queue: QueueName) -> int:
            return int(service.redis.llen(queue.value))

        sweep(service, waiting_messages=waiting_messages)


def _note(parts: Parts, task: "Task[..., None]", rows: Sequence[int | uuid.UUID]) -> None:
    """What the message's headers say, for the log; one of an older version says nothing."""
    rung_by = task.request.get("rung_by")
    if rung_by not in set(RungBy):
        return
    request_ids = task.request.get("request_ids") or [task.request.get("request_id")] * len(rows)
    parts.service.origins.note(zip(rows, request_ids, strict=False), rung_by=RungBy(rung_by))
