"""Deliveries: what is dead or held and why, the list with its filters, one of them, replays."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import Response
from pydantic import AfterValidator, BaseModel, BeforeValidator

from aftercall.db.delivery_search import DeliveryQuery
from aftercall.db.replays import ReplayConditions
from aftercall.domain.cures import cure_for
from aftercall.domain.states import DeliveryState
from aftercall.flows import look, replay
from aftercall.flows.configure_destinations import names_of_destinations
from aftercall.flows.errors import NotFound
from aftercall.flows.preview_destination import show_request
from aftercall.flows.service import Service
from aftercall.flows.views import DeliveryView, FailureView, RequestView
from api.access import ServiceOf
from api.console.crm_words import kind_name
from api.console.gate import ConsoleRoute, ViewerOf
from api.console.links import NO_REASON
from api.console.live import Event, live_response
from api.console.live import replace as replace_event
from api.console.pages import redirect, render, render_text
from api.console.words import plural
from api.routes.parameters import Moment, Text

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)

#: Groups on the page before all are asked for.
_FEW_GROUPS = 10
_PAGE = 50


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def _in_utc(moment: datetime | None) -> datetime | None:
    """The browser's field has no zone; without our script it is UTC, as its label says."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return moment


_Empty = BeforeValidator(_none_if_empty)
_Utc = AfterValidator(_in_utc)


class Which(BaseModel):
    """The filter, as the URL and the forms have it. Empty is not given."""

    state: Annotated[DeliveryState | None, _Empty] = None
    destination_id: Annotated[uuid.UUID | None, _Empty] = None
    reason: Annotated[Text | None, _Empty] = None
    call_id: Annotated[Text | None, _Empty] = None
    since: Annotated[Moment | None, _Utc, _Empty] = None
    until: Annotated[Moment | None, _Utc, _Empty] = None
    cursor: Annotated[Text | None, _Empty] = None
    groups: Annotated[Text | None, _Empty] = None

    @property
    def fields(self) -> dict[str, str]:
        """The conditions that are given, as texts."""
        given = self.model_dump(exclude={"cursor", "groups"}, exclude_none=True)
        return {
            name: value.isoformat() if isinstance(value, datetime) else str(value)
            for name, value in given.items()
        }

    @property
    def conditions(self) -> ReplayConditions:
        return ReplayConditions(**self._values())

    @property
    def query(self) -> DeliveryQuery:
        return DeliveryQuery(**self._values(), limit=_PAGE)

    def _values(self) -> dict[str, Any]:
        call_id = self.call_id.strip() if self.call_id else None
        reason = "" if self.reason == NO_REASON else self.reason
        given = self.model_dump(exclude={"cursor", "groups", "call_id", "reason"})
        return {**given, "call_id": call_id, "reason": reason}


WhichOf = Annotated[Which, Query()]


@router.get("/deliveries")
def deliveries(request: Request, service: ServiceOf, which: WhichOf) -> Response:
    page = look.list_deliveries(service, which.query, cursor=which.cursor)
    found = look.list_groups(service)
    groups = found.items
    names = dict(names_of_destinations(service))
    kept = urlencode(which.fields)
    running = [one for one in replay.list_replays(service) if one.state == "running"]
    shown = groups if which.groups == "all" else groups[:_FEW_GROUPS]
    return render(
        request,
        "deliveries.html",
        page=page,
        which=which,
        kept=kept,
        older=_cursor_query(kept, page.next_cursor),
        newer=_cursor_query(kept, page.previous_cursor),
        groups=[(group, urlencode(_of_group(group))) for group in shown],
        groups_total=len(groups),
        groups_are_all=found.is_complete,
        running=running,
        states=[("", "Every state"), *((one.value, one.value.capitalize()) for one in _STATES)],
        destinations=_destination_choices(names, which, groups),
        standing=names.keys(),
        reasons=_reason_choices(which, groups),
    )


@router.get("/deliveries/replay")
def replay_preview(request: Request, service: ServiceOf, which: WhichOf) -> Response:
    preview = replay.preview_replay(service, which.conditions)
    return render(
        request,
        "replay_preview.html",
        which=which,
        preview=preview,
        held=sum(one.count for one in preview.destinations if not one.enabled),
        at_once=replay.AT_ONCE,
        said=in_words(which.fields, dict(names_of_destinations(service))),
        back=urlencode(which.fields),
    )


@router.post("/deliveries/replay")
def replay_all(
    request: Request, service: ServiceOf, viewer: ViewerOf, which: Annotated[Which, Form()]
) -> Response:
    answer = replay.replay_matching(service, which.conditions, by=viewer.actor)
    if answer.replay is not None:
        return redirect(request, f"/replays/{answer.replay.id}")
    says = f"{plural(answer.replayed, 'delivery goes', 'deliveries go')} again."
    if not answer.replayed:
        return redirect(request, "/deliveries", says="Nothing fits any more.", tone="note")
    return redirect(request, "/deliveries", says=says)


