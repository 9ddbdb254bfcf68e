"""Replays of many deliveries: how far each is, as it happens, and stopping one."""

import uuid
from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response

from aftercall.flows import replay
from aftercall.flows.configure_destinations import names_of_destinations
from aftercall.flows.views import ReplayProgressView
from api.access import ServiceOf
from api.console.deliveries import in_words
from api.console.gate import ConsoleRoute, ViewerOf
from api.console.live import OVER, Event, live_response
from api.console.live import replace as replace_event
from api.console.pages import redirect, render, render_text
from api.console.words import plural

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


@router.get("/replays")
def replays(request: Request, service: ServiceOf) -> Response:
    names = dict(names_of_destinations(service))
    rows = [(one, in_words(one.conditions, names)) for one in replay.list_replays(service)]
    return render(request, "replays.html", rows=rows)


@router.get("/replays/{replay_id:uuid}")
def show(request: Request, service: ServiceOf, replay_id: uuid.UUID) -> Response:
    view = replay.show_replay(service, replay_id)
    names = dict(names_of_destinations(service))
    return render(request, "replay.html", replay=view, said=in_words(view.conditions, names))


@router.get("/replays/{replay_id:uuid}/live")
async def live(request: Request, service: ServiceOf, replay_id: uuid.UUID) -> Response:
    viewer = request.state.viewer

    def show(view: ReplayProgressView) -> Sequence[Event]:
        html = render_text(request, "replay_progress.html", replay=view, viewer=viewer)
        return [replace_event(html), *([] if view.state == "running" else [OVER])]

    return live_response(
        request,
        f"replay:{replay_id}",
        read=lambda: replay.show_replay(service, replay_id),
        show=show,
    )


@router.post("/replays/{replay_id:uuid}/stop")
def stop(request: Request, service: ServiceOf, viewer: ViewerOf, replay_id: uuid.UUID) -> Response:
    view = replay.cancel_replay(service, replay_id, by=viewer.actor)
    says = f"Stopped: {plural(view.done, 'delivery', 'deliveries')} went again, the rest stays."
    return redirect(request, f"/replays/{replay_id}", says=says, tone="note")
