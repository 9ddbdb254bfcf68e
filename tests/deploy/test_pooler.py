"""PostgreSQL behind PgBouncer in transaction mode: more clients than sessions, the whole way."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import text

from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.flows.forget_person import forget_person
from aftercall.flows.views import ForgottenView
from aftercall.simulator import Simulator
from aftercall.stores import StoreError, check_database
from tests.api.server import free_port
from tests.cli.command import environment
from tests.conftest import SECRET_KEY
from tests.deploy.authority import Authority
from tests.deploy.parts import parts, service_for, settings_for
from tests.deploy.redis_servers import until
from tests.flows.work import accept
from tests.installed import why_not_installed

pytestmark = pytest.mark.skipif(
    bool(_why := why_not_installed("pgbouncer", "pgbouncer")), reason=str(_why)
)
SESSIONS = 3
DEFAULTS = (
    "ALTER ROLE pooled SET timezone = 'UTC'",
    "ALTER ROLE pooled SET statement_timeout = '30s'",
    "ALTER ROLE pooled SET idle_in_transaction_session_timeout = '60s'",
)


@dataclass(frozen=True, slots=True)
class Pooler:
    """A database of its own, straight and through PgBouncer."""

    direct_url: str
    url: str
    admin_url: str

    def set_defaults(self) -> None:
        with psycopg.connect(self.direct_url, autocommit=True) as connection:
            for statement in DEFAULTS:
                connection.execute(statement)
        with psycopg.connect(self.admin_url, autocommit=True) as console:
            console.execute("RECONNECT")

    def timeouts(self) -> list[str]:
        """What each of its sessions has for the longest that a statement may take."""
        with ExitStack() as opened:
            cursors = []
            for _ in range(SESSIONS):
                # In a transaction: each is in a session of its own.
                client = opened.enter_context(psycopg.connect(self.url))
                cursors.append(client.execute("SHOW statement_timeout"))
            return [str(row[0]) for cursor in cursors for row in cursor]

    def pools(self) -> dict[str, int]:
        with psycopg.connect(self.admin_url, autocommit=True, row_factory=dict_row) as console:
            (pool,) = [row for row in console.execute("SHOW POOLS") if row["database"] == "pooled"]
        return {name: value for name, value in pool.items() if isinstance(value, int)}


@pytest.fixture
def pooler(stores: StoreUrls, tmp_path: Path) -> Iterator[Pooler]:
    folder = parse_qs(urlsplit(stores.database_url).query)["host"][0]
    with psycopg.connect(stores.database_url, autocommit=True) as admin:
        admin.execute("CREATE ROLE pooled LOGIN")
        admin.execute("CREATE DATABASE pooled OWNER pooled")
        port = free_port()
        config = tmp_path / "pgbouncer.ini"
        config.write_text(
            _config(folder, port, "transaction")
            + f"default_pool_size = {SESSIONS}\nmax_client_conn = 200\n"
            # No two transactions in a row in the same session, where there are others.
            + "server_round_robin = 1\n"
        )
        process = _start(config, folder)
        try:
            yield Pooler(
                direct_url=f"postgresql://pooled@/pooled?host={folder}&port=5432",
                url=f"postgresql://pooled@127.0.0.1:{port}/pooled",
                admin_url=f"postgresql://pooled@127.0.0.1:{port}/pgbouncer",
            )
        finally:
            process.kill()
            process.wait()
            admin.execute("DROP DATABASE pooled WITH (FORCE)")
            admin.execute("DROP ROLE pooled")


def _config(socket_folder: str, port: int, mode: str) -> str:
    return (
        "[databases]\n"
        f"pooled = host={socket_folder} port=5432 dbname=pooled user=pooled\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\nadmin_users = pooled\npool_mode = {mode}\n"
    )


def _start(config: Path, socket_folder: str) -> "subprocess.Popen[bytes]":
    # It refuses to run as root, and PostgreSQL's socket is for its own user alone.
    owner = Path(socket_folder).stat().st_uid if os.geteuid() == 0 else None
    if owner is not None:
        for folder in (config.parent, *config.parent.parents):
            if folder.stat().st_uid == 0 and not folder.stat().st_mode & 1:
                folder.chmod(folder.stat().st_mode | 0o711)
        config.chmod(0o644)
    with config.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            ["/usr/sbin/pgbouncer", str(config)], stdout=log, stderr=log, user=owner
        )
    port = int(config.read_text().partition("listen_port = ")[2].split()[0])

    def answers() -> bool:
        assert process.poll() is None, config.with_suffix(".log").read_text()
        try:
            psycopg.connect(f"postgresql://pooled@127.0.0.1:{port}/pgbouncer").close()
        except psycopg.OperationalError:
            return False
        return True

    until(answers, "PgBouncer")
    return process


def migrate(pooler: Pooler, **more: str) -> "subprocess.CompletedProcess[str]":
    given = {"AFTERCALL_DATABASE_URL": pooler.url, "AFTERCALL_DATABASE_POOLER": "transaction"}
    return subprocess.run(
        [sys.executable, "-m", "aftercall.cli.main", "migrate"],
        cwd="/",
        env=environment(**given, AFTERCALL_SECRET_KEY=SECRET_KEY, **more),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("database")
def test_every_call_goes_the_whole_way_with_more_clients_than_sessions(
    pooler: Pooler, stores: StoreUrls, simulator: Simulator, tmp_path: Path
) -> None:
    refused = migrate(pooler)
    assert refused.returncode == 1
    assert "AFTERCALL_DIRECT_DATABASE_URL is not set" in refused.stderr
    done = migrate(pooler, AFTERCALL_DIRECT_DATABASE_URL=pooler.direct_url)
    assert done.returncode == 0, done.stderr
    pooler.set_defaults()
    given = settings_for(
        simulator,
        replace(stores, database_url=pooler.url),
        AFTERCALL_DATABASE_POOLER="transaction",
        AFTERCALL_DIRECT_DATABASE_URL=pooler.direct_url,
    )
    with parts(given, simulator, tmp_path) as running:
        call_ids = simulator.twentytwo.make_calls(400)
        stream, sending = running.send(call_ids, per_second=60)
        clients = sessions = 0
        while sending.is_alive():
            found = pooler.pools()
            clients = max(clients, found["cl_active"] + found["cl_waiting"])
            sessions = max(sessions, found["sv_active"] + found["sv_idle"] + found["sv_used"])
            sending.join(0.2)
        assert (stream.refused, stream.accepted) == (0, set(call_ids))
        running.wait_until_delivered(set(call_ids))
        assert clients > SESSIONS >= sessions, (clients, sessions)
        for complaint in ("prepared statement", "InvalidSqlStatementName", "Traceback"):
            assert complaint not in running.log.read_text(), running.tail()
        assert simulator.report().ids_that_disagree == 0


@pytest.mark.usefixtures("database")
def test_forgetting_leaves_nothing_in_the_poolers_sessions(
    pooler: Pooler, stores: StoreUrls, simulator: Simulator, tmp_path: Path
) -> None:
    done = migrate(pooler, AFTERCALL_DIRECT_DATABASE_URL=pooler.direct_url)
    assert done.returncode == 0, done.stderr
    pooler.set_defaults()
    given = settings_for(
        simulator,
        replace(stores, database_url=pooler.url),
        AFTERCALL_DATABASE_POOLER="transaction",
        AFTERCALL_DATA_DIR=str(tmp_path),
    )
    assert pooler.timeouts() == ["30s"] * SESSIONS
    assert "AFTERCALL_DIRECT_DATABASE_URL is not set" in " ".join(
        forgotten(given, "call_1").remarks
    )
    given["AFTERCALL_DIRECT_DATABASE_URL"] = pooler.direct_url
    assert "vacuumed" not in " ".join(forgotten(given, "call_2").remarks)
    assert pooler.timeouts() == ["30s"] * SESSIONS


def forgotten(given: dict[str, str], call_id: str) -> ForgottenView:
    """A person, with this call."""
    with closing(service_for(given)) as service:
        accept(service, [call_id])
        with service.database.transaction() as session:
            session.execute(
                text("UPDATE calls SET callee_phone = '9871532305', direction = 'outbound'")
            )
        view = forget_person(service, "+919871532305")
    assert view.erased["calls"] == 1
    return view


def test_a_pooler_that_nobody_told_of_is_recognised(pooler: Pooler) -> None:
    database = Database(pooler.url, pool_size=1)
    with pytest.raises(StoreError, match="AFTERCALL_DATABASE_POOLER=transaction"):
        check_database(database)
    database.close()


def test_sessions_without_their_defaults_are_said_with_the_statements_that_give_them(
    pooler: Pooler,
) -> None:
    with psycopg.connect(pooler.direct_url, autocommit=True) as connection:
        connection.execute("ALTER ROLE pooled SET timezone = 'Asia/Kolkata'")
    database = Database(pooler.url, pool_size=1, is_pooled=True)
    with pytest.raises(StoreError) as failure:
        check_database(database)
    for statement in DEFAULTS:
        assert statement.replace("pooled", "CURRENT_USER") in str(failure.value)
    database.close()
    pooler.set_defaults()
    database = Database(pooler.url, pool_size=1, is_pooled=True)
    check_database(database)
    database.close()


# ---- over TLS ------------------------------------------------------------------


@pytest.fixture
def tls(pooler: Pooler, stores: StoreUrls, tmp_path: Path) -> Iterator[tuple[str, Authority]]:
    """Where PostgreSQL's protocol is spoken over TLS only, and who vouches for it."""
    authority = Authority.make(tmp_path / "ca")
    certificate = authority.issue("server", address="127.0.0.1")
    certificate.chmod(0o644)
    folder = parse_qs(urlsplit(stores.database_url).query)["host"][0]
    port = free_port()
    config = tmp_path / "tls.ini"
    config.write_text(
        _config(folder, port, "session")
        + "ignore_startup_parameters = options,extra_float_digits\n"
        "client_tls_sslmode = require\n"
        f"client_tls_cert_file = {certificate}\nclient_tls_key_file = {certificate}\n"
    )
    process = _start(config, folder)
    try:
        yield f"postgresql://pooled:never-shown@127.0.0.1:{port}/pooled", authority
    finally:
        process.kill()
        process.wait()


def test_postgresql_is_spoken_to_over_tls_and_its_certificate_is_looked_at(
    tls: tuple[str, Authority], tmp_path: Path
) -> None:
    url, authority = tls
    stranger = Authority.make(tmp_path / "stranger")
    database = Database(f"{url}?sslmode=verify-full&sslrootcert={authority.file}", pool_size=1)
    check_database(database)
    with database.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        assert driver.pgconn.ssl_in_use
    database.close()
    for refused, why in (
        (f"?sslmode=verify-full&sslrootcert={stranger.file}", "certificate verify failed"),
        ("?sslmode=disable", "SSL required"),
    ):
        database = Database(url + refused, pool_size=1)
        with pytest.raises(StoreError, match=why) as failure:
            check_database(database)
        assert "never-shown" not in str(failure.value)
        database.close()
