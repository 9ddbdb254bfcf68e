"""Tells the operator's webhook what a person should know: blocks, disabled destinations, the dead.

`note_changes` compares what is with what was told and writes what is new into the outbox, in one
transaction: nothing is lost by a crash, nothing is told under two ids. `NoticeSender` posts what
is due: claim, request, record. Neither runs without a worker, so that a worker is missing has to
be seen from outside (docs/alerts.md).
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson
import structlog
from sqlalchemy.orm import Session

from aftercall.batching import Crew
from aftercall.crm.sending import HookSender, PreparedPost
from aftercall.crm.signing import signature_headers
from aftercall.db import notices as notices_db
from aftercall.db.attempts import excerpt
from aftercall.db.notices import ClaimedNotice, Untold
from aftercall.domain import notices as words
from aftercall.domain.exchange import Answer, Exchange
from aftercall.domain.ids import new_id
from aftercall.domain.notices import QUIET, SHORT_BLOCK, Links, Notice, NoticeState
from aftercall.domain.outcomes import Dead, DeliveryOutcome, Retry, classify_delivery
from aftercall.domain.plans import DeliveryStanding, plan_delivery
from aftercall.domain.schedules import parse_retry_after
from aftercall.domain.states import DeliveryState
from aftercall.flows.audit import Actor, record
from aftercall.flows.cursors import check_limit, delivery_cursor, delivery_place
from aftercall.flows.errors import Conflict
from aftercall.flows.recording import attempt_outcome, write_all
from aftercall.flows.service import Service
from aftercall.flows.views import NoticeView, OperatorHookView, Page, TestView
from aftercall.settings import Settings

log = structlog.get_logger(__name__)

TIMEOUT = timedelta(seconds=10)
LEASE = timedelta(seconds=40)
_UNSET = (
    "No operator's webhook is set: set AFTERCALL_OPERATOR_WEBHOOK_URL and "
    "AFTERCALL_OPERATOR_WEBHOOK_SECRET"
)


@dataclass(frozen=True, slots=True)
class OperatorHook:
    """Where notices go. Both may open somebody's door: a chat's URL is a secret, too."""

    url: str = field(repr=False)
    secret: str = field(repr=False)


def operator_hook(settings: Settings) -> OperatorHook | None:
    """None when it is not set."""
    url, secret = settings.operator_webhook_url, settings.operator_webhook_secret
    if url is None or secret is None:
        return None
    return OperatorHook(url.get_secret_value(), secret.get_secret_value())


# ---- what is news ------------------------------------------------------------


def note_changes(service: Service) -> None:
    """One comparison, of one process at a time. Without a webhook nothing is kept to be told."""
    now = service.clock()
    with service.database.transaction() as session:
        if not notices_db.may_tell(session):
            return
        notices_db.release_lapsed_notices(session, now=now)
        notices_db.drop_old(session, now=now)
        if operator_hook(service.settings) is None:
            notices_db.take_deaths(session)
            notices_db.drop_queued(session)
            return
        links = Links(service.settings.public_url)
        _note_workspaces(session, links, now=now)
        _note_destinations(session, links, now=now)
        _count_deaths(session, now=now)
        _note_deaths(session, links, now=now)


def _note_workspaces(session: Session, links: Links, *, now: datetime) -> None:
    for one in notices_db.changed_workspaces(session, now=now, short_block=SHORT_BLOCK):
        if not words.is_news(one.trouble, told=one.told, told_at=one.told_at, now=now):
            continue
        notice = (
            words.workspace_released(one.workspace_id, links=links)
            if one.trouble is None
            else words.workspace_blocked(
                one.workspace_id,
                kind=one.trouble,
                reason=one.reason,
                until=one.until,
                links=links,
            )
        )
        _tell(session, notice, now=now)
        notices_db.note_told(session, notice.subject, one.trouble, now=now)


def _note_destinations(session: Session, links: Links, *, now: datetime) -> None:
    for one in notices_db.changed_destinations(session):
        if not words.is_news(one.trouble, told=one.told, told_at=one.told_at, now=now):
            continue
        notice = (
            words.destination_enabled(one.destination_id, name=one.name, links=links)
            if one.trouble is None
            else words.destination_disabled(
                one.destination_id, name=one.name, reason=one.reason, links=links
            )
        )
        _tell(session, notice, now=now)
        notices_db.note_told(session, notice.subject, one.trouble, now=now)


def _count_deaths(session: Session, *, now: datetime) -> None:
    """From the lines that the dead left to a count for each subject and reason."""
    found: dict[str, dict[str, int]] = {}
    for deaths in notices_db.take_deaths(session):
        reasons = found.setdefault(notices_db.dead_subject(deaths.kind, deaths.scope), {})
        reason = words.plain_reason(deaths.reason)
        reasons[reason] = reasons.get(reason, 0) + deaths.count
    if not found:
        return
    known = notices_db.untold_of(session, sorted(found))
    untold = {
        subject: words.add_reasons(known.get(subject, {}), reasons)
        for subject, reasons in found.items()
    }
    notices_db.keep_untold(session, untold, now=now)


def _note_deaths(session: Session, links: Links, *, now: datetime) -> None:
    for one in notices_db.due_untold(session, now=now, quiet=QUIET):
        notice = _of_the_dead(one, links)
        if notice is not None:
            _tell(session, notice, now=now)
        notices_db.forget_untold(session, one.subject, was_told=notice is not None, now=now)


def _of_the_dead(one: Untold, links: Links) -> Notice | None:
    """None when the destination was removed: whoever did that knows."""
    if one.kind == "call":
        return words.dead_calls_grew(
            one.scope, subject=one.subject, reasons=one.reasons, since=one.since, links=links
        )
    if one.name is None:
        return None
    return words.dead_deliveries_grew(
        one.scope,
        name=one.name,
        subject=one.subject,
        reasons=one.reasons,
        since=one.since,
        links=links,
    )


def _tell(session: Session, notice: Notice, *, now: datetime) -> None:
    notices_db.insert_notice(
        session,
        new_id(),
        type_=notice.type.value,
        subject=notice.subject,
        body=notice.body(at=now),
        now=now,
    )


# ---- there and back ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """One finished POST."""

    claim: ClaimedNotice
    exchange: Exchange


class NoticeSender:
    """Posts the notices that are due, one after the other: they keep their order."""

    def __init__(self, service: Service, sender: HookSender) -> None:
        self._service = service
        self._sender = sender
        self._crew: Crew[ClaimedNotice, Exchange, Told] = Crew(
            name="notices",
            size=1,
            send=self._send,
            read=Told,
            record=self._record,
            go_on=lambda _: self.send_due(),
        )

    def send_due(self) -> None:
        """Starts the next one, if one is due and none is under way. Waits for nobody."""
        hook = operator_hook(self._service.settings)
        if hook is None:
            return
        places = self._crew.reserve(1)
        claims: list[ClaimedNotice] = []
        try:
            if places:
                with self._service.database.statements() as connection:
                    claims = notices_db.claim_notices(
                        connection, now=self._service.clock(), lease=LEASE, count=places
                    )
        finally:
            self._crew.cancel(places - len(claims))
        self._crew.start(claims)

    def close(self, timeout: float) -> bool:
        """Finishes what is under way. Whether that was done in `timeout` seconds."""
        return self._crew.close(timeout)

    def _send(self, claim: ClaimedNotice, then: Callable[[Exchange], None]) -> None:
        hook = operator_hook(self._service.settings)
        assert hook is not None  # noqa: S101 - send_due has looked
        self._sender.send(_prepare(claim, hook, now=self._service.clock()), then)

    def _record(self, results: list[Told]) -> None:
        write_all(results, write=self._write, spoil=lambda told, _: told)

    def _write(self, results: list[Told]) -> None:
        with self._service.database.transaction() as session:
            for told in results:
                _record_told(session, self._service, told)


def _prepare(claim: ClaimedNotice, hook: OperatorHook, *, now: datetime) -> PreparedPost:
    body = orjson.dumps(claim.body)
    headers = {
        "Content-Type": "application/json",
        **signature_headers(body, delivery_id=str(claim.id), secrets_=(hook.secret,), now=now),
    }
    return PreparedPost(hook.url, headers, body, TIMEOUT, secrets=(hook.url,))


def _record_told(session: Session, service: Service, told: Told) -> DeliveryOutcome:
    claim, now = told.claim, service.clock()
    outcome = _outcome(told.exchange, now=now)
    standing = DeliveryStanding(attempts=claim.attempts, due_at=claim.due_at)
    step = plan_delivery(outcome, standing, now=now, rng=service.rng)
    state = _STATES.get(step.state, NoticeState.DEAD)
    if claim.type == words.NoticeType.TEST and state is NoticeState.QUEUED:
        # Whoever asked for it has read what came of it.
        state = NoticeState.DEAD
    notices_db.record_notice(
        session,
        claim,
        state=state,
        due_at=step.due_at,
        attempts=step.attempts,
        error=step.error,
        now=now,
    )
    write = log.info if state is NoticeState.SENT else log.warning
    write(
        "notice.attempted",
        notice_id=str(claim.id),
        notice=claim.type,
        attempt=claim.attempts + 1,
        state=state.value,
        status_code=told.exchange.status if isinstance(told.exchange, Answer) else None,
        reason=step.error,
        duration_ms=int(told.exchange.elapsed / timedelta(milliseconds=1)),
        next_due_at=step.due_at.isoformat() if state is NoticeState.QUEUED else None,
    )
    return outcome


#: 410 included, what is held is dead here: nobody enables the operator's webhook.
_STATES = {
    DeliveryState.QUEUED: NoticeState.QUEUED,
    DeliveryState.DELIVERED: NoticeState.SENT,
}


def _outcome(exchange: Exchange, *, now: datetime) -> DeliveryOutcome:
    given = exchange.retry_after if isinstance(exchange, Answer) else None
    outcome = classify_delivery(exchange, retry_after=parse_retry_after(given, now=now))
    if isinstance(outcome, Dead) and outcome.destination_is_gone:
        return Dead(f"{outcome.reason}: set another AFTERCALL_OPERATOR_WEBHOOK_URL")
    return outcome


# ---- by hand, and for those who look -----------------------------------------


def send_test_notice(service: Service, *, by: Actor | None = None) -> TestView:
    """Posts one now and tells what came of it. It is not tried again. Conflict without a URL."""
    hook = operator_hook(service.settings)
    if hook is None:
        raise Conflict(_UNSET)
    claim = _begin_test(service, by)
    sender = HookSender(guard=service.guard())
    try:
        exchange = sender.post(_prepare(claim, hook, now=service.clock()))
    finally:
        sender.close()
    with service.database.transaction() as session:
        outcome = _record_told(session, service, Told(claim, exchange))
    answer = exchange if isinstance(exchange, Answer) else None
    return TestView(
        outcome=attempt_outcome(outcome, is_dead=False).value,
        status_code=answer.status if answer else None,
        duration_ms=int(exchange.elapsed / timedelta(milliseconds=1)),
        reason=outcome.reason if isinstance(outcome, Retry | Dead) else None,
        response_excerpt=excerpt(answer.body) if answer else None,
    )


def _begin_test(service: Service, by: Actor | None) -> ClaimedNotice:
    now, notice = service.clock(), words.test_notice()
    claim = ClaimedNotice(
        id=new_id(),
        type=notice.type.value,
        body=notice.body(at=now),
        attempts=0,
        due_at=now,
        lease_token=uuid.uuid4(),
    )
    with service.database.transaction() as session:
        notices_db.insert_notice(
            session,
            claim.id,
            type_=claim.type,
            subject=notice.subject,
            body=claim.body,
            now=now,
            lease_token=claim.lease_token,
            lease_until=now + LEASE,
        )
        record(session, by, "notice.tested", claim.id)
    return claim


def list_notices(
    service: Service, *, cursor: str | None = None, limit: int = 50
) -> Page[NoticeView]:
    """Newest first."""
    place = delivery_place(cursor)
    check_limit(limit)
    with service.database.transaction() as session:
        rows = notices_db.list_notices(
            session, before=None if place is None else place.id, limit=limit + 1
        )
        page = rows[:limit]
        return Page(
            items=[NoticeView.model_validate(row) for row in page],
            next_cursor=delivery_cursor(page[-1].id, newer=False) if len(rows) > limit else None,
        )


def show_operator_hook(service: Service) -> OperatorHookView:
    """Whether it is set, what it was told last, and whether it takes what it is told."""
    with service.database.transaction() as session:
        told, tried = notices_db.last_sent(session), notices_db.newest_tried(session)
        is_failing = tried is not None and tried.state != NoticeState.SENT
        return OperatorHookView(
            is_set=operator_hook(service.settings) is not None,
            last_told=None if told is None else NoticeView.model_validate(told),
            failing=NoticeView.model_validate(tried) if is_failing else None,
        )
