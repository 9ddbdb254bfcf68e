"""One call's page: did it reach the CRM, why not, and the buttons that make it go.

What belongs to a call's page lies under `/call/` and names the call in its
parameters: below `/calls/` each path is a call's id.
"""

import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from aftercall.flows.call_pages import CallPageView, show_page, workspaces_of
from aftercall.flows.errors import Conflict, NotFound
from aftercall.flows.look import show_call
from aftercall.flows.media import refetch_media, revoke_links
from aftercall.flows.preview_destination import show_request
from aftercall.flows.replay import refetch_call
from aftercall.flows.replay_call import replay_call
from aftercall.flows.service import Service
from aftercall.flows.views import CallStory, MediaView
from api.access import ServiceOf
from api.console.call_story import steps_of
from api.console.calls import length
from api.console.gate import ConsoleRoute, ViewerOf
from api.console.links import call_path
from api.console.live import OVER, Event, live_response, replace
from api.console.pages import redirect, render, render_text
from api.console.reached import reached
from api.routes.parameters import Text

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)

#: So much of the raw answer is shown; all of it can be downloaded.
_MOST_SHOWN = 200_000
FormText = Annotated[Text, Form()]


@router.get("/calls/{call_id:path}")
def call(
    request: Request,
    service: ServiceOf,
    call_id: Text,
    id: Text = "",  # noqa: A002 - its name in the URL
    workspace_id: Text | None = None,
    phones: Text = "",
) -> Response:
    call_id = call_id or id
    if not call_id:
        return redirect(request, "/calls")
    try:
        page = show_page(service, call_id, workspace_id=workspace_id or None)
    except Conflict:
        choices = [(one, call_path(call_id, one)) for one in workspaces_of(service, call_id)]
        return render(request, "call_choose.html", status=409, call_id=call_id, choices=choices)
    except NotFound:
        return render(request, "call_missing.html", status=404, call_id=call_id)
    return render(
        request, "call.html", raw_href=_href("answer", page.story), **_words(service, page, phones)
    )


@router.get("/call/live")
async def live(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    call_id: Text,
    workspace_id: Text,
    phones: Text = "",
) -> Response:
    def read() -> CallPageView | None:
        try:
            return show_page(service, call_id, workspace_id=workspace_id)
        except NotFound:
            return None

    def show(page: CallPageView | None) -> Sequence[Event]:
        if page is None:
            return [OVER]
        words = _words(service, page, phones)
        found = [replace(render_text(request, "call_live.html", viewer=viewer, **words))]
        return found if page.is_under_way else [*found, OVER]

    key = urlencode({"call": call_id, "of": workspace_id})
    return live_response(request, key, read=read, show=show)


@router.post("/call/refetch")
def refetch(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    call_id: FormText,
    workspace_id: FormText,
) -> Response:
    refetch_call(service, call_id, workspace_id=workspace_id, by=viewer.actor)
    says = "The call is fetched from Twenty2 again. What is new in it goes to the CRM."
    return redirect(request, call_path(call_id, workspace_id), says=says)


@router.post("/call/media/refetch")
def media_again(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    call_id: FormText,
    workspace_id: FormText,
) -> Response:
    onward = call_path(call_id, workspace_id)
    try:
        refetch_media(service, call_id, workspace_id=workspace_id, by=viewer.actor)
    except Conflict as conflict:
        return redirect(request, onward, says=f"{conflict}.", tone="bad")
    says = "The recording and the transcript are fetched again."
    return redirect(request, onward, says=says)


@router.post("/call/media/revoke")
def revoke(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    call_id: FormText,
    workspace_id: FormText,
) -> Response:
    onward = call_path(call_id, workspace_id)
    try:
        revoke_links(service, call_id, workspace_id=workspace_id, by=viewer.actor)
    except Conflict as conflict:
        return redirect(request, onward, says=f"{conflict}.", tone="bad")
    says = "The links that were given away lead nowhere any more. New deliveries have new ones."
    return redirect(request, onward, says=says)


