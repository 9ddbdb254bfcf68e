"""Reads Twenty2's log of calls, a page a step: claim with a permit, ask, queue what is missing.

As everything else: the request runs with no transaction open, and one
transaction queues the missing calls and moves the reconciliation on, guarded by
its lease. Whoever dies in between leaves a lease that runs out, and a page that
is read again. A page takes a paced permit and its calls the last place in the
line, so a fresh call overtakes both.
"""

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

import redis
import structlog
from sqlalchemy import Connection

from aftercall.batching import Crew
from aftercall.db import reconciliations as reconciliations_db
from aftercall.db import workspaces as workspaces_db
from aftercall.db.events import accept_events
from aftercall.db.reconciliations import ClaimedPage, PageRecord
from aftercall.domain.call_log import (
    MAX_PAGES,
    NO_TIMES,
    Choice,
    End,
    LogPage,
    ReconciliationKind,
    ReconciliationState,
    Window,
    after_refusal,
    choose,
    next_position,
    page_behind_the_last,
)
from aftercall.domain.exchange import Answer, Exchange, NoAnswer
from aftercall.domain.ids import new_id
from aftercall.domain.outcomes import (
    CREDENTIALS_PROBE_WAIT,
    FORBIDDEN_ATTEMPTS,
    Blocked,
    Dead,
    FetchOutcome,
    NotReady,
    Refused,
    Retry,
    Succeeded,
    Unreadable,
    classify_fetch,
)
from aftercall.domain.plans import MAX_LAPSES
from aftercall.domain.retention import DataKind
from aftercall.domain.schedules import fetch_wait
from aftercall.domain.states import Priority
from aftercall.domain.work import FOUND_IN_LOG, Credentials, IncomingEvent
from aftercall.flows.claim_calls import LEASE, lane_of, open_credentials
from aftercall.flows.recording import write_all
from aftercall.flows.service import Service
from aftercall.flows.workspace_health import Sign, note_signs
from aftercall.rate_limit import Permit, Wish
from aftercall.twentytwo.call_logs import parameters_of, read_logs
from aftercall.twentytwo.client import Twenty2, without_credentials

log = structlog.get_logger(__name__)

#: Pages under way in a process: each is of another workspace.
PLACES = 4
#: A periodic reading leaves alone what ended so shortly before: its webhook may be on its way.
GRACE = timedelta(minutes=2)
#: From a call's beginning to its webhook.
LONGEST_CALL = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class PageJob:
    """A claimed page and the credentials to ask for it with."""

    claim: ClaimedPage
    credentials: Credentials
    permit: Permit


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRead:
    """One finished request."""

    job: PageJob
    #: Of the permit, when the request was over.
    age: timedelta
    elapsed: timedelta
    status_code: int | None
    #: The page; else what it means that there is none.
    page: LogPage | None
    outcome: FetchOutcome


class Reconciler:
    """One process's share of the reading."""

    def __init__(self, service: Service, twentytwo: Twenty2, *, size: int = PLACES) -> None:
        self._service = service
        self._twentytwo = twentytwo
        self._crew: Crew[PageJob, Exchange, PageRead] = Crew(
            name="reconcile",
            size=size,
            send=self._send,
            read=lambda job, exchange: read_page(service, job, exchange),
            record=lambda results: record_pages(service, results),
            go_on=self._go_on,
        )

    def step(self, ids: Sequence[uuid.UUID]) -> None:
        """Starts the next page of those that are due and have a permit; waits for nobody."""
        places = self._crew.reserve(len(ids))
        jobs: list[PageJob] = []
        try:
            jobs = claim_pages(self._service, ids, most=places)
        except redis.RedisError as error:
            log.warning("limiter.unreachable", error=type(error).__name__)
        finally:
            self._crew.cancel(places - len(jobs))
        self._crew.start(jobs)

    def overdue(self, seconds: float) -> list[str]:
        """The pages that have been worked on for longer than that."""
        jobs = self._crew.overdue(seconds)
        return [f"page {job.claim.position.page} of {job.claim.id}" for job in jobs]

    def close(self, timeout: float) -> bool:
        """Finishes what is under way. Whether that was done in `timeout` seconds."""
        return self._crew.close(timeout)

    def _send(self, job: PageJob, then: Callable[[Exchange], None]) -> None:
        self._twentytwo.ask_for_logs(
            parameters_of(job.claim.position),
            workspace_id=job.claim.workspace_id,
            credentials=job.credentials,
            then=then,
        )

    def _go_on(self, results: list[PageRead]) -> None:
        # At once, while there are permits; who gets none is found by the sweep.
        self._service.doorbell.ring_reconcile([result.job.claim.id for result in results])


