"""The tasks' bodies: what stands in nobody's way."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from celery import Celery
from sqlalchemy import text

from aftercall.crm.sending import HookSender
from aftercall.crm.signing import new_secret
from aftercall.flows.heartbeat import last_sweep_at
from aftercall.flows.service import Service
from aftercall.flows.tell_operator import NoticeSender
from aftercall.queue import TaskName
from tests.conftest import make_settings
from worker.tasks import register_tasks


def test_what_is_due_is_swept_though_notices_cannot_be_sent(service: Service) -> None:
    settings = make_settings(
        AFTERCALL_OPERATOR_WEBHOOK_URL="http://127.0.0.1:9/",
        AFTERCALL_OPERATOR_WEBHOOK_SECRET=new_secret(),
    )
    service = replace(service, settings=settings)
    sender = HookSender(guard=service.guard())
    notices = NoticeSender(service, sender)
    celery = Celery("sweeps", set_as_current=False)
    process: Any = SimpleNamespace(parts=lambda: SimpleNamespace(service=service, notices=notices))
    register_tasks(celery, process)
    rename(service, "notices", "away")
    try:
        celery.tasks[TaskName.SWEEP.value]()
    finally:
        rename(service, "away", "notices")
        notices.close(5)
        sender.close()
    assert last_sweep_at(service) == service.clock()


def rename(service: Service, table: str, name: str) -> None:
    with service.database.transaction() as session:
        session.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))
