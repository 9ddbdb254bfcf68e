"""What is still missing until the first call reaches a CRM, and a webhook to try it with."""

import json

from aftercall.db.call_search import CallQuery
from aftercall.db.destinations import list_destinations
from aftercall.domain.ids import new_id
from aftercall.flows.accept_events import NoWorkspace, store_events
from aftercall.flows.audit import Actor, note
from aftercall.flows.errors import Invalid
from aftercall.flows.look import list_calls, show_call, show_workspaces
from aftercall.flows.service import Service
from aftercall.flows.spool import events_of
from aftercall.flows.views import SetUpView
from aftercall.twentytwo.inbound import NoCallId, read_notice


def show_set_up(service: Service) -> SetUpView:
    """Reads the newest call alone."""
    with service.database.transaction() as session:
        destinations = [row.name for row in list_destinations(session)]
    page = list_calls(service, CallQuery(limit=1))
    newest = None
    if page.items:
        call = page.items[0]
        story = show_call(service, call.call_id, workspace_id=call.workspace_id)
        # What a page that waits for it needs, without what was said in the call.
        newest = story.model_copy(update={"raw": None, "transcript": None})
    return SetUpView(
        workspaces=show_workspaces(service), destinations=destinations, newest_call=newest
    )


def send_test_webhook(
    service: Service, call_id: str, *, workspace_id: str | None = None, by: Actor | None = None
) -> None:
    """Stores a webhook as Twenty2 would send it, and rings for its call.

    Invalid when the id is none, or when it is not clear which workspace is meant.
    """
    webhook_id = new_id()
    body = _body(call_id, workspace_id, event_id=f"evt_test_{webhook_id.hex}")
    try:
        notice = read_notice(body)
    except NoCallId as error:
        raise Invalid([("call_id", str(error).removeprefix("call.call_id "))]) from None
    events = events_of(notice, webhook_id=webhook_id, received_at=service.clock())
    [answer] = store_events(service, events, {webhook_id: body})
    if isinstance(answer, NoWorkspace):
        raise Invalid([("call_id", "Set up a workspace first: it is not clear whose call it is")])
    # Before the note: with a database that is away by then, the call would wait for the sweep.
    if answer.call_row_id is not None:
        service.doorbell.ring_fetch([answer.call_row_id])
    note(service, by, "webhook.tested", notice.call_ids[0])


def _body(call_id: str, workspace_id: str | None, *, event_id: str) -> bytes:
    return json.dumps(
        {
            "event": "call.completed",
            "event_id": event_id,
            "workspace_id": workspace_id,
            "call": {"call_id": call_id, "status": "completed"},
        }
    ).encode()
