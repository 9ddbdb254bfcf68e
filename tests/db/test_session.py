"""Connections that are kept: whole ones are used as they are, cut ones are replaced unseen."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from aftercall.db.session import Database
from aftercall.embedded import StoreUrls

_PID = text("SELECT pg_backend_pid()")


@pytest.fixture
def kept(stores: StoreUrls) -> Iterator[Database]:
    """With one connection, which has been used."""
    database = Database(stores.database_url, pool_size=1)
    yield database
    database.close()


def pid(database: Database) -> int:
    with database.transaction() as session:
        return int(session.execute(_PID).scalar_one())


def cut(database: Database, backend: int) -> None:
    """Ends a session, as a restart of PostgreSQL does, and waits until it is gone."""
    with database.transaction() as session:
        session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": backend})
    deadline = time.monotonic() + 20
    while True:
        with database.transaction() as session:
            left = session.execute(
                text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid"), {"pid": backend}
            ).scalar_one()
        if not left:
            return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_kept_connection_is_used_again(kept: Database) -> None:
    assert pid(kept) == pid(kept)


def test_one_that_was_cut_is_replaced_unseen(kept: Database, database: Database) -> None:
    before = pid(kept)
    cut(database, before)
    assert pid(kept) != before
    with kept.statements() as connection:
        assert connection.execute(_PID).scalar_one() != before


def test_one_that_was_told_something_is_used_again(kept: Database, database: Database) -> None:
    with kept.statements() as connection:
        before = connection.execute(_PID).scalar_one()
        connection.execute(text("LISTEN news"))
    with database.transaction() as session:
        session.execute(text("NOTIFY news"))
    assert pid(kept) == before


def test_json_is_read_as_it_was_written(kept: Database) -> None:
    written = '{"long": 123456789012345678901234567890, "small": 1e-7, "text": "ab\\u00e9"}'
    with kept.transaction() as session:
        read = session.execute(text(f"SELECT CAST('{written}' AS jsonb)".replace(":", "\\:")))
        assert read.scalar_one() == {
            "long": 123456789012345678901234567890,
            "small": 1e-7,
            "text": "abé",
        }
