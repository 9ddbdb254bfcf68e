"""The command on the session's stores, and the API beside it, to compare with."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.flows.service import Service
from tests.api.server import SETTINGS, Api, running_api
from tests.api.working import emptied, work_off
from tests.cli.command import Command, launched
from tests.conftest import Clock


@pytest.fixture
def database(_database: Database, stores: StoreUrls) -> Database:
    """As everywhere, but emptied only when there is something in it: most commands are refused."""
    return emptied(_database, stores)


@pytest.fixture(scope="session")
def launcher() -> Iterator[str]:
    with launched() as path:
        yield path


@pytest.fixture
def aftercall(launcher: str, tmp_path: Path, stores: StoreUrls, database: Database) -> Command:
    """The command, on an empty database."""
    urls = {
        "AFTERCALL_DATABASE_URL": stores.database_url,
        "AFTERCALL_REDIS_URL": stores.redis_url,
    }
    return Command(launcher, tmp_path, {**SETTINGS, **urls})


@pytest.fixture
def stranger(launcher: str, tmp_path: Path) -> Command:
    """The command without any settings."""
    return Command(launcher, tmp_path, {})


@pytest.fixture(scope="session")
def _api(stores: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(
        tmp_path_factory.mktemp("api"),
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
    ) as api:
        yield api


@pytest.fixture
def api(_api: Api, database: Database) -> Api:
    """The API on the same, empty database."""
    return _api


@pytest.fixture
def work(service: Service, clock: Clock) -> Callable[[], None]:
    """Fetches and delivers all that is due now, as workers do."""
    return lambda: work_off(service, clock)
