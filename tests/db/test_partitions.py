"""Partitions of a month: made from a table in use, made ahead, dropped when they are over."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from aftercall.db.partitions import (
    ATTEMPTS,
    PARTITIONED,
    WEBHOOKS,
    TableBusy,
    drop_partition,
    find_left_bounds,
    find_partitions,
    make_partition,
    rows_in_default,
)
from aftercall.db.schema import _config
from aftercall.db.session import Database, database_url
from aftercall.domain.retention import missing_months
from aftercall.embedded import StoreUrls
from aftercall.flows.retention import bound_fault
from aftercall.flows.service import Service

NOW = datetime.now(UTC)
DAY = timedelta(days=1)

# As the release before wrote and read them.
WRITE_WEBHOOK = "INSERT INTO webhooks (id, received_at, body) SELECT gen_random_uuid(), :at, 'x'"
WRITE_EVENT = """
    WITH w AS (
      INSERT INTO webhooks (id, received_at, body) VALUES (gen_random_uuid(), :at, 'x') RETURNING id
    ), p AS (INSERT INTO workspaces (id) VALUES ('w') ON CONFLICT DO NOTHING),
    c AS (
      INSERT INTO calls (workspace_id, call_id, state, due_at, received_at)
      VALUES ('w', :call, 'queued', :at, :at) ON CONFLICT DO NOTHING
    )
    INSERT INTO events (workspace_id, call_id, type, webhook_id, received_at)
    SELECT 'w', :call, 'call.completed', id, :at FROM w
"""
WRITE_ATTEMPT = """
    INSERT INTO attempts (call_row_id, number, started_at, duration_ms, outcome)
    VALUES (:call, 1, :at, 5, 'succeeded') RETURNING id
"""
READ_ATTEMPTS = "SELECT id, outcome FROM attempts WHERE call_row_id = :call ORDER BY id"
NEWEST_WEBHOOK = "SELECT max(received_at) FROM webhooks"


@pytest.fixture
def before(stores: StoreUrls) -> Iterator[str]:
    """The URL of a database as the release before had it."""
    url = database_url(stores.database_url)
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS partitions WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE partitions"))
    found = url.set(database="partitions").render_as_string(hide_password=False)
    _to(found, "0011", down="0008")
    yield found
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE partitions WITH (FORCE)"))
    admin.dispose()


def _to(url: str, revision: str, *, down: str | None = None) -> None:
    config = _config()
    config.attributes["url"] = url
    command.upgrade(config, revision)
    if down is not None:
        command.downgrade(config, down)


@pytest.fixture
def engine(before: str) -> Iterator[Engine]:
    engine = create_engine(database_url(before), connect_args={"options": "-c timezone=UTC"})
    yield engine
    engine.dispose()


def test_what_was_there_is_there_and_ids_go_on(before: str, engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(1, 301):
            at = NOW - number * DAY
            connection.execute(text(WRITE_ATTEMPT), {"call": number, "at": at})
            connection.execute(text(WRITE_EVENT), {"call": f"call_{number}", "at": at})
    _to(before, "0011")
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM attempts")) == 300
        assert connection.scalar(text("SELECT count(*) FROM webhooks")) == 300
        assert connection.scalar(text("SELECT count(*) FROM attempts_old")) == 300
        assert connection.scalar(text(WRITE_ATTEMPT), {"call": 1, "at": NOW}) == 301
    command_down = _config()
    command_down.attributes["url"] = before
    command.downgrade(command_down, "0008")
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM attempts")) == 301
        assert connection.scalar(text(WRITE_ATTEMPT), {"call": 1, "at": NOW}) > 301


def test_the_code_before_goes_on_while_it_is_migrated(before: str, engine: Engine) -> None:
    """Writers and readers of the release before, all the time: none fails, nothing is lost."""
    is_over = threading.Event()
    written: list[str] = []
    faults: list[BaseException] = []

    def work(name: int) -> None:
        try:
            number = 0
            while not is_over.is_set():
                number += 1
                call, at = f"{name}-{number}", datetime.now(UTC)
                with engine.begin() as connection:
                    connection.execute(text(WRITE_EVENT), {"call": call, "at": at})
                    connection.execute(text(WRITE_ATTEMPT), {"call": number, "at": at})
                    connection.execute(text(READ_ATTEMPTS), {"call": number}).all()
                    connection.execute(text(NEWEST_WEBHOOK)).scalar_one()
                written.append(call)
        except BaseException as error:
            faults.append(error)

    with engine.begin() as connection:
        fill = "INSERT INTO attempts (call_row_id, number, started_at, duration_ms, outcome)"
        connection.execute(
            text(
                f"{fill} SELECT n, 1, now() - n * interval '1 minute', 5, 'succeeded'"  # noqa: S608
                " FROM generate_series(1, 20000) AS n"
            )
        )
    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    try:
        _to(before, "0011")
        at_the_end = len(written)
        while len(written) < at_the_end + 50 and not faults:
            is_over.wait(0.05)
    finally:
        is_over.set()
        for thread in threads:
            thread.join(30)
    assert faults == []
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM webhooks")) == len(written)
        assert connection.scalar(text("SELECT count(*) FROM attempts")) == 20_000 + len(written)
        twice = "SELECT count(*) - count(DISTINCT id) FROM attempts"
        assert connection.scalar(text(twice)) == 0


def test_a_migration_that_was_broken_off_is_begun_again(before: str, engine: Engine) -> None:
    """As it is left when the machine goes down before the moment of the swap."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in (
            "CREATE UNIQUE INDEX webhooks_old_pkey ON webhooks (id, received_at)",
            "CREATE TABLE webhooks_new (LIKE webhooks) PARTITION BY RANGE (received_at)",
            "ALTER TABLE webhooks ADD CONSTRAINT webhooks_bound"
            " CHECK (received_at < '2020-01-01Z') NOT VALID",
        ):
            connection.execute(text(statement))
    _to(before, "0011")
    with engine.begin() as connection:
        connection.execute(text(WRITE_WEBHOOK), {"at": NOW})
        assert connection.scalar(text("SELECT count(*) FROM webhooks_old")) == 1


