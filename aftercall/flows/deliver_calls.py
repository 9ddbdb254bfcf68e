"""Delivers calls: claim within the destination's limits, map, sign, POST, record.

One delivery has one id for all its attempts. A destination that is slow, full
or gone takes no more than its own share of the places.
"""

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import redis
import structlog
from sqlalchemy import Connection

from aftercall.batching import Crew
from aftercall.crm.mapping import MappingError, storable
from aftercall.crm.sending import HookSender, prepare
from aftercall.db import deliveries as deliveries_db
from aftercall.db import destinations as destinations_db
from aftercall.db.attempts import AttemptRow, excerpt
from aftercall.db.session import Executor
from aftercall.domain.breaker import is_tripped, pause
from aftercall.domain.exchange import Answer, Exchange, NoAnswer
from aftercall.domain.outcomes import (
    Blocked,
    Dead,
    DeliveryOutcome,
    Retry,
    Skipped,
    Succeeded,
    classify_delivery,
)
from aftercall.domain.plans import DeliveryStanding, plan_delivery
from aftercall.domain.schedules import parse_retry_after
from aftercall.domain.states import DeliveryState
from aftercall.domain.work import WEBHOOK, ClaimedDelivery
from aftercall.flows.media_links import media_links
from aftercall.flows.recording import attempt_outcome, write_all
from aftercall.flows.service import Service
from aftercall.flows.sync_calls import CrmSyncer, Synced
from aftercall.http import without_secrets
from aftercall.origins import Origin
from aftercall.rate_limit import Grant, Lane, Wish
from aftercall.sealing import SealError
from aftercall.tracing import Place, Traces

log = structlog.get_logger(__name__)

