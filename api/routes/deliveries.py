"""/api/v1/deliveries: find deliveries, read one, send again."""

import uuid
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from aftercall.db.reading import DeliveryQuery
from aftercall.domain.states import DeliveryState
from aftercall.flows import look, replay
from aftercall.flows.views import DeliveryView, Page, ReplayView
from api.access import ServiceOf

router = APIRouter(prefix="/deliveries", tags=["deliveries"])


class ReplayFilter(BaseModel):
    """All conditions that are given must hold; `since` and `until` are about `created_at`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"state": "dead"}]})

    state: DeliveryState | None = None
    destination_id: uuid.UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


@router.get("")
def list_deliveries(
    service: ServiceOf,
    state: DeliveryState | None = None,
    destination_id: uuid.UUID | None = None,
    call_id: str | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=look.MAX_LIMIT)] = 50,
) -> Page[DeliveryView]:
    """Newest first."""
    query = DeliveryQuery(state=state, destination_id=destination_id, call_id=call_id, limit=limit)
    return look.list_deliveries(service, query, cursor=cursor)


@router.post("/replay", status_code=202)
def replay_matching(service: ServiceOf, conditions: ReplayFilter) -> ReplayView:
    """Sends all that match again, under the ids that they have."""
    return replay.replay_matching(
        service,
        state=conditions.state,
        destination_id=conditions.destination_id,
        since=conditions.since,
        until=conditions.until,
    )


@router.get("/{delivery_id}")
def show(service: ServiceOf, delivery_id: uuid.UUID) -> DeliveryView:
    return look.show_delivery(service, delivery_id)


@router.post("/{delivery_id}/replay", status_code=202)
def replay_one(service: ServiceOf, delivery_id: uuid.UUID) -> DeliveryView:
    """Sends it again, under the id that it has."""
    return replay.replay_delivery(service, delivery_id)
