"""/api/v1/destinations: make, change, test, pause and remove CRM hooks."""

import uuid
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from aftercall.crm.destination_spec import WHOLE, DestinationSpec, change_schema
from aftercall.db.models import Role
from aftercall.flows import configure_destinations as flow
from aftercall.flows.backfill_destination import backfill_destination
from aftercall.flows.check_destination import list_crm_fields, list_kinds
from aftercall.flows.preview_destination import PreviewSpec, preview_destination, without_query
from aftercall.flows.views import (
    BackfillView,
    CrmFieldView,
    DestinationView,
    KindView,
    NewDestinationView,
    Page,
    PreviewView,
    TestView,
)
from api.access import ActorOf, ServiceOf
from api.routes.parameters import Moment

router = APIRouter(prefix="/destinations", tags=["destinations"])

_EXAMPLE = {
    "name": "Leads in the CRM",
    "url": "https://crm.example.com/hooks/calls",
    "events": ["call.completed"],
    "filter": "output_parameters.interested == 'yes'",
    "mapping": "{phone: call.callee_phone, when: output_parameters.callback_time}",
    "headers": {"X-Api-Key": "a key of the CRM's"},
}
#: Checked with the fields that stay.
Change = Annotated[dict[str, Any], WithJsonSchema(change_schema())]


@router.post("", status_code=201)
def create(
    service: ServiceOf, by: ActorOf, spec: Annotated[DestinationSpec, Body(examples=[_EXAMPLE])]
) -> NewDestinationView:
    """Answers with the secret, for the only time."""
    return flow.create_destination(service, spec, by=by)


@router.get("")
def list_all(request: Request, service: ServiceOf) -> Page[DestinationView]:
    """All of them: there are never many. The read-only token sees no URL's query."""
    views = flow.list_destinations(service)
    return Page(items=[_for_role(request, one) for one in views], next_cursor=None)


@router.get("/{destination_id:uuid}")
def show(request: Request, service: ServiceOf, destination_id: uuid.UUID) -> DestinationView:
    return _for_role(request, flow.show_destination(service, destination_id))


@router.patch("/{destination_id:uuid}")
def change(
    service: ServiceOf,
    by: ActorOf,
    destination_id: uuid.UUID,
    fields: Annotated[Change, Body(examples=[{"timeout_seconds": 20}])],
) -> DestinationView:
    """Sets the fields that are given; the others stay. A masked header keeps its value."""
    return flow.change_destination(service, destination_id, fields, by=by)


@router.delete("/{destination_id:uuid}", status_code=204)
def remove(service: ServiceOf, by: ActorOf, destination_id: uuid.UUID) -> None:
    """Its history stays; what waited for it is dead."""
    flow.remove_destination(service, destination_id, by=by)


@router.post("/{destination_id:uuid}/test")
def test(service: ServiceOf, by: ActorOf, destination_id: uuid.UUID) -> TestView:
    """Posts a made-up call, signed, and tells what the hook answered."""
    return flow.test_destination(service, destination_id, by=by)


@router.post("/{destination_id:uuid}/enable")
def enable(service: ServiceOf, by: ActorOf, destination_id: uuid.UUID) -> DestinationView:
    """What was held goes on its way."""
    return flow.enable_destination(service, destination_id, by=by)


@router.post("/{destination_id:uuid}/disable")
def disable(service: ServiceOf, by: ActorOf, destination_id: uuid.UUID) -> DestinationView:
    """Deliveries are held until it is enabled."""
    return flow.disable_destination(service, destination_id, by=by)


class Rotation(BaseModel):
    """`overlap_hours`: for how long the secret before signs as well; 0: not at all."""

    model_config = ConfigDict(extra="forbid", strict=True)

    overlap_hours: Annotated[int, Field(ge=0, le=720, strict=False), WHOLE] = 24


@router.post("/{destination_id:uuid}/rotate-secret")
def rotate_secret(
    service: ServiceOf,
    by: ActorOf,
    destination_id: uuid.UUID,
    rotation: Annotated[Rotation | None, Body(examples=[{"overlap_hours": 24}])] = None,
) -> NewDestinationView:
    """Answers with the new secret, for the only time."""
    hours = (rotation or Rotation()).overlap_hours
    return flow.rotate_secret(service, destination_id, overlap=timedelta(hours=hours), by=by)


@router.get("/kinds")
def kinds(_: ServiceOf) -> Page[KindView]:
    """The CRMs that a destination may be, and what each needs to be told."""
    return Page(items=list_kinds(), next_cursor=None)


@router.get("/{destination_id:uuid}/fields")
def fields(service: ServiceOf, destination_id: uuid.UUID) -> Page[CrmFieldView]:
    """The fields that may be mapped, asked of the CRM now."""
    return Page(items=list_crm_fields(service, destination_id), next_cursor=None)


class Backfill(BaseModel):
    """The newest `count` saved calls that came in between."""

    model_config = ConfigDict(extra="forbid", strict=True)

    count: Annotated[int, Field(ge=1, le=1_000, strict=False), WHOLE] = 100
    since: Annotated[Moment, Field(strict=False)] | None = None
    until: Annotated[Moment, Field(strict=False)] | None = None
    preview: bool = Field(False, description="Only count what would go")


@router.post("/{destination_id:uuid}/backfill")
def backfill(
    service: ServiceOf,
    by: ActorOf,
    destination_id: uuid.UUID,
    which: Annotated[Backfill, Body(examples=[{"count": 50}])],
) -> BackfillView:
    """Sends past calls that it has not got yet and would have wanted. Each goes once."""
    return backfill_destination(
        service,
        destination_id,
        count=which.count,
        since=which.since,
        until=which.until,
        preview=which.preview,
        by=by,
    )


@router.post("/preview")
def preview(service: ServiceOf, spec: PreviewSpec) -> PreviewView:
    """What past calls would give: wanted or not, and the body. Sends and stores nothing."""
    return preview_destination(service, spec)


def _for_role(request: Request, view: DestinationView) -> DestinationView:
    """Many a hook has its token in the query: who only reads does not see it."""
    if request.state.role is not Role.READER:
        return view
    return view.model_copy(update={"url": without_query(view.url, "…")})
