"""/api/v1/replays: how far replays of many deliveries are, and stopping one."""

import uuid

from fastapi import APIRouter

from aftercall.flows import replay
from aftercall.flows.views import Page, ReplayProgressView
from api.access import ActorOf, ServiceOf

router = APIRouter(prefix="/replays", tags=["deliveries"])


@router.get("")
def list_replays(service: ServiceOf) -> Page[ReplayProgressView]:
    """The newest hundred, newest first."""
    return Page(items=replay.list_replays(service), next_cursor=None)


@router.get("/{replay_id:uuid}")
def show_replay(service: ServiceOf, replay_id: uuid.UUID) -> ReplayProgressView:
    return replay.show_replay(service, replay_id)


@router.post("/{replay_id:uuid}/cancel")
def cancel_replay(service: ServiceOf, by: ActorOf, replay_id: uuid.UUID) -> ReplayProgressView:
    """What went already stays gone; the rest stays where it is."""
    return replay.cancel_replay(service, replay_id, by=by)
