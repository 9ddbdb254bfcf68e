"""Fetches recordings and transcripts before their links expire: claim, request, store, record.

The requests go through the guard, redirects included, and carry nothing of
ours: no credentials of Twenty2's. A link that is refused makes the call due for
a look, at the lowest priority; its new link makes the media due again.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urljoin

import structlog

from aftercall.batching import Crew
from aftercall.db.media import (
    ClaimedMedia,
    MediaRecord,
    StoredFile,
    claim_media,
    due_media,
    known_calls,
    lock_replaced,
    record_media,
)
from aftercall.domain.exchange import Answer, Exchange, Failure, NoAnswer
from aftercall.domain.media import (
    GiveUp,
    Kept,
    MediaKind,
    MediaOutcome,
    MediaStanding,
    MediaState,
    StaleLink,
    TryAgain,
    classify_media,
    plan_media,
)
from aftercall.domain.schedules import parse_retry_after
from aftercall.domain.transcripts import as_utf8, text_of
from aftercall.flows.recording import write_all
from aftercall.flows.service import Service
from aftercall.http import HttpClient, Limits, Request
from aftercall.media_store import MediaStore, MediaStoreError

log = structlog.get_logger(__name__)

#: Requests under way in a process: each may hold the largest recording in memory.
PLACES = 4
MAX_TRANSCRIPT_BYTES = 5_000_000
MAX_REDIRECTS = 3
#: For a recording, all redirects together.
DEADLINE = timedelta(seconds=60)
_CONNECT = timedelta(seconds=5)
#: The longest fetch, a slow store, and the patience for the record.
LEASE = timedelta(minutes=5)
#: How many that are due a process looks at when it has room again.
_NEXT = 20


@dataclass(frozen=True, slots=True)
class Said:
    """What the storage said; None: the link had expired, and nobody was asked."""

    exchange: Exchange | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One finished try."""

    claim: ClaimedMedia
    outcome: MediaOutcome
    status_code: int | None
    elapsed: timedelta
    file: StoredFile | None = None
    #: A transcript's text, and whether its end is missing.
    text: str | None = None
    text_is_cut: bool = False


