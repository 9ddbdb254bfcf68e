"""Workspaces: their credentials go in and never come out; their limit; whether they are blocked.

An id may be any text, slashes too.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from aftercall.db.call_search import CallQuery
from aftercall.domain.cures import cure_for, cure_for_block
from aftercall.domain.states import CallState
from aftercall.flows.audit import Actor
from aftercall.flows.check_workspace import check_workspace, release
from aftercall.flows.configure_workspaces import (
    WorkspaceSpec,
    regions,
    set_workspace,
    time_zones,
)
from aftercall.flows.errors import Conflict, Invalid, NotFound, invalid_from
from aftercall.flows.look import list_calls, show_workspace, show_workspaces
from aftercall.flows.overview import use_of
from aftercall.flows.reconciliations import (
    cancel_reconciliation,
    list_reconciliations,
    start_reconciliation,
)
from aftercall.flows.service import Service
from aftercall.flows.views import (
    ReconciliationView,
    WorkspaceCheckView,
    WorkspaceUseView,
    WorkspaceView,
)
from api.access import ServiceOf
from api.console.gate import ConsoleRoute, ViewerOf
from api.console.live import Event, live_response, replace
from api.console.pages import Tone, redirect, render, render_text, root_of
from api.console.words import plural
from api.routes.parameters import Text

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)

_SHOWN_FAILURES = 10
_SHOWN_READINGS = 5


class CredentialsForm(BaseModel):
    """As browsers send it: a field that is left empty is empty text."""

    workspace_id: str = ""
    api_key: str = ""
    api_secret: str = ""
    rate_limit: str = ""


@router.get("/workspaces")
def list_all(request: Request, service: ServiceOf) -> Response:
    return _list(request, service)


@router.post("/workspaces")
def add(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    form: Annotated[CredentialsForm, Form()],
) -> Response:
    try:
        _check_new(service, form.workspace_id)
        view = set_credentials(service, form.workspace_id, form, by=viewer.actor)
    except Invalid as error:
        return _list(request, service, faults=dict(error.errors), form=form)
    says, tone = say_check(check_workspace(service, view.workspace_id))
    return redirect(request, path_of(view.workspace_id), says=f"It is added. {says}", tone=tone)


@router.get("/live/workspaces")
async def live(request: Request, service: ServiceOf, workspace_id: Text = "") -> Response:
    """Of the list, or of one page. All who look share one answer."""

    def show(views: Sequence[WorkspaceUseView]) -> Sequence[Event]:
        if not workspace_id:
            return [replace(_parts(request, "workspaces_rows.html", workspaces=views))]
        return [
            replace(_parts(request, "workspace_now.html", workspace=one))
            for one in views
            if one.workspace_id == workspace_id
        ]

    return live_response(request, "workspaces", read=lambda: _uses(service), show=show)


@router.get("/live/readings")
async def live_readings(request: Request, service: ServiceOf, workspace_id: Text = "") -> Response:
    """Of Twenty2's log, on a workspace's page."""
    viewer = request.state.viewer

    def show(readings: Sequence[ReconciliationView]) -> Sequence[Event]:
        html = render_text(
            request,
            "workspace_readings.html",
            readings=readings,
            viewer=viewer,
            path=root_of(request) + path_of(workspace_id),
        )
        return [replace(html)]

    return live_response(
        request,
        f"readings:{workspace_id}",
        read=lambda: _readings(service, workspace_id),
        show=show,
    )


@router.get("/workspaces/{workspace_id:path}")
def show_one(request: Request, service: ServiceOf, workspace_id: str) -> Response:
    return _one(request, service, workspace_id)


@router.post("/workspaces/{workspace_id:path}/credentials")
def change_credentials(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    workspace_id: str,
    form: Annotated[CredentialsForm, Form()],
) -> Response:
    show_workspace(service, workspace_id)
    try:
        set_credentials(service, workspace_id, form, by=viewer.actor)
    except Invalid as error:
        return _one(request, service, workspace_id, faults=dict(error.errors))
    says, tone = say_check(check_workspace(service, workspace_id))
    return redirect(request, path_of(workspace_id), says=f"They are set. {says}", tone=tone)


@router.post("/workspaces/{workspace_id:path}/limit")
def change_limit(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    workspace_id: str,
    rate_limit: Annotated[str, Form()] = "",
) -> Response:
    show_workspace(service, workspace_id)
    try:
        spec = _spec({"rate_limit": _whole_number(rate_limit)})
        view = set_workspace(service, workspace_id, spec, by=viewer.actor)
    except Invalid as error:
        return _one(
            request, service, workspace_id, faults=dict(error.errors), rate_limit=rate_limit
        )
    says = f"The limit is {view.rate_limit:,} requests a minute."
    return redirect(request, path_of(workspace_id), says=says)


@router.post("/workspaces/{workspace_id:path}/place")
def change_place(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    workspace_id: str,
    region: Annotated[str, Form()] = "",
    time_zone: Annotated[str, Form()] = "",
) -> Response:
    show_workspace(service, workspace_id)
    try:
        spec = _spec({"region": region, "time_zone": time_zone})
        view = set_workspace(service, workspace_id, spec, by=viewer.actor)
    except Invalid as error:
        given = {"region": region, "time_zone": time_zone}
        return _one(request, service, workspace_id, faults=dict(error.errors), place=given)
    says = f"Its calls are of {view.region}, in the time of {view.time_zone}."
    return redirect(request, path_of(workspace_id), says=says)


@router.post("/workspaces/{workspace_id:path}/check")
def check(request: Request, service: ServiceOf, workspace_id: str) -> Response:
    says, tone = say_check(check_workspace(service, workspace_id))
    return redirect(request, path_of(workspace_id), says=says, tone=tone)


@router.post("/workspaces/{workspace_id:path}/release")
def release_now(
    request: Request, service: ServiceOf, viewer: ViewerOf, workspace_id: str
) -> Response:
    release(service, workspace_id, by=viewer.actor)
    says = "The block is over: its calls are asked for again."
    return redirect(request, path_of(workspace_id), says=says)


@router.post("/workspaces/{workspace_id:path}/reconcile")
def reconcile(
    request: Request, service: ServiceOf, viewer: ViewerOf, workspace_id: str
) -> Response:
    try:
        start_reconciliation(service, workspace_id, by=viewer.actor)
    except Conflict as error:
        return redirect(request, path_of(workspace_id), says=str(error), tone="bad")
    says = "Twenty2's log is read now, behind everything else. What was missed is queued."
    return redirect(request, path_of(workspace_id), says=says)


@router.post("/workspaces/{workspace_id:path}/reconciliations/{reconciliation_id:uuid}/stop")
def stop_reading(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    workspace_id: str,
    reconciliation_id: uuid.UUID,
) -> Response:
    view = cancel_reconciliation(service, reconciliation_id, by=viewer.actor)
    says = f"Stopped: {plural(view.missing, 'missed call')} found so far, and queued."
    return redirect(request, path_of(workspace_id), says=says, tone="note")


def path_of(workspace_id: str) -> str:
    return f"/workspaces/{quote(workspace_id, safe='')}"


def set_credentials(
    service: Service, workspace_id: str, form: CredentialsForm, *, by: Actor | None
) -> WorkspaceView:
    """Both, and the limit if one is given. Invalid, with every fault at its field."""
    faults = [
        (name, "It is missing")
        for name in ("api_key", "api_secret")
        if not getattr(form, name).strip()
    ]
    if not workspace_id.strip():
        faults.insert(0, ("workspace_id", "It is missing"))
    if faults:
        raise Invalid(faults)
    fields: dict[str, object] = {
        "api_key": form.api_key.strip(),
        "api_secret": form.api_secret.strip(),
    }
    if form.rate_limit.strip():
        fields["rate_limit"] = _whole_number(form.rate_limit)
    return set_workspace(service, workspace_id, _spec(fields), by=by)


def say_check(view: WorkspaceCheckView) -> tuple[str, Tone]:
    """What Twenty2 said of the credentials, and what to do."""
    tones: dict[bool | None, Tone] = {True: "good", False: "bad", None: "note"}
    return f"{view.message} {view.cure or ''}".strip(), tones[view.works]


def _whole_number(text: str) -> int | str | None:
    """None when it is empty; as it is when it is none, for the fault to be told."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) < 10 else text or None


