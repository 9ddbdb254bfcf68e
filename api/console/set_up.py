"""The first set-up: four steps from nothing to the first call that arrives."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from aftercall.flows.check_workspace import check_workspace
from aftercall.flows.errors import Invalid
from aftercall.flows.service import Service
from aftercall.flows.set_up import send_test_webhook, show_set_up
from aftercall.flows.views import SetUpView
from api.access import ServiceOf
from api.console.gate import ConsoleRoute, Viewer, ViewerOf
from api.console.live import Event, live_response, replace
from api.console.pages import redirect, render, render_text, root_of
from api.console.workspaces import CredentialsForm, say_check, set_credentials
from api.paths import WEBHOOK as WEBHOOK_PATH
from api.routes.parameters import Text

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)

_MASK = "••••••••"
#: What `show` asks for.
_WHOLE_ADDRESS = "token"
#: Nobody on the internet reaches these.
_ONLY_HERE = ("localhost", "127.0.0.1", "::1")


@router.get("/set-up")
def set_up(request: Request, service: ServiceOf, viewer: ViewerOf, show: Text = "") -> Response:
    return _page(request, service, viewer, is_token_shown=show == _WHOLE_ADDRESS)


@router.get("/live/set-up")
async def live(request: Request, service: ServiceOf) -> Response:
    def show(view: SetUpView) -> Sequence[Event]:
        return [replace(render_text(request, "set_up_live.html", set_up_view=view))]

    return live_response(request, "set-up", read=lambda: show_set_up(service), show=show)


@router.post("/set-up/credentials")
def credentials(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    form: Annotated[CredentialsForm, Form()],
) -> Response:
    """Sets them and asks Twenty2 at once whether they are good."""
    try:
        view = set_credentials(service, form.workspace_id, form, by=viewer.actor)
    except Invalid as error:
        given = {"workspace_id": form.workspace_id}
        return _page(request, service, viewer, faults=dict(error.errors), given=given)
    says, tone = say_check(check_workspace(service, view.workspace_id))
    return redirect(request, "/set-up", says=says, tone=tone)


@router.post("/set-up/check")
def check(
    request: Request, service: ServiceOf, workspace_id: Annotated[str, Form()] = ""
) -> Response:
    says, tone = say_check(check_workspace(service, workspace_id))
    return redirect(request, "/set-up", says=says, tone=tone)


@router.post("/set-up/webhook")
def send_webhook(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    call_id: Annotated[str, Form()] = "",
    workspace_id: Annotated[str, Form()] = "",
) -> Response:
    try:
        send_test_webhook(service, call_id, workspace_id=workspace_id or None, by=viewer.actor)
    except Invalid as error:
        return _page(
            request, service, viewer, faults=dict(error.errors), given={"call_id": call_id}
        )
    says = "The test webhook is received. Below you see how far its call is."
    return redirect(request, "/set-up", says=says)


def set_up_values(
    request: Request,
    viewer: Viewer,
    view: SetUpView,
    *,
    is_token_shown: bool = False,
    faults: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What set_up_steps.html knows. The token is in it only for who may have it, and asked."""
    url = webhook_url(request)
    is_token_shown = is_token_shown and viewer.may_change
    token = request.app.state.webhook_token if is_token_shown else None
    return {
        "set_up_view": view,
        "is_token_shown": is_token_shown,
        "webhook_url": f"{url}?{urlencode({'token': token})}" if token else f"{url}?token={_MASK}",
        "is_only_here": urlsplit(url).hostname in _ONLY_HERE,
        "is_signed": request.app.state.hmac_secret is not None,
        "faults": faults or {},
        "given": given or {},
        "pairs_of": lambda ids: [(one, one) for one in ids],
    }


def webhook_url(request: Request) -> str:
    """As the browser reaches us; without the token."""
    return f"{request.url.scheme}://{request.url.netloc}{root_of(request)}{WEBHOOK_PATH}"


def _page(
    request: Request,
    service: Service,
    viewer: Viewer,
    *,
    is_token_shown: bool = False,
    faults: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
) -> Response:
    values = set_up_values(
        request,
        viewer,
        show_set_up(service),
        is_token_shown=is_token_shown,
        faults=faults,
        given=given,
    )
    return render(request, "set_up.html", status=422 if faults else 200, **values)
