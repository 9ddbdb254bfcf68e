"""/healthz: the process answers. /readyz: it could do its work. /metrics: for Prometheus."""

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.probes import OK, Probes

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Alive", response_class=PlainTextResponse)
async def healthz() -> PlainTextResponse:
    # On the event loop: it answers while every thread waits for a store.
    return PlainTextResponse("ok")


@router.get("/readyz", summary="Ready: says which part is not", responses={503: {}})
async def readyz(request: Request) -> JSONResponse:
    probes: Probes = request.app.state.probes
    found = await asyncio.to_thread(probes.outcomes)
    # `work` is said, but is no reason to send webhooks elsewhere: receiving needs no worker.
    is_ready = all(outcome == OK for name, outcome in found.items() if name != "work")
    return JSONResponse({"ready": is_ready, **found}, 200 if is_ready else 503)


@router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    registry = request.app.state.metrics
    page = await asyncio.to_thread(generate_latest, registry)
    return Response(page, media_type=CONTENT_TYPE_LATEST)
