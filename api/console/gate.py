"""Who may see a page and who may press its buttons. Asked before a body is read.

The cookie is SameSite=Lax, not Strict: people follow links to calls from their CRM
and their chat, and with Strict each of these would end at the sign-in. What Lax lets
through are GETs, and a GET changes nothing here. A POST needs the session's CSRF
token, in the form or as `X-CSRF-Token`, and must come from our own pages.
"""

import hmac
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.types import Message

from aftercall.db.models import Role, Via
from aftercall.flows.audit import Actor
from aftercall.flows.service import Service
from aftercall.flows.sign_in import SignedIn, find_signed_in
from api.access import address_of
from api.console.errors import error_response, wants_page
from api.console.headers import secured
from api.problems import Problem

COOKIE = "aftercall_session"
CSRF_FIELD = "csrf_token"
CSRF_HEADER = "X-CSRF-Token"
#: Of somebody who is not signed in: a token and where to go, no more.
MAX_OPEN_FORM_BYTES = 8 * 1024
#: Of somebody who is.
MAX_FORM_BYTES = 512 * 1024
_MAX_FIELDS = 200
_READING = frozenset({"GET", "HEAD"})

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Who looks at the page."""

    signed_in: SignedIn
    address: str | None

    @property
    def role(self) -> Role:
        return self.signed_in.role

    @property
    def csrf_token(self) -> str:
        return self.signed_in.csrf_token

    @property
    def may_change(self) -> bool:
        """Whether to show the buttons that change something."""
        return self.role is Role.ADMIN

    @property
    def actor(self) -> Actor:
        """For the audit log: hand it to a flow as `by`."""
        return Actor(name=self.role, via=Via.CONSOLE, address=self.address)


def _for_readers() -> None:
    """Only a mark."""


#: `dependencies=[FOR_READERS]` on a POST that changes nothing, so that readers may use it too.
FOR_READERS = Depends(_for_readers)


class ConsoleRoute(APIRoute):
    """A page's route. Faults become pages, and every answer has the headers of a page."""

    def get_route_handler(self) -> Handler:
        answer = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            request.state.viewer = None
            try:
                request, refusal = await self._admit(request)
                response = refusal or await answer(request)
            except Exception as error:
                response = error_response(request, error)
            return secured(response)

        return guarded

    async def _admit(self, request: Request) -> tuple[Request, Response | None]:
        """The request with its viewer, or what to answer instead."""
        if request.method not in _READING:
            _check_origin(request)
        viewer = await run_in_threadpool(find_viewer, request)
        if viewer is None:
            return request, _to_sign_in(request)
        if request.method not in _READING:
            if not viewer.may_change and FOR_READERS not in self.dependencies:
                raise Problem(
                    403, "You are signed in for reading only: sign in with the admin token"
                )
            request = _bounded(request, MAX_FORM_BYTES)
            await _check_csrf(request, viewer)
        request.state.viewer = viewer
        return request, None


class OpenRoute(ConsoleRoute):
    """A route for those who are not signed in: `request.state.viewer` may be None."""

    async def _admit(self, request: Request) -> tuple[Request, Response | None]:
        if request.method not in _READING:
            _check_origin(request)
            return _bounded(request, MAX_OPEN_FORM_BYTES), None
        request.state.viewer = await run_in_threadpool(find_viewer, request)
        return request, None


def find_viewer(request: Request) -> Viewer | None:
    """Whose cookie this is; None when nobody is signed in with it."""
    id_ = request.cookies.get(COOKIE)
    if id_ is None:
        return None
    service: Service = request.app.state.service
    signed_in = find_signed_in(service, id_)
    if signed_in is None:
        return None
    return Viewer(signed_in=signed_in, address=address_of(request))


def _viewer(request: Request) -> Viewer:
    viewer: Viewer = request.state.viewer
    return viewer


ViewerOf = Annotated[Viewer, Depends(_viewer)]


def _to_sign_in(request: Request) -> Response:
    if not wants_page(request):
        raise Problem(401, "You are not signed in any more: load the page again")
    url = request.url
    here = url.path + (f"?{url.query}" if url.query else "")
    onward = f"?next={quote(here)}" if request.method in _READING and here != "/" else ""
    if request.method not in _READING and not url.path.endswith("/sign-out"):
        # A form cannot be sent again from there: what was typed is lost, and the page says so.
        onward = f"?lost=yes&next={quote(_form_page(request))}"
    root = request.scope.get("root_path", "").rstrip("/")
    return RedirectResponse(f"{root}/sign-in{onward}", 303)


def _form_page(request: Request) -> str:
    """Where the form stood; our pages tell it to ourselves alone."""
    page = urlsplit(request.headers.get("referer", ""))
    if page.netloc != request.headers.get("host"):
        return ""
    return page.path + (f"?{page.query}" if page.query else "")


def _check_origin(request: Request) -> None:
    """403 when a page of somebody else sends it. What is no browser says nothing, and may."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        is_ours = site in ("same-origin", "none")
    elif origin is not None:
        is_ours = urlsplit(origin).netloc == request.headers.get("host")
    else:
        is_ours = True
    if not is_ours:
        raise Problem(403, "This came from another site's page: go to the console and do it there")


async def _check_csrf(request: Request, viewer: Viewer) -> None:
    given = request.headers.get(CSRF_HEADER)
    if given is None:
        # What is read here is kept in the request, for the route's own fields.
        form = await request.form(max_files=0, max_fields=_MAX_FIELDS, max_part_size=MAX_FORM_BYTES)
        field = form.get(CSRF_FIELD)
        given = field if isinstance(field, str) else ""
    if not hmac.compare_digest(given.encode("utf-8", "replace"), viewer.csrf_token.encode()):
        raise Problem(403, "The form is not of this session: load the page again and repeat it")


def _bounded(request: Request, limit: int) -> Request:
    """The same request, whose body is refused beyond the limit."""
    read = 0

    async def receive() -> Message:
        nonlocal read
        message = await request.receive()
        read += len(message.get("body", b""))
        if read > limit:
            raise Problem(413, f"The form is over {limit} bytes", {"Connection": "close"})
        return message

    return Request(request.scope, receive)
