"""Sending past calls to a destination: how many, a look at how many would go, and go."""

import uuid
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import Response
from pydantic import AfterValidator, BaseModel, BeforeValidator

from aftercall.flows.backfill_destination import MOST, backfill_destination
from aftercall.flows.configure_destinations import show_destination
from aftercall.flows.service import Service
from api.access import ServiceOf
from api.console.destination_form import check_may_change
from api.console.gate import ConsoleRoute, ViewerOf
from api.console.pages import redirect, render
from api.console.words import plural
from api.routes.parameters import Moment, Text

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _in_utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


Time = Annotated[Moment | None, AfterValidator(_in_utc), BeforeValidator(_none_if_empty)]


class Past(BaseModel):
    """Which calls, as the form has it."""

    count: Text = "100"
    since: Time = None
    until: Time = None

    @property
    def number(self) -> int | None:
        """None when it is no number that can be."""
        text = self.count.strip()
        if not (text.isascii() and text.isdigit() and len(text) < 6):
            return None
        return int(text) if 1 <= int(text) <= MOST else None


@router.get("/destinations/{destination_id:uuid}/backfill")
def look(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    destination_id: uuid.UUID,
    past: Annotated[Past, Query()],
) -> Response:
    check_may_change(viewer.may_change)
    return _page(request, service, destination_id, past)


@router.post("/destinations/{destination_id:uuid}/backfill")
def go(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    destination_id: uuid.UUID,
    past: Annotated[Past, Form()],
) -> Response:
    if past.number is None:
        return _page(request, service, destination_id, past)
    view = backfill_destination(
        service,
        destination_id,
        count=past.number,
        since=past.since,
        until=past.until,
        by=viewer.actor,
    )
    destination = show_destination(service, destination_id)
    name = destination.name[:60]
    if destination.enabled:
        says = f"{plural(view.queued, 'past call goes', 'past calls go')} to {name} now."
        return redirect(request, f"/destinations/{destination_id}", says=says)
    held = plural(view.queued, "past call is held", "past calls are held")
    says = f"{held} until {name} is resumed."
    return redirect(request, f"/destinations/{destination_id}", says=says, tone="note")


def _page(request: Request, service: Service, destination_id: uuid.UUID, past: Past) -> Response:
    view = show_destination(service, destination_id)
    found = None
    if past.number is not None:
        found = backfill_destination(
            service,
            destination_id,
            count=past.number,
            since=past.since,
            until=past.until,
            preview=True,
        )
    return render(
        request,
        "backfill.html",
        status=200 if found else 422,
        destination=view,
        past=past,
        found=found,
        fault=None if found else f"A number from 1 to {MOST:,}",
    )
