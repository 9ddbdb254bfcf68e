"""The first page: is all well, and what is not. While something is missing, it leads through it.

Days begin where the viewer's do: console.js leaves the offset in a cookie.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from aftercall.flows.overview import Window, show_overview
from aftercall.flows.service import Service
from aftercall.flows.set_up import show_set_up
from aftercall.flows.tell_operator import show_operator_hook
from aftercall.flows.views import ActivityView, DestinationHealthView, FailureView, OverviewView
from api.access import ServiceOf
from api.console.charts import Chart, Series
from api.console.gate import ConsoleRoute, ViewerOf
from api.console.links import NO_REASON
from api.console.live import Event, live_response, replace
from api.console.pages import render, render_text
from api.console.set_up import set_up_values
from api.console.words import plural, span
from api.console.workspaces import BLOCKS

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)

WINDOWS = {
    Window.TODAY: "Today",
    Window.DAY: "24 hours",
    Window.WEEK: "7 days",
    Window.MONTH: "30 days",
}
#: What is due for longer than that is worth a word.
LONG_WAIT = 300.0
#: The cookie's name, and that of the query parameter which goes before it.
UTC_OFFSET = "utc_offset"
_FARTHEST = 14 * 60
_LABELS = {
    Window.TODAY: "%H:%M",
    Window.DAY: "%H:%M",
    Window.WEEK: "%a %H:%M",
    Window.MONTH: "%-d %b",
}


@router.get("/")
def overview(
    request: Request, service: ServiceOf, viewer: ViewerOf, window: Window = Window.DAY
) -> Response:
    offset = offset_of(request)
    view = show_overview(service, window=window, utc_offset=offset)
    is_begun = view.newest_event_at is not None
    steps = {} if is_begun else set_up_values(request, viewer, show_set_up(service))
    return render(
        request,
        "overview.html",
        is_begun=is_begun,
        missing=_missing(view),
        windows=WINDOWS,
        operator_hook=show_operator_hook(service),
        **steps,
        **_values(view, offset),
    )


@router.get("/live/overview")
async def live(request: Request, service: ServiceOf, window: Window = Window.DAY) -> Response:
    offset = offset_of(request)

    def show(view: OverviewView) -> Sequence[Event]:
        return [replace(render_text(request, "overview_parts.html", **_values(view, offset)))]

    return live_response(
        request,
        f"overview:{window}:{offset.total_seconds():.0f}",
        read=lambda: _read(service, window, offset),
        show=show,
    )


def offset_of(request: Request) -> timedelta:
    """Of the viewer's zone; none when the browser did not say, or said nonsense."""
    given = request.query_params.get(UTC_OFFSET) or request.cookies.get(UTC_OFFSET) or "0"
    try:
        minutes = int(given[:5])
    except ValueError:
        return timedelta(0)
    return timedelta(minutes=minutes) if abs(minutes) <= _FARTHEST else timedelta(0)


# ---- from numbers to words ---------------------------------------------------


def _read(service: Service, window: Window, offset: timedelta) -> OverviewView:
    """The same until something happens, or a minute has passed."""
    view = show_overview(service, window=window, utc_offset=offset)
    return view.model_copy(update={"at": view.at.replace(second=0, microsecond=0)})


def _values(view: OverviewView, offset: timedelta) -> dict[str, Any]:
    window = Window(view.window)
    labels = [f"{one.since + offset:{_LABELS[window]}}" for one in view.series]
    return {
        "view": view,
        "total": _total(view),
        "window": window,
        "offset_minutes": int(offset.total_seconds() // 60),
        "points": points(view),
        "charts": [
            Chart(
                "Calls",
                labels,
                [
                    Series("received", "busy", [one.received for one in view.series]),
                    Series("saved", "good", [one.saved for one in view.series]),
                ],
            ),
            Chart(
                "Delivered and dead",
                labels,
                [
                    Series("delivered", "good", [one.delivered for one in view.series]),
                    Series("dead", "bad", [one.dead for one in view.series]),
                ],
            ),
        ],
        "failures": [(one, failure_title(one), failure_path(one)) for one in view.failures],
        "standing": _standing,
        **BLOCKS,
    }


def _missing(view: OverviewView) -> list[str]:
    has_credentials = any(one.has_credentials for one in view.workspaces)
    found = [(has_credentials, "credentials"), (bool(view.destinations), "a destination")]
    return [name for is_there, name in found if not is_there]


def _total(view: OverviewView) -> ActivityView:
    match Window(view.window):
        case Window.TODAY:
            return view.today
        case Window.DAY:
            return view.last_24h
        case Window.WEEK:
            return view.last_7d
        case Window.MONTH:
            return view.last_30d


def points(view: OverviewView) -> list[str]:
    """What is not well, one phrase each; nothing when all is."""
    blocked = sum(one.is_blocked for one in view.workspaces)
    disabled = sum(not one.enabled for one in view.destinations)
    failing = sum(one.is_failing for one in view.destinations)
    dead_calls = _count(view, "call", "dead")
    dead = _count(view, "delivery", "dead")
    held = _count(view, "delivery", "held")
    found = [
        (blocked, f"{plural(blocked, 'workspace')} blocked"),
        (disabled, f"{plural(disabled, 'destination')} disabled"),
        (failing, f"{plural(failing, 'destination')} failing"),
        (dead_calls, f"{plural(dead_calls, 'call')} dead"),
        (dead, f"{plural(dead, 'delivery', 'deliveries')} dead"),
        (held, f"{plural(held, 'delivery', 'deliveries')} held"),
    ]
    waits = max(
        view.waiting_calls.oldest_due_seconds or 0, view.waiting_deliveries.oldest_due_seconds or 0
    )
    if waits > LONG_WAIT:
        found.append((1, f"the oldest has waited for {span(waits)}"))
    return [says for count, says in found if count]


def _count(view: OverviewView, kind: str, state: str) -> int:
    return sum(one.count for one in view.failures if (one.kind, one.state) == (kind, state))


def failure_title(failure: FailureView) -> str:
    if failure.kind == "call":
        return f"{plural(failure.count, 'call')} dead"
    many = plural(failure.count, "delivery", "deliveries")
    return f"{many} to {failure.destination} {failure.state}"


def failure_path(failure: FailureView) -> str:
    """Where they are listed, and can be sent again."""
    if failure.kind == "call":
        asked = {"state": failure.state, "workspace_id": failure.workspace_id or ""}
        return f"/calls?{urlencode(asked)}"
    asked = {
        "state": failure.state,
        "destination_id": str(failure.destination_id),
        "reason": failure.reason or NO_REASON,
    }
    return f"/deliveries?{urlencode(asked)}"


def _standing(one: DestinationHealthView) -> tuple[Literal["good", "warn", "bad"], str, str]:
    """Tone, word, and what it means."""
    if not one.enabled:
        return "warn", "Disabled", "Deliveries are held until it is enabled"
    match one.breaker:
        case "open":
            return "bad", "Paused", "It failed many times: nothing is sent for a moment"
        case "probing":
            return "warn", "Probing", "One delivery finds out whether it works again"
        case _ if one.is_failing:
            return "bad", "Failing", "It takes nothing; what waits is tried again"
        case _:
            return "good", "Enabled", "Gets deliveries"
