"""The tasks: each runs one flow. Messages carry row ids; doing one twice does nothing twice."""

import uuid

from celery import Celery

from aftercall.flows.sweep import sweep
from aftercall.queue import QueueName, TaskName
from worker.process import WorkerProcess


def register_tasks(celery: Celery, process: WorkerProcess) -> None:
    """Gives the tasks of `aftercall.queue` their bodies."""

    @celery.task(name=TaskName.FETCH_CALLS.value, shared=False)
    def fetch_calls(row_ids: list[int]) -> None:
        process.parts().fetcher.fetch(row_ids)

    @celery.task(name=TaskName.DELIVER_CALLS.value, shared=False)
    def deliver_calls(ids: list[str]) -> None:
        process.parts().deliverer.deliver([uuid.UUID(id_) for id_ in ids])

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

    @celery.task(name=TaskName.SWEEP.value, shared=False)
    def sweep_due() -> None:
        service = process.parts().service

        def waiting_messages(queue: QueueName) -> int:
            return int(service.redis.llen(queue.value))

        sweep(service, waiting_messages=waiting_messages)
