"""Who may use the operator's API: whoever has the admin token."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from aftercall.flows.service import Service
from aftercall.twentytwo.inbound import is_right_token
from api.problems import Problem

_scheme = HTTPBearer(auto_error=False, description="AFTERCALL_ADMIN_TOKEN")


def require_admin(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)],
) -> None:
    given = credentials.credentials if credentials else None
    if not is_right_token(given, token=request.app.state.admin_token):
        raise Problem(
            401,
            "The admin token is missing or wrong: "
            "send Authorization: Bearer <AFTERCALL_ADMIN_TOKEN>",
            {"WWW-Authenticate": "Bearer"},
        )


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(_service)]
