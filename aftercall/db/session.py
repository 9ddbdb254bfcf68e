"""Connections and transactions. PostgreSQL only, psycopg 3, synchronous.

A transaction is short and never spans a request to somebody else. Work that
PostgreSQL picked as the victim of a deadlock is run again: it is harmless.
"""

import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from pydantic_core import from_json
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    InvalidatePoolError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

T = TypeVar("T")

#: What each session of ours begins with.
SESSION_DEFAULTS = {
    "timezone": "UTC",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
}

#: What runs statements: a session where rows become objects, a bare connection where speed counts.
Executor = Session | Connection

#: The database is away, or takes nothing for a while, as one does that became a standby: what it
#: was given may be good.
DATABASE_AWAY = (OperationalError, InterfaceError, InternalError, PoolTimeout)

#: deadlock_detected, serialization_failure
_RUN_AGAIN = frozenset({"40P01", "40001"})
_RUNS = 4


class DatabaseError(Exception):
    """The database cannot be used. The message says why and what to do, without the password."""


def database_url(given: str) -> URL:
    """The URL as SQLAlchemy wants it, whichever spelling people use."""
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        raise DatabaseError(
            "AFTERCALL_DATABASE_URL is not a URL: expected postgresql://user:password@host/name"
        ) from None
    if url.drivername not in {"postgres", "postgresql", "postgresql+psycopg"}:
        raise DatabaseError(
            f"AFTERCALL_DATABASE_URL names {url.drivername!r}: aftercall runs on PostgreSQL only, "
            "use postgresql://user:password@host/name"
        )
    return url.set(drivername="postgresql+psycopg")


class Database:
    """One process's pool of connections.

    `is_pooled`: a pooler in transaction mode stands between. Each transaction may then be another
    session of PostgreSQL's, so nothing is kept in one: no prepared statements, and the session's
    defaults are the role's (`aftercall.stores.check_database` looks).
    """

    def __init__(self, url: str, *, pool_size: int = 10, is_pooled: bool = False) -> None:
        self.url = database_url(url)
        self.is_pooled = is_pooled
        self.engine: Engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            # Callers' data and sealed secrets are in no traceback.
            hide_parameters=True,
            json_deserializer=from_json,
            connect_args={
                "connect_timeout": 5,
                "application_name": "aftercall",
                # A server that is cut off is given up, not waited for.
                "keepalives_idle": 30,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 15_000,
                **_session_options(is_pooled=is_pooled),
            },
        )
        event.listen(self.engine, "checkout", _replace_if_cut)
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Commits at the end, rolls back on any exception."""
        with self._sessions.begin() as session:
            yield session

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """Each statement is a transaction of its own: no BEGIN, no COMMIT to wait for."""
        with self._autocommit.connect() as connection:
            yield connection

    def run(self, work: Callable[[Connection], T]) -> T:
        """`work` in a transaction; again, a few times, when it lost a deadlock."""
        for run in range(1, _RUNS + 1):
            try:
                with self.engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                if run == _RUNS or not _lost_a_deadlock(error):
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        self.engine.dispose()


def _replace_if_cut(connection: psycopg.Connection, _record: Any, _proxy: Any) -> None:
    """A connection that a restart of the database has cut is replaced unseen.

    One that is in order has nothing to say before it is asked, so a question costs no round trip.
    One whose other side has vanished without a word shows it at its first statement.
    """
    try:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        if poll.poll(0):
            connection.execute("")
            connection.rollback()
    except psycopg.Error:
        raise InvalidatePoolError from None


def _session_options(*, is_pooled: bool) -> dict[str, Any]:
    if is_pooled:
        return {"prepare_threshold": None}
    return {"options": " ".join(f"-c {name}={value}" for name, value in SESSION_DEFAULTS.items())}


def _lost_a_deadlock(error: DBAPIError) -> bool:
    return isinstance(error.orig, psycopg.Error) and error.orig.sqlstate in _RUN_AGAIN
