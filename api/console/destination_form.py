"""Making and changing a destination: a form whose filter and mapping are tried on past calls.

What is typed is never lost: a form with faults comes back as it was, each fault at
its field. The preview is the same with the script, as one types, and without, by its button.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field, ValidationError

from aftercall.crm.description import descriptions
from aftercall.crm.destination_spec import MASK
from aftercall.domain.work import EVENT_TYPES, WEBHOOK
from aftercall.flows import configure_destinations as flow
from aftercall.flows.errors import Conflict, Invalid, NotFound, invalid_from
from aftercall.flows.look import show_workspaces
from aftercall.flows.preview_destination import PreviewSpec, find_faults, preview_destination
from aftercall.flows.service import Service
from aftercall.flows.views import DestinationView, PreviewCallView
from api.access import ServiceOf
from api.console.destinations import show_secret, version
from api.console.errors import wants_page
from api.console.gate import FOR_READERS, ConsoleRoute, ViewerOf
from api.console.pages import redirect, render, render_text
from api.console.places import Place, place_of
from api.problems import Problem

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)

#: Newest calls that a preview shows.
_SHOWN_CALLS = 3
#: Empty rows for headers, so that the script is not needed.
_SPARE_ROWS = 2
_MAX_ROWS = 40


class Typed(BaseModel):
    """The form as it was typed."""

    destination_id: str = ""
    #: The state of the destination that was looked at.
    seen: str = ""
    name: str = ""
    url: str = ""
    workspace_id: str = ""
    events: list[str] = Field(default_factory=list)
    filter: str = ""
    mapping: str = ""
    header_name: list[str] = Field(default_factory=list)
    header_value: list[str] = Field(default_factory=list)
    secret: str = Field("", repr=False)
    timeout_seconds: str = ""
    max_in_flight: str = ""
    rate_limit_per_second: str = ""
    preview_call_id: str = ""
    #: `shown`: the preview does not mask them.
    phones: str = ""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Rows with something in them."""
        rows = zip(self.header_name[:_MAX_ROWS], self.header_value[:_MAX_ROWS], strict=False)
        return [(name.strip(), value) for name, value in rows if name.strip() or value.strip()]

    @property
    def id(self) -> uuid.UUID | None:
        try:
            return uuid.UUID(self.destination_id)
        except ValueError:
            return None


TypedOf = Annotated[Typed, Form()]


@dataclass(frozen=True, slots=True)
class Tried:
    """What a preview found: faults by field, or calls, or why there are none."""

    faults: dict[str, Place] = field(default_factory=dict)
    calls: Sequence[PreviewCallView] = ()
    note: str | None = None


@router.get("/destinations/new")
def new(request: Request, service: ServiceOf, viewer: ViewerOf) -> Response:
    check_may_change(viewer.may_change)
    typed = Typed(events=list(EVENT_TYPES), timeout_seconds="15", max_in_flight="32")
    return _form(request, service, typed, tried=_try(service, typed))


@router.post("/destinations/new")
def create(request: Request, service: ServiceOf, viewer: ViewerOf, typed: TypedOf) -> Response:
    try:
        fields = _fields(typed)
        if typed.secret.strip():
            fields["secret"] = typed.secret.strip()
        made = flow.create_destination(service, flow.read_spec(fields), by=viewer.actor)
    except (Invalid, Conflict) as error:
        return _refused(request, service, typed, error)
    return show_secret(request, made, is_new=True)


@router.get("/destinations/{destination_id:uuid}/edit")
def edit(
    request: Request, service: ServiceOf, viewer: ViewerOf, destination_id: uuid.UUID
) -> Response:
    check_may_change(viewer.may_change)
    view = flow.show_destination(service, destination_id)
    if view.kind != WEBHOOK:
        query = f"?{request.url.query}" if request.url.query else ""
        return redirect(request, f"/destinations/{destination_id}/sync{query}")
    typed = _as_typed(view)
    typed.preview_call_id = request.query_params.get("call_id", "")
    return _form(request, service, typed, tried=_try(service, typed))


@router.post("/destinations/{destination_id:uuid}/edit")
def change(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    destination_id: uuid.UUID,
    typed: TypedOf,
) -> Response:
    typed.destination_id = str(destination_id)
    try:
        refuse_if_changed(typed, flow.show_destination(service, destination_id))
        flow.change_destination(service, destination_id, _fields(typed), by=viewer.actor)
    except (Invalid, Conflict) as error:
        return _refused(request, service, typed, error)
    says = "Saved. What is sent from now on is made with it."
    return redirect(request, f"/destinations/{destination_id}", says=says)


@router.post("/destinations/preview", dependencies=[FOR_READERS])
def preview(request: Request, service: ServiceOf, typed: TypedOf) -> Response:
    """For the script the parts that change; without it the whole form again."""
    tried = _try(service, typed)
    if wants_page(request):
        return _form(request, service, typed, tried=tried)
    shown = typed.phones == "shown"
    return HTMLResponse(render_text(request, "destination_preview.html", tried=tried, shown=shown))


