"""The api with a read-only token, and visitors who may or may not be signed in."""

from collections.abc import Iterator

import pytest

from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.api.server import Api, running_api
from tests.api.working import emptied
from tests.conftest import Clock
from tests.console.telling import Teller
from tests.console.visitor import READONLY_TOKEN, Visitor


@pytest.fixture(scope="session")
def _console(stores: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(
        tmp_path_factory.mktemp("console"),
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
        AFTERCALL_READONLY_TOKEN=READONLY_TOKEN,
    ) as api:
        yield api


@pytest.fixture
def database(_database: Database, stores: StoreUrls) -> Database:
    return emptied(_database, stores)


@pytest.fixture
def console(_console: Api, database: Database) -> Api:
    """The api on an empty database."""
    return _console


@pytest.fixture
def visitor(console: Api) -> Iterator[Visitor]:
    """Nobody yet."""
    with Visitor(console.origin) as visitor:
        yield visitor


@pytest.fixture
def admin(visitor: Visitor) -> Visitor:
    visitor.sign_in()
    return visitor


@pytest.fixture
def reader(console: Api) -> Iterator[Visitor]:
    with Visitor(console.origin) as visitor:
        visitor.sign_in(READONLY_TOKEN)
        yield visitor


@pytest.fixture
def teller(console: Api, simulator: Simulator, service: Service, clock: Clock) -> Teller:
    """Calls with a past."""
    return Teller(console, simulator, service, clock)
