"""Fetches calls: claim with permits, ask Twenty2, save the call with its deliveries.

Claim and record are short transactions; the request runs between them, with
none open. Whatever ends in between (a worker, a store) leaves a lease that
runs out.
"""

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import redis
import structlog
from sqlalchemy import Connection

from aftercall.batching import Crew
from aftercall.db.attempts import AttemptRow, excerpt
from aftercall.db.calls import FetchRecord, record_fetches
from aftercall.db.deliveries import NewDelivery, insert_deliveries
from aftercall.db.media import note_media
from aftercall.domain.exchange import Answer, Exchange
from aftercall.domain.outcomes import (
    Blocked,
    Dead,
    FetchOutcome,
    NotReady,
    Retry,
    Succeeded,
    classify_fetch,
)
from aftercall.domain.plans import CallStanding, plan_call
from aftercall.domain.states import CallState, DeliveryState
from aftercall.flows.claim_calls import FetchJob, claim_with_permits
from aftercall.flows.recording import attempt_outcome, write_all
from aftercall.flows.save_calls import (
    Saving,
    new_deliveries,
    new_media,
    next_look,
    prepare_save,
)
from aftercall.flows.service import Service
from aftercall.flows.workspace_health import Sign, note_signs
from aftercall.origins import Origin
from aftercall.rate_limit import Lane
from aftercall.tracing import Place, Traces
from aftercall.twentytwo.answers import read_answer
from aftercall.twentytwo.client import Twenty2, without_credentials

log = structlog.get_logger(__name__)

#: How long a task waits for a place, while every place has a straggler in it.
_WAIT_FOR_PLACE = 20.0
_TOO_MANY = 429
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """When Twenty2 was asked, and what came of it."""

    started_at: datetime
    exchange: Exchange
    origin: Origin
    #: Of the permit, when it was over.
    age: timedelta
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One finished request."""

    job: FetchJob
    started_at: datetime
    elapsed: timedelta
    status_code: int | None
    response_excerpt: str | None
    outcome: FetchOutcome
    #: What is to be saved, when it succeeded.
    saving: Saving | None
    #: Who rang before it was asked, for the log: later rings are for later.
    origin: Origin
    #: Of the permit, when the request was over.
    age: timedelta
    #: In the call's trace.
    place: Place | None = None


class CallFetcher:
    """One process's share of the fetching."""

    def __init__(
        self,
        service: Service,
        twentytwo: Twenty2,
        *,
        size: int,
        alone: bool = False,
        pass_on: Callable[[list[uuid.UUID]], None] | None = None,
    ) -> None:
        """`alone`: works on calls on their last chance, and on no others.

        `pass_on`: what becomes of the deliveries that are made; rings for them by default.
        """
        self._pass_on = pass_on or service.doorbell.ring_deliver
        self._service = service
        self._twentytwo = twentytwo
        self._alone = alone
        self._crew: Crew[FetchJob, Asked, Fetched] = Crew(
            name="fetch", size=size, send=self._ask, read=self._read, record=self._record
        )

    def fetch(self, row_ids: Sequence[int]) -> None:
        """Starts as many of these as are due and have a permit; the rest stays where it is."""
        waiting = list(row_ids)
        while waiting:
            places = self._crew.reserve(len(waiting), timeout=_WAIT_FOR_PLACE)
            if not places:
                return
            chunk, waiting = waiting[:places], waiting[places:]
            jobs: list[FetchJob] = []
            try:
                jobs = claim_with_permits(self._service, chunk, alone=self._alone)
                self._service.traces.recall((job.claim.row_id, job.claim.revision) for job in jobs)
            except redis.RedisError as error:
                log.warning("limiter.unreachable", error=type(error).__name__)
                return
            finally:
                self._crew.cancel(places - len(jobs))
            self._crew.start(jobs)

    def overdue(self, seconds: float) -> list[str]:
        """The calls that have been worked on for longer than that."""
        return [f"call {job.claim.call_id}" for job in self._crew.overdue(seconds)]

    def under_way(self) -> int:
        """How many requests."""
        return self._crew.under_way()

    def close(self, timeout: float) -> bool:
        """Finishes what is under way. Whether that was done in `timeout` seconds."""
        return self._crew.close(timeout)

    def _ask(self, job: FetchJob, then: Callable[[Asked], None]) -> None:
        started_at = self._service.clock()
        origin = self._service.origins.of_call(job.claim.row_id)
        place = self._service.traces.begin(job.claim.row_id, job.claim.revision)
        self._twentytwo.ask_for_detail(
            job.claim.call_id,
            workspace_id=job.claim.workspace_id,
            credentials=job.credentials,
            then=lambda exchange: then(
                Asked(started_at, exchange, origin, job.permit.age(), place)
            ),
            traceparent=place.traceparent if place else None,
        )

    def _read(self, job: FetchJob, asked: Asked) -> Fetched:
        exchange = without_credentials(asked.exchange, job.credentials)
        reading, detail = read_answer(exchange, now=self._service.clock())
        outcome = classify_fetch(reading)
        saving = None
        if isinstance(outcome, Succeeded) and detail is not None:
            try:
                saving = prepare_save(job.claim, detail)
            except (RecursionError, ValueError):
                outcome = Retry("Twenty2's answer cannot be stored: it is nested too deeply")
        if isinstance(outcome, Blocked):
            self._block_now(job.permit.lane, outcome)
        answer = exchange if isinstance(exchange, Answer) else None
        return Fetched(
            job=job,
            started_at=asked.started_at,
            elapsed=exchange.elapsed,
            status_code=answer.status if answer else None,
            response_excerpt=excerpt(answer.body) if answer and saving is None else None,
            outcome=outcome,
            saving=saving,
            origin=asked.origin,
            age=asked.age,
            place=asked.place,
        )

    def _block_now(self, lane: Lane, blocked: Blocked) -> None:
        # At once, for every process; the database learns it with the batch.
        try:
            self._service.limiter.block(lane.name, blocked.wait)
        except redis.RedisError as error:
            log.warning("limiter.unreachable", error=type(error).__name__)

    def _record(self, results: list[Fetched]) -> None:
        try:
            write_all(results, write=self._write, spoil=_spoiled)
        finally:
            # Afterwards: a Redis that does not answer is not to hold up what was learned.
            self._service.limiter.end((result.job.permit, result.age) for result in results)

    def _write(self, results: list[Fetched]) -> None:
        now = self._service.clock()
        records = [_to_record(result, now=now, rng=self._service.rng) for result in results]
        pairs = list(zip(results, records, strict=True))

        def work(connection: Connection) -> list[NewDelivery]:
            ours = record_fetches(connection, records, now=now)
            note_signs(connection, [_sign(result) for result in results], now=now)
            savings = [
                result.saving
                for result in results
                if result.saving is not None and result.saving.claim.row_id in ours
            ]
            new = new_deliveries(connection, savings)
            insert_deliveries(connection, new, now=now)
            if self._service.settings.keep_media:
                note_media(connection, new_media(savings), now=now)
            return new

        new = self._service.database.run(work)
        self._pass_on([delivery.id for delivery in new if delivery.state is DeliveryState.QUEUED])
        self._service.counters.fetches(
            ((record.attempt.outcome, result.elapsed) for result, record in pairs),
            limited=sum(result.status_code == _TOO_MANY for result in results),
        )
        for result, record in pairs:
            _log(result, record)
        if self._service.traces.is_on:
            for result, record in pairs:
                _trace(self._service.traces, result, record, now=now)


