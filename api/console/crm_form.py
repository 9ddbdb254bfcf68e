"""Making and changing a destination that is a CRM: whom a call is about, and what is written.

The same as for hooks: nothing typed is lost, each fault stands at its place, and the
preview works with the script and without. The CRM's own fields are asked for apart,
by the script or on a page of their own, so that a slow CRM holds up no form.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import ValidationError

from aftercall.crm.description import Description, descriptions
from aftercall.crm.mapping import fault_of
from aftercall.domain.work import EVENT_TYPES
from aftercall.flows import configure_destinations as flow
from aftercall.flows.check_destination import list_crm_fields
from aftercall.flows.errors import Conflict, Invalid, NotFound, invalid_from
from aftercall.flows.preview_destination import (
    PreviewSpec,
    fault_view,
    preview_destination,
    source_of,
)
from aftercall.flows.service import Service
from aftercall.flows.views import CrmFieldView, PreviewCallView
from api.access import ServiceOf
from api.console.crm_typed import (
    CrmTyped,
    Row,
    as_typed,
    blank,
    expressions_of,
    spec_of,
    sync_of,
)
from api.console.crm_words import MODES, TYPES, WHEN_MANY, WHEN_NONE
from api.console.destination_form import (
    check_may_change,
    refuse_if_changed,
    workspace_choices,
)
from api.console.destinations import version
from api.console.errors import wants_page
from api.console.gate import FOR_READERS, ConsoleRoute, ViewerOf
from api.console.pages import redirect, render, render_text
from api.console.places import Place, place_of

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)

TypedOf = Annotated[CrmTyped, Form()]

#: Newest calls that a preview shows.
_SHOWN_CALLS = 3
#: Where a fault has a place of its own on the form; all others are told at the top.
_PLACED = re.compile(
    r"name|url|workspace_id|filter|events|timeout_seconds|max_in_flight|rate_limit_per_second"
    r"|credentials\.\w+|sync\.(options\.\w+|name|follow_up\.(time|wanted|subject)"
    r"|fields\.\d+\.(source|field|type|mode|default|choices))"
)


@dataclass(frozen=True, slots=True)
class Tried:
    """What a preview found. `offers`: parameters that no field takes, and their source."""

    marks: dict[str, Place] = field(default_factory=dict)
    calls: Sequence[PreviewCallView] = ()
    note: str | None = None
    offers: Sequence[tuple[str, str]] = ()
    sources: Sequence[str] = ()


@router.get("/destinations/new/{kind}")
def new(request: Request, service: ServiceOf, viewer: ViewerOf, kind: str) -> Response:
    check_may_change(viewer.may_change)
    crm = _crm(kind)
    return _form(request, service, crm, blank(crm))


@router.post("/destinations/new/{kind}")
def create(
    request: Request, service: ServiceOf, viewer: ViewerOf, kind: str, typed: TypedOf
) -> Response:
    crm, typed = _crm(kind), typed.tidied()
    try:
        fields = {**spec_of(typed, crm, there={}), "enabled": not typed.paused}
        made = flow.create_destination(service, flow.read_spec(fields), by=viewer.actor)
    except (Invalid, Conflict) as error:
        return _refused(request, service, crm, typed, error)
    says = f"{made.name[:60]} is made. Check the connection before the first call goes there."
    return redirect(request, f"/destinations/{made.id}", says=says)


@router.get("/destinations/{destination_id:uuid}/sync")
def edit(
    request: Request, service: ServiceOf, viewer: ViewerOf, destination_id: uuid.UUID
) -> Response:
    check_may_change(viewer.may_change)
    view = flow.show_destination(service, destination_id)
    crm = _crm(view.kind)
    typed = as_typed(view, crm)
    typed.seen = version(view.updated_at)
    typed.preview_call_id = request.query_params.get("call_id", "")
    return _form(request, service, crm, typed, there=view.credentials)


@router.post("/destinations/{destination_id:uuid}/sync")
def change(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    destination_id: uuid.UUID,
    typed: TypedOf,
) -> Response:
    view = flow.show_destination(service, destination_id)
    crm = _crm(view.kind)
    typed = typed.tidied()
    typed.destination_id = str(destination_id)
    try:
        refuse_if_changed(typed, view)
        fields = spec_of(typed, crm, there=view.credentials)
        flow.change_destination(service, destination_id, fields, by=viewer.actor)
    except (Invalid, Conflict) as error:
        return _refused(request, service, crm, typed, error, there=view.credentials)
    says = "Saved. What is sent from now on is made with it."
    return redirect(request, f"/destinations/{destination_id}", says=says)


@router.post("/destinations/preview/{kind}", dependencies=[FOR_READERS])
def preview(request: Request, service: ServiceOf, kind: str, typed: TypedOf) -> Response:
    """For the script the parts that change; without it the whole form again, rows in and out."""
    crm = _crm(kind)
    if wants_page(request):
        return _form(request, service, crm, typed.tidied(), there=_kept(service, typed))
    values = {
        "crm": crm,
        "typed": typed,
        "tried": _try(service, crm, typed),
        "shown": typed.phones == "shown",
        "row_count": len(typed.rows),
    }
    return HTMLResponse(render_text(request, "crm_preview_parts.html", **values))


@router.get("/destinations/{destination_id:uuid}/fields")
def fields(request: Request, service: ServiceOf, destination_id: uuid.UUID) -> Response:
    """The CRM's own, asked for now: a page, and for the script what a form offers."""
    view = flow.show_destination(service, destination_id)
    found: list[CrmFieldView] = []
    fault = None
    try:
        found = list_crm_fields(service, destination_id)
    except Conflict as error:
        fault = str(error)[:600]
    values: dict[str, Any] = {
        "destination": view,
        "crm": _crm(view.kind),
        "fields": found,
        "fault": fault,
    }
    if wants_page(request):
        return render(request, "crm_fields.html", **values)
    return HTMLResponse(render_text(request, "crm_fields_part.html", **values))


