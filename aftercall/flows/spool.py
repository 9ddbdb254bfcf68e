"""Keeps webhooks while PostgreSQL is away: a Redis stream, moved to the database when it is back.

The stream is as durable as Redis is: append-only, at most the last second lost
in a power cut (docs/reliability.md). Storing an entry twice does nothing twice.
"""

import base64
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, cast

import structlog
from redis.exceptions import LockNotOwnedError
from redis.lock import Lock
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from aftercall.domain.ids import new_id
from aftercall.domain.states import Priority
from aftercall.domain.work import UNSPECIFIED, IncomingEvent
from aftercall.flows.accept_events import NoWorkspace, count_events, store_events
from aftercall.flows.errors import Conflict
from aftercall.flows.service import Service
from aftercall.origins import RungBy
from aftercall.twentytwo.inbound import NoCallId, Notice, NotJson, read_notice

log = structlog.get_logger(__name__)

STREAM = "aftercall:spool"
#: Entries that the database refuses, for a person to look at. Never deleted by us.
REFUSED = "aftercall:spool:refused"
_LOCK = "aftercall:spool:lock"
#: Renewed before each batch: so long may one batch take.
_LOCK_SECONDS = 30.0
_BATCH = 200


def events_of(
    notice: Notice, *, webhook_id: uuid.UUID, received_at: datetime
) -> list[IncomingEvent]:
    """The events that one webhook brings."""
    return [
        IncomingEvent(
            call_id=call_id,
            workspace_id=notice.workspace_id,
            type=notice.type or UNSPECIFIED,
            event_id=notice.event_id,
            webhook_id=webhook_id,
            received_at=received_at,
            priority=Priority.FRESH,
        )
        for call_id in notice.call_ids
    ]


def spool_webhook(service: Service, body: bytes) -> None:
    """Keeps a webhook that was read and found good. redis.RedisError when it cannot be kept."""
    service.redis.xadd(
        STREAM,
        {
            "body": base64.b64encode(body).decode(),
            "received_at": service.clock().isoformat(),
        },
    )


def spool_length(service: Service) -> int:
    """How many webhooks wait for the database."""
    return int(service.redis.xlen(STREAM))


def drain_spool(service: Service) -> int:
    """Moves what waits into the database; answers how many. One process at a time."""
    if not spool_length(service):
        return 0
    lock = service.redis.lock(_LOCK, timeout=_LOCK_SECONDS)
    if not lock.acquire(blocking=False):
        return 0
    moved = 0
    try:
        while entries := cast(list[Any], service.redis.xrange(STREAM, count=_BATCH)):
            _move(service, lock, entries)
            moved += len(entries)
    except (DBAPIError, PoolTimeout) as error:
        log.warning("database.unreachable", error=type(error).__name__)
    except LockNotOwnedError:
        log.warning("spool.lock_lost", moved=moved)
    finally:
        _release(lock)
    if moved:
        log.info("spool.drained", webhooks=moved)
    return moved


def _release(lock: Lock) -> None:
    """Ours alone: one that lapsed is somebody else's by now."""
    with suppress(LockNotOwnedError):
        lock.release()


def _move(service: Service, lock: Lock, entries: Sequence[tuple[str, dict[str, str]]]) -> None:
    lock.reacquire()
    try:
        _store(service, entries)
    except (DataError, IntegrityError) as error:
        # Of what is in them. Whatever else it is lies with the database, and passes.
        if len(entries) > 1:
            # One of them spoils the rest: each by itself.
            for entry in entries:
                _move(service, lock, [entry])
            return
        _refuse(service, entries[0], why=type(error.orig).__name__)
    service.redis.xdel(STREAM, *(entry_id for entry_id, _ in entries))


def _store(service: Service, entries: Sequence[tuple[str, dict[str, str]]]) -> None:
    events: list[IncomingEvent] = []
    bodies: dict[uuid.UUID, bytes] = {}
    source: list[tuple[str, dict[str, str]]] = []
    unreadable: list[tuple[str, dict[str, str]]] = []
    for entry in entries:
        try:
            body, its = _read(entry[1])
        except (NotJson, NoCallId, KeyError, ValueError):
            # Another version kept it, or a hand: those behind it do not wait for ever.
            unreadable.append(entry)
            continue
        bodies[its[0].webhook_id] = body
        events.extend(its)
        source.extend([entry] * len(its))
    due: list[int] = []
    answers = store_events(service, events, bodies)
    count_events(service, answers)
    for answer, entry in zip(answers, source, strict=True):
        if isinstance(answer, NoWorkspace):
            _refuse(service, entry, why="it names no workspace")
        elif answer.call_row_id is not None:
            due.append(answer.call_row_id)
    for entry in unreadable:
        _refuse(service, entry, why="it cannot be read")
    service.doorbell.ring_fetch(due, rung_by=RungBy.SPOOL)


def _read(fields: dict[str, str]) -> tuple[bytes, list[IncomingEvent]]:
    """The webhook and its events, one at least."""
    body = base64.b64decode(fields["body"])
    received_at = datetime.fromisoformat(fields["received_at"])
    return body, events_of(read_notice(body), webhook_id=new_id(), received_at=received_at)


def rewrite_spool(service: Service, look: Callable[[bytes], bytes | None]) -> int:
    """Replaces each webhook that waits, or was refused, by what `look` makes of it; None: by none.

    Answers how many were changed. Nobody drains meanwhile. Conflict when somebody does all along.
    """
    lock = service.redis.lock(_LOCK, timeout=_LOCK_SECONDS)
    if not lock.acquire(blocking_timeout=_LOCK_SECONDS + 1):
        raise Conflict("Kept webhooks are being moved into the database: try again in a minute")
    try:
        return sum(_rewrite(service, lock, stream, look) for stream in (STREAM, REFUSED))
    except LockNotOwnedError:
        raise Conflict("Looking through kept webhooks took too long: try again") from None
    finally:
        _release(lock)


def _rewrite(
    service: Service, lock: Lock, stream: str, look: Callable[[bytes], bytes | None]
) -> int:
    changed, after = 0, "-"
    newest = cast(list[Any], service.redis.xrevrange(stream, count=1))
    while entries := cast(list[Any], service.redis.xrange(stream, min=after, count=_BATCH)):
        lock.reacquire()
        for entry_id, fields in entries:
            if newest and _place(entry_id) > _place(newest[0][0]):
                return changed
            body = base64.b64decode(fields["body"])
            left = look(body)
            if left != body:
                if left is not None:
                    said = base64.b64encode(left).decode()
                    service.redis.xadd(stream, {**fields, "body": said})
                service.redis.xdel(stream, entry_id)
                changed += 1
        after = f"({entries[-1][0]}"
    return changed


def _place(entry_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in entry_id.split("-"))


def _refuse(service: Service, entry: tuple[str, dict[str, str]], *, why: str) -> None:
    log.error("spool.refused", entry=entry[0], why=why)
    fields: dict[Any, Any] = {**entry[1], "why": why}
    service.redis.xadd(REFUSED, fields)
