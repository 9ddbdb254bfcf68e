"""/healthz: the process answers. /readyz: it could do its work. /metrics: for Prometheus."""

from collections.abc import Callable

import redis
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from aftercall.db.schema import SchemaError, check_schema
from aftercall.flows.heartbeat import silence
from aftercall.flows.service import Service

router = APIRouter(tags=["health"])


class _Silent(Exception):
    """Nobody sweeps."""


@router.get("/healthz", summary="Alive")
def healthz() -> PlainTextResponse:
    return PlainTextResponse("ok")


@router.get("/readyz", summary="Ready: says which part is not", responses={503: {}})
def readyz(request: Request) -> JSONResponse:
    service: Service = request.app.state.service
    checks: dict[str, Callable[[Service], None]] = {
        "database": _check_database,
        "schema": lambda service: check_schema(service.database),
        "redis": lambda service: _check_redis(service),
    }
    found = {name: _outcome(check, service) for name, check in checks.items()}
    is_ready = all(outcome == "ok" for outcome in found.values())
    # Said, but no reason to send webhooks elsewhere: receiving needs no worker.
    found["work"] = _outcome(_check_work, service)
    return JSONResponse({"ready": is_ready, **found}, 200 if is_ready else 503)


@router.get("/metrics", summary="Prometheus metrics")
def metrics(request: Request) -> Response:
    return Response(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)


def _check_database(service: Service) -> None:
    with service.database.engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def _check_work(service: Service) -> None:
    fault = silence(service)
    if fault is not None:
        raise _Silent(fault)


def _check_redis(service: Service) -> None:
    service.redis.ping()


def _outcome(check: Callable[[Service], None], service: Service) -> str:
    try:
        check(service)
    except (SchemaError, _Silent) as error:
        return str(error)
    except (SQLAlchemyError, redis.RedisError, OSError) as error:
        return f"does not answer ({type(error).__name__})"
    return "ok"