#: The longest request (30 s) and the patience for its record, and still under way within a
#: minute after a crash.
LEASE = timedelta(seconds=50)
#: Then somebody should look: the destination is disabled, and its deliveries are held.
MAX_FAILING = timedelta(days=5)
_WAIT_FOR_PLACE = 20.0
_SEAL_WAIT = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Said:
    """When it was sent, and what the hook said; or why it could not even be made."""

    started_at: datetime
    exchange: Exchange | DeliveryOutcome | Synced
    origin: Origin
    #: What an answer that repeats the request must not show.
    secrets: tuple[str, ...] = field(default=(), repr=False)
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One finished POST, or one that could not even be made."""

    claim: ClaimedDelivery
    started_at: datetime
    elapsed: timedelta
    status_code: int | None
    response_excerpt: str | None
    outcome: DeliveryOutcome
    #: Who rang before it was sent, for the log: later rings are for later.
    origin: Origin
    #: In the call's trace.
    place: Place | None = None


class CallDeliverer:
    """One process's share of the delivering."""

    def __init__(
        self, service: Service, sender: HookSender, *, size: int, alone: bool = False
    ) -> None:
        """`alone`: works on deliveries on their last chance, and on no others."""
        self._service = service
        self._sender = sender
        self._syncer = CrmSyncer(service, sender.ask)
        self._alone = alone
        self._crew: Crew[ClaimedDelivery, Said, Sent] = Crew(
            name="deliver",
            size=size,
            send=self._send,
            read=_read,
            record=self._record,
            go_on=self._go_on,
        )
        #: Destinations that had more waiting than they took: their next go as places free up.
        self._crowded: set[uuid.UUID] = set()

    def deliver(
        self, ids: Sequence[uuid.UUID], *, wait_for_place: float = _WAIT_FOR_PLACE
    ) -> list[uuid.UUID]:
        """Starts as many of these as are due and fit their destination's limits.

        Answers those that found no place in time.
        """
        waiting = list(ids)
        while waiting:
            places = self._crew.reserve(len(waiting), timeout=wait_for_place)
            if not places:
                break
            chunk, waiting = waiting[:places], waiting[places:]
            claims: list[ClaimedDelivery] = []
            try:
                claims, crowded = claim_within_limits(self._service, chunk, alone=self._alone)
                self._crowded |= crowded
                self._service.traces.recall(
                    (claim.call_row_id, claim.revision - 1) for claim in claims
                )
            except redis.RedisError as error:
                log.warning("limiter.unreachable", error=type(error).__name__)
                break
            finally:
                self._crew.cancel(places - len(claims))
            self._crew.start(claims)
        return waiting

    def overdue(self, seconds: float) -> list[str]:
        """The deliveries that have been worked on for longer than that."""
        return [f"delivery {claim.id}" for claim in self._crew.overdue(seconds)]

    def close(self, timeout: float) -> bool:
        """Finishes what is under way. Whether that was done in `timeout` seconds."""
        return self._crew.close(timeout)

    def _send(self, claim: ClaimedDelivery, then: Callable[[Said], None]) -> None:
        started_at = self._service.clock()
        origin = self._service.origins.of_delivery(claim.id, claim.call_row_id)
        place = self._service.traces.begin(claim.call_row_id, claim.revision - 1)
        if claim.kind != WEBHOOK:
            self._syncer.start(
                claim, lambda synced: then(Said(started_at, synced, origin, place=place))
            )
            return
        try:
            post = prepare(
                claim,
                sealer=self._service.sealer,
                now=started_at,
                traceparent=place.traceparent if place else None,
            )
        except MappingError as error:
            then(Said(started_at, Dead(f"the destination's mapping failed: {error}"), origin))
        except SealError as error:
            then(Said(started_at, Blocked(str(error), _SEAL_WAIT), origin))
        else:
            self._sender.send(
                post, lambda exchange: then(Said(started_at, exchange, origin, post.secrets, place))
            )

    def _record(self, results: list[Sent]) -> None:
        write_all(results, write=self._write, spoil=_spoiled)

    def _write(self, results: list[Sent]) -> None:
        now = self._service.clock()
        records = [_to_record(result, now=now, rng=self._service.rng) for result in results]

        def work(connection: Connection) -> None:
            deliveries_db.record_deliveries(connection, records, now=now)
            note_destinations(connection, results, now=now)

        self._service.database.run(work)
        pairs = list(zip(results, records, strict=True))
        self._count(pairs, now=now)
        for result, record in pairs:
            _log(result, record)
        if self._service.traces.is_on:
            for result, record in pairs:
                _trace(self._service.traces, result, record)

    def _count(self, pairs: list[tuple[Sent, deliveries_db.SendRecord]], *, now: datetime) -> None:
        counters = self._service.counters
        counters.deliveries(
            (result.claim.kind, record.attempt.outcome, result.elapsed) for result, record in pairs
        )
        counters.first_deliveries(
            (
                (result.claim.kind, result.claim.awaited_since)
                for result, _ in pairs
                if result.claim.awaited_since and isinstance(result.outcome, Succeeded)
            ),
            now=now,
        )

    def _go_on(self, results: list[Sent]) -> None:
        """Crowded destinations get their next deliveries now, not at the next sweep."""
        crowded = {result.claim.destination_id for result in results} & self._crowded
        if not crowded:
            return
        self._crowded -= crowded
        with self._service.database.statements() as connection:
            ids = deliveries_db.due_deliveries(
                connection,
                now=self._service.clock(),
                count=self._crew.size,
                destination_ids=sorted(crowded),
            )
        if ids:
            # Behind them may be more, even if they all find room by now.
            self._crowded |= crowded
        self.deliver(ids, wait_for_place=0)


# ---- claim -------------------------------------------------------------------


def claim_within_limits(
    service: Service, ids: Sequence[uuid.UUID], *, alone: bool = False
) -> tuple[list[ClaimedDelivery], set[uuid.UUID]]:
    """The deliveries that may go now, leased; and the destinations that have more waiting.

    `alone`: of those on their last chance, else none of those.
    """
    now = service.clock()
    with service.database.statements() as connection:
        waiting = deliveries_db.waiting_deliveries(connection, ids, now=now, alone=alone)
        limited = deliveries_db.limited_capacities(connection, list(waiting), now=now)
    # Before the destinations are locked: nobody waits behind us for Redis.
    permits = _take_permits(service, limited, waiting)
    claims: list[ClaimedDelivery] = []
    try:
        with service.database.engine.begin() as connection:
            chosen, crowded = _choose(connection, waiting, permits, now=now)
            if chosen:
                claims = deliveries_db.claim_deliveries(
                    connection, sorted(chosen), now=now, lease=LEASE
                )
                claims = _with_links(service, connection, claims)
    finally:
        for destination_id, (lane, grant) in permits.items():
            used = sum(claim.destination_id == destination_id for claim in claims)
            service.limiter.give_back(lane, grant, grant.total - used)
    return claims, crowded


