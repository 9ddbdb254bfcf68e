"""One task a call, as Celery's and SQLAlchemy's user guides would have it."""

import os
from datetime import datetime
from typing import Any

import requests
from celery import Celery
from sqlalchemy import create_engine, func
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

app = Celery("calls", broker=os.environ["REDIS_URL"])
app.conf.update(task_acks_late=True, task_ignore_result=True)

_url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
#: Connects when a worker process first needs it, after the fork.
Session = sessionmaker(create_engine(_url))
http = requests.Session()
http.auth = ("bench-key", "bench-secret")
http.headers["x-workspace-id"] = os.environ["WORKSPACE_ID"]
hooks = requests.Session()


class Base(DeclarativeBase):
    pass


class Call(Base):
    __tablename__ = "calls"

    call_id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    direction: Mapped[str | None]
    callee_phone: Mapped[str | None]
    duration_seconds: Mapped[int | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)
    saved_at: Mapped[datetime] = mapped_column(server_default=func.now())


@app.task(
    name="handle_call",
    autoretry_for=(requests.RequestException, OperationalError),
    retry_backoff=True,
    retry_jitter=True,
    max_retries=10,
)
def handle_call(call_id: str) -> None:
    answer = http.get(os.environ["UPSTREAM_URL"], params={"call_id": call_id}, timeout=20)
    answer.raise_for_status()
    detail = answer.json()
    with Session.begin() as session:
        session.execute(_upsert(detail))
    hook = hooks.post(os.environ["HOOK_URL"], json=_hook_body(detail), timeout=15)
    hook.raise_for_status()


def _upsert(detail: dict[str, Any]) -> Any:
    call = detail["call"]
    names = ("status", "direction", "callee_phone", "duration_seconds", "started_at", "ended_at")
    values = {name: call[name] for name in names} | {"detail": detail}
    statement = insert(Call).values(call_id=call["call_id"], **values)
    return statement.on_conflict_do_update(index_elements=["call_id"], set_=values)


def _hook_body(detail: dict[str, Any]) -> dict[str, Any]:
    data = {name: value for name, value in detail.items() if name != "success"}
    data = {
        "call_id": detail["call"]["call_id"],
        "workspace_id": os.environ["WORKSPACE_ID"],
        **data,
    }
    return {"type": "call.completed", "timestamp": detail["call"]["ended_at"], "data": data}
