"""Stores webhooks: all that wait are committed together, by one thread; then their calls are rung.

A request is answered only after its rows are committed, or, while PostgreSQL is
away, after it is kept in Redis. A lone webhook waits for nobody.
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import redis
import structlog
from sqlalchemy.exc import DBAPIError

from aftercall.batching import Batcher
from aftercall.db.session import DATABASE_AWAY
from aftercall.domain.ids import new_id
from aftercall.domain.work import Acceptance, IncomingEvent
from aftercall.flows.accept_events import NoWorkspace, count_events, store_events
from aftercall.flows.service import Service
from aftercall.flows.spool import events_of, spool_webhook
from aftercall.origins import RungBy
from aftercall.tracing import Place
from aftercall.twentytwo.inbound import Notice

log = structlog.get_logger(__name__)

#: Webhooks a commit.
BATCH = 500
#: Twenty2 wants its answer within 5 s: so long for the database, the rest for Redis.
PATIENCE = 2.0
#: While the database is away it is tried again only so often; what comes meanwhile is kept.
AWAY = 1.0
#: More than this waiting means that the database does not keep up.
MAX_WAITING = 20_000


@dataclass(frozen=True, slots=True)
class _Due:
    """A call's row and revision, and the request that brought it: its id, its sender's span."""

    row_id: int
    revision: int
    request_id: str | None
    trace: Place | None


class NotStored(Exception):
    """Neither the database nor Redis took it in time. The sender should try again."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the sender is told, and, for the log, where it went."""

    received: int
    duplicates: int
    webhook_id: uuid.UUID | None = None
    #: Those that made their calls due.
    accepted: tuple[Acceptance, ...] = ()
    kept_in: str = "database"


@dataclass(frozen=True, slots=True)
class _Waiting:
    events: Sequence[IncomingEvent]
    body: bytes
    request_id: str | None
    #: The span that the sender's request was made in.
    trace: Place | None
    answer: "asyncio.Future[Receipt]"


class Receiver:
    """Between the event loop and the stores."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._away_until = 0.0
        #: When the last webhook was taken here.
        self.last_at: datetime | None = None
        self._rings: Batcher[list[_Due]] = Batcher(self._ring, name="ring")
        self._writer: Batcher[_Waiting] = Batcher(self._write, name="write-events", limit=BATCH)

    async def receive(
        self,
        notice: Notice,
        body: bytes,
        *,
        request_id: str | None = None,
        trace: Place | None = None,
    ) -> Receipt:
        """Returns once it is stored, in PostgreSQL or, while that is away, in Redis.

        NotStored or NoWorkspace otherwise.
        """
        is_away = self._loop.time() < self._away_until or self._writer.size() > MAX_WAITING
        if is_away and (kept := await self._keep(notice, body)) is not None:
            return kept
        answer: asyncio.Future[Receipt] = self._loop.create_future()
        self.last_at = received_at = self._service.clock()
        events = events_of(notice, webhook_id=new_id(), received_at=received_at)
        self._writer.put(_Waiting(events, body, request_id, trace, answer))
        # As `wait_for` does it, at a third of its cost.
        too_late = self._loop.call_later(PATIENCE, _give_up, answer)
        try:
            return await answer
        except NotStored:
            # It may still be stored by the writer; kept as well, it is a duplicate and no harm.
            self._away_until = self._loop.time() + AWAY
        finally:
            too_late.cancel()
        # Redis was asked already, if the database was known to be away.
        if is_away or (kept := await self._keep(notice, body)) is None:
            raise NotStored
        return kept

    def close(self) -> None:
        """Stores and rings for what waits."""
        self._writer.close(10)
        self._rings.close(5)

    async def _keep(self, notice: Notice, body: bytes) -> Receipt | None:
        """In Redis; None when it cannot be kept there."""
        default = self._service.settings.twentytwo_workspace_id
        if notice.workspace_id is None and default is None:
            # Which workspace is meant only the database could tell.
            return None
        try:
            keeping = asyncio.to_thread(spool_webhook, self._service, body)
            await asyncio.wait_for(keeping, PATIENCE)
        except (redis.RedisError, TimeoutError) as error:
            log.warning("webhook.not_kept", error=type(error).__name__)
            return None
        return Receipt(len(notice.call_ids), duplicates=0, kept_in="redis")

    # ---- in the writer's thread ------------------------------------------------

    def _write(self, batch: list[_Waiting]) -> None:
        try:
            answers = self._store(batch)
        except DATABASE_AWAY as error:
            log.warning("database.unreachable", error=type(error).__name__, webhooks=len(batch))
            self._answer([(waiting, NotStored()) for waiting in batch])
        except DBAPIError as error:
            if len(batch) == 1:
                log.exception("webhook.not_stored", error=type(error.orig).__name__)
                self._answer([(batch[0], NotStored())])
                return
            # One of them spoils the rest: each by itself.
            for waiting in batch:
                self._write([waiting])
        except Exception as error:
            self._answer([(waiting, error) for waiting in batch])
            raise
        else:
            self._answer(answers)

    def _store(self, batch: list[_Waiting]) -> list[tuple[_Waiting, Receipt | Exception]]:
        events = [event for waiting in batch for event in waiting.events]
        bodies = {waiting.events[0].webhook_id: waiting.body for waiting in batch}
        stored = store_events(self._service, events, bodies)
        count_events(self._service, stored)
        answers: list[tuple[_Waiting, Receipt | Exception]] = []
        due: list[_Due] = []
        at = 0
        for waiting in batch:
            its = stored[at : at + len(waiting.events)]
            at += len(waiting.events)
            receipt = _receipt(its, waiting)
            answers.append((waiting, receipt))
            if isinstance(receipt, Receipt):
                due.extend(_due(receipt, waiting))
        self._service.traces.adopt(_traces_of(due))
        self._rings.put(due)
        return answers

    def _answer(self, answers: Sequence[tuple[_Waiting, Receipt | Exception]]) -> None:
        def settle() -> None:
            for waiting, answer in answers:
                if waiting.answer.done():
                    continue
                if isinstance(answer, Receipt):
                    waiting.answer.set_result(answer)
                else:
                    waiting.answer.set_exception(answer)

        self._loop.call_soon_threadsafe(settle)

    def _ring(self, batches: list[list[_Due]]) -> None:
        due = [one for batch in batches for one in batch]
        # Before the ring, so that who fetches them knows. Here nobody waits for Redis.
        self._service.traces.share(_traces_of(due))
        self._service.doorbell.ring_fetch(
            [one.row_id for one in due],
            rung_by=RungBy.WEBHOOK,
            request_ids=[one.request_id for one in due],
        )


def _due(receipt: Receipt, waiting: _Waiting) -> list[_Due]:
    return [
        _Due(one.call_row_id, one.revision, waiting.request_id, waiting.trace)
        for one in receipt.accepted
        if one.call_row_id is not None
    ]


def _traces_of(due: list[_Due]) -> dict[tuple[int, int], Place]:
    return {(one.row_id, one.revision): one.trace for one in due if one.trace is not None}


def _give_up(answer: "asyncio.Future[Receipt]") -> None:
    if not answer.done():
        answer.set_exception(NotStored())


def _receipt(stored: Sequence[Acceptance | NoWorkspace], waiting: _Waiting) -> Receipt | Exception:
    acceptances: list[Acceptance] = []
    for one in stored:
        if isinstance(one, NoWorkspace):
            return one
        acceptances.append(one)
    return Receipt(
        len(acceptances),
        sum(one.is_duplicate for one in acceptances),
        waiting.events[0].webhook_id,
        tuple(one for one in acceptances if one.call_row_id is not None),
    )
