"""Two apis from outside, one that wants signatures, on the session's stores."""

from collections.abc import Callable, Iterator

import pytest

from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.flows.service import Service
from tests.api.server import Api
from tests.api.working import emptied, work_off
from tests.conftest import Clock
from tests.door.server import Door, running_door

HMAC_SECRET = "what-twenty2-signs-with"


@pytest.fixture
def database(_database: Database, stores: StoreUrls) -> Database:
    """As everywhere, but emptied only when there is something in it: most requests are refused."""
    return emptied(_database, stores)


@pytest.fixture(scope="session")
def _door(stores: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with running_door(
        tmp_path_factory.mktemp("door"),
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
    ) as door:
        yield door


@pytest.fixture
def door(_door: Door, database: Database) -> Door:
    """An api on an empty database."""
    return _door


@pytest.fixture
def api(door: Door) -> Api:
    """Its client."""
    return door.api


@pytest.fixture(scope="session")
def _signed_door(stores: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with running_door(
        tmp_path_factory.mktemp("signed-door"),
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
        AFTERCALL_WEBHOOK_HMAC_SECRET=HMAC_SECRET,
    ) as door:
        yield door


@pytest.fixture
def signed_door(_signed_door: Door, database: Database) -> Door:
    """An api that wants signatures, on an empty database."""
    return _signed_door


@pytest.fixture
def work(service: Service, clock: Clock) -> Callable[[], None]:
    """Fetches and delivers all that is due now, as workers do."""
    return lambda: work_off(service, clock)