@router.post("/call/replay")
def replay(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    call_id: FormText,
    workspace_id: FormText,
    destination_id: Annotated[uuid.UUID | None, Form()] = None,
) -> Response:
    onward = call_path(call_id, workspace_id)
    try:
        story = replay_call(
            service,
            call_id,
            workspace_id=workspace_id,
            destination_id=destination_id,
            by=viewer.actor,
        )
    except Conflict as conflict:
        return redirect(request, onward, says=f"{conflict}.", tone="bad")
    asked = [
        one
        for one in story.deliveries
        if one.revision == story.revision and destination_id in (None, one.destination_id)
    ]
    names = [one.destination for one in asked if one.state in ("queued", "sending")]
    held = [one.destination for one in asked if one.state == "held"]
    if held and not names:
        says = f"It is held: it goes when {', '.join(sorted(held))} is resumed."[:400]
        return redirect(request, onward, says=says, tone="note")
    if not names:
        says = "Nothing was sent: no destination wants this call."
        return redirect(request, onward, says=says, tone="note")
    return redirect(
        request, onward, says=f"The call goes again to {', '.join(sorted(names))}."[:400]
    )


@router.get("/call/request/{delivery_id:uuid}")
def as_request(
    request: Request, service: ServiceOf, delivery_id: uuid.UUID, part: Text = "", phones: Text = ""
) -> Response:
    """A delivery's request as it would be sent now; `part`: without the page around it."""
    sent = show_request(service, delivery_id)
    body = json.dumps(sent.body, ensure_ascii=False, indent=2)
    words: dict[str, Any] = {
        "sent": sent,
        "body": body[:_MOST_SHOWN],
        "is_cut": len(body) > _MOST_SHOWN,
        "size": len(body),
        "shown": phones == "shown",
    }
    template = "call_request_part.html" if part else "call_request.html"
    return render(request, template, **words)


@router.get("/call/answer")
def answer(
    request: Request,
    service: ServiceOf,
    call_id: Text,
    workspace_id: Text,
    part: Text = "",
    phones: Text = "",
) -> Response:
    """Twenty2's own answer: a file, or, as `part`, its beginning to look at."""
    story = show_call(service, call_id, workspace_id=workspace_id)
    if story.raw is None:
        gone = next((one.message for one in story.not_kept if one.kind == "payload"), None)
        raise NotFound(gone or f"Call {call_id} is not saved yet: there is no answer")
    text = json.dumps(story.raw, ensure_ascii=False, indent=2)
    if part:
        return render(
            request,
            "call_answer_part.html",
            text=text[:_MOST_SHOWN],
            size=len(text),
            is_cut=len(text) > _MOST_SHOWN,
            shown=phones == "shown",
        )
    name = quote(f"call-{call_id}.json", safe="")
    return Response(
        text.encode("utf-8", "replace"),
        media_type="application/json",
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
    )


# ---- words -------------------------------------------------------------------


def _words(service: Service, page: CallPageView, phones: str) -> dict[str, Any]:
    story = page.story
    at = service.clock()
    has_delivery = {one.destination_id for one in story.deliveries}
    return {
        "page": page,
        "story": story,
        "shown": phones == "shown",
        "reached": reached(story, has_destinations=bool(page.destinations)),
        "steps": steps_of(page),
        "others": [one for one in page.destinations if one[0] not in has_delivery],
        "removed": has_delivery - {id_ for id_, _ in page.destinations},
        "recording": media(story.recording, now=at),
        "transcript": media(story.transcript, now=at),
        "kept": {one.kind: one for one in story.media},
        "sound": next((one for one in story.media if _is_sound(one)), None),
        "most_shown": _MOST_SHOWN,
        "not_kept": dict.fromkeys(("payload", "attempts", "media"))
        | {one.kind: one.message for one in story.not_kept},
        "named": {"call_id": story.call_id, "workspace_id": story.workspace_id},
        "live_href": _href("live", story, **({"phones": phones} if phones else {})),
        "length": length,
    }


def _is_sound(one: MediaView) -> bool:
    """Whether a browser plays it."""
    return one.stored_at is not None and (one.content_type or "").startswith("audio/")


def _href(what: str, story: CallStory, **more: str) -> str:
    named = {"call_id": story.call_id, "workspace_id": story.workspace_id, **more}
    return f"/call/{what}?{urlencode(named)}"


def media(stored: dict[str, Any] | None, *, now: datetime) -> dict[str, Any] | None:
    """A recording or a transcript: `url` only when a browser may open it, and until when."""
    if not stored or not stored.get("url"):
        return None
    url = str(stored["url"])
    try:
        is_open = urlsplit(url).scheme == "https" and bool(urlsplit(url).hostname)
    except ValueError:
        is_open = False
    try:
        until = datetime.fromisoformat(str(stored.get("expires_at")))
    except ValueError:
        until = None
    if until is not None and until.tzinfo is None:
        until = None
    is_over = until is not None and until <= now
    return {"url": url if is_open and not is_over else None, "until": until, "is_over": is_over}
