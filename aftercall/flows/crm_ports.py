"""What the steps of a sync need of the world: the ledger, the person's lease, limits, tokens, HTTP.

Every write is one short statement; no transaction is open while a CRM is asked.
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import redis

from aftercall.crm.answers import Bad, Reading, read_answer
from aftercall.crm.connection import Connection, api_of, as_request
from aftercall.crm.description import Description
from aftercall.crm.sync import CrmRequest, Step
from aftercall.db import crm as crm_db
from aftercall.domain.exchange import Exchange
from aftercall.domain.outcomes import Blocked, DeliveryOutcome, Retry
from aftercall.domain.work import ClaimedDelivery
from aftercall.flows.crm_tokens import Token, get_token
from aftercall.flows.service import Service
from aftercall.http import Request, without_secrets
from aftercall.rate_limit import Lane, Wish

Ask = Callable[[Request], Exchange]

#: Of the lease: for recording what the last request did.
_RESERVE = timedelta(seconds=6)
#: A request that has less than that is not begun.
_LEAST = timedelta(seconds=3)
#: Seconds that a step waits for a place in the CRM's limit before it gives its turn back.
_WAIT_FOR_LIMIT = 5.0
_POLL = 0.1


@dataclass(slots=True)
class Heard:
    """The last answer, for the story of the attempt."""

    exchange: Exchange | None = None
    elapsed: timedelta = timedelta()
    secrets: tuple[str, ...] = field(default=(), repr=False)


class CrmPorts:
    """Of one delivery. Follows `aftercall.crm.sync.Ports`."""

    def __init__(
        self,
        service: Service,
        claim: ClaimedDelivery,
        *,
        description: Description,
        credentials: Mapping[str, str],
        number: str,
        ask: Ask,
    ) -> None:
        self._service, self._claim, self._crm = service, claim, description
        self._credentials, self._number, self._ask = credentials, number, ask
        self._person = crm_db.RememberedPerson(None, None)
        #: Of this turn: another worker's turn at the same delivery has another.
        self._turn = uuid.uuid4()
        self._has_progress = False
        self.heard = Heard()
        with service.database.statements() as connection:
            rows = crm_db.steps_of(connection, [claim.call_row_id], claim.destination_id)
        self._steps = {row.step: _step(row) for row in rows}

    # ---- the person's lease ------------------------------------------------

    def lease_person(self) -> DeliveryOutcome | None:
        """An outcome while another delivery is at work on them."""
        claim = self._claim
        with self._service.database.statements() as connection:
            person = crm_db.lease_person(
                connection,
                claim.id,
                self._number,
                delivery_token=claim.lease_token,
                token=self._turn,
                until=self._lease_until(),
                now=self.now(),
            )
        if person is None:
            return Blocked(
                "another call of this person is being written at this moment", timedelta(seconds=2)
            )
        self._person = person
        return None

    def release_person(self) -> None:
        with self._service.database.statements() as connection:
            crm_db.release_person(
                connection,
                self._claim.destination_id,
                self._number,
                token=self._turn,
            )

    def remembered(self, *, since: datetime) -> str | None:
        at = self._person.made_at
        return self._person.remote_id if at is not None and at > since else None

    def making_since(self) -> datetime | None:
        return self._person.made_at if self._person.remote_id is None else None

    def begin_making(self) -> None:
        self._note_person(None, at=self.now())

    def remember(self, remote_id: str | None) -> None:
        self._note_person(remote_id, at=self.now() if remote_id else None)

    def _note_person(self, remote_id: str | None, *, at: datetime | None) -> None:
        with self._service.database.statements() as connection:
            crm_db.remember_person(
                connection, self._claim.destination_id, self._number, remote_id, at=at
            )
        self._person = crm_db.RememberedPerson(remote_id, at)

    # ---- the ledger --------------------------------------------------------

    def step(self, name: str) -> Step | None:
        return self._steps.get(name)

    def send(self, name: str) -> DeliveryOutcome | None:
        claim, now = self._claim, self.now()
        with self._service.database.statements() as connection:
            may_go = crm_db.send_step(connection, claim.id, claim.lease_token, name, now=now)
        if not may_go:
            return Blocked("somebody else has taken this delivery over", timedelta(seconds=5))
        self._steps[name] = Step(sent_at=now, is_done=False, remote_id=None, content_hash=None)
        return None

    def finish(
        self, name: str, *, remote_id: str | None, content_hash: bytes | None, note: str | None
    ) -> None:
        claim, now = self._claim, self.now()
        with self._service.database.statements() as connection:
            crm_db.finish_step(
                connection,
                claim.call_row_id,
                claim.destination_id,
                name,
                remote_id=remote_id,
                content_hash=content_hash,
                note=note,
                now=now,
            )
        self._has_progress = True
        self._steps[name] = Step(
            sent_at=now, is_done=True, remote_id=remote_id, content_hash=content_hash
        )

    def forget(self, name: str) -> None:
        with self._service.database.statements() as connection:
            crm_db.forget_step(connection, self._claim.id, self._claim.lease_token, name)
        self._steps.pop(name, None)

    def now(self) -> datetime:
        return self._service.clock()

    # ---- requests ----------------------------------------------------------

    def ask(self, request: CrmRequest, *, doing: str) -> Reading:
        token = self._token(refused=None)
        if isinstance(token, Bad):
            return token
        reading = self._exchange(request, token, doing=doing)
        if isinstance(reading, Bad) and reading.is_unauthorized and token is not None:
            fresh = self._token(refused=token)
            if isinstance(fresh, Bad):
                return fresh
            if fresh is not None and fresh.value != token.value:
                return self._exchange(request, fresh, doing=doing)
        return reading

    def _exchange(self, request: CrmRequest, token: Token | None, *, doing: str) -> Reading:
        if (wait := self._wait_for_limits()) is not None:
            return wait
        timeout = min(
            timedelta(seconds=self._claim.timeout_seconds),
            self._lease_until() - self.now() - _RESERVE,
        )
        if timeout < _LEAST:
            return Bad(self._over(), is_certain=True)
        connection = Connection(
            (token and token.api) or api_of(self._crm, self._claim.url),
            self._credentials,
            token.value if token else None,
        )
        exchange = without_secrets(
            self._ask(as_request(request, connection, self._crm.auth, timeout=timeout)),
            connection.secrets,
        )
        self.heard.exchange = exchange
        self.heard.elapsed += exchange.elapsed
        self.heard.secrets = connection.secrets
        return read_answer(exchange, self._crm, doing=doing, now=self.now())

    def _over(self) -> DeliveryOutcome:
        """A turn that has got nowhere spends an attempt: the next may not get further either."""
        if self._has_progress:
            return Blocked("it goes on in a moment: this turn is over", timedelta())
        return Retry(f"{self._crm.name} is too slow for one turn: it got nowhere in time")

    def _token(self, *, refused: Token | None) -> Token | Bad | None:
        if self._crm.auth.oauth is None:
            return None
        return get_token(
            self._service,
            self._claim.destination_id,
            self._crm,
            Connection(api_of(self._crm, self._claim.url), self._credentials),
            refused=refused,
            ask=self._ask,
        )

    def _wait_for_limits(self) -> Bad | None:
        end = time.monotonic() + _WAIT_FOR_LIMIT
        while True:
            try:
                if self._take_permit():
                    return None
            except redis.RedisError:
                return Bad(
                    Blocked("Redis does not answer: it keeps the limits", timedelta(seconds=5)),
                    is_certain=True,
                )
            if time.monotonic() > end:
                longest = max(limit.seconds for limit in self._crm.limits)
                return Bad(
                    Blocked(
                        f"{self._crm.name} takes no more requests for the moment",
                        timedelta(seconds=min(max(longest / 4, 2), 300)),
                    ),
                    is_certain=True,
                )
            time.sleep(_POLL)

    def _take_permit(self) -> bool:
        lanes = [
            Lane(
                f"crm:{self._claim.destination_id}:{limit.seconds}",
                limit.requests,
                timedelta(seconds=limit.seconds),
            )
            for limit in self._crm.limits
        ]
        if not lanes:
            return True
        limiter = self._service.limiter
        grants = limiter.take([Wish(lane, fresh=1, paced=0) for lane in lanes])
        if all(grant.fresh for grant in grants):
            return True
        for lane, grant in zip(lanes, grants, strict=True):
            limiter.give_back(lane, grant, grant.fresh)
        return False

    def _lease_until(self) -> datetime:
        return self._claim.lease_until or self.now()


def _step(row: crm_db.StepRow) -> Step:
    return Step(
        sent_at=row.sent_at,
        is_done=row.state == "done",
        remote_id=row.remote_id,
        content_hash=row.content_hash,
    )


def open_credentials(service: Service, sealed: str | None) -> dict[str, str]:
    """SealError when no key opens them."""
    return dict(json.loads(service.sealer.open(sealed))) if sealed else {}