@pytest.mark.timeout(300)
def test_a_migration_that_is_killed_is_begun_again_and_ends_the_same(stores: StoreUrls) -> None:
    """Before every ninth of its statements; all of them by hand: tests/db/killed.py."""
    arguments = ("tests.db.killed", stores.database_url, "0010", "0011", "--every", "9")
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) >= 8, done.stdout


def test_a_migration_that_is_stopped_before_the_swap_leaves_no_check_and_keeps_its_index(
    before: str, engine: Engine
) -> None:
    index = "SELECT 'webhooks_old_pkey'::regclass::oid"
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE webhooks_default (in_the_way int)"))
    with pytest.raises(ProgrammingError, match="webhooks_default"):
        _to(before, "0011")
    with engine.begin() as connection:
        assert find_left_bounds(connection) == []
        connection.execute(text(WRITE_WEBHOOK), {"at": NOW + 400 * DAY})
        built = connection.scalar(text(index))
        connection.execute(text("DROP TABLE webhooks_default"))
    _to(before, "0011")
    with engine.begin() as connection:
        assert connection.scalar(text(index)) == built


def test_who_kills_the_migration_has_two_months_to_run_it_again_and_doctor_says_so(
    before: str, engine: Engine, service: Service
) -> None:
    _to(before, "0010")
    with engine.begin() as connection:
        connection.execute(
            text(
                "ALTER TABLE attempts ADD CONSTRAINT attempts_bound"
                " CHECK (started_at < '2027-02-01 00:00:00+00') NOT VALID"
            )
        )
        [left] = find_left_bounds(connection)
        assert left.until == datetime(2027, 2, 1, tzinfo=UTC)
    database = Database(before, pool_size=1)
    fault = bound_fault(replace(service, database=database))
    database.close()
    assert fault is not None
    assert "from 2027-02-01 on attempts takes no row" in fault
    _to(before, "0011")
    with engine.begin() as connection:
        assert find_left_bounds(connection) == []
        [old] = [one for one in find_partitions(connection, ATTEMPTS) if one.name == "attempts_old"]
        assert old.until is not None
        assert old.until - NOW >= 60 * DAY - timedelta(minutes=5)


def test_a_row_from_the_future_does_not_stop_the_migration(before: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text(WRITE_WEBHOOK), {"at": NOW + 400 * DAY})
    _to(before, "0011")
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM webhooks_old")) == 1


