"""Destinations: how each is doing, and what can be done to it."""

import uuid
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from aftercall.db.delivery_search import DeliveryQuery
from aftercall.domain.cures import cure_for
from aftercall.domain.states import DeliveryState
from aftercall.domain.work import WEBHOOK
from aftercall.flows import configure_destinations as flow
from aftercall.flows.errors import Conflict, Invalid
from aftercall.flows.look import list_deliveries, list_groups
from aftercall.flows.overview import show_health
from aftercall.flows.service import Service
from aftercall.flows.views import DestinationView, NewDestinationView, TestView
from api.access import ServiceOf
from api.console.crm_words import MODES, TYPES, crm_of, kind_name, rules_of
from api.console.gate import ConsoleRoute, ViewerOf
from api.console.pages import redirect, render
from api.console.words import plural

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)

#: Hours for which the secret before signs as well.
OVERLAPS = (
    ("0", "Not at all: only the new one, at once"),
    ("1", "1 hour"),
    ("24", "24 hours"),
    ("72", "3 days"),
    ("168", "7 days"),
    ("720", "30 days"),
)
_RECEIVERS = (("Python", "verify.py.txt"), ("Node", "verify.js.txt"), ("PHP", "verify.php.txt"))


@router.get("/destinations")
def destinations(request: Request, service: ServiceOf) -> Response:
    views = {one.id: one for one in flow.list_destinations(service)}
    rows = [(views[one.id], one) for one in show_health(service) if one.id in views]
    return render(request, "destinations.html", rows=rows, kind_name=kind_name)


@router.get("/destinations/{destination_id:uuid}")
def destination(request: Request, service: ServiceOf, destination_id: uuid.UUID) -> Response:
    return _page(request, service, destination_id)


@router.post("/destinations/{destination_id:uuid}/test")
def test(
    request: Request, service: ServiceOf, viewer: ViewerOf, destination_id: uuid.UUID
) -> Response:
    """The answer stands on the page: it is too long to travel, and is kept nowhere."""
    answer = flow.test_destination(service, destination_id, by=viewer.actor)
    return _page(request, service, destination_id, tested=answer)


@router.post("/destinations/{destination_id:uuid}/pause")
def pause(
    request: Request, service: ServiceOf, viewer: ViewerOf, destination_id: uuid.UUID
) -> Response:
    view = flow.disable_destination(service, destination_id, by=viewer.actor)
    held = plural(view.held + view.waiting, "delivery is held", "deliveries are held")
    says = f"{_name(view.name)} is paused; {held} until it is resumed."
    return redirect(request, f"/destinations/{destination_id}", says=says, tone="note")


@router.post("/destinations/{destination_id:uuid}/resume")
def resume(
    request: Request, service: ServiceOf, viewer: ViewerOf, destination_id: uuid.UUID
) -> Response:
    before = flow.show_destination(service, destination_id).held
    view = flow.enable_destination(service, destination_id, by=viewer.actor)
    goes = plural(before, "delivery that was held goes", "deliveries that were held go")
    says = f"{_name(view.name)} is resumed; {goes} now."
    return redirect(request, f"/destinations/{destination_id}", says=says)


@router.post("/destinations/{destination_id:uuid}/rotate")
def rotate(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    destination_id: uuid.UUID,
    hours: Annotated[str, Form()] = "24",
    seen: Annotated[str, Form()] = "",
) -> Response:
    """The answer is the only page with the new secret. `seen`: the state that was looked at."""
    if hours not in dict(OVERLAPS):
        raise Invalid([("hours", "Choose one of the times")])
    before = flow.show_destination(service, destination_id)
    if seen != version(before.updated_at):
        # The page was loaded again, or somebody else was faster: one rotation is enough.
        raise Conflict(
            f"{before.name} was changed since its page was loaded, so its secret was not rotated: "
            "look at it again"
        )
    overlap = timedelta(hours=int(hours))
    view = flow.rotate_secret(service, destination_id, overlap=overlap, by=viewer.actor)
    return show_secret(request, view, is_new=False)


@router.post("/destinations/{destination_id:uuid}/remove")
def remove(
    request: Request, service: ServiceOf, viewer: ViewerOf, destination_id: uuid.UUID
) -> Response:
    view = flow.show_destination(service, destination_id)
    flow.remove_destination(service, destination_id, by=viewer.actor)
    lost = plural(view.held + view.waiting, "delivery is dead", "deliveries are dead")
    says = f"{_name(view.name)} is removed; {lost}."
    return redirect(request, "/destinations", says=says, tone="note")


def show_secret(request: Request, view: NewDestinationView, *, is_new: bool) -> Response:
    """The page after making or rotating; the secret is never read again."""
    return render(
        request,
        "destination_secret.html",
        status=201 if is_new else 200,
        destination=view,
        is_new=is_new,
        receivers=receivers(),
    )


def version(updated_at: datetime) -> str:
    return updated_at.isoformat()


@cache
def receivers() -> list[tuple[str, str]]:
    """What a receiver verifies our signature with: language and code."""
    folder = Path(__file__).parent / "receivers"
    return [(language, (folder / name).read_text().strip()) for language, name in _RECEIVERS]


def _page(
    request: Request,
    service: Service,
    destination_id: uuid.UUID,
    *,
    tested: TestView | None = None,
) -> Response:
    view = flow.show_destination(service, destination_id)
    [health] = show_health(service, destination_id)
    values: dict[str, Any] = {
        "destination": view,
        "health": health,
        "groups": list_groups(service, destination_id=destination_id).items[:10],
        "failing": _failing(service, view),
        "tested": tested,
        "seen": version(view.updated_at),
        "overlaps": OVERLAPS,
        "receivers": receivers(),
        "shown": request.query_params.get("phones") == "shown",
        "kind": kind_name(view.kind),
        "crm": crm_of(view.kind),
        "types": dict(TYPES),
        "modes": dict(MODES),
    }
    if view.kind != WEBHOOK:
        values |= {"sync": view.sync or {}, "rules": rules_of(view.sync)}
    return render(request, "destination.html", **values)


def _failing(service: Service, view: DestinationView) -> tuple[str, str] | None:
    """Why what waits has failed so far, and what to do; None while nothing fails."""
    if view.failing_since is None or not view.enabled:
        return None
    waiting = DeliveryQuery(destination_id=view.id, state=DeliveryState.QUEUED, limit=20)
    found = (one.last_error for one in list_deliveries(service, waiting).items if one.attempts)
    reason = next((one for one in found if one), None)
    return None if reason is None else (reason, cure_for(reason))


def _name(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:60]}…"