def _spec(fields: Mapping[str, object]) -> WorkspaceSpec:
    try:
        return WorkspaceSpec.model_validate(fields)
    except ValidationError as error:
        raise invalid_from(error) from None


def _check_new(service: Service, workspace_id: str) -> None:
    try:
        show_workspace(service, workspace_id.strip())
    except NotFound:
        return
    raise Invalid([("workspace_id", "This workspace is here already: open it to change it")])


def _uses(service: Service) -> list[WorkspaceUseView]:
    return [use_of(service, view) for view in show_workspaces(service)]


def _list(
    request: Request,
    service: Service,
    *,
    faults: Mapping[str, str] | None = None,
    form: CredentialsForm | None = None,
) -> Response:
    return render(
        request,
        "workspaces.html",
        status=422 if faults else 200,
        workspaces=_uses(service),
        default_limit=service.settings.twentytwo_rate_limit,
        faults=faults or {},
        given=form or CredentialsForm(),
        **BLOCKS,
    )


def _one(
    request: Request,
    service: Service,
    workspace_id: str,
    *,
    faults: Mapping[str, str] | None = None,
    rate_limit: str | None = None,
    place: Mapping[str, str] | None = None,
) -> Response:
    workspace = use_of(service, show_workspace(service, workspace_id))
    default = service.settings.twentytwo_rate_limit
    dead = list_calls(
        service,
        CallQuery(state=(CallState.DEAD,), workspace_id=workspace_id, limit=_SHOWN_FAILURES),
    )
    values: dict[str, Any] = {
        "workspace": workspace,
        "rate_limit": _own_limit(workspace, default) if rate_limit is None else rate_limit,
        "default_limit": default,
        "place": place or {"region": workspace.region, "time_zone": workspace.time_zone},
        "time_zones": sorted(time_zones()),
        "regions": regions(),
        "readings": _readings(service, workspace_id),
        "reconcile_every": service.settings.reconcile_every,
        "failures": [(one, cure_for(one.last_error)) for one in dead.items],
        "faults": faults or {},
        **BLOCKS,
    }
    return render(request, "workspace.html", status=422 if faults else 200, **values)


def _readings(service: Service, workspace_id: str) -> list[ReconciliationView]:
    page = list_reconciliations(service, workspace_id=workspace_id, limit=_SHOWN_READINGS)
    return page.items


def _own_limit(workspace: WorkspaceView, default: int) -> str:
    return "" if workspace.rate_limit == default else str(workspace.rate_limit)


def _parts(request: Request, template: str, **values: Any) -> str:
    return render_text(request, template, **values, **BLOCKS)


def _block_cure(view: WorkspaceView) -> str:
    return cure_for_block(view.block_reason or "", has_credentials=view.has_credentials)


def _block_reason(view: WorkspaceView) -> str:
    """Without the command, which helps who has a terminal."""
    return (view.block_reason or "") if view.has_credentials else "It has no credentials."


#: For templates that tell of blocks.
BLOCKS = {"block_reason": _block_reason, "block_cure": _block_cure}
