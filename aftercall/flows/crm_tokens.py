"""A CRM's access token: one for all workers, refreshed by one of them while the others wait."""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from aftercall.crm.answers import Bad, Good, read_answer
from aftercall.crm.connection import Connection, as_token_request
from aftercall.crm.description import Description, OAuth
from aftercall.crm.templates import look
from aftercall.db import crm as crm_db
from aftercall.domain.exchange import Exchange
from aftercall.domain.outcomes import Blocked, Dead, Retry
from aftercall.flows.service import Service
from aftercall.http import Request, without_secrets
from aftercall.sealing import SealError

log = structlog.get_logger(__name__)

#: Replaced so long before it ends: a request takes a while.
_EARLY = timedelta(seconds=60)
#: One that was refused so soon after it was made will not get better by another.
_TOO_YOUNG = timedelta(seconds=60)
_LEASE = timedelta(seconds=20)
_TIMEOUT = timedelta(seconds=15)
_WAIT = 10.0
_POLL = 0.2


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and the API's address where the CRM told it."""

    value: str = field(repr=False)
    api: str | None
    made_at: datetime


def get_token(
    service: Service,
    destination_id: uuid.UUID,
    description: Description,
    connection: Connection,
    *,
    refused: Token | None,
    ask: Callable[[Request], Exchange],
) -> Token | Bad:
    """The stored one, or a new one. `refused`: the CRM has just said no to this one."""
    end = time.monotonic() + _WAIT
    while True:
        token = _stored(service, destination_id)
        if token is not None and (refused is None or token.value != refused.value):
            return token
        now = service.clock()
        if refused is not None and now - refused.made_at < _TOO_YOUNG:
            return refused
        with service.database.statements() as connection_:
            is_ours = crm_db.lease_token(connection_, destination_id, until=now + _LEASE, now=now)
        if is_ours:
            return _refresh(
                service, destination_id, description, connection, ask=ask, lease=now + _LEASE
            )
        if time.monotonic() > end:
            return Bad(
                Blocked("another worker is getting a new token", timedelta(seconds=2)),
                is_certain=True,
            )
        time.sleep(_POLL)


def _stored(service: Service, destination_id: uuid.UUID) -> Token | None:
    with service.database.statements() as connection:
        row = crm_db.read_token(connection, destination_id)
    if row is None or row.expires_at - _EARLY <= service.clock():
        return None
    try:
        kept = json.loads(service.sealer.open(row.token_sealed))
    except SealError:
        return None
    return Token(kept["token"], kept["api"], datetime.fromisoformat(kept["made_at"]))


def _refresh(
    service: Service,
    destination_id: uuid.UUID,
    description: Description,
    connection: Connection,
    *,
    ask: Callable[[Request], Exchange],
    lease: datetime,
) -> Token | Bad:
    oauth = description.auth.oauth
    assert oauth is not None  # noqa: S101 - who asks for a token has one
    result: Token | Bad | None = None
    expires_at: datetime | None = None
    sealed: str | None = None
    try:
        exchange = ask(as_token_request(oauth, connection, timeout=_TIMEOUT))
        now = service.clock()
        exchange = without_secrets(exchange, connection.secrets)
        reading = read_answer(exchange, description, doing="get a new token", now=now)
        result = _read(reading, oauth, description, now=now)
        if isinstance(result, Token):
            lives = _lives(reading, oauth)
            expires_at = now + lives
            sealed = service.sealer.seal(
                json.dumps({"token": result.value, "api": result.api, "made_at": now.isoformat()})
            )
            log.info("crm.token_refreshed", destination_id=str(destination_id))
    finally:
        with service.database.statements() as statements:
            crm_db.save_token(
                statements,
                destination_id,
                token_sealed=sealed,
                expires_at=expires_at,
                lease_until=lease,
            )
    return result


def _read(
    reading: Good | Bad, oauth: OAuth, description: Description, *, now: datetime
) -> Token | Bad:
    if isinstance(reading, Bad):
        if isinstance(reading.outcome, Dead) or reading.is_unauthorized:
            reason = reading.outcome.reason if isinstance(reading.outcome, Retry | Dead) else ""
            return Bad(
                Retry(f"{description.name} refuses the credentials: {reason}"),
                is_certain=True,
                is_unauthorized=True,
            )
        return Bad(reading.outcome, is_certain=True)
    value = look(oauth.token, reading.json)
    if not isinstance(value, str) or not value:
        # Zoho answers 200 and {"error": "invalid_code"}.
        return Bad(
            Retry(f"{description.name} refuses the credentials: there is no token in its answer"),
            is_certain=True,
            is_unauthorized=True,
        )
    api = look(oauth.api, reading.json) if oauth.api else None
    return Token(value, api if isinstance(api, str) and api else None, now)


def _lives(reading: Good | Bad, oauth: OAuth) -> timedelta:
    said = look(oauth.expires_in, reading.json) if isinstance(reading, Good) else None
    is_number = isinstance(said, int | str) and str(said).isdigit()
    return timedelta(seconds=int(str(said)) if is_number else oauth.lives_for)
