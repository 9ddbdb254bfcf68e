"""Migrations beside others: who waits for whom, for how long, and what is left when one stops."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from alembic import command
from sqlalchemy import text

from aftercall.db.migrating import (
    LOCK_TIMEOUT,
    STATEMENT_TIMEOUT,
    MigrationStopped,
    beginning,
    limits,
    migrating,
    run_patiently,
)
from aftercall.db.schema import _config, migrate
from aftercall.db.session import database_url

NONE = timedelta(0)


def upgrade_to(url: str, revision: str) -> None:
    config = _config()
    config.attributes["url"] = url
    command.upgrade(config, revision)


@contextmanager
def connected(url: str, **options: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    plain = database_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, **options) as connection:  # type: ignore[arg-type]
        yield connection


def one_call(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    connection.execute("INSERT INTO workspaces (id) VALUES ('w')")
    connection.execute(
        "INSERT INTO calls (workspace_id, call_id, state, due_at, received_at)"
        " VALUES ('w', 'c', 'queued', now(), now())"
    )
    connection.commit()


def wait_for_word(said: list[str], words: str) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for line in said:
            if words in line:
                return line
        time.sleep(0.05)
    raise AssertionError(f"nobody said {words!r}: {said}")


def test_a_migration_without_its_lock_says_whom_it_waits_for_lets_others_pass_and_is_done_later(
    empty_database: str,
) -> None:
    upgrade_to(empty_database, "0007")
    said: list[str] = []
    with (
        connected(empty_database, application_name="a report") as reader,
        connected(empty_database) as writer,
    ):
        one_call(writer)
        reader.execute("SELECT count(*) FROM calls WHERE callee_phone = '9876543210'")
        migration = threading.Thread(
            target=migrate, args=(empty_database,), kwargs={"say": said.append}
        )
        migration.start()
        line = wait_for_word(said, "no lock for")
        # Others queue up behind it for as long as it asks, and no longer.
        writer.execute("SET lock_timeout = '10s'")
        writer.execute("UPDATE calls SET due_at = now()")
        writer.commit()
        assert "ALTER TABLE calls" in line
        assert f"process {reader.info.backend_pid} (a report, idle in transaction" in line
        assert "SELECT count(*) FROM calls WHERE callee_phone =" in line
        assert "9876543210" not in line
        reader.rollback()
        migration.join(timeout=60)
        assert not migration.is_alive()
        found = writer.execute("SELECT version_num FROM alembic_version").fetchone()
        assert found != ("0007",)


def test_a_lock_that_never_comes_ends_in_an_error_that_says_what_to_do(empty_database: str) -> None:
    upgrade_to(empty_database, "0007")
    said: list[str] = []

    def run_on() -> None:
        connection.execute(text("CREATE TABLE half_done (id int)"))
        connection.execute(text("ALTER TABLE calls ADD COLUMN half_done int"))
        connection.commit()

    with connected(empty_database) as reader:
        reader.execute("SELECT count(*) FROM calls")
        with (
            migrating(empty_database, say=said.append) as connection,
            pytest.raises(MigrationStopped) as stopped,
        ):
            run_patiently(
                connection,
                run_on,
                say=said.append,
                patience=timedelta(seconds=3),
                pause=(0.5, 0.5),
            )
        assert f"process {reader.info.backend_pid}" in str(stopped.value)
        assert "run `aftercall migrate` again" in str(stopped.value)
        found = reader.execute("SELECT to_regclass('half_done')").fetchone()
        assert found == (None,)
    assert any("again in" in line for line in said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_migration_that_is_told_to_end_ends_without_a_traceback_and_may_run_again(
    empty_database: str, tmp_path: Path, number: signal.Signals
) -> None:
    upgrade_to(empty_database, "0004")
    with connected(empty_database) as reader, connected(empty_database) as watcher:
        # An index that is built CONCURRENTLY waits for whoever sees what was before.
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM calls")
        watcher.autocommit = True
        log = tmp_path / "migrate.log"
        with log.open("wb") as output:
            migration = subprocess.Popen(
                [sys.executable, "-m", "aftercall.cli.main", "migrate"],
                env={**os.environ, "AFTERCALL_DATABASE_URL": empty_database},
                stdout=output,
                stderr=output,
            )
        try:
            wait_for_activity(watcher, "CREATE INDEX CONCURRENTLY")
            migration.send_signal(number)
            assert migration.wait(60) == 128 + number
        finally:
            migration.kill()
            migration.wait()
        assert "Traceback" not in log.read_text()
    assert migrate(empty_database)


def wait_for_activity(
    connection: psycopg.Connection[tuple[object, ...]], beginning_of_query: str
) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = connection.execute(
            "SELECT FROM pg_stat_activity"
            " WHERE starts_with(query, %s) AND wait_event_type = 'Lock'",
            (beginning_of_query,),
        )
        if found.fetchone() is not None:
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody waits in {beginning_of_query!r}")


def test_what_takes_long_before_it_asks_for_a_lock_costs_no_patience(empty_database: str) -> None:
    upgrade_to(empty_database, "0007")
    said: list[str] = []
    with connected(empty_database) as reader:
        reader.execute("SELECT count(*) FROM calls")

        def say(line: str) -> None:
            said.append(line)
            reader.rollback()

        def run() -> None:
            connection.execute(text("SELECT pg_sleep(2)"))
            connection.execute(text("ALTER TABLE calls ADD COLUMN late int"))
            connection.commit()

        with migrating(empty_database, say=said.append) as connection:
            run_patiently(connection, run, say=say, patience=timedelta(seconds=1), pause=(0.1, 0.1))
        reader.execute("SELECT late FROM calls")
    assert any("again in" in line for line in said)


def test_the_roles_own_limits_do_not_stop_an_index_that_takes_longer(empty_database: str) -> None:
    upgrade_to(empty_database, "0004")
    with connected(empty_database) as admin:
        for setting in (
            "statement_timeout = '1500ms'",
            "lock_timeout = '100ms'",
            "idle_in_transaction_session_timeout = '1500ms'",
            "default_transaction_isolation = 'serializable'",
        ):
            admin.execute(f"ALTER DATABASE migrations SET {setting}".encode())
        admin.commit()
        # An index that is built concurrently waits for whoever writes there.
        one_call(admin)
        admin.execute("UPDATE calls SET due_at = now()")
        said: list[str] = []
        migration = threading.Thread(
            target=migrate, args=(empty_database,), kwargs={"say": said.append}
        )
        migration.start()
        line = wait_for_word(said, "index ix_calls_received")
        assert "waiting for" in line
        assert f"process {admin.info.backend_pid}" in line
        admin.rollback()
        migration.join(timeout=60)
        assert not migration.is_alive()
        found = admin.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_calls_received'::regclass"
        ).fetchone()
    assert found == (True,)


def test_an_index_that_was_broken_off_is_made_anew(empty_database: str) -> None:
    upgrade_to(empty_database, "0004")
    with connected(empty_database) as connection:
        one_call(connection)
        connection.autocommit = True
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute(
                "CREATE INDEX CONCURRENTLY ix_calls_received ON calls ((1 / (id - id)))"
            )
        migrate(empty_database)
        found = connection.execute(
            "SELECT indisvalid, pg_get_indexdef(indexrelid) FROM pg_index"
            " WHERE indexrelid = 'ix_calls_received'::regclass"
        ).fetchone()
    assert found is not None
    assert found[0] is True
    assert str(found[1]).endswith("(received_at, id)")


def test_what_0008_had_done_when_it_was_killed_does_not_stop_it_the_next_time(
    empty_database: str,
) -> None:
    upgrade_to(empty_database, "0007")
    with connected(empty_database) as connection:
        connection.execute("ALTER TABLE calls ADD COLUMN look_again_at timestamptz")
        connection.execute("ALTER TABLE calls ADD COLUMN looks smallint DEFAULT 0 NOT NULL")
        connection.commit()
    migrate(empty_database)


@pytest.mark.parametrize(
    ("statement", "alone", "lock", "whole"),
    [
        ("ALTER TABLE calls ADD COLUMN x int", False, LOCK_TIMEOUT, STATEMENT_TIMEOUT),
        ("UPDATE destinations SET enabled = true", False, LOCK_TIMEOUT, STATEMENT_TIMEOUT),
        ("ALTER TABLE calls ADD COLUMN x int", True, LOCK_TIMEOUT, STATEMENT_TIMEOUT),
        ("CREATE INDEX CONCURRENTLY ix ON calls (id)", True, NONE, NONE),
        ("DROP INDEX CONCURRENTLY ix", True, NONE, NONE),
        ("ALTER TABLE p DETACH PARTITION q CONCURRENTLY", True, NONE, NONE),
        ("ALTER TABLE calls VALIDATE CONSTRAINT x", True, NONE, NONE),
        ("UPDATE calls SET looks = 0 WHERE id < 5000", True, LOCK_TIMEOUT, NONE),
    ],
)
def test_each_kind_of_statement_has_its_limits(
    statement: str, alone: bool, lock: timedelta, whole: timedelta
) -> None:
    assert limits(statement, alone=alone) == (lock, whole)


def test_the_limits_are_those_of_the_connection(empty_database: str) -> None:
    with migrating(empty_database, say=lambda _: None) as connection:
        both = "SELECT current_setting('lock_timeout'), current_setting('statement_timeout')"
        assert tuple(connection.execute(text(both)).one()) == ("2s", "15s")
        connection.commit()
        connection.execution_options(isolation_level="AUTOCOMMIT")
        assert tuple(connection.execute(text(f"{both} -- CONCURRENTLY")).one()) == ("0", "0")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("SELECT 1 FROM calls", "SELECT …"),
        ("UPDATE calls SET state = $1 WHERE id = $2", "UPDATE calls SET state = $1 WHERE id = $2"),
        (
            "SELECT *\n  FROM calls WHERE callee_phone = '987'",
            "SELECT * FROM calls WHERE callee_phone = …",
        ),
        ("DELETE FROM calls WHERE id = 9876543210", "DELETE FROM calls WHERE id = …"),
        ("SELECT $body$secret$body$", "SELECT …"),
        ("SELECT E'a\\'b' || 'secret'", "SELECT E …"),
    ],
)
def test_values_are_in_no_line_about_a_statement(query: str, shown: str) -> None:
    assert beginning(query) == shown