def _choose(
    connection: Connection,
    waiting: dict[uuid.UUID, list[uuid.UUID]],
    permits: dict[uuid.UUID, tuple[Lane, Grant]],
    *,
    now: datetime,
) -> tuple[list[uuid.UUID], set[uuid.UUID]]:
    """Which may go, and the destinations that have more waiting; locks the destinations."""
    chosen: list[uuid.UUID] = []
    crowded: set[uuid.UUID] = set()
    for capacity in deliveries_db.lock_capacities(connection, list(waiting), now=now):
        its = waiting[capacity.destination_id]
        free = min(capacity.free, len(its))
        if capacity.rate_limit_per_second is not None:
            _, grant = permits.get(capacity.destination_id, (None, None))
            free = min(free, grant.total if grant else 0)
        if free and is_tripped(capacity.failures_in_a_row):
            # The probe. The next goes when this one has failed, or should have come back.
            free = 1
            destinations_db.pause_destination(
                connection, capacity.destination_id, until=now + LEASE
            )
        if free < len(its):
            crowded.add(capacity.destination_id)
        chosen.extend(its[:free])
    return chosen, crowded


def _with_links(
    service: Service, connection: Connection, claims: list[ClaimedDelivery]
) -> list[ClaimedDelivery]:
    """With our links to what they have: one statement, and none without a public URL."""
    ids = [claim.call_row_id for claim in claims if claim.recording or claim.transcript]
    if service.settings.public_url is None or not ids:
        return claims
    links = media_links(service, connection, ids)
    return [
        replace(claim, recording_link=found.recording, transcript_link=found.transcript)
        if (found := links.get(claim.call_row_id)) is not None
        else claim
        for claim in claims
    ]


def _take_permits(
    service: Service,
    limited: Sequence[deliveries_db.Capacity],
    waiting: dict[uuid.UUID, list[uuid.UUID]],
) -> dict[uuid.UUID, tuple[Lane, Grant]]:
    """Of each destination with a limit of its own: as many as it would take now."""
    wishes: dict[uuid.UUID, Wish] = {}
    for capacity in limited:
        wanted = min(capacity.free, len(waiting[capacity.destination_id]))
        if is_tripped(capacity.failures_in_a_row):
            wanted = min(wanted, 1)
        if wanted and capacity.rate_limit_per_second is not None:
            lane = Lane(
                f"destination:{capacity.destination_id}", capacity.rate_limit_per_second, _SECOND
            )
            wishes[capacity.destination_id] = Wish(lane, fresh=wanted, paced=0)
    grants = service.limiter.take(list(wishes.values()))
    return {
        destination_id: (wish.lane, grant)
        for (destination_id, wish), grant in zip(wishes.items(), grants, strict=True)
    }


# ---- read and record ---------------------------------------------------------


def _read(claim: ClaimedDelivery, said: Said) -> Sent:
    if isinstance(said.exchange, Synced):
        return _read_synced(claim, said, said.exchange)
    if not isinstance(said.exchange, Answer | NoAnswer):
        return Sent(
            claim=claim,
            started_at=said.started_at,
            elapsed=timedelta(),
            status_code=None,
            response_excerpt=None,
            outcome=said.exchange,
            origin=said.origin,
        )
    exchange = without_secrets(said.exchange, said.secrets)
    answer = exchange if isinstance(exchange, Answer) else None
    asked = parse_retry_after(
        answer.retry_after if answer else None, now=said.started_at + exchange.elapsed
    )
    return Sent(
        claim=claim,
        started_at=said.started_at,
        elapsed=exchange.elapsed,
        status_code=answer.status if answer else None,
        response_excerpt=excerpt(answer.body) if answer else None,
        outcome=classify_delivery(exchange, retry_after=asked),
        origin=said.origin,
        place=said.place,
    )