def step_here(service: Service, twentytwo: Twenty2, id_: uuid.UUID) -> bool:
    """The next page, in this thread, if it is due and has a permit. Whether it was asked for.

    redis.RedisError when permits cannot be had.
    """
    jobs = claim_pages(service, [id_])
    for job in jobs:
        try:
            exchange = twentytwo.call_logs(
                parameters_of(job.claim.position),
                workspace_id=job.claim.workspace_id,
                credentials=job.credentials,
            )
        except KeyboardInterrupt:
            with service.database.statements() as connection:
                reconciliations_db.give_back_page(connection, job.claim)
            raise
        record_pages(service, [read_page(service, job, exchange)])
    return bool(jobs)


# ---- claim -------------------------------------------------------------------


def claim_pages(service: Service, ids: Sequence[uuid.UUID], *, most: int = PLACES) -> list[PageJob]:
    """Up to `most` of these that may be asked for right now, leased, with their permits taken.

    Who has no permit stands in nobody's way. redis.RedisError when not even the first can be had.
    """
    now = service.clock()
    with service.database.statements() as connection:
        due = reconciliations_db.due_reconciliations(
            connection, now=now, own_workspace=service.own_workspace
        )
        wanted = {id_: due[id_] for id_ in dict.fromkeys(ids) if id_ in due}
        if not wanted:
            return []
        access = workspaces_db.access_to(connection, sorted(set(wanted.values())))
    keys = open_credentials(service, access, now=now)
    jobs: list[PageJob] = []
    for id_, workspace_id in wanted.items():
        if len(jobs) >= most:
            break
        if workspace_id not in keys:
            continue
        try:
            job = _claim(service, id_, access[workspace_id], keys[workspace_id], now=now)
        except redis.RedisError as error:
            if not jobs:
                raise
            # Those that are leased are read.
            log.warning("limiter.unreachable", error=type(error).__name__)
            break
        if job is not None:
            jobs.append(job)
    return jobs


def _claim(
    service: Service,
    id_: uuid.UUID,
    access: workspaces_db.Access,
    credentials: Credentials,
    *,
    now: datetime,
) -> PageJob | None:
    lane = lane_of(service, access)
    probes = access.on_probation
    [grant] = service.limiter.take([Wish(lane, fresh=int(probes), paced=int(not probes))])
    if not grant.total:
        return None
    with service.database.statements() as connection:
        claim = None
        if not probes or workspaces_db.start_probe(
            connection, access.workspace_id, now=now, wait=CREDENTIALS_PROBE_WAIT
        ):
            claim = reconciliations_db.claim_page(
                connection, id_, now=now, lease=LEASE, is_probe=probes
            )
    if claim is None:
        service.limiter.give_back(lane, grant, grant.total)
        return None
    job = PageJob(claim, credentials, Permit(lane, grant))
    if claim.lapses >= MAX_LAPSES:
        _give_up(service, job, now=now)
        service.limiter.give_back(lane, grant, grant.total)
        return None
    return job


def _give_up(service: Service, job: PageJob, *, now: datetime) -> None:
    claim = job.claim
    reason = (
        f"gave up: the process was lost {MAX_LAPSES} times while it read page {claim.position.page}"
    )
    record = _failed(claim, reason, now=now)
    service.database.run(
        lambda connection: reconciliations_db.record_page(connection, record, now=now)
    )


# ---- read --------------------------------------------------------------------


