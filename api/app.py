"""The ASGI application: `uvicorn api.app:app`. Settings are read at its start, not at import."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI

from aftercall import __version__
from aftercall.flows.service import open_service
from aftercall.garbage import collect_rarely
from aftercall.logs import configure_logs
from aftercall.media_store import MediaStore
from aftercall.settings import load_settings
from aftercall.stores import find_stores
from api import health, media, webhooks
from api.access import PREFIX, TokenBeforeBody, require_token
from api.body_deadline import BodyDeadline
from api.body_limit import BodyLimit
from api.connections import raise_file_limit
from api.console.install import install_console
from api.console.live import Live, ended_by_signals
from api.docs import install_docs
from api.examples import install_examples
from api.heartbeat import heartbeat
from api.metrics import make_registry
from api.probes import Probes
from api.problems import PROBLEMS, install_problems
from api.receiver import Receiver
from api.request_line import RequestLine
from api.routes import (
    audit,
    calls,
    deliveries,
    destinations,
    people,
    reconciliations,
    replays,
    stats,
    workspaces,
)
from api.webhook_lane import WebhookLane


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    configure_logs()
    _adopt_server_logs()
    raise_file_limit()
    settings = load_settings()
    app.state.webhook_token = settings.require("webhook_token")
    settings.require("admin_token")
    secret = settings.webhook_hmac_secret
    app.state.hmac_secret = secret.get_secret_value() if secret else None
    service = open_service(settings, find_stores(settings), pool_size=10)
    app.state.service = service
    service.counters.open()
    app.state.probes = Probes(service)
    app.state.metrics = make_registry(service, app.state.probes)
    app.state.receiver = Receiver(service)
    app.state.media_store = MediaStore(settings.media_root)
    app.state.live = Live()
    collect_rarely()
    try:
        async with heartbeat(service, app.state.receiver):
            with ended_by_signals(app.state.live):
                yield
    finally:
        app.state.receiver.close()
        app.state.probes.stop()
        service.close()


def create_app() -> FastAPI:
    app = FastAPI(
        title="aftercall",
        version=__version__,
        description="A voice call's after-call work: every call reaches the CRM, once, soon.",
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
    )
    # The last one is asked first.
    app.add_middleware(TokenBeforeBody)
    app.add_middleware(WebhookLane)
    app.add_middleware(BodyLimit)
    app.add_middleware(BodyDeadline)
    app.add_middleware(RequestLine)
    install_problems(app)
    app.include_router(webhooks.router, tags=["webhook"])
    app.include_router(health.router)
    app.include_router(media.router)
    operator = APIRouter(prefix=PREFIX, dependencies=[Depends(require_token)], responses=PROBLEMS)
    parts = (
        calls,
        destinations,
        deliveries,
        replays,
        workspaces,
        reconciliations,
        people,
        audit,
        stats,
    )
    for part in parts:
        operator.include_router(part.router)
    operator.include_router(calls.exports)
    app.include_router(operator)
    install_docs(app)
    install_examples(app)
    install_console(app)
    return app


def _adopt_server_logs() -> None:
    """What uvicorn says comes out as everything else does: an event a line, secrets hidden."""
    server = logging.getLogger("uvicorn")
    server.handlers = []
    server.propagate = True


app = create_app()
