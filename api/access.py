"""Who may use the operator's API: whoever has the admin token.

Wrong tokens are counted by address: after thirty in a minute the answer is 429.
The right token always opens: behind a proxy all have one address, and nobody
shall be able to lock the operator out by guessing.

Nobody without the token makes us read a body: FastAPI reads it before it asks
`require_admin`, so `TokenBeforeBody` asks first.
"""

from datetime import timedelta
from typing import Annotated

import redis
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aftercall.flows.service import Service
from aftercall.rate_limit import Lane, Wish
from aftercall.twentytwo.inbound import is_right_token
from api.problems import Problem

#: Where the operator's API is.
PREFIX = "/api/v1"
GUESSES_A_MINUTE = 30
_MINUTE = timedelta(minutes=1)

_scheme = HTTPBearer(auto_error=False, description="AFTERCALL_ADMIN_TOKEN")


def require_admin(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)],
) -> None:
    given = credentials.credentials if credentials else None
    if not is_right_token(given, token=request.app.state.admin_token):
        _check_guesses(request)
        raise Problem(
            401,
            "The admin token is missing or wrong: "
            "send Authorization: Bearer <AFTERCALL_ADMIN_TOKEN>",
            {"WWW-Authenticate": "Bearer"},
        )


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
                await run_in_threadpool(require_admin, request, await _scheme(request))
                is_known = True
            return await receive()

        await self._app(scope, of_the_operator, send)


def _check_guesses(request: Request) -> None:
    """Counts a wrong token; Problem 429 when there were too many from this address."""
    service: Service = request.app.state.service
    address = request.client.host if request.client else "unknown"
    lane = Lane(f"guesses:{address}", GUESSES_A_MINUTE, _MINUTE)
    try:
        grant = service.limiter.take([Wish(lane, fresh=1, paced=0)])[0]
    except redis.RedisError:
        # Without Redis nobody counts; the tokens are long enough.
        return
    if not grant.fresh:
        raise Problem(429, "Too many wrong tokens; wait a minute", {"Retry-After": "60"})


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(_service)]