def _spoiled(result: Fetched, why: str) -> Fetched:
    return replace(
        result,
        outcome=Retry(f"Twenty2's answer could not be saved ({why})"),
        saving=None,
        response_excerpt=None,
    )


def _to_record(result: Fetched, *, now: datetime, rng: random.Random) -> FetchRecord:
    claim = result.job.claim
    standing = CallStanding(
        attempts=claim.attempts,
        priority=claim.priority,
        due_at=claim.due_at,
        not_ready_since=claim.not_ready_since,
        unknown_since=claim.unknown_since,
        is_look=claim.is_look,
    )
    look_again_at, looks = next_look(result.saving, now=now) if result.saving else (None, 0)
    step = plan_call(result.outcome, standing, now=now, rng=rng)
    return FetchRecord(
        claim=claim,
        step=step,
        saved=result.saving.saved if result.saving else None,
        look_again_at=look_again_at,
        looks=looks,
        attempt=AttemptRow(
            call_row_id=claim.row_id,
            delivery_id=None,
            number=claim.attempts + 1,
            started_at=result.started_at,
            duration_ms=int(result.elapsed / timedelta(milliseconds=1)),
            outcome=attempt_outcome(result.outcome, is_dead=step.state is CallState.DEAD),
            status_code=result.status_code,
            reason=step.error,
            response_excerpt=result.response_excerpt,
            next_due_at=step.due_at if step.state is CallState.QUEUED else None,
        ),
    )


def _sign(result: Fetched) -> Sign:
    claim = result.job.claim
    return Sign(claim.workspace_id, claim.is_probe, result.status_code, result.outcome)


def _trace(traces: Traces, result: Fetched, record: FetchRecord, *, now: datetime) -> None:
    claim, saved = result.job.claim, record.saved
    is_new = saved is not None and saved.revision > claim.revision
    traces.fetch(
        result.place,
        claim.row_id,
        claim.revision,
        began=result.started_at,
        ended=result.started_at + result.elapsed,
        saved_at=now if is_new else None,
        failed=not isinstance(result.outcome, Succeeded | NotReady),
        attributes={
            "http.request.method": "GET",
            "http.response.status_code": result.status_code,
            "aftercall.row_id": claim.row_id,
            "aftercall.workspace_id": claim.workspace_id,
            "aftercall.attempt": record.attempt.number,
            "aftercall.outcome": record.attempt.outcome.value,
        },
    )


def _log(result: Fetched, record: FetchRecord) -> None:
    claim, step = result.job.claim, record.step
    write = log.info if not isinstance(result.outcome, Dead) else log.warning
    write(
        "fetch.attempted",
        call_id=claim.call_id,
        workspace_id=claim.workspace_id,
        row_id=claim.row_id,
        attempt=claim.attempts + 1,
        outcome=record.attempt.outcome.value,
        status_code=result.status_code,
        reason=step.error,
        revision=record.saved.revision if record.saved else None,
        priority=claim.priority,
        is_probe=claim.is_probe,
        rung_by=result.origin.rung_by.value,
        request_id=result.origin.request_id,
        duration_ms=record.attempt.duration_ms,
        waited_ms=int((result.started_at - claim.due_at) / _MILLISECOND),
        next_due_at=step.due_at.isoformat() if step.state is CallState.QUEUED else None,
    )
