"""Writes calls into CRMs: several requests one after another, each step of them once.

Beside the hooks' deliveries, which one thread carries: a CRM's limits are small,
and its steps follow each other, so a few threads of a process work on them.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from aftercall.crm.description import Description, descriptions
from aftercall.crm.facts import Facts, facts_of, marker_of
from aftercall.crm.mapping import MappingError, make_data
from aftercall.crm.sync import Sync
from aftercall.crm.sync_settings import SyncSettings
from aftercall.db import crm as crm_db
from aftercall.db.session import DATABASE_AWAY
from aftercall.domain.exchange import Answer, Exchange
from aftercall.domain.outcomes import Blocked, Dead, DeliveryOutcome, Retry, Skipped
from aftercall.domain.work import ClaimedDelivery
from aftercall.flows.crm_ports import Ask, CrmPorts, Heard, open_credentials
from aftercall.flows.service import Service
from aftercall.sealing import SealError

log = structlog.get_logger(__name__)

#: Of one process. Most of their time they wait for an answer.
THREADS = 16
#: Seconds in line after which a turn is given back: the lease must leave time for the steps.
_LONGEST_IN_LINE = 10.0
#: Until somebody has put a key back, or the newer version.
_MENDING_WAIT = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """How far one delivery got. The answer is the last one that came."""

    outcome: DeliveryOutcome
    exchange: Exchange | None
    elapsed: timedelta

    @property
    def answer(self) -> Answer | None:
        return self.exchange if isinstance(self.exchange, Answer) else None


Then = Callable[[Synced], None]


@dataclass(frozen=True, slots=True)
class _Job:
    claim: ClaimedDelivery
    then: Then
    since: float


class CrmSyncer:
    """One process's threads for CRMs; they start with the first call for one."""

    def __init__(self, service: Service, ask: Ask, *, threads: int = THREADS) -> None:
        self._service, self._ask, self._wanted = service, ask, threads
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start(self, claim: ClaimedDelivery, then: Then) -> None:
        """`then` gets how far it got, soon and always."""
        self._jobs.put(_Job(claim, then, time.monotonic()))
        with self._lock:
            if len(self._threads) < self._wanted:
                name = f"crm-{len(self._threads)}"
                thread = threading.Thread(target=self._work, name=name, daemon=True)
                thread.start()
                self._threads.append(thread)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if time.monotonic() - job.since > _LONGEST_IN_LINE:
                said = _stopped(Blocked("every place for CRMs is taken", timedelta(seconds=2)))
            else:
                said = self._sync(job.claim)
            job.then(said)

    def _sync(self, claim: ClaimedDelivery) -> Synced:
        try:
            return sync_call(self._service, claim, ask=self._ask)
        except DATABASE_AWAY as error:
            # What was sent stands in the ledger; what came of it is asked of the CRM.
            log.warning("database.unreachable", error=type(error).__name__)
            return _stopped(Blocked("the database did not answer", timedelta(seconds=5)))
        except Exception as error:
            log.exception("sync.failed", delivery_id=str(claim.id))
            return _stopped(Retry(f"a fault of aftercall's own ({type(error).__name__})"))


def sync_call(service: Service, claim: ClaimedDelivery, *, ask: Ask) -> Synced:
    """The steps of one delivery, as far as they get."""
    description = descriptions().get(claim.kind)
    if description is None:
        # A newer version made it, during an upgrade or before it was taken back: it can wait.
        reason = f"this version knows no CRM of the kind {claim.kind!r}"
        return _stopped(Blocked(reason, _MENDING_WAIT))
    try:
        settings = SyncSettings.model_validate(claim.sync or {})
        facts = claim_facts(claim, description, settings, recording_link=claim.recording_link)
        credentials = open_credentials(service, claim.credentials_sealed)
    except MappingError as error:
        return _stopped(Dead(f"the destination's mapping failed: {error}"))
    except SealError as error:
        return _stopped(Blocked(str(error), _MENDING_WAIT))
    ports = CrmPorts(
        service,
        claim,
        description=description,
        credentials=credentials,
        number=facts.number.e164 if facts.number else "",
        ask=ask,
    )
    with service.database.statements() as connection:
        if crm_db.has_newer(connection, claim.id):
            return _stopped(Skipped("a later version of this call has been written there already"))
    if (outcome := ports.lease_person()) is not None:
        return _stopped(outcome)
    try:
        outcome = _run(Sync(description, settings, facts, ports))
    finally:
        ports.release_person()
    return _synced(outcome, ports.heard)


def claim_facts(
    claim: ClaimedDelivery,
    description: Description,
    settings: SyncSettings,
    *,
    recording_link: str | None,
) -> Facts:
    """What the steps know. MappingError when a source fails on this call."""
    return facts_of(
        make_data(claim),
        description=description,
        settings=settings,
        marker=marker_of(claim.destination_id, claim.call_row_id),
        region=claim.region,
        time_zone=claim.time_zone,
        recording_link=recording_link,
        fallback_time=claim.created_at,
    )


def _run(sync: Sync) -> DeliveryOutcome:
    try:
        return sync.run()
    except MappingError as error:
        return Dead(f"the description or the mapping failed: {error}")


def _synced(outcome: DeliveryOutcome, heard: Heard) -> Synced:
    return Synced(outcome=outcome, exchange=heard.exchange, elapsed=heard.elapsed)


def _stopped(outcome: DeliveryOutcome) -> Synced:
    return Synced(outcome=outcome, exchange=None, elapsed=timedelta())