def read_page(service: Service, job: PageJob, exchange: Exchange) -> PageRead:
    """What Twenty2 said, and what it means. A refusal blocks the workspace for all, at once."""
    age = job.permit.age()
    exchange = without_credentials(exchange, job.credentials)
    reading = read_logs(exchange, now=service.clock())
    if isinstance(reading, Refused):
        reading = page_behind_the_last(job.claim.position, reading.status) or reading
    page, outcome = None, _meaning(reading)
    if isinstance(reading, LogPage):
        page = reading
    elif isinstance(outcome, Blocked):
        try:
            service.limiter.block(job.permit.lane.name, outcome.wait)
        except redis.RedisError as error:
            log.warning("limiter.unreachable", error=type(error).__name__)
    return PageRead(
        job=job,
        age=age,
        elapsed=exchange.elapsed,
        status_code=exchange.status if isinstance(exchange, Answer) else None,
        page=page,
        outcome=outcome,
    )


def _meaning(reading: LogPage | Refused | Unreadable | NoAnswer) -> FetchOutcome:
    """As of a call's detail, but that a log that is not there does not come by waiting."""
    if isinstance(reading, LogPage):
        return Succeeded()
    outcome = classify_fetch(reading)
    if isinstance(outcome, NotReady):
        return Retry(outcome.reason, at_most=FORBIDDEN_ATTEMPTS)
    return outcome


# ---- record ------------------------------------------------------------------


def record_pages(service: Service, results: list[PageRead]) -> None:
    """Each in a transaction of its own: they are of different workspaces."""
    try:
        for result in results:
            write_all([result], write=lambda one: _write(service, one[0]), spoil=_spoiled)
    finally:
        service.limiter.end((result.job.permit, result.age) for result in results)


def _spoiled(result: PageRead, why: str) -> PageRead:
    return PageRead(
        job=result.job,
        age=result.age,
        elapsed=result.elapsed,
        status_code=result.status_code,
        page=None,
        outcome=Retry(f"Twenty2's answer could not be stored ({why})"),
    )


def _write(service: Service, result: PageRead) -> None:
    now, claim = service.clock(), result.job.claim

    def work(connection: Connection) -> PageRecord | None:
        if not reconciliations_db.is_still_ours(connection, claim):
            return None
        sign = Sign(claim.workspace_id, claim.is_probe, result.status_code, result.outcome)
        # That the key may not read the log keeps no call from being fetched.
        if not sign.is_forbidden:
            note_signs(connection, [sign], now=now)
        if result.page is None:
            record = _plan(claim, result.outcome, now=now, rng=service.rng)
        else:
            kept = service.settings.retention.cutoff(DataKind.CALLS, now=now)
            record = _take_in(connection, claim, result.page, kept_since=kept, now=now)
        reconciliations_db.record_page(connection, record, now=now)
        return record

    record = service.database.run(work)
    if record is not None:
        _log(result, record)


def _take_in(
    connection: Connection,
    claim: ClaimedPage,
    page: LogPage,
    *,
    kept_since: datetime | None,
    now: datetime,
) -> PageRecord:
    """Queues the page's missing calls, and says where it goes on.

    `kept_since`: what began before is not missing, it was removed when its time was over.
    """
    by_itself = claim.kind is ReconciliationKind.PERIODIC
    window = Window(
        since=max((at for at in (claim.since, kept_since) if at is not None), default=None),
        until=claim.until,
        ended_before=now - GRACE if by_itself else None,
    )
    choice = choose(page, claim.position, window)
    if choice.has_no_times:
        return _failed(claim, NO_TIMES, now=now)
    known = reconciliations_db.known_calls(connection, claim.workspace_id, choice.wanted)
    unknown = [call_id for call_id in choice.wanted if call_id not in known]
    if unknown:
        choice, unknown = _leave_nameless(connection, claim, page, choice, unknown)
    # A webhook may have come in between.
    missing = _queue(connection, claim, unknown, now=now) if unknown else 0
    step = next_position(page, claim.position, window, missing=missing)
    if not isinstance(step, End) and step.page > MAX_PAGES:
        return _failed(claim, f"the log has no end: {MAX_PAGES} pages were read", now=now)
    again = claim.position.is_second_look
    return PageRecord(
        claim=claim,
        state=ReconciliationState.DONE if isinstance(step, End) else ReconciliationState.RUNNING,
        position=claim.position if isinstance(step, End) else step,
        note=step.note if isinstance(step, End) else None,
        due_at=now,
        attempts=0,
        error=None,
        pages=1,
        # What is looked at again has been counted.
        choice=Choice() if again else choice,
        known=0 if again else len(choice.wanted) - missing,
        missing=missing,
        unreadable=0 if again else page.unreadable,
        total=page.total,
    )