# ---- made and dropped --------------------------------------------------------


@pytest.fixture
def migrated(before: str) -> Iterator[Database]:
    _to(before, "0011")
    database = Database(before, pool_size=3)
    yield database
    database.close()


def test_this_month_and_three_more_are_there_from_the_beginning(migrated: Database) -> None:
    with migrated.transaction() as session:
        for table in PARTITIONED:
            assert missing_months(find_partitions(session, table), now=NOW) == []


def test_a_row_that_no_month_takes_goes_into_the_default_and_moves_when_its_month_is_made(
    migrated: Database,
) -> None:
    far = datetime(2031, 12, 31, 23, 59, tzinfo=UTC)
    with migrated.transaction() as session:
        session.execute(text(WRITE_ATTEMPT), {"call": 1, "at": far})
        session.execute(text(WRITE_ATTEMPT), {"call": 2, "at": far + DAY})
        assert rows_in_default(session, ATTEMPTS) == 2
    with migrated.transaction() as session:
        name = make_partition(session, ATTEMPTS, datetime(2031, 12, 1, tzinfo=UTC))
    assert name == "attempts_2031_12"
    with migrated.transaction() as session:
        assert rows_in_default(session, ATTEMPTS) == 1
        held = session.scalars(text("SELECT call_row_id FROM attempts_2031_12")).all()
        assert held == [1]
        assert session.execute(text(READ_ATTEMPTS), {"call": 1}).all() == [(1, "succeeded")]
        [made] = [one for one in find_partitions(session, ATTEMPTS) if one.name == name]
    assert made.since == datetime(2031, 12, 1, tzinfo=UTC)
    assert made.until == datetime(2032, 1, 1, tzinfo=UTC)


def test_who_is_at_the_table_goes_first(migrated: Database) -> None:
    """Dropping waits for a moment, and gives up; whoever inserts hardly waits for it."""
    with migrated.transaction() as session:
        [old] = [one for one in find_partitions(session, WEBHOOKS) if one.name == "webhooks_old"]
    with migrated.transaction() as reader:
        reader.execute(text(NEWEST_WEBHOOK))
        with pytest.raises(TableBusy), migrated.transaction() as session:
            drop_partition(session, WEBHOOKS, old)
        with migrated.transaction() as session:
            assert old.name in {one.name for one in find_partitions(session, WEBHOOKS)}
    with migrated.transaction() as session:
        drop_partition(session, WEBHOOKS, old)
    with migrated.transaction() as session:
        assert old.name not in {one.name for one in find_partitions(session, WEBHOOKS)}
        # Its time has no partition any more: the row is taken all the same.
        session.execute(text(WRITE_WEBHOOK), {"at": NOW - 40 * DAY})
        assert rows_in_default(session, WEBHOOKS) == 1


def test_no_other_table_is_dropped(migrated: Database) -> None:
    with migrated.transaction() as session:
        [old, *_] = find_partitions(session, WEBHOOKS)
    for name in ("calls", "webhooks", "webhooks_2026_12; DROP TABLE calls"):
        with pytest.raises(ValueError, match="no partition"), migrated.transaction() as session:
            drop_partition(session, WEBHOOKS, old.__class__(name=name, since=None, until=None))


def test_a_call_is_looked_up_in_each_partition_by_an_index(migrated: Database) -> None:
    with migrated.transaction() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = session.scalars(
            text(f"EXPLAIN {READ_ATTEMPTS}"),
            {"call": 1},
        ).all()
    assert "Seq Scan" not in "\n".join(plan)


def test_an_index_that_two_sessions_wait_for_is_no_deadlock(migrated: Database) -> None:
    """Making a partition while somebody inserts into the table: both come to their end."""
    with migrated.transaction() as writer:
        writer.execute(text(WRITE_ATTEMPT), {"call": 1, "at": NOW})
        with suppress(OperationalError), migrated.transaction() as session:
            make_partition(session, ATTEMPTS, datetime(2033, 1, 1, tzinfo=UTC))
        writer.execute(text(WRITE_ATTEMPT), {"call": 1, "at": NOW})
    with migrated.transaction() as session:
        names = {one.name for one in find_partitions(session, ATTEMPTS)}
    assert "attempts_2033_01" in names
