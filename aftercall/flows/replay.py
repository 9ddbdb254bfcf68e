"""By hand: fetch a call again, send deliveries again. A replay keeps the delivery's id."""

import uuid
from dataclasses import asdict

from sqlalchemy.orm import Session

from aftercall.db import deliveries as deliveries_db
from aftercall.db import replays as replays_db
from aftercall.db.calls import make_calls_due
from aftercall.db.models import Replay
from aftercall.db.replays import ReplayConditions
from aftercall.domain.ids import new_id
from aftercall.domain.states import DeliveryState
from aftercall.flows.audit import Actor, record
from aftercall.flows.errors import Conflict, Invalid, NotFound
from aftercall.flows.look import pick_call, show_call, show_delivery
from aftercall.flows.retention import nothing_to_send
from aftercall.flows.service import Service
from aftercall.flows.views import (
    CallStory,
    DeliveryView,
    ReplayPreviewView,
    ReplayProgressView,
    ReplayShareView,
    ReplayView,
)

#: So many are replayed while the caller waits.
AT_ONCE = 1_000
#: Deliveries a transaction: a fraction of a second.
_STEP = 2_000
_FIRST = uuid.UUID(int=0)


def refetch_call(
    service: Service, call_id: str, *, workspace_id: str | None = None, by: Actor | None = None
) -> CallStory:
    """From the first attempt. New content makes new deliveries; the same content makes none."""
    with service.database.transaction() as session:
        call, _ = pick_call(session, call_id, workspace_id)
        due = make_calls_due(session, [call.id], now=service.clock())
        record(session, by, "call.refetched", call.call_id, workspace_id=call.workspace_id)
    service.doorbell.ring_fetch(due)
    return show_call(service, call_id, workspace_id=call.workspace_id)


def replay_delivery(
    service: Service, delivery_id: uuid.UUID, *, by: Actor | None = None
) -> DeliveryView:
    """From the first attempt, under the same id. Conflict while it is being sent."""
    with service.database.transaction() as session:
        may_go = deliveries_db.replay_delivery(session, delivery_id, now=service.clock())
        if may_go:
            record(session, by, "delivery.replayed", delivery_id)
    if not may_go:
        before = show_delivery(service, delivery_id)
        if before.state == DeliveryState.SENDING:
            raise Conflict(f"Delivery {delivery_id} is being sent right now")
        if not _has_payload(service, delivery_id):
            raise Conflict(nothing_to_send(service.settings, f"delivery {delivery_id}"))
        raise Conflict(f"The destination of delivery {delivery_id} was removed")
    service.doorbell.ring_deliver([delivery_id])
    return show_delivery(service, delivery_id)


def _has_payload(service: Service, delivery_id: uuid.UUID) -> bool:
    with service.database.transaction() as session:
        return deliveries_db.has_payload(session, delivery_id)


def preview_replay(service: Service, conditions: ReplayConditions) -> ReplayPreviewView:
    """How many would go again now, and where to."""
    _check(conditions)
    with service.database.transaction() as session:
        counts = replays_db.count_replayable(session, conditions)
    return ReplayPreviewView(
        total=sum(one.count for one in counts),
        destinations=[ReplayShareView.model_validate(one) for one in counts],
    )


def replay_matching(
    service: Service, conditions: ReplayConditions, *, by: Actor | None = None
) -> ReplayView:
    """All that fit every condition: a few at once, many a step at a time by the sweeps.

    Invalid without any condition: everything is never meant.
    """
    _check(conditions)
    now, parameters = service.clock(), replays_db.as_parameters(conditions)
    with service.database.transaction() as session:
        total = sum(one.count for one in replays_db.count_replayable(session, conditions))
        last = replays_db.newest_delivery(session)
        # Without the reason: it may quote what a hook said.
        given = {
            name: value
            for name, value in asdict(conditions).items()
            if value is not None and name != "reason"
        }
        record(
            session,
            by,
            "deliveries.replayed",
            count=total,
            **{name: str(value) for name, value in given.items()},
        )
        if last is None:
            return ReplayView(replayed=0)
        if total > AT_ONCE:
            row = Replay(
                id=new_id(),
                state="running",
                conditions=parameters,
                total=total,
                done=0,
                after_id=_FIRST,
                last_id=last,
                created_at=now,
            )
            session.add(row)
            session.flush()
            return ReplayView(replayed=total, replay=ReplayProgressView.model_validate(row))
        replayed = replays_db.replay_step(
            session, parameters, after=_FIRST, last=last, count=AT_ONCE, now=now
        )
    service.doorbell.ring_deliver(replayed)
    return ReplayView(replayed=len(replayed))


def step_replays(service: Service, *, steps: int = 5) -> None:
    """A sweep's share. A step and how far it came are one transaction: nothing is done twice."""
    for _ in range(steps):
        with service.database.transaction() as session:
            row = replays_db.running_replay(session)
            if row is None:
                return
            replayed = replays_db.replay_step(
                session,
                row.conditions,
                after=row.after_id,
                last=row.last_id,
                count=_STEP,
                now=service.clock(),
            )
            row.done += len(replayed)
            if len(replayed) < _STEP:
                row.state, row.finished_at = "done", service.clock()
            if replayed:
                row.after_id = replayed[-1]


def show_replay(service: Service, replay_id: uuid.UUID) -> ReplayProgressView:
    with service.database.transaction() as session:
        return ReplayProgressView.model_validate(_get(session, replay_id))


def list_replays(service: Service) -> list[ReplayProgressView]:
    """The newest hundred."""
    with service.database.transaction() as session:
        return [
            ReplayProgressView.model_validate(row)
            for row in replays_db.list_replays(session, count=100)
        ]


def cancel_replay(
    service: Service, replay_id: uuid.UUID, *, by: Actor | None = None
) -> ReplayProgressView:
    """What went already stays gone. Conflict when it is at its end."""
    with service.database.transaction() as session:
        row = _get(session, replay_id, for_change=True)
        if row.state != "running":
            raise Conflict(f"Replay {replay_id} is {row.state} already")
        row.state, row.finished_at = "canceled", service.clock()
        record(session, by, "replay.canceled", replay_id)
        return ReplayProgressView.model_validate(row)


def _get(session: Session, replay_id: uuid.UUID, *, for_change: bool = False) -> Replay:
    row = replays_db.get_replay(session, replay_id, for_change=for_change)
    if row is None:
        raise NotFound(f"There is no replay {replay_id}")
    return row


def _check(conditions: ReplayConditions) -> None:
    if conditions.is_empty:
        names = "state, destination_id, reason, call_id, since, until"
        raise Invalid([("", f"Give at least one of {names}")])
    if conditions.state is DeliveryState.SENDING:
        raise Invalid([("state", "What is being sent cannot be replayed")])
