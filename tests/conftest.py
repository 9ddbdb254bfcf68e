"""Real PostgreSQL and Redis for every test that asks: started once, emptied before each test."""

import os
import random
import signal
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import pytest
from celery import Celery
from sqlalchemy import text

from aftercall.db.models import Base
from aftercall.db.schema import migrate
from aftercall.db.session import Database
from aftercall.embedded import StoreUrls, embedded_stores
from aftercall.flows.service import Service
from aftercall.queue import Doorbell, celery_settings
from aftercall.rate_limit import RateLimiter
from aftercall.sealing import Sealer
from aftercall.settings import Settings
from aftercall.simulator import SimulatedWorkspace, Simulator
from aftercall.stores import redis_client

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell starts what it runs in the background; those whom a test interrupts inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # As nohup does. Pytest goes on to hear of nothing; what it starts does not inherit a handler.
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)

# Otherwise an example that takes 200 ms is a fault, as any does now and then on a busy machine.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unhurried")

WORKSPACE = SimulatedWorkspace(
    id="699ed3b91ee5bee389dcb6a3",
    api_key="test-key",
    api_secret="test-secret",
    rate_limit=6_000,
)
SECRET_KEY = "a key for the tests only"
ADMIN_TOKEN = "the admin token of the tests"
WEBHOOK_TOKEN = "the-webhook-token-of-the-tests"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AFTERCALL_", "TWENTYTWO_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def stores() -> Iterator[StoreUrls]:
    # Not pytest's own folder: its long name would not leave room for a socket's.
    with tempfile.TemporaryDirectory(prefix="aftercall-") as folder:
        Path(folder).chmod(0o755)
        with embedded_stores(Path(folder)) as stores:
            migrate(stores.database_url)
            yield stores


@pytest.fixture(scope="session")
def _database(stores: StoreUrls) -> Iterator[Database]:
    database = Database(stores.database_url, pool_size=5)
    yield database
    database.close()


@pytest.fixture
def database(_database: Database, stores: StoreUrls) -> Database:
    """An empty database, and an empty Redis beside it."""
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with _database.transaction() as session:
        session.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    with redis_client(stores.redis_url) as client:
        client.flushdb()
    return _database


def make_settings(**fields: object) -> Settings:
    """Settings by their variables' names, from nowhere else."""
    given = {
        "AFTERCALL_SECRET_KEY": SECRET_KEY,
        "AFTERCALL_ADMIN_TOKEN": ADMIN_TOKEN,
        "AFTERCALL_WEBHOOK_TOKEN": WEBHOOK_TOKEN,
        "AFTERCALL_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        "TWENTYTWO_WORKSPACE_ID": WORKSPACE.id,
        "TWENTYTWO_API_KEY": WORKSPACE.api_key,
        "TWENTYTWO_API_SECRET": WORKSPACE.api_secret,
        "TWENTYTWO_RATE_LIMIT": WORKSPACE.rate_limit,
        **fields,
    }
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]


def make_service(
    database: Database, stores: StoreUrls, settings: Settings, clock: Clock
) -> Service:
    celery = Celery("aftercall-tests", set_as_current=False)
    celery.conf.update(celery_settings(stores.redis_url))
    client = redis_client(stores.redis_url)
    return Service(
        settings=settings,
        database=database,
        redis=client,
        limiter=RateLimiter(client),
        doorbell=Doorbell(celery),
        sealer=Sealer(settings.require("secret_key")),
        clock=clock,
        rng=random.Random(7),
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, workspaces=[WORKSPACE]) as simulator:
        yield simulator


@pytest.fixture
def service(
    database: Database, stores: StoreUrls, clock: Clock, simulator: Simulator
) -> Iterator[Service]:
    """A service whose Twenty2 and CRM are the simulator, and whose clock stands still."""
    settings = make_settings(TWENTYTWO_BASE_URL=simulator.twentytwo.base_url)
    service = make_service(database, stores, settings, clock)
    yield service
    service.redis.close()
