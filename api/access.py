"""Who may use the operator's API: whoever has the admin token.

Wrong tokens are counted by address: after thirty in a minute the answer is 429.
The right token always opens: behind a proxy all have one address, and nobody
shall be able to lock the operator out by guessing.
"""

from datetime import timedelta
from typing import Annotated

import redis
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from aftercall.flows.service import Service
from aftercall.rate_limit import Lane, Wish
from aftercall.twentytwo.inbound import is_right_token
from api.problems import Problem

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
