"""/api/v1/calls: find calls, read one's story, fetch again, add by id."""

import uuid
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from aftercall.db.call_search import CallQuery
from aftercall.domain.states import CallState, Priority
from aftercall.domain.unseen import CONTROLS, UNSEEN
from aftercall.flows import look, media, replay
from aftercall.flows.accept_events import NoWorkspace, enqueue_calls
from aftercall.flows.errors import Invalid
from aftercall.flows.export_calls import export_calls
from aftercall.flows.replay_call import replay_call
from aftercall.flows.views import AcceptedView, CallStory, CallView, PageBothWays
from aftercall.twentytwo.inbound import MAX_ID_LENGTH, NoCallId, check_call_id
from api.access import ActorOf, ServiceOf
from api.routes.parameters import Moment, Text

router = APIRouter(prefix="/calls", tags=["calls"])
#: Beside /calls, not below it: there each path is a call's id.
exports = APIRouter(tags=["calls"])

_NO_ID = CONTROLS + UNSEEN

#: Checked one by one below, so that the fault names its place.
CallId = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": MAX_ID_LENGTH,
            "pattern": f"^[^{_NO_ID}]*[^{_NO_ID}\\s][^{_NO_ID}]*$",
        }
    ),
]


class CallIds(BaseModel):
    """Ids to fetch."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"call_ids": ["call_9c4d7e12ab"]}]}
    )

    call_ids: Annotated[list[CallId], Field(min_length=1, max_length=10_000)]
    workspace_id: Text | None = None


def call_query(
    state: Annotated[
        list[CallState] | None, Query(description="One or several: state=queued&state=dead")
    ] = None,
    status: Annotated[Text | None, Query(description="Twenty2's word", examples=["failed"])] = None,
    q: Annotated[
        Text | None,
        Query(
            description="A call id or its beginning, the last 4 or more digits of a phone number "
            "in any spelling, an agent's id, the value of an output parameter, or words that were "
            "said",
            examples=["+91 98765 43210"],
        ),
    ] = None,
    agent_id: Text | None = None,
    parameter: Annotated[
        Text | None,
        Query(
            description="NAME:VALUE of an output parameter",
            examples=["interested:yes"],
            pattern=r"^[^\x00:]+:[^\x00]*$",
        ),
    ] = None,
    transcript: Annotated[
        Text | None, Query(description="Words that were said, all of them", examples=["site visit"])
    ] = None,
    workspace_id: Text | None = None,
    since: Annotated[Moment | None, Query(description="Received at or after")] = None,
    until: Annotated[Moment | None, Query(description="Received before")] = None,
) -> CallQuery:
    """What the list, the export and a count have in common."""
    return CallQuery(
        state=tuple(state or ()),
        status=status,
        q=q or None,
        agent_id=agent_id,
        parameter=look.read_parameter(parameter),
        transcript=transcript or None,
        workspace_id=workspace_id,
        since=since,
        until=until,
    )


Conditions = Annotated[CallQuery, Depends(call_query)]


@router.get("")
def list_calls(
    service: ServiceOf,
    conditions: Conditions,
    cursor: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=look.MAX_LIMIT)] = 50,
) -> PageBothWays[CallView]:
    """Newest first. `next_cursor` leads to older calls, `previous_cursor` to newer ones."""
    return look.list_calls(service, replace(conditions, limit=limit), cursor=cursor)


@router.post("", status_code=202)
def add_calls(service: ServiceOf, by: ActorOf, body: CallIds) -> AcceptedView:
    """Queues calls by id, as a webhook would. Ids that are known already are duplicates."""
    faults: list[tuple[str, str]] = []
    call_ids: list[str] = []
    for index, value in enumerate(body.call_ids):
        try:
            call_ids.append(check_call_id(value, at=f"call_ids[{index}]"))
        except NoCallId as error:
            faults.append((f"call_ids[{index}]", str(error)))
    if faults:
        raise Invalid(faults[:20])
    workspace_id = body.workspace_id
    if workspace_id is not None:
        look.show_workspace(service, workspace_id)
    try:
        accepted = enqueue_calls(
            service,
            call_ids,
            workspace_id=workspace_id,
            priority=Priority.FRESH,
            body=body.model_dump_json().encode(),
            by=by,
        )
    except NoWorkspace as error:
        raise Invalid([("workspace_id", str(error))]) from None
    return AcceptedView(
        received=len(accepted), duplicates=sum(one.is_duplicate for one in accepted)
    )


@router.post("/{call_id:path}/refetch", status_code=202)
def refetch_call(
    service: ServiceOf, by: ActorOf, call_id: Text, workspace_id: Text | None = None
) -> CallStory:
    """Fetches it again. New content makes new deliveries; the same content makes none."""
    return replay.refetch_call(service, call_id, workspace_id=workspace_id, by=by)


@router.post("/{call_id:path}/refetch-media", status_code=202)
def refetch_media(
    service: ServiceOf, by: ActorOf, call_id: Text, workspace_id: Text | None = None
) -> CallStory:
    """Fetches its recording and its transcript again, from the first attempt."""
    return media.refetch_media(service, call_id, workspace_id=workspace_id, by=by)


@router.post("/{call_id:path}/revoke-links")
def revoke_links(
    service: ServiceOf, by: ActorOf, call_id: Text, workspace_id: Text | None = None
) -> CallStory:
    """Ends the links to its recording and its transcript that were given away."""
    return media.revoke_links(service, call_id, workspace_id=workspace_id, by=by)


class ReplayTo(BaseModel):
    """`destination_id`: null: to all that have it or want it."""

    model_config = ConfigDict(extra="forbid")

    destination_id: uuid.UUID | None = None


@router.post("/{call_id:path}/replay", status_code=202)
def replay_to(
    service: ServiceOf,
    by: ActorOf,
    call_id: Text,
    to: ReplayTo | None = None,
    workspace_id: Text | None = None,
) -> CallStory:
    """Sends it to one destination or to all, also where it has no delivery yet."""
    return replay_call(
        service,
        call_id,
        workspace_id=workspace_id,
        destination_id=to.destination_id if to else None,
        by=by,
    )


@exports.get(
    "/calls.csv",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "One line a call, newest first",
            "content": {"text/csv": {"schema": {"type": "string"}}},
        }
    },
)
def export(
    service: ServiceOf,
    conditions: Conditions,
    phones: Annotated[Literal["masked", "clear"], Query()] = "masked",
) -> StreamingResponse:
    """All that match, as they are found: a column for each output parameter."""
    pieces = export_calls(service, conditions, clear_phones=phones == "clear")
    return StreamingResponse(
        pieces,
        media_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="calls.csv"'},
    )


@router.get("/{call_id:path}")
def show_call(service: ServiceOf, call_id: Text, workspace_id: Text | None = None) -> CallStory:
    """The detail, the events, the fetches, the deliveries with their attempts."""
    return look.show_call(service, call_id, workspace_id=workspace_id)
