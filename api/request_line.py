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
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aftercall.flows.service import Service
from aftercall.twentytwo.inbound import Notice
from api.paths import is_webhook

log = structlog.get_logger(__name__)

#: Visible ASCII; digits alone may be a phone number, which no log shows.
_SANE = re.compile(rb"(?!\+?[\d-]+$)[!-~]{1,128}", re.ASCII)
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
    row_ids: tuple[int, ...] = ()
    kept_in: str | None = None


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
        began = time.perf_counter()
        seen = scope[_SEEN] = Seen()
        try:
            await self._app(scope, receive, answer)
        finally:
            _write(scope, seen, status, time.perf_counter() - began)


def _sane_id(scope: Scope) -> str | None:
    given = [value for name, value in scope["headers"] if name == _HEADER]
    if len(given) == 1 and _SANE.fullmatch(given[0]):
        return str(given[0], "ascii")
    return None


def _write(scope: Scope, seen: Seen, status: int | None, seconds: float) -> None:
    service: Service = scope["app"].state.service
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
            "row_ids": seen.row_ids[:IDS_SHOWN],
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