class MediaFetcher:
    """One process's share of the fetching of media."""

    def __init__(self, service: Service, store: MediaStore, *, size: int = PLACES) -> None:
        self._service = service
        self._store = store
        self._client = HttpClient(guard=service.guard(), keep=size)
        self._is_crowded = False
        self._crew: Crew[ClaimedMedia, Said, Tried] = Crew(
            name="media",
            size=size,
            send=self._send,
            read=self._read,
            record=self._record,
            go_on=self._go_on,
        )

    def fetch(self, call_row_ids: Sequence[int]) -> None:
        """Starts as many of these calls' media as are due and find a place; waits for nobody."""
        places = self._crew.reserve(self._crew.size)
        claims: list[ClaimedMedia] = []
        try:
            if places and call_row_ids:
                with self._service.database.statements() as connection:
                    claims = claim_media(
                        connection,
                        call_row_ids,
                        now=self._service.clock(),
                        lease=LEASE,
                        count=places,
                    )
            self._is_crowded = len(claims) == places
        finally:
            self._crew.cancel(places - len(claims))
        self._crew.start(claims)

    def close(self, timeout: float) -> bool:
        """Finishes what is under way. Whether that was done in `timeout` seconds."""
        is_done = self._crew.close(timeout)
        self._client.close()
        return is_done

    # ---- there and back ----------------------------------------------------------

    def _send(self, claim: ClaimedMedia, then: Callable[[Said], None]) -> None:
        expires_at = claim.source_expires_at
        if claim.source_url is None or (expires_at and expires_at <= self._service.clock()):
            then(Said(None))
            return
        ends = time.monotonic() + DEADLINE.total_seconds()
        self._ask(claim.source_url, self._max_bytes(claim.kind), ends, MAX_REDIRECTS, then)

    def _ask(
        self, url: str, max_bytes: int, ends: float, redirects: int, then: Callable[[Said], None]
    ) -> None:
        left = timedelta(seconds=max(ends - time.monotonic(), 0.1))

        def answer(said: Exchange) -> None:
            onward = said.location if isinstance(said, Answer) else None
            if onward is None or said_no_redirect(said) or not redirects:
                then(Said(said))
                return
            try:
                # Each address on the way is looked up and checked as the first one was.
                self._ask(urljoin(url, onward), max_bytes, ends, redirects - 1, then)
            except ValueError:
                detail = "the storage leads to an address that is none"
                no_url = NoAnswer(
                    failure=Failure.INVALID_REQUEST, detail=detail, elapsed=said.elapsed
                )
                then(Said(no_url))

        limits = Limits(connect=min(_CONNECT, left), deadline=left, max_body_bytes=max_bytes)
        self._client.send(Request(method="GET", url=url, headers={}, limits=limits), answer)

    def _max_bytes(self, kind: MediaKind) -> int:
        most = self._service.settings.media_max_bytes
        return most if kind is MediaKind.RECORDING else min(most, MAX_TRANSCRIPT_BYTES)

    def _read(self, claim: ClaimedMedia, said: Said) -> Tried:
        exchange = said.exchange
        if exchange is None:
            expired = StaleLink("Twenty2's link has expired")
            return Tried(claim=claim, outcome=expired, status_code=None, elapsed=timedelta())
        answer = exchange if isinstance(exchange, Answer) else None
        outcome = classify_media(
            exchange,
            claim.kind,
            max_bytes=self._max_bytes(claim.kind),
            retry_after=parse_retry_after(
                answer.retry_after if answer else None, now=self._service.clock()
            ),
        )
        tried = Tried(
            claim=claim,
            outcome=outcome,
            status_code=answer.status if answer else None,
            elapsed=exchange.elapsed,
        )
        if answer is None or not isinstance(outcome, Kept):
            return tried
        return self._keep(tried, answer.body, outcome.content_type)

    def _keep(self, tried: Tried, body: bytes, content_type: str) -> Tried:
        claim, text, is_cut = tried.claim, None, False
        if claim.kind is MediaKind.TRANSCRIPT:
            body = as_utf8(body)
            text, is_cut = text_of(body)
        try:
            path = self._store.put(claim.call_row_id, claim.kind.value, body)
        except MediaStoreError as error:
            return replace(tried, outcome=TryAgain(str(error)))
        file = StoredFile(
            path=path,
            size_bytes=len(body),
            sha256=hashlib.sha256(body).digest(),
            content_type=content_type,
        )
        return replace(tried, file=file, text=text, text_is_cut=is_cut)

    # ---- record ------------------------------------------------------------------

    def _record(self, results: list[Tried]) -> None:
        write_all(results, write=self._write, spoil=_spoiled)

    def _write(self, results: list[Tried]) -> None:
        now = self._service.clock()
        records = [self._to_record(result, now=now) for result in results]
        ours = self._service.database.run(
            lambda connection: record_media(connection, records, now=now)
        )
        self._service.counters.media(
            (record.claim.kind.value, record.step.state.value) for record in records
        )
        self._drop_forgotten([one for one in results if one.file is not None])
        self._drop_replaced([one for one in results if one.claim.key in ours])
        for result, record in zip(results, records, strict=True):
            _log(result, record)

    def _to_record(self, result: Tried, *, now: datetime) -> MediaRecord:
        claim = result.claim
        standing = MediaStanding(
            attempts=claim.attempts,
            links_asked=claim.links_asked,
            due_at=claim.due_at,
            source_expires_at=claim.source_expires_at,
        )
        return MediaRecord(
            claim=claim,
            step=plan_media(result.outcome, standing, now=now, rng=self._service.rng),
            file=result.file,
            text=result.text,
            text_is_cut=result.text_is_cut,
        )

    def _drop_forgotten(self, stored: list[Tried]) -> None:
        """The files of calls that somebody had us forget while they were fetched."""
        with self._service.database.statements() as connection:
            known = known_calls(connection, [one.claim.call_row_id for one in stored])
        for one in stored:
            if one.file is None or one.claim.call_row_id in known:
                continue
            self._remove(one.file.path)

    def _drop_replaced(self, recorded: list[Tried]) -> None:
        """The files that were there before, and that no row names from now on."""
        for one in recorded:
            old = one.claim.path
            if one.file is None or old is None or old == one.file.path:
                continue
            with self._service.database.transaction() as session:
                if lock_replaced(session, one.claim):
                    self._remove(old)

    def _remove(self, path: str) -> None:
        try:
            self._store.remove(path)
        except MediaStoreError as error:
            log.error("media.not_removed", path=path, why=str(error))

    def _go_on(self, _: list[Tried]) -> None:
        """Where more was due than there was room for, the next go now, not at the next sweep."""
        if not self._is_crowded:
            return
        with self._service.database.statements() as connection:
            ids = due_media(connection, now=self._service.clock(), count=_NEXT)
        self.fetch(ids)


def said_no_redirect(said: Exchange) -> bool:
    return not isinstance(said, Answer) or said.status not in (301, 302, 303, 307, 308)


def _spoiled(result: Tried, why: str) -> Tried:
    log.error("media.text_dropped", call_id=result.claim.call_id, why=why)
    return replace(result, text=None)


def _log(result: Tried, record: MediaRecord) -> None:
    claim, step = result.claim, record.step
    write = log.warning if isinstance(result.outcome, GiveUp) else log.info
    write(
        "media.attempted",
        call_id=claim.call_id,
        workspace_id=claim.workspace_id,
        row_id=claim.call_row_id,
        kind=claim.kind.value,
        attempt=claim.attempts + 1,
        state=step.state.value,
        status_code=result.status_code,
        reason=step.error,
        size_bytes=result.file.size_bytes if result.file else None,
        duration_ms=int(result.elapsed / timedelta(milliseconds=1)),
        next_due_at=step.due_at.isoformat() if step.state is MediaState.QUEUED else None,
    )
