"""Kept webhooks: none is set aside for what is the database's fault, and none stands in the way.

And the spool's lock: whoever lost it goes on with nothing, and takes nobody else's away.
"""

import base64
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import event

from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.flows.errors import Conflict
from aftercall.flows.service import Service
from aftercall.flows.spool import (
    REFUSED,
    STREAM,
    drain_spool,
    rewrite_spool,
    spool_length,
    spool_webhook,
)
from aftercall.flows.sweep import sweep
from tests.flows.people import call_ids, webhook

LOCK = "aftercall:spool:lock"


def test_a_lock_that_somebody_else_has_by_now_is_left_to_them(service: Service) -> None:
    spool_webhook(service, webhook("c1"))

    def lose_it(body: bytes) -> bytes:
        service.redis.set(LOCK, "another's")
        return body

    rewrite_spool(service, lose_it)
    assert service.redis.get(LOCK) == "another's"
    assert drain_spool(service) == 0
    service.redis.delete(LOCK)
    assert drain_spool(service) == 1
    assert service.redis.get(LOCK) is None
    assert call_ids(service) == {"c1"}


def test_a_rewriter_that_lost_the_lock_stops_before_the_next_batch(service: Service) -> None:
    for number in range(201):
        spool_webhook(service, webhook(f"c{number}"))
    seen: list[bytes] = []

    def lose_it(body: bytes) -> bytes:
        service.redis.set(LOCK, "another's")
        seen.append(body)
        return body

    with pytest.raises(Conflict, match="took too long"):
        rewrite_spool(service, lose_it)
    assert len(seen) == 200
    assert spool_length(service) == 201


@pytest.fixture
def standby(stores: StoreUrls) -> Iterator[Database]:
    """Of a server that became one while it was asked: it answers, and takes nothing."""
    database = Database(stores.database_url, pool_size=1)

    @event.listens_for(database.engine, "connect")
    def forbid_writing(connection: psycopg.Connection, _: object) -> None:
        connection.execute("SET default_transaction_read_only = on")
        connection.commit()

    yield database
    database.close()


def test_what_was_kept_stays_while_the_database_takes_nothing(
    service: Service, standby: Database
) -> None:
    for call_id in ("c1", "c2"):
        spool_webhook(service, webhook(call_id))
    assert drain_spool(replace(service, database=standby)) == 0
    assert spool_length(service) == 2
    assert service.redis.xlen(REFUSED) == 0
    assert drain_spool(service) == 2
    assert call_ids(service) == {"c1", "c2"}


@pytest.mark.parametrize(
    "fields",
    [
        {"body": base64.b64encode(b"no JSON").decode(), "received_at": "2026-11-29T03:00:00+00:00"},
        {"body": base64.b64encode(b"{}").decode(), "received_at": "2026-11-29T03:00:00+00:00"},
        {"body": base64.b64encode(webhook("c0")).decode(), "received_at": "today"},
        {"body": "!", "received_at": "2026-11-29T03:00:00+00:00"},
        {"another": "version's"},
    ],
)
def test_what_cannot_be_read_is_set_aside_and_stands_in_nobodys_way(
    service: Service, fields: dict[str, str]
) -> None:
    service.redis.xadd(STREAM, dict(fields))
    spool_webhook(service, webhook("c1"))
    sweep(service, waiting_messages=lambda _: 0)
    assert call_ids(service) == {"c1"}
    assert spool_length(service) == 0
    [(_, refused)] = service.redis.xrange(REFUSED)
    assert refused == {**fields, "why": "it cannot be read"}
