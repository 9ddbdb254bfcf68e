"""Calls as pages show them: with what became of their deliveries. Changes nothing."""

import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from aftercall.db import reading
from aftercall.db.call_rows import saves_of_call, states_of_deliveries
from aftercall.db.call_search import CallQuery
from aftercall.flows.configure_destinations import list_destinations
from aftercall.flows.look import list_calls, show_call
from aftercall.flows.service import Service
from aftercall.flows.views import CallStory, CallView


@dataclass(frozen=True, slots=True)
class DeliveryStateView:
    destination: str
    state: str


@dataclass(frozen=True, slots=True)
class CallRowView:
    """A call, and the deliveries of its newest revision."""

    call: CallView
    deliveries: tuple[DeliveryStateView, ...]


@dataclass(frozen=True, slots=True)
class CallRowsView:
    rows: tuple[CallRowView, ...]
    next_cursor: str | None
    previous_cursor: str | None


@dataclass(frozen=True, slots=True)
class CallPageView:
    """A call's story, each save of it, and the destinations that it could go to."""

    story: CallStory
    #: Revision and time, oldest first.
    saves: tuple[tuple[int, datetime], ...]
    #: Id and name.
    destinations: tuple[tuple[uuid.UUID, str], ...]

    @property
    def is_under_way(self) -> bool:
        """Whether something is to come without anybody doing anything."""
        return self.story.next_attempt is not None or any(
            delivery.state in ("queued", "sending") for delivery in self.story.deliveries
        )


def list_rows(service: Service, query: CallQuery, *, cursor: str | None = None) -> CallRowsView:
    """Newest first."""
    page = list_calls(service, query, cursor=cursor)
    keys = [(call.workspace_id, call.call_id) for call in page.items]
    found: dict[tuple[str, str], list[DeliveryStateView]] = defaultdict(list)
    if keys:
        with service.database.transaction() as session:
            for one in states_of_deliveries(session, keys):
                view = DeliveryStateView(one.destination, str(one.state))
                found[one.workspace_id, one.call_id].append(view)
    return CallRowsView(
        rows=tuple(
            CallRowView(call, tuple(found[key])) for call, key in zip(page.items, keys, strict=True)
        ),
        next_cursor=page.next_cursor,
        previous_cursor=page.previous_cursor,
    )


def show_page(service: Service, call_id: str, *, workspace_id: str | None = None) -> CallPageView:
    """NotFound, or Conflict when several workspaces have it: `workspaces_of` names them."""
    story = show_call(service, call_id, workspace_id=workspace_id)
    with service.database.transaction() as session:
        saves = saves_of_call(session, story.workspace_id, story.call_id)
    return CallPageView(
        story=story,
        saves=tuple(saves),
        destinations=tuple((one.id, one.name) for one in list_destinations(service)),
    )


def workspaces_of(service: Service, call_id: str) -> list[str]:
    """The workspaces that have a call of this id."""
    with service.database.transaction() as session:
        return [call.workspace_id for call, _ in reading.find_call(session, call_id, None)]
