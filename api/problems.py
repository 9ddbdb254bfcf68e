"""Errors as RFC 9457 problem documents: what happened, and what to do."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from aftercall.db.session import DATABASE_AWAY
from aftercall.flows.errors import Conflict, Invalid, NotFound, placed

log = logging.getLogger(__name__)

#: To a person; 503.
DATABASE_IS_AWAY = "The database does not answer, or takes nothing, as a standby: try again"
#: Faults that one answer names; a request with more has the same one again and again.
MAX_ERRORS = 20
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"at": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
#: For the OpenAPI document: what goes wrong on every route of the operator's.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {"application/problem+json": {"schema": _SCHEMA}},
    }
    for status, description in {
        400: "The body is not JSON",
        401: "The admin token is missing or wrong",
        403: "The token is for reading only",
        404: "There is no such thing",
        408: "The body did not come in time",
        409: "It cannot be done as things stand",
        413: "The body is over 1 MiB",
        422: "The request is malformed; `errors` says where",
        429: "Too many wrong tokens",
        503: "The database does not answer",
    }.items()
}


class Problem(HTTPException):
    """Raise it to answer with a problem document."""

    def __init__(
        self, status: int, detail: str, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(status, detail, headers)
        self.more = more


def problem_response(
    status: int, detail: str, headers: dict[str, str] | None = None, **more: Any
) -> JSONResponse:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **more,
    }
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def install_problems(app: FastAPI) -> None:
    """Every error that leaves the application is a problem document."""

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        more = error.more if isinstance(error, Problem) else {}
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(methods_at(request))
        return problem_response(error.status_code, str(error.detail), headers, **more)

    @app.exception_handler(RequestValidationError)
    def validation(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = [
            placed(
                ".".join(str(part) for part in problem["loc"])[:200],
                str(problem["msg"]).removeprefix("Value error, "),
            )
            for problem in error.errors()[:MAX_ERRORS]
        ]
        errors = [{"at": at, "message": message} for at, message in faults]
        first = errors[0]
        return problem_response(422, f"{first['at']}: {first['message']}", errors=errors)

    @app.exception_handler(DataError)
    @app.exception_handler(UnicodeEncodeError)
    def unstorable(_: Request, __: Exception) -> JSONResponse:
        return problem_response(422, "It has a character or a number in it that cannot be stored")

    @app.exception_handler(NotFound)
    def not_found(_: Request, error: NotFound) -> JSONResponse:
        return problem_response(404, str(error))

    @app.exception_handler(Invalid)
    def invalid(_: Request, error: Invalid) -> JSONResponse:
        errors = [{"at": at, "message": message} for at, message in error.errors[:MAX_ERRORS]]
        return problem_response(422, str(error)[:2_000], errors=errors)

    @app.exception_handler(Conflict)
    def conflict(_: Request, error: Conflict) -> JSONResponse:
        return problem_response(409, str(error))

    def database_away(_: Request, error: Exception) -> JSONResponse:
        note_database_away(error)
        return problem_response(503, DATABASE_IS_AWAY, {"Retry-After": "5"})

    for kind in DATABASE_AWAY:
        app.add_exception_handler(kind, database_away)

    @app.exception_handler(Exception)
    def unexpected(_: Request, error: Exception) -> JSONResponse:
        log.error("request.failed", exc_info=error)
        return problem_response(500, "Something went wrong here; the log says what")


def note_database_away(error: Exception) -> None:
    """By the driver's name of it, as ReadOnlySqlTransaction of a standby."""
    log.warning("database.unreachable: %s", type(getattr(error, "orig", None) or error).__name__)


def methods_at(request: Request) -> list[str]:
    """Those of every route of this path: Starlette names those of the first alone."""
    routes = request.app.routes
    asked = {method: {**request.scope, "method": method} for method in _METHODS}
    found = [
        method
        for method, scope in asked.items()
        if any(route.matches(scope)[0] is Match.FULL for route in routes)
    ]
    # No route of ours: a file of the OpenAPI page.
    return found or ["GET", "HEAD"]