# ---- the form ----------------------------------------------------------------


def _form(
    request: Request,
    service: Service,
    typed: Typed,
    *,
    tried: Tried,
    faults: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    rows = [*typed.headers, *[("", "")] * _SPARE_ROWS]
    return render(
        request,
        "destination_form.html",
        status=status,
        typed=typed,
        rows=rows,
        mask=MASK,
        events=EVENT_TYPES,
        workspaces=workspace_choices(service, typed.workspace_id),
        crms=descriptions().values(),
        tried=tried,
        faults=faults or {},
        is_refused=status == 422,
        shown=typed.phones == "shown",
    )


def workspace_choices(service: Service, chosen: str) -> list[tuple[str, str]]:
    """All, and what was chosen even when it is not there."""
    found = [(one.workspace_id, one.workspace_id) for one in show_workspaces(service)]
    if chosen and chosen not in dict(found):
        found.append((chosen, chosen))
    return [("", "Every workspace"), *found]


def _refused(
    request: Request, service: Service, typed: Typed, error: Invalid | Conflict
) -> Response:
    """The form again, each fault at its field."""
    faults: dict[str, str] = {}
    if isinstance(error, Conflict):
        faults["name"] = str(error)
    else:
        for at, message in error.errors:
            faults.setdefault(at.partition(".")[0], message[:1_000])
    tried = _try(service, typed)
    # Where an expression is wrong is shown in the expression.
    faults = {name: message for name, message in faults.items() if name not in tried.faults}
    return _form(request, service, typed, tried=tried, faults=faults, status=422)


def _fields(typed: Typed) -> dict[str, Any]:
    names = [name.lower() for name, _ in typed.headers]
    if len(set(names)) < len(names):
        raise Invalid([("headers", "A header is there twice")])
    return {
        "name": typed.name,
        "url": typed.url.strip(),
        "workspace_id": typed.workspace_id or None,
        "events": typed.events,
        "filter": expression(typed.filter),
        "mapping": expression(typed.mapping),
        "headers": dict(typed.headers),
        "timeout_seconds": number(typed.timeout_seconds),
        "max_in_flight": number(typed.max_in_flight),
        "rate_limit_per_second": number(typed.rate_limit_per_second),
    }


def _as_typed(view: DestinationView) -> Typed:
    limit = view.rate_limit_per_second
    return Typed(
        destination_id=str(view.id),
        seen=version(view.updated_at),
        name=view.name,
        url=view.url,
        workspace_id=view.workspace_id or "",
        events=view.events,
        filter=view.filter or "",
        mapping=view.mapping or "",
        header_name=list(view.headers),
        header_value=list(view.headers.values()),
        timeout_seconds=str(view.timeout_seconds),
        max_in_flight=str(view.max_in_flight),
        rate_limit_per_second="" if limit is None else str(limit),
    )


def number(text: str) -> int | str | None:
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    return text or None


def expression(text: str) -> str | None:
    """With line ends as people count them: a form sends two characters for each."""
    text = text.replace("\r\n", "\n")
    return text if text.strip() else None


class Seen(Protocol):
    """A form that knows which state of the destination it was made of."""

    seen: str


def refuse_if_changed(typed: Seen, view: DestinationView) -> None:
    """Invalid when it was changed since: what is saved would undo that. Sent again, it goes."""
    seen, typed.seen = typed.seen, version(view.updated_at)
    if seen and seen != typed.seen:
        raise Invalid(
            [
                (
                    "seen",
                    "It was changed by somebody else since this page was loaded. Saved once more, "
                    "your form replaces what they changed; loaded again, the page shows it.",
                )
            ]
        )


def check_may_change(may_change: bool) -> None:
    if not may_change:
        raise Problem(403, "You are signed in for reading only: sign in with the admin token")


# ---- the preview -------------------------------------------------------------


def _try(service: Service, typed: Typed) -> Tried:
    filter_, mapping = expression(typed.filter), expression(typed.mapping)
    texts = {"filter": filter_ or "", "mapping": mapping or ""}
    found = find_faults(filter_=filter_, mapping=mapping)
    if found:
        return Tried(faults={one.field: place_of(one, texts[one.field]) for one in found})
    try:
        spec = PreviewSpec.model_validate(
            {
                "events": [one for one in typed.events if one in EVENT_TYPES],
                "filter": filter_,
                "mapping": mapping,
                "call_id": typed.preview_call_id.strip() or None,
                "workspace_id": typed.workspace_id or None,
                "count": _SHOWN_CALLS,
            }
        )
        calls = preview_destination(service, spec).calls
    except ValidationError as error:
        return Tried(note=str(invalid_from(error))[:300])
    except (NotFound, Conflict) as error:
        return Tried(note=str(error)[:300])
    if not calls:
        return Tried(
            note="No call is saved yet, so there is nothing to try it on. "
            "“Send a test” posts a made-up call once the destination is saved."
        )
    return Tried(calls=calls)