@router.get("/deliveries/{delivery_id:uuid}")
def delivery(request: Request, service: ServiceOf, delivery_id: uuid.UUID) -> Response:
    view = look.show_delivery(service, delivery_id)
    would_be: RequestView | None
    try:
        would_be = show_request(service, delivery_id)
    except NotFound:
        would_be = None
    return render(
        request,
        "delivery.html",
        delivery=view,
        cure=_cure(view),
        is_removed=_is_removed(service, view),
        kind_name=kind_name,
        would_be=would_be,
        shown=request.query_params.get("phones") == "shown",
    )


@router.get("/deliveries/{delivery_id:uuid}/live")
async def live(request: Request, service: ServiceOf, delivery_id: uuid.UUID) -> Response:
    shown = request.query_params.get("phones") == "shown"
    viewer = request.state.viewer

    def read() -> tuple[DeliveryView, bool]:
        view = look.show_delivery(service, delivery_id)
        return view, _is_removed(service, view)

    def show(found: tuple[DeliveryView, bool]) -> Sequence[Event]:
        view, is_removed = found
        values = {
            "delivery": view,
            "cure": _cure(view),
            "is_removed": is_removed,
            "shown": shown,
            "viewer": viewer,
        }
        return [
            replace_event(render_text(request, name, **values))
            for name in ("delivery_state.html", "delivery_actions.html")
        ]

    return live_response(
        request,
        f"delivery:{delivery_id}",
        read=read,
        show=show,
    )


@router.post("/deliveries/{delivery_id:uuid}/replay")
def replay_one(
    request: Request, service: ServiceOf, viewer: ViewerOf, delivery_id: uuid.UUID
) -> Response:
    view = replay.replay_delivery(service, delivery_id, by=viewer.actor)
    if view.state == DeliveryState.HELD:
        says, tone = "It is held: it goes when its destination is resumed.", "note"
        return redirect(request, f"/deliveries/{delivery_id}", says=says, tone=tone)  # type: ignore[arg-type]
    return redirect(request, f"/deliveries/{delivery_id}", says="The delivery goes again.")


# ---- words and choices -------------------------------------------------------

_STATES = (
    DeliveryState.DEAD,
    DeliveryState.HELD,
    DeliveryState.QUEUED,
    DeliveryState.SENDING,
    DeliveryState.DELIVERED,
    DeliveryState.SKIPPED,
)
_LABELS = {
    "state": "State",
    "destination_id": "Destination",
    "reason": "Reason",
    "call_id": "Call",
    "since": "Made from",
    "until": "Made before",
}


def in_words(
    conditions: dict[str, str], names: dict[uuid.UUID, str]
) -> list[tuple[str, str | datetime]]:
    """Conditions of a replay as people read them."""
    found: list[tuple[str, str | datetime]] = []
    for name, label in _LABELS.items():
        value: str | datetime | None = conditions.get(name)
        if value is None:
            continue
        if name == "destination_id":
            value = names.get(uuid.UUID(str(value)), str(value))
        elif name in ("since", "until"):
            value = datetime.fromisoformat(str(value))
        elif name == "state":
            value = str(value).capitalize()
        elif name == "reason" and value in ("", NO_REASON):
            value = "None is known"
        found.append((label, value))
    return found


def _is_removed(service: Service, view: DeliveryView) -> bool:
    return view.destination_id not in dict(names_of_destinations(service))


def _cure(view: DeliveryView) -> str | None:
    if view.state in (DeliveryState.SKIPPED, DeliveryState.QUEUED):
        return cure_for(view.last_error) if view.last_error and view.attempts else None
    if view.state not in (DeliveryState.DEAD, DeliveryState.HELD):
        return None
    return cure_for(view.last_error, held=view.state == DeliveryState.HELD)


def _of_group(group: FailureView) -> dict[str, str]:
    return {
        "state": group.state,
        "destination_id": str(group.destination_id),
        "reason": group.reason or NO_REASON,
    }


def _cursor_query(kept: str, cursor: str | None) -> str | None:
    if cursor is None:
        return None
    return f"{kept}&cursor={cursor}" if kept else f"cursor={cursor}"


def _destination_choices(
    destinations: dict[uuid.UUID, str], which: Which, groups: Sequence[FailureView]
) -> list[tuple[str, str]]:
    names = {str(id_): name for id_, name in destinations.items()}
    if which.destination_id is not None and str(which.destination_id) not in names:
        id_ = str(which.destination_id)
        known = (one.destination for one in groups if str(one.destination_id) == id_)
        names[id_] = f"{next(known, None) or id_} (removed)"
    return [("", "Every destination"), *names.items()]


def _reason_choices(which: Which, groups: Sequence[FailureView]) -> list[tuple[str, str]]:
    reasons = list(dict.fromkeys(one.reason or NO_REASON for one in groups))[:100]
    if which.reason is not None and which.reason not in reasons:
        reasons.append(which.reason)
    return [
        ("", "Any reason"),
        *((one, "None is known" if one == NO_REASON else _shortened(one)) for one in reasons),
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= 70 else f"{text[:70]}…"
