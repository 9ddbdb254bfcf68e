"""The way out: a service that allows no inner network, a resolver of ours, a way to deliver."""

import socket
import uuid
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import update

from aftercall.db.models import Delivery, Destination
from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.api.conftest import _api, api, database
from tests.conftest import Clock, make_service, make_settings
from tests.flows.work import accept_rows, deliver, delivery_rows, fetch, queued_ids
from tests.raw_server import RawServer, always, answer
from tests.test_http import Resolver

__all__ = ["_api", "api", "database"]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """The network's edge, for the destinations' names; the stores are found as ever."""
    resolver = Resolver()
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *how: int, **hints: int) -> list[object]:
        if host not in resolver.answers:
            return list(real(host, port, *how, **hints))
        resolver.lookups.append(host)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in next(resolver.answers[host])
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return resolver


@pytest.fixture
def inner() -> Iterator[RawServer]:
    """What listens inside and is nobody's hook. It counts who connects."""
    with RawServer(always(answer(b"the inside"))) as server:
        yield server


@pytest.fixture
def strict(
    database: Database, stores: StoreUrls, clock: Clock, simulator: Simulator
) -> Iterator[Service]:
    """A service whose destinations may be nowhere inside."""
    settings = make_settings(
        TWENTYTWO_BASE_URL=simulator.twentytwo.base_url, AFTERCALL_ALLOWED_PRIVATE_NETWORKS=""
    )
    service = make_service(database, stores, settings, clock)
    yield service
    service.redis.close()


@pytest.fixture
def deliver_one(simulator: Simulator) -> Callable[[Service], Delivery]:
    """Fetches one call and delivers it; what became of the delivery."""

    def deliver_it(service: Service) -> Delivery:
        fetch(service, accept_rows(service, simulator.twentytwo.make_calls(1)))
        [delivery_id] = queued_ids(service)
        deliver(service, [delivery_id])
        [row] = [row for row in delivery_rows(service) if row.id == delivery_id]
        return row

    return deliver_it


def move_destination(service: Service, destination_id: uuid.UUID, url: str) -> None:
    """To a URL that nobody checks: a row may be older than the check."""
    with service.database.transaction() as session:
        session.execute(update(Destination).where(Destination.id == destination_id).values(url=url))