def _leave_nameless(
    connection: Connection,
    claim: ClaimedPage,
    page: LogPage,
    choice: Choice,
    unknown: list[str],
) -> tuple[Choice, list[str]]:
    """Leaves for the next time what may be here already, under an id that Twenty2 has not told yet.

    In a workspace whose webhooks and answers name a call differently, a call that waits for its
    first fetch would else be queued a second time, and reach the CRM twice.
    """
    since = reconciliations_db.nameless_since(connection, claim.workspace_id)
    if since is None:
        return choice, unknown
    began = {line.call_id: line.at for line in page.lines}
    left = {
        call_id
        for call_id in unknown
        if (at := began[call_id]) is None or at >= since - LONGEST_CALL
    }
    kept = tuple(call_id for call_id in choice.wanted if call_id not in left)
    return (
        replace(choice, wanted=kept, under_way=choice.under_way + len(left)),
        [call_id for call_id in unknown if call_id not in left],
    )


def _queue(
    connection: Connection, claim: ClaimedPage, call_ids: Sequence[str], *, now: datetime
) -> int:
    """At the lowest priority, as events that tell where they are from. How many were new."""
    source = new_id()
    events = [
        IncomingEvent(
            call_id=call_id,
            workspace_id=claim.workspace_id,
            type=FOUND_IN_LOG,
            event_id=None,
            webhook_id=source,
            received_at=now,
            priority=Priority.BACKFILL,
        )
        for call_id in call_ids
    ]
    body = f"aftercall reconciliation {claim.id}".encode()
    accepted = accept_events(connection, events, bodies={source: body})
    return sum(not one.is_duplicate for one in accepted)


def _plan(
    claim: ClaimedPage, outcome: FetchOutcome, *, now: datetime, rng: random.Random
) -> PageRecord:
    """Where it goes without a page."""
    match outcome:
        case Blocked(reason=reason):
            # The workspace is blocked: nothing is asked of it meanwhile.
            return _again(claim, reason, at=now, attempts=claim.attempts)
        case Retry(reason=reason):
            spent = claim.attempts + 1
            wait = fetch_wait(spent, asked=outcome.wait, at_most=outcome.at_most, rng=rng)
            if wait is None:
                return _failed(claim, f"gave up after {spent} attempts: {reason}", now=now)
            return _again(claim, reason, at=now + wait, attempts=spent)
        case Dead(reason=reason):
            other = after_refusal(claim.position)
            if other is None:
                return _failed(claim, reason, now=now)
            return PageRecord(
                claim=claim,
                state=ReconciliationState.RUNNING,
                position=other,
                due_at=now,
                attempts=claim.attempts,
                error=reason,
            )
        case Succeeded() | NotReady():
            raise AssertionError("a page that was read is taken in; there is no waiting for one")
        case _:
            assert_never(outcome)


def _again(claim: ClaimedPage, reason: str, *, at: datetime, attempts: int) -> PageRecord:
    return PageRecord(
        claim=claim,
        state=ReconciliationState.RUNNING,
        position=claim.position,
        due_at=at,
        attempts=attempts,
        error=reason,
    )


def _failed(claim: ClaimedPage, reason: str, *, now: datetime) -> PageRecord:
    return PageRecord(
        claim=claim,
        state=ReconciliationState.FAILED,
        position=claim.position,
        due_at=now,
        attempts=claim.attempts,
        error=reason,
    )


def _log(result: PageRead, record: PageRecord) -> None:
    claim = result.job.claim
    write = log.warning if record.state is ReconciliationState.FAILED else log.info
    write(
        "reconciliation.page",
        reconciliation_id=str(claim.id),
        workspace_id=claim.workspace_id,
        page=claim.position.page,
        state=record.state.value,
        status_code=result.status_code,
        known=record.known,
        missing=record.missing,
        unreadable=record.unreadable,
        reason=record.error or record.note,
        duration_ms=int(result.elapsed / timedelta(milliseconds=1)),
    )
