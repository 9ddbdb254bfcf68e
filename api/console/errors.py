"""What went wrong, as a page that says what to do; as a problem document for scripts."""

import logging

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from aftercall.db.session import DATABASE_AWAY
from aftercall.flows.errors import Conflict, Invalid, NotFound
from api.console.headers import secured
from api.console.pages import render
from api.problems import DATABASE_IS_AWAY, note_database_away, problem_response

log = logging.getLogger(__name__)

_TITLES = {
    400: "This cannot be read",
    401: "You are not signed in",
    403: "This is not allowed",
    404: "There is no such page",
    405: "It does not work like this",
    409: "It cannot be done as things stand",
    413: "This is too large",
    422: "Something in it is not right",
    429: "Too many tries",
    503: "The database does not answer",
}


def wants_page(request: Request) -> bool:
    """Whether a person looks at the answer, not a script."""
    return "text/html" in request.headers.get("accept", "")


def error_response(request: Request, error: Exception) -> Response:
    status, detail, headers = _describe(error)
    if not wants_page(request):
        return problem_response(status, detail, headers)
    title = _TITLES.get(status, "Something went wrong here")
    page = render(request, "error.html", status=status, code=status, title=title, detail=detail)
    page.headers.update(headers)
    return secured(page)


def _describe(error: Exception) -> tuple[int, str, dict[str, str]]:
    match error:
        case HTTPException():
            return error.status_code, str(error.detail), dict(error.headers or {})
        case NotFound():
            return 404, str(error), {}
        case Conflict():
            return 409, str(error), {}
        case Invalid():
            return 422, str(error)[:2_000], {}
        case RequestValidationError():
            first = error.errors()[0]
            at = ".".join(str(part) for part in first["loc"])[:200]
            return 422, f"{at}: {str(first['msg']).removeprefix('Value error, ')}", {}
        case DataError() | UnicodeEncodeError():
            return 422, "It has a character or a number in it that cannot be stored", {}
        case _ if isinstance(error, DATABASE_AWAY):
            note_database_away(error)
            return 503, DATABASE_IS_AWAY, {"Retry-After": "5"}
        case _:
            log.error("request.failed", exc_info=error)
            return 500, "Something went wrong here; the log says what", {}