def _read_synced(claim: ClaimedDelivery, said: Said, synced: Synced) -> Sent:
    answer = synced.answer
    return Sent(
        claim=claim,
        started_at=said.started_at,
        elapsed=synced.elapsed,
        status_code=answer.status if answer else None,
        response_excerpt=excerpt(answer.body) if answer else None,
        outcome=synced.outcome,
        origin=said.origin,
        place=said.place,
    )


def _spoiled(result: Sent, why: str) -> Sent:
    # What was answered is known; only its words can be what PostgreSQL does not take.
    log.error("delivery.excerpt_dropped", delivery_id=str(result.claim.id), why=why)
    outcome = result.outcome
    if not isinstance(outcome, Succeeded):
        outcome = replace(outcome, reason=storable(outcome.reason))
    return replace(result, response_excerpt=None, outcome=outcome)


def _to_record(result: Sent, *, now: datetime, rng: random.Random) -> deliveries_db.SendRecord:
    claim = result.claim
    standing = DeliveryStanding(attempts=claim.attempts, due_at=claim.due_at)
    step = plan_delivery(result.outcome, standing, now=now, rng=rng)
    return deliveries_db.SendRecord(
        claim=claim,
        step=step,
        attempt=AttemptRow(
            call_row_id=claim.call_row_id,
            delivery_id=claim.id,
            number=claim.attempts + 1,
            started_at=result.started_at,
            duration_ms=int(result.elapsed / timedelta(milliseconds=1)),
            outcome=attempt_outcome(result.outcome, is_dead=step.state is DeliveryState.DEAD),
            status_code=result.status_code,
            reason=step.error,
            response_excerpt=result.response_excerpt,
            next_due_at=step.due_at if step.state is DeliveryState.QUEUED else None,
        ),
    )


def note_destinations(executor: Executor, results: list[Sent], *, now: datetime) -> None:
    """Health: failures in a row, since when; paused when they are many, disabled after days."""
    by_destination: dict[uuid.UUID, list[Sent]] = {}
    # In the order of ids: two recorders with destinations in common take turns.
    for result in sorted(results, key=lambda result: result.claim.destination_id):
        by_destination.setdefault(result.claim.destination_id, []).append(result)
    for destination_id, its in by_destination.items():
        _note_destination(executor, its, now=now)
        asked = [
            result.outcome.wait
            for result in its
            if isinstance(result.outcome, Blocked) and result.outcome.destination_waits
        ]
        if asked:
            # A CRM's limit: no failure of its, and nothing else may go there meanwhile.
            destinations_db.pause_destination(executor, destination_id, until=now + max(asked))


def _note_destination(executor: Executor, results: list[Sent], *, now: datetime) -> None:
    claim = results[-1].claim
    has_worked = any(_has_worked(result) for result in results)
    for result in results:
        # Gone is gone, whatever else was delivered at the same time; one success ends five days.
        reason = _reason_to_disable(result, now=now)
        if reason is not None and (_is_gone(result) or not has_worked):
            _disable(executor, claim, reason, now=now)
            break
    failed = [result for result in results if isinstance(result.outcome, Retry)]
    if has_worked:
        if claim.failures_in_a_row or claim.failing_since is not None:
            destinations_db.mark_working(executor, claim.destination_id)
        return
    if not failed and any(is_tripped(result.claim.failures_in_a_row) for result in results):
        # The probe found nothing out: the next one goes now, not when this one's lease is over.
        destinations_db.end_probe(executor, claim.destination_id, now=now, lease=LEASE)
    if failed:
        is_probe = any(is_tripped(result.claim.failures_in_a_row) for result in failed)
        in_a_row, is_paused = destinations_db.count_failures(
            executor, claim.destination_id, count=len(failed), is_probe=is_probe, now=now
        )
        wait = pause(in_a_row)
        if wait is not None and (is_probe or not is_paused):
            destinations_db.pause_destination(executor, claim.destination_id, until=now + wait)
            log.warning(
                "destination.paused",
                destination_id=str(claim.destination_id),
                destination=claim.destination_name,
                failures_in_a_row=in_a_row,
                for_seconds=round(wait.total_seconds()),
            )


