"""/api/v1/deliveries: find deliveries, read one, send again."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, WithJsonSchema

from aftercall.db.reading import DeliveryQuery
from aftercall.domain.states import DeliveryState
from aftercall.flows import look, replay
from aftercall.flows.views import DeliveryView, Page, ReplayView
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
                for name in ("state", "destination_id", "since", "until")
            ],
        },
    )

    state: Replayable | None = None
    destination_id: uuid.UUID | None = None
    since: Moment | None = None
    until: Moment | None = None


@router.get("")
def list_deliveries(
    service: ServiceOf,
    state: DeliveryState | None = None,
    destination_id: uuid.UUID | None = None,
    call_id: Text | None = None,
    cursor: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=look.MAX_LIMIT)] = 50,
) -> Page[DeliveryView]:
    """Newest first."""
    query = DeliveryQuery(state=state, destination_id=destination_id, call_id=call_id, limit=limit)
    return look.list_deliveries(service, query, cursor=cursor)


@router.post("/replay", status_code=202)
def replay_matching(service: ServiceOf, by: ActorOf, conditions: ReplayFilter) -> ReplayView:
    """Sends all that match again, under the ids that they have."""
    return replay.replay_matching(
        service,
        state=conditions.state,
        destination_id=conditions.destination_id,
        since=conditions.since,
        until=conditions.until,
        by=by,
    )


@router.get("/{delivery_id:uuid}")
def show(service: ServiceOf, delivery_id: uuid.UUID) -> DeliveryView:
    return look.show_delivery(service, delivery_id)


@router.post("/{delivery_id:uuid}/replay", status_code=202)
def replay_one(service: ServiceOf, by: ActorOf, delivery_id: uuid.UUID) -> DeliveryView:
    """Sends it again, under the id that it has."""
    return replay.replay_delivery(service, delivery_id, by=by)
