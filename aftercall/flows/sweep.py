"""Finds what nobody is working on: due rows, expired leases, rows whose message was lost.

Any number may run at once. It rings for rows, it does not work on them, and no
more than the rate limit would let go now: a backlog of a hundred thousand calls
is not touched before its turn.
"""

from collections.abc import Callable
from datetime import datetime

import redis
import structlog
from sqlalchemy.exc import DBAPIError

from aftercall.db import calls as calls_db
from aftercall.db import deliveries as deliveries_db
from aftercall.db import media as media_db
from aftercall.db.activity import count_activity
from aftercall.db.reconciliations import due_reconciliations
from aftercall.db.workspaces import access_to
from aftercall.domain.states import Priority
from aftercall.flows.claim_calls import lane_of
from aftercall.flows.heartbeat import note_sweep
from aftercall.flows.reconciliations import start_periodic
from aftercall.flows.replay import step_replays
from aftercall.flows.service import Service
from aftercall.flows.spool import drain_spool
from aftercall.flows.tell_operator import note_changes
from aftercall.origins import RungBy
from aftercall.queue import QueueName
from aftercall.rate_limit import Wish

log = structlog.get_logger(__name__)

#: More than two cores fetch in a second; less than a message queue minds.
MAX_OFFER = 5_000
#: While so many messages wait, the workers have enough to do.
ENOUGH_WAITING = 10
#: Recordings and transcripts that are offered in one round; a process takes the next by itself.
MEDIA_AT_ONCE = 100
#: Calls of a workspace that are looked at once more, in one round.
LOOKS_AT_ONCE = 10
#: Rows on their last chance that are offered in one round.
LAST_CHANCES = 50
#: Seconds between two offers of the same one.
RING_ALONE_EVERY = 60
#: Seconds between two looks for what is past its time.
KEEP_EVERY = 3_600
#: Seconds between two looks for workspaces whose log was not read for long enough.
RECONCILE_EVERY = 60


def sweep(service: Service, *, waiting_messages: Callable[[QueueName], int]) -> None:
    """One round. `waiting_messages`: how many of a queue no worker has taken yet."""
    now = service.clock()
    try:
        drain_spool(service)
    except redis.RedisError as error:
        log.warning("spool.unreachable", error=type(error).__name__)
    with service.database.transaction() as session:
        lapsed_calls = calls_db.release_lapsed_calls(session, now=now)
        lapsed_deliveries = deliveries_db.release_lapsed_deliveries(session, now=now)
        lapsed_media = media_db.release_lapsed_media(session, now=now)
        deliveries_db.follow_destinations(session, now=now)
        calls_db.queue_looks(
            session, now=now, own_workspace=service.own_workspace, count=LOOKS_AT_ONCE
        )
    if lapsed_calls or lapsed_deliveries or lapsed_media:
        log.warning(
            "leases.lapsed", calls=lapsed_calls, deliveries=lapsed_deliveries, media=lapsed_media
        )
        service.counters.leases_lapsed(
            call=lapsed_calls, delivery=lapsed_deliveries, media=lapsed_media
        )
    try:
        if waiting_messages(QueueName.BACKLOG) < ENOUGH_WAITING:
            _offer_deliveries(service, now=now)
            _offer_calls(service, now=now)
            _offer_last_chances(service, now=now)
            _offer_reconciliations(service, now=now)
        if service.settings.keep_media and not waiting_messages(QueueName.MEDIA):
            _offer_media(service, now=now)
        if service.redis.set("aftercall:kept", "1", nx=True, ex=KEEP_EVERY):
            service.doorbell.ring_keep()
        note_sweep(service, now=now)
    except redis.RedisError as error:
        log.warning("limiter.unreachable", error=type(error).__name__)
    # What people look at comes last, and stands in nobody's way.
    for part in (_count, step_replays, _start_periodic, note_changes):
        try:
            part(service)
        except redis.RedisError as error:
            log.warning("sweep.part_failed", part=part.__name__, error=type(error).__name__)
        except DBAPIError as error:
            log.warning("sweep.part_failed", part=part.__name__, error=type(error.orig).__name__)


def _count(service: Service) -> None:
    with service.database.transaction() as session:
        count_activity(session)


def _start_periodic(service: Service) -> None:
    if service.redis.set("aftercall:reconciled", "1", nx=True, ex=RECONCILE_EVERY):
        start_periodic(service)


def _offer_calls(service: Service, *, now: datetime) -> None:
    own = service.own_workspace
    with service.database.transaction() as session:
        workspace_ids = calls_db.workspaces_with_due_calls(session, now=now, own_workspace=own)
        access = access_to(session, workspace_ids)
    lanes = [lane_of(service, access[id_]) for id_ in workspace_ids]
    fresh = service.limiter.look([Wish(lane, fresh=MAX_OFFER, paced=0) for lane in lanes])
    paced = service.limiter.look([Wish(lane, fresh=0, paced=MAX_OFFER) for lane in lanes])
    for workspace_id, free, on_time in zip(workspace_ids, fresh, paced, strict=True):
        total = min(free.fresh, 1 if access[workspace_id].on_probation else MAX_OFFER)
        if total:
            with service.database.transaction() as session:
                due = calls_db.due_calls(session, workspace_id, count=total, now=now)
            ids = [call.row_id for call in due if call.priority == Priority.FRESH]
            others = [call.row_id for call in due if call.priority != Priority.FRESH]
            service.doorbell.ring_fetch(
                ids + others[: on_time.paced], queue=QueueName.BACKLOG, rung_by=RungBy.SWEEP
            )


def _offer_deliveries(service: Service, *, now: datetime) -> None:
    with service.database.transaction() as session:
        ids = deliveries_db.due_deliveries(session, now=now, count=MAX_OFFER)
    service.doorbell.ring_deliver(ids, queue=QueueName.BACKLOG, rung_by=RungBy.SWEEP)


def _offer_media(service: Service, *, now: datetime) -> None:
    with service.database.transaction() as session:
        ids = media_db.due_media(session, now=now, count=MEDIA_AT_ONCE)
    service.doorbell.ring_media(ids)


def _offer_reconciliations(service: Service, *, now: datetime) -> None:
    with service.database.transaction() as session:
        due = due_reconciliations(session, now=now, own_workspace=service.own_workspace)
    service.doorbell.ring_reconcile(list(due))


def _offer_last_chances(service: Service, *, now: datetime) -> None:
    """Rows that have cost their worker twice go one by one, each in a process of its own."""
    with service.database.transaction() as session:
        calls = calls_db.last_chance_calls(session, now=now, count=LAST_CHANCES)
        deliveries = deliveries_db.last_chance_deliveries(session, now=now, count=LAST_CHANCES)
    for call in calls:
        if _is_first_to_ring(service, f"call:{call}"):
            service.doorbell.ring_fetch_alone(call)
    for delivery in deliveries:
        if _is_first_to_ring(service, f"delivery:{delivery}"):
            service.doorbell.ring_deliver_alone(delivery)


def _is_first_to_ring(service: Service, row: str) -> bool:
    # Starting the process takes a second or two: it need not be started again by each sweep.
    return bool(service.redis.set(f"aftercall:alone:{row}", "1", nx=True, ex=RING_ALONE_EVERY))
