"""/api/v1/deliveries: find deliveries, read one, send again."""

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, WithJsonSchema

from aftercall.db.delivery_search import DeliveryQuery
from aftercall.db.replays import ReplayConditions
from aftercall.domain.states import DeliveryState
from aftercall.flows import look, replay
from aftercall.flows.preview_destination import show_request
from aftercall.flows.views import (
    DeliveryView,
    FailuresView,
    PageBothWays,
    ReplayPreviewView,
    ReplayView,
    RequestView,
)
from api.access import ActorOf, ServiceOf
from api.routes.parameters import Moment, Text

router = APIRouter(prefix="/deliveries", tags=["deliveries"])


_REPLAYABLE = [state.value for state in DeliveryState if state is not DeliveryState.SENDING]
Replayable = Annotated[DeliveryState, WithJsonSchema({"type": "string", "enum": _REPLAYABLE})]


class ReplayFilter(BaseModel):
    """All conditions that are given must hold; `since` and `until` are about `created_at`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"state": "dead"}],
            "anyOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("state", "destination_id", "reason", "call_id", "since", "until")
            ],
        },
    )

    state: Replayable | None = None
    destination_id: uuid.UUID | None = None
    reason: Text | None = None
    call_id: Text | None = None
    since: Moment | None = None
    until: Moment | None = None

    def conditions(self) -> ReplayConditions:
        return ReplayConditions(**dict(self))


@router.get("")
def list_deliveries(
    service: ServiceOf,
    state: DeliveryState | None = None,
    destination_id: uuid.UUID | None = None,
    reason: Annotated[
        Text | None,
        Query(description="`last_error`, its first 200 characters; as /deliveries/groups has it"),
    ] = None,
    call_id: Text | None = None,
    cursor: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=look.MAX_LIMIT)] = 50,
) -> PageBothWays[DeliveryView]:
    """Newest first. `next_cursor` leads to older deliveries, `previous_cursor` to newer ones."""
    query = DeliveryQuery(
        state=state, destination_id=destination_id, reason=reason, call_id=call_id, limit=limit
    )
    return look.list_deliveries(service, query, cursor=cursor)


@router.get("/groups")
def list_groups(
    service: ServiceOf,
    state: Literal["dead", "held"] | None = None,
) -> FailuresView:
    """Dead and held deliveries by destination and reason, the largest group first."""
    return look.list_groups(service, state=None if state is None else DeliveryState(state))


@router.post("/replay/preview")
def preview_replay(service: ServiceOf, which: ReplayFilter) -> ReplayPreviewView:
    """How many would go again, and where to. Changes nothing."""
    return replay.preview_replay(service, which.conditions())


@router.post("/replay", status_code=202)
def replay_matching(service: ServiceOf, by: ActorOf, which: ReplayFilter) -> ReplayView:
    """Sends all that match again, under the ids that they have.

    Up to 1,000 at once. More take a while: `replay` then has the id to follow.
    """
    return replay.replay_matching(service, which.conditions(), by=by)


@router.get("/{delivery_id:uuid}")
def show(service: ServiceOf, delivery_id: uuid.UUID) -> DeliveryView:
    return look.show_delivery(service, delivery_id)


@router.get("/{delivery_id:uuid}/request")
def request(service: ServiceOf, delivery_id: uuid.UUID) -> RequestView:
    """The request as it would be sent now, with its secrets hidden. It is not kept as it was."""
    return show_request(service, delivery_id)


@router.post("/{delivery_id:uuid}/replay", status_code=202)
def replay_one(service: ServiceOf, by: ActorOf, delivery_id: uuid.UUID) -> DeliveryView:
    """Sends it again, under the id that it has."""
    return replay.replay_delivery(service, delivery_id, by=by)