# ---- the form ----------------------------------------------------------------


def _form(
    request: Request,
    service: Service,
    crm: Description,
    typed: CrmTyped,
    *,
    there: Mapping[str, str] | None = None,
    faults: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    tried = _try(service, crm, typed)
    # Where an expression is wrong is shown in the expression.
    faults = {at: message for at, message in (faults or {}).items() if at not in tried.marks}
    return render(
        request,
        "crm_form.html",
        status=status,
        crm=crm,
        crms=descriptions().values(),
        typed=typed,
        rows=typed.rows or [Row()],
        there=there or {},
        workspaces=workspace_choices(service, typed.workspace_id),
        tried=tried,
        faults=faults,
        elsewhere=[one for at, one in faults.items() if not _PLACED.fullmatch(at)],
        is_refused=status == 422,
        shown=typed.phones == "shown",
        types=TYPES,
        modes=MODES,
        when_none=WHEN_NONE,
        when_many=WHEN_MANY,
    )


def _refused(
    request: Request,
    service: Service,
    crm: Description,
    typed: CrmTyped,
    error: Invalid | Conflict,
    *,
    there: Mapping[str, str] | None = None,
) -> Response:
    """The form again, each fault at its place."""
    faults: dict[str, str] = {}
    if isinstance(error, Conflict):
        faults["name"] = str(error)
    else:
        for at, message in error.errors:
            place = "events" if at.startswith("events") else at
            faults.setdefault(place, message[:1_000])
    return _form(request, service, crm, typed, there=there, faults=faults, status=422)


def _crm(kind: str) -> Description:
    crm = descriptions().get(kind)
    if crm is None:
        raise NotFound(f"There is no CRM of the kind {kind[:60]!r} here")
    return crm


def _kept(service: Service, typed: CrmTyped) -> Mapping[str, str]:
    """The credentials that it has already, masked."""
    if typed.id is None:
        return {}
    try:
        return flow.show_destination(service, typed.id).credentials
    except NotFound:
        return {}


# ---- the preview -------------------------------------------------------------


def _try(service: Service, crm: Description, typed: CrmTyped) -> Tried:
    if marks := _marks(typed):
        return Tried(marks=marks)
    try:
        spec = PreviewSpec.model_validate(
            {
                "kind": crm.kind,
                "sync": sync_of(typed, crm, only_whole=True),
                "events": [one for one in typed.events if one in EVENT_TYPES],
                "filter": typed.filter.replace("\r\n", "\n") or None,
                "call_id": typed.preview_call_id.strip() or None,
                "workspace_id": typed.workspace_id or None,
                "count": _SHOWN_CALLS,
            }
        )
        found = preview_destination(service, spec)
    except ValidationError as error:
        return Tried(note=f"Correct this first. {invalid_from(error)}"[:300])
    except (NotFound, Conflict) as error:
        return Tried(note=str(error)[:300])
    if found.faults:
        return Tried(note=f"Fill this in first. {found.faults[0].message}"[:300])
    if not found.calls:
        return Tried(note="No call is saved yet, so there is nothing to try it on.")
    # A line that is still being typed takes its parameter already.
    taken = {row.source.strip() for row in typed.rows}
    offers = [(name, source_of("output_parameters", name)) for name in found.unmapped]
    return Tried(
        calls=found.calls,
        offers=[(name, source) for name, source in offers if source not in taken],
        sources=found.sources,
    )


def _marks(typed: CrmTyped) -> dict[str, Place]:
    return {
        place: place_of(fault_view(place, text, fault), text)
        for place, text in expressions_of(typed).items()
        if text.strip() and (fault := fault_of(text)) is not None
    }
