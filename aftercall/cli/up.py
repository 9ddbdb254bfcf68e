"""`aftercall up`: everything in one. Stores, migrations, api, worker, sweeps, until Ctrl-C."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlencode

import structlog

from aftercall.cli.processes import (
    Supervisor,
    api_arguments,
    beat_arguments,
    check_port,
    child_environment,
    worker_arguments,
)
from aftercall.cli.secrets_file import complete_secrets
from aftercall.cli.session import console, say
from aftercall.counters import fresh_folder
from aftercall.db.schema import migrate
from aftercall.db.session import Database
from aftercall.embedded import (
    EmbeddedError,
    Postgres,
    Server,
    StoreUrls,
    Valkey,
    embedded_stores,
    running_stores,
)
from aftercall.sealing import Sealer
from aftercall.settings import Settings, load_settings
from aftercall.stores import check_database, check_redis, direct_database_url

log = structlog.get_logger(__name__)


def up(*, host: str, port: int, concurrency: int | None) -> None:
    """Runs until SIGINT or SIGTERM, then stops in order: api, worker, beat, stores."""
    stop = _stop_on_signals()
    settings = load_settings()
    # The directory first: the same command typed twice is told what it is.
    with open_stores(settings) as stores:
        check_port(host, port)
        settings = complete_secrets(settings)
        # Said here once; the processes below would each fail at it, again and again.
        Sealer(settings.require("secret_key"))
        migrate(direct_database_url(settings, stores.database_url))
        supervisor = Supervisor(
            {
                **child_environment(settings, stores),
                # All count into one folder, and the api's /metrics shows it.
                **fresh_folder(settings.data_dir.resolve() / "metrics"),
                "AFTERCALL_METRICS_PORT": "0",
            }
        )
        try:
            supervisor.start("api", api_arguments(host=host, port=port))
            supervisor.start("worker", worker_arguments(concurrency=concurrency))
            supervisor.start("beat", beat_arguments())
            is_greeted = False
            while not stop.wait(0.2 if not is_greeted else 1.0):
                supervisor.check()
                _revive_stores(settings)
                if not is_greeted and _answers(host, port):
                    _greet(settings, host=host, port=port)
                    is_greeted = True
            console.print("Stopping: what is under way is finished first…")
        finally:
            supervisor.stop()
    console.print("Stopped.")


def _revive_stores(settings: Settings) -> None:
    """Starts an embedded store again that has died under us."""
    servers: list[Server] = []
    if settings.database_url is None:
        servers.append(Postgres(settings.data_dir))
    if settings.redis_url is None:
        servers.append(Valkey(settings.data_dir))
    for server in servers:
        if server.pid is None:
            log.error("store.ended", store=server.name, cure="starting it again")
            try:
                server.start()
            except EmbeddedError as error:
                log.error("store.not_started", why=str(error))


@contextmanager
def open_stores(settings: Settings) -> Iterator[StoreUrls]:
    """The stores of the settings, embedded where no URL is set; both answer."""
    database_url = settings.database_url and settings.database_url.get_secret_value()
    redis_url = settings.redis_url and settings.redis_url.get_secret_value()
    with embedded_stores(
        settings.data_dir, database=not database_url, redis=not redis_url
    ) as embedded:
        stores = StoreUrls(
            database_url=database_url or embedded.database_url,
            redis_url=redis_url or embedded.redis_url,
        )
        check_redis(stores.redis_url)
        database = Database(stores.database_url, pool_size=1, is_pooled=settings.is_pooled)
        try:
            check_database(database)
        finally:
            database.close()
        yield stores


@contextmanager
def open_database(settings: Settings) -> Iterator[str]:
    """PostgreSQL's own URL, past any pooler. What nobody runs on the data directory, we do."""
    if settings.database_url is not None:
        yield direct_database_url(settings, settings.database_url.get_secret_value())
        return
    running = running_stores(settings.data_dir)
    if running is not None and running.database_url:
        yield running.database_url
        return
    with embedded_stores(settings.data_dir, redis=settings.redis_url is None) as started:
        yield started.database_url


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def ask(_number: int, _frame: object) -> None:
        stop.set()

    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGTERM, ask)
    # Its terminal was closed. Under nohup it is ignored, and stays so.
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, ask)
    return stop


def _answers(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.settimeout(1)
        return probe.connect_ex((_reachable(host), port)) == 0


def _reachable(host: str) -> str:
    """An address of this machine, for one that means all of them."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound here


def _greet(settings: Settings, *, host: str, port: int) -> None:
    shown = _reachable(host)
    origin = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    console.print("[bold]aftercall is up.[/] Ctrl-C stops it.")
    # A token may have brackets in it, or what means something else in a URL.
    token = urlencode({"token": settings.require("webhook_token")})
    say(f"  Console      {origin}/")
    say(f"  API page     {origin}/docs")
    say(f"  Admin token  {settings.require('admin_token')}")
    say(f"  Webhook URL  {origin}/webhooks/twentytwo?{token}")
    console.print(
        "               Paste it into Twenty2 under Profile > Integrations, "
        "with this machine's public https address.",
        highlight=False,
    )
