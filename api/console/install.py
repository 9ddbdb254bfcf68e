"""Puts the console into the application: every page's router, once."""

from fastapi import FastAPI, Request
from fastapi.responses import Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from api.access import PREFIX
from api.console import (
    assets,
    audit,
    backfill,
    call,
    calls,
    crm_form,
    deliveries,
    destination_form,
    destinations,
    overview,
    people,
    replays,
    set_up,
    sign_in,
    style,
    workspaces,
)
from api.console.errors import error_response, wants_page
from api.console.gate import Viewer, find_viewer
from api.problems import Problem, methods_at, problem_response

_NO_PAGE = "The address is wrong, or what was there is gone."
_ONLY_FORMS = "This address takes what a form sends; there is nothing to see. Go back a page."
_ONLY_SHOWS = "This page only shows: nothing can be sent to it."


def install_console(app: FastAPI) -> None:
    @app.exception_handler(404)
    def no_such_page(request: Request, error: HTTPException) -> Response:
        """For people a page; for scripts, and under /api, a problem document as ever."""
        if wants_page(request) and not request.url.path.startswith(f"{PREFIX}/"):
            request.state.viewer = _viewer_if_any(request)
            return error_response(request, Problem(404, _NO_PAGE))
        return problem_response(404, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(405)
    def other_method(request: Request, error: HTTPException) -> Response:
        """For people a page, as above: Enter in the address bar asks for what a form posted to."""
        headers = {**(error.headers or {}), "Allow": ", ".join(methods_at(request))}
        if wants_page(request) and not request.url.path.startswith(f"{PREFIX}/"):
            request.state.viewer = _viewer_if_any(request)
            says = _ONLY_FORMS if request.method in ("GET", "HEAD") else _ONLY_SHOWS
            return error_response(request, Problem(405, says, headers))
        return problem_response(405, str(error.detail), headers)

    for page in (
        assets,
        sign_in,
        overview,
        set_up,
        calls,
        call,
        deliveries,
        replays,
        destinations,
        destination_form,
        crm_form,
        backfill,
        workspaces,
        people,
        audit,
        style,
    ):
        app.include_router(page.router, include_in_schema=False)


def _viewer_if_any(request: Request) -> Viewer | None:
    """Who is signed in sees the navigation; nobody sees another error for it."""
    try:
        return find_viewer(request)
    except SQLAlchemyError:
        return None
