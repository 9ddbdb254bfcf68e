"""The API as a process on the session's stores, and a worker's share of the work on demand."""

from collections.abc import Callable, Iterator

import pytest

from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.flows.service import Service
from tests.api.server import Api, Json, running_api
from tests.api.working import emptied, work_off
from tests.conftest import Clock


@pytest.fixture(scope="session")
def _api(stores: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(
        tmp_path_factory.mktemp("api"),
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
    ) as api:
        yield api


@pytest.fixture
def database(_database: Database, stores: StoreUrls) -> Database:
    """As everywhere, but emptied only when there is something in it: most requests are refused."""
    return emptied(_database, stores)


@pytest.fixture
def api(_api: Api, database: Database) -> Api:
    """The API on an empty database."""
    return _api


@pytest.fixture
def work(service: Service, clock: Clock) -> Callable[[], None]:
    """Fetches and delivers all that is due now, as workers do."""
    return lambda: work_off(service, clock)


@pytest.fixture
def add_destination(api: Api) -> Callable[..., Json]:
    """Makes one; the answer has its secret."""

    def add(url: str = "http://127.0.0.1:9/hook", *, name: str = "leads", **fields: object) -> Json:
        return api.post("/destinations", {"name": name, "url": url, **fields}, status=201)

    return add
