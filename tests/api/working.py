"""The database, emptied; and a worker's share of the work, done at once and in this process."""

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from aftercall.crm.sending import HookSender
from aftercall.db.models import Base
from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.flows.deliver_calls import CallDeliverer
from aftercall.flows.fetch_calls import CallFetcher
from aftercall.flows.service import Service
from aftercall.stores import redis_client
from aftercall.twentytwo.client import Twenty2
from tests.conftest import Clock

_DUE_CALLS = "SELECT id FROM calls WHERE state = 'queued' AND due_at <= :now"
_DUE_DELIVERIES = (
    "SELECT id FROM deliveries WHERE state = 'queued' AND due_at <= :now "
    "AND destination_id IN (SELECT id FROM destinations WHERE enabled)"
)


def emptied(database: Database, stores: StoreUrls) -> Database:
    """No rows; and no limits, blocks or messages in Redis."""
    names = [table.name for table in Base.metadata.sorted_tables]
    is_used = " OR ".join(f"EXISTS (SELECT FROM {name})" for name in names)
    with database.transaction() as session:
        if session.execute(text(f"SELECT {is_used}")).scalar_one():
            session.execute(text(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE"))
    with redis_client(stores.redis_url) as client:
        client.flushdb()
    return database


def work_off(service: Service, clock: Clock) -> None:
    """Fetches all calls that are due now, then delivers all that is due."""
    clock.now = datetime.now(UTC)
    with closing(Twenty2(service.settings.twentytwo_base_url, keep=8)) as twentytwo:
        fetcher = CallFetcher(service, twentytwo, size=8)
        fetcher.fetch(_due(service, _DUE_CALLS, clock.now))
        assert fetcher.close(30)
    with closing(HookSender(guard=service.guard(), keep=8)) as sender:
        clock.now = datetime.now(UTC)
        # Round after round: each takes no more than the destinations' limits allow.
        while due := _due(service, _DUE_DELIVERIES, clock.now):
            deliverer = CallDeliverer(service, sender, size=8)
            deliverer.deliver(due)
            assert deliverer.close(30)


def _due(service: Service, query: str, now: datetime) -> list[Any]:
    with service.database.transaction() as session:
        return list(session.execute(text(query), {"now": now}).scalars())
