"""Gives each request its id, and writes the webhook's line: what came, what became of it.

The id is the client's X-Request-ID when it is sane, else one of ours. It is answered, stands in
every line of the request, and travels with the ring to the worker's lines.
"""

import re
import secrets
import time
import uuid
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aftercall.domain.work import Acceptance
from aftercall.flows.service import Service
from aftercall.tracing import Place, read_traceparent
from aftercall.twentytwo.inbound import Notice
from api.paths import WEBHOOK, is_webhook

log = structlog.get_logger(__name__)

_SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")
#: May be a phone number, which no log shows; in what follows it is chance.
_NUMBER = re.compile(rb"\d(?:[._-]*\d){6}")
_RANDOM = re.compile(
    rb"(?=.*[a-f])(?:[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})",
    re.IGNORECASE,
)
_HEADER = b"x-request-id"
_SEEN = "aftercall.webhook"
#: So many ids of a webhook stand in its line.
IDS_SHOWN = 10
_BY_STATUS = {408: "slow", 413: "too_large", 503: "not_stored"}


@dataclass(slots=True)
class Seen:
    """What a webhook's route learned, for the line. Written by the route, step by step."""

    notice: Notice | None = None
    reason: str | None = None
    received: int = 0
    duplicates: int = 0
    webhook_id: uuid.UUID | None = None
    accepted: tuple[Acceptance, ...] = ()
    kept_in: str | None = None
    #: The sender's span; only where traces are on.
    trace: Place | None = None

    @property
    def row_ids(self) -> list[int]:
        rows = (one.call_row_id for one in self.accepted[:IDS_SHOWN])
        return [row_id for row_id in rows if row_id is not None]


def seen_of(scope: MutableMapping[str, Any]) -> Seen:
    """Of this request; one that nobody reads when the middleware is not there."""
    seen = scope.get(_SEEN)
    return seen if isinstance(seen, Seen) else Seen()


def request_id_of(scope: MutableMapping[str, Any]) -> str | None:
    found = scope.get("aftercall.request_id")
    return None if found is None else str(found)


class RequestLine:
    """ASGI middleware, the outermost."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _sane_id(scope) or secrets.token_hex(8)
        scope["aftercall.request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        header = (_HEADER, request_id.encode("ascii"))
        status: int | None = None

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        if not is_webhook(scope):
            await self._app(scope, receive, answer)
            return
        service: Service = scope["app"].state.service
        seen = scope[_SEEN] = Seen(trace=_trace_of(scope) if service.traces.is_on else None)
        began_at, began = service.clock(), time.perf_counter()
        try:
            await self._app(scope, receive, answer)
        except Exception:
            # Answered outside of here, by the framework.
            status = 500
            raise
        finally:
            _write(service, seen, status, time.perf_counter() - began)
            if service.traces.is_on:
                _trace(service, seen, request_id, began_at)


def _sane_id(scope: Scope) -> str | None:
    given = [value for name, value in scope["headers"] if name == _HEADER]
    if len(given) != 1 or not _SANE.fullmatch(given[0]):
        return None
    if _NUMBER.search(given[0]) and not _RANDOM.fullmatch(given[0]):
        return None
    return str(given[0], "ascii")


def _trace_of(scope: Scope) -> Place | None:
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    return read_traceparent(given[0].decode("latin-1")) if len(given) == 1 else None


def _trace(service: Service, seen: Seen, request_id: str, began: datetime) -> None:
    """A span for each call that became due: each begins a trace of its own."""
    if seen.notice is None:
        return
    ended = service.clock()
    for one in seen.accepted:
        if one.call_row_id is not None:
            service.traces.webhook(
                one.call_row_id,
                one.revision,
                is_first=one.is_first,
                began=began,
                ended=ended,
                given=seen.trace,
                attributes={
                    "http.request.method": "POST",
                    "http.route": WEBHOOK,
                    "http.response.status_code": 200,
                    "aftercall.row_id": one.call_row_id,
                    "aftercall.workspace_id": seen.notice.workspace_id,
                    "aftercall.webhook_id": str(seen.webhook_id) if seen.webhook_id else None,
                    "aftercall.request_id": request_id,
                },
            )


def _write(service: Service, seen: Seen, status: int | None, seconds: float) -> None:
    took = {"status_code": status, "duration_ms": round(seconds * 1000)}
    if status == 200:
        service.counters.webhook_received()
        log.info("webhook.received", **_ids(seen), **took)
        return
    reason = seen.reason or ("gone" if status is None else _BY_STATUS.get(status, "failed"))
    service.counters.webhook_refused(reason)
    log.warning("webhook.refused", reason=reason, **_ids(seen), **took)


def _ids(seen: Seen) -> dict[str, object]:
    notice = seen.notice
    if notice is None:
        return {}
    is_one = len(notice.call_ids) == 1
    ids: dict[str, object] = (
        {"call_id": notice.call_ids[0], "row_id": seen.row_ids[0] if seen.row_ids else None}
        if is_one
        else {
            "calls": len(notice.call_ids),
            "call_ids": notice.call_ids[:IDS_SHOWN],
            "row_ids": seen.row_ids,
        }
    )
    return {
        **ids,
        "workspace_id": notice.workspace_id,
        "event_id": notice.event_id,
        "event_type": notice.type,
        "webhook_id": seen.webhook_id and str(seen.webhook_id),
        "received": seen.received,
        "duplicates": seen.duplicates,
        "kept_in": seen.kept_in,
    }