def _has_worked(result: Sent) -> bool:
    """It was taken; or the CRM answered well, and has nobody, or several, of this number."""
    if isinstance(result.outcome, Skipped | Dead):
        return result.status_code is not None and 200 <= result.status_code < 300
    return isinstance(result.outcome, Succeeded)


def _is_gone(result: Sent) -> bool:
    return isinstance(result.outcome, Dead) and result.outcome.destination_is_gone


def _reason_to_disable(result: Sent, *, now: datetime) -> str | None:
    since = result.claim.failing_since
    if _is_gone(result):
        return "The hook answered 410 (gone): it wants no more deliveries"
    if isinstance(result.outcome, Retry) and since is not None and now - since >= MAX_FAILING:
        return (
            f"Every delivery has failed since {since:%Y-%m-%d %H:%M} UTC: {result.outcome.reason}"
        )
    return None


def _disable(executor: Executor, claim: ClaimedDelivery, reason: str, *, now: datetime) -> None:
    is_disabled = destinations_db.disable_destination(
        executor, claim.destination_id, url=claim.url, reason=reason, now=now
    )
    # Where it was not, because somebody corrected the URL meanwhile, what it held is due there.
    deliveries_db.follow_destinations(executor, claim.destination_id, now=now)
    if is_disabled:
        log.warning(
            "destination.disabled",
            destination_id=str(claim.destination_id),
            destination=claim.destination_name,
            reason=reason,
        )


def _trace(traces: Traces, result: Sent, record: deliveries_db.SendRecord) -> None:
    claim = result.claim
    traces.delivery(
        result.place,
        claim.call_row_id,
        claim.revision,
        began=result.started_at,
        ended=result.started_at + result.elapsed,
        failed=not isinstance(result.outcome, Succeeded | Skipped),
        attributes={
            "http.request.method": "POST" if claim.kind == WEBHOOK else None,
            "http.response.status_code": result.status_code,
            "aftercall.row_id": claim.call_row_id,
            "aftercall.workspace_id": claim.workspace_id,
            "aftercall.delivery_id": str(claim.id),
            "aftercall.destination_id": str(claim.destination_id),
            "aftercall.kind": claim.kind,
            "aftercall.revision": claim.revision,
            "aftercall.attempt": record.attempt.number,
            "aftercall.outcome": record.attempt.outcome.value,
        },
    )


def _for_the_log(claim: ClaimedDelivery, reason: str | None) -> str | None:
    """A CRM's messages quote people's names and addresses: the log has the step alone."""
    return reason if reason is None or claim.kind == WEBHOOK else reason.partition(":")[0]


def _log(result: Sent, record: deliveries_db.SendRecord) -> None:
    claim, step = result.claim, record.step
    write = log.warning if isinstance(result.outcome, Dead) else log.info
    write(
        "delivery.attempted",
        delivery_id=str(claim.id),
        destination_id=str(claim.destination_id),
        destination=claim.destination_name,
        kind=claim.kind,
        type=claim.type,
        call_id=claim.call_id,
        workspace_id=claim.workspace_id,
        row_id=claim.call_row_id,
        attempt=claim.attempts + 1,
        outcome=record.attempt.outcome.value,
        status_code=result.status_code,
        reason=_for_the_log(claim, step.error),
        rung_by=result.origin.rung_by.value,
        request_id=result.origin.request_id,
        duration_ms=record.attempt.duration_ms,
        waited_ms=int((result.started_at - claim.due_at) / _MILLISECOND),
        next_due_at=step.due_at.isoformat() if step.state is DeliveryState.QUEUED else None,
    )
