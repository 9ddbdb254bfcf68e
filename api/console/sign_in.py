"""Signing in with a token, and out again. What is wrong is counted as the API counts it."""

import re
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from aftercall.db.models import Via
from aftercall.flows.audit import Actor, note
from aftercall.flows.service import Service
from aftercall.flows.sign_in import LIFETIME, close_sign_in, open_sign_in, role_of
from api.access import ServiceOf, address_of, count_guess
from api.console.gate import COOKIE, FOR_READERS, ConsoleRoute, OpenRoute, ViewerOf
from api.console.pages import redirect, render, root_of
from api.problems import Problem

router = APIRouter(include_in_schema=False)
_open = APIRouter(route_class=OpenRoute)
_inside = APIRouter(route_class=ConsoleRoute)

#: A path of ours: browsers read `//host`, `/\host` and what has tabs in it as another site.
_LOCAL = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f]*")


@_open.get("/sign-in")
def page(request: Request, next: str = "", lost: str = "") -> Response:  # noqa: A002 - its name in the URL
    """`lost`: a form was sent after its session had ended."""
    onward = local_path(request, next)
    if request.state.viewer is not None:
        return RedirectResponse(onward, 303)
    return render(request, "sign_in.html", onward=onward, fault=None, is_lost=bool(lost))


@_open.post("/sign-in")
async def sign_in(
    request: Request,
    service: ServiceOf,
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "",  # noqa: A002 - its name in the form
) -> Response:
    onward = local_path(request, next)
    token = token.strip()
    role = role_of(service.settings, token)
    if role is None:
        status, fault = await run_in_threadpool(_refuse, request, service)
        return render(
            request, "sign_in.html", status=status, onward=onward, fault=fault, is_lost=False
        )
    by = Actor(name=role, via=Via.CONSOLE, address=address_of(request))
    id_ = await run_in_threadpool(open_sign_in, service, token, role=role, by=by)
    answer = RedirectResponse(onward, 303)
    answer.set_cookie(
        COOKIE,
        id_,
        max_age=int(LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


@_inside.post("/sign-out", dependencies=[FOR_READERS])
def sign_out(request: Request, service: ServiceOf, viewer: ViewerOf) -> Response:
    close_sign_in(service, viewer.signed_in, by=viewer.actor)
    request.app.state.live.end(viewer.signed_in.id_hash)
    answer = redirect(request, "/sign-in")
    answer.delete_cookie(COOKIE)
    return answer


def local_path(request: Request, given: str) -> str:
    """Where to go after signing in: one of our own pages, whatever the URL says."""
    return given if _LOCAL.fullmatch(given) else f"{root_of(request)}/"


def _refuse(request: Request, service: Service) -> tuple[int, str]:
    """Counts the guess. It is written down only while it is counted: the log stays bounded."""
    try:
        is_counted = count_guess(request)
    except Problem as problem:
        return problem.status_code, str(problem.detail)
    if is_counted:
        by = Actor(name="nobody", via=Via.CONSOLE, address=address_of(request))
        note(service, by, "session.refused")
    return 401, "That is neither the admin token nor the read-only one."


router.include_router(_open)
router.include_router(_inside)
