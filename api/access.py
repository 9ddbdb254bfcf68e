"""Who may use the operator's API: whoever has the admin token; for GET, the read-only one too.

Wrong tokens are counted by address: after thirty in a minute the answer is 429.
The right token always opens: behind a proxy all have one address, and nobody
shall be able to lock the operator out by guessing. The console's sign-in counts here too.

Nobody without a token makes us read a body: FastAPI reads it before it asks
`require_token`, so `TokenBeforeBody` asks first.
"""

from datetime import timedelta
from typing import Annotated

import redis
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aftercall.db.models import Role, Via
from aftercall.flows.audit import Actor
from aftercall.flows.service import Service
from aftercall.flows.sign_in import role_of
from aftercall.rate_limit import Lane, Wish
from api.problems import Problem

#: Where the operator's API is.
PREFIX = "/api/v1"
GUESSES_A_MINUTE = 30
_MINUTE = timedelta(minutes=1)

_READING = frozenset({"GET", "HEAD"})

_scheme = HTTPBearer(
    auto_error=False, description="AFTERCALL_ADMIN_TOKEN; for GET, AFTERCALL_READONLY_TOKEN too"
)


def require_token(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)],
) -> None:
    """401 without a token, 429 after too many wrong ones, 403 when it is only for reading."""
    given = credentials.credentials if credentials else None
    role = role_of(_service(request).settings, given)
    if role is None:
        count_guess(request)
        raise Problem(
            401,
            "The admin token is missing or wrong: "
            "send Authorization: Bearer <AFTERCALL_ADMIN_TOKEN>",
            {"WWW-Authenticate": "Bearer"},
        )
    if role is Role.READER and request.method not in _READING:
        raise Problem(
            403,
            f"This token is for reading only: {request.method} wants AFTERCALL_ADMIN_TOKEN",
        )
    request.state.role = role


class TokenBeforeBody:
    """ASGI middleware: the operator's API reads bodies only of those who have the token."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(f"{PREFIX}/"):
            await self._app(scope, receive, send)
            return

        is_known = False

        async def of_the_operator() -> Message:
            nonlocal is_known
            if not is_known:
                request = Request(scope)
                # In a thread: a wrong token is counted in Redis.
                await run_in_threadpool(require_token, request, await _scheme(request))
                is_known = True
            return await receive()

        await self._app(scope, of_the_operator, send)


def count_guess(request: Request) -> bool:
    """Counts a wrong token; Problem 429 when there were too many from this address.

    False when Redis is away and nobody counts; the tokens are long enough.
    """
    lane = Lane(f"guesses:{address_of(request) or 'unknown'}", GUESSES_A_MINUTE, _MINUTE)
    try:
        grant = _service(request).limiter.take([Wish(lane, fresh=1, paced=0)])[0]
    except redis.RedisError:
        return False
    if not grant.fresh:
        raise Problem(429, "Too many wrong tokens; wait a minute", {"Retry-After": "60"})
    return True


def address_of(request: Request) -> str | None:
    """Of the client, as far as the connection, or a trusted proxy, tells."""
    return request.client.host if request.client else None


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _actor(request: Request) -> Actor:
    return Actor(name=request.state.role, via=Via.API, address=address_of(request))


ServiceOf = Annotated[Service, Depends(_service)]
#: Who asks for a change, for the audit log.
ActorOf = Annotated[Actor, Depends(_actor)]
