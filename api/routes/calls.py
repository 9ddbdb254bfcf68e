"""/api/v1/calls: find calls, read one's story, fetch again, add by id."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from aftercall.db.reading import CallQuery
from aftercall.domain.states import CallState, Priority
from aftercall.domain.unseen import CONTROLS, UNSEEN
from aftercall.flows import look, replay
from aftercall.flows.accept_events import NoWorkspace, enqueue_calls
from aftercall.flows.errors import Invalid
from aftercall.flows.views import AcceptedView, CallStory, CallView, Page
from aftercall.twentytwo.inbound import MAX_ID_LENGTH, NoCallId, check_call_id
from api.access import ActorOf, ServiceOf
from api.routes.parameters import Moment, Text

router = APIRouter(prefix="/calls", tags=["calls"])

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


@router.get("")
def list_calls(
    service: ServiceOf,
    state: CallState | None = None,
    status: Text | None = None,
    q: Annotated[Text | None, Query(description="A call id, or the end of a phone number")] = None,
    workspace_id: Text | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    cursor: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=look.MAX_LIMIT)] = 50,
) -> Page[CallView]:
    """Newest first."""
    query = CallQuery(
        state=state,
        status=status,
        q=q or None,
        workspace_id=workspace_id,
        since=since,
        until=until,
        limit=limit,
    )
    return look.list_calls(service, query, cursor=cursor)


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


@router.get("/{call_id:path}")
def show_call(service: ServiceOf, call_id: Text, workspace_id: Text | None = None) -> CallStory:
    """The detail, the events, the fetches, the deliveries with their attempts."""
    return look.show_call(service, call_id, workspace_id=workspace_id)
