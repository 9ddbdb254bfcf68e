"""Runs migrations so that nobody waits long for them: docs/migrations.md.

Who cannot have a lock lets go of the queue behind it after two seconds, and asks again later.
A migration is one transaction: nothing half done remains. What has to run outside of one is undone,
or may run again. A second connection says whom the first one waits for, and how far an index is.
"""

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
from alembic.util import CommandError
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, create_engine, event, pool, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from aftercall.db.schema import SchemaError
from aftercall.db.session import database_url

Say = Callable[[str], None]

#: Longer than deadlock_timeout (1 s), after which an autovacuum gives way to who waits for it.
LOCK_TIMEOUT = timedelta(seconds=2)
#: Of a statement in a transaction: its locks are held until the end of all of them.
STATEMENT_TIMEOUT = timedelta(seconds=15)
#: How long a lock is asked for, again and again, from the first time that it was refused.
PATIENCE = timedelta(minutes=5)
#: Between two tries: longer than a try, so that what queued up behind it gets through.
PAUSE_SECONDS = (3.0, 6.0)
#: Two `aftercall migrate` at once take turns.
MIGRATION_LOCK = 7_130_151_018_120_117

#: They let others read and write, however long they take and wait.
_PATIENT = re.compile(
    r"\bCONCURRENTLY\b|\bVALIDATE\s+CONSTRAINT\b|^\s*(VACUUM|ANALYZE)\b", re.IGNORECASE
)
#: Batches of them, each a transaction of its own.
_MOVES = re.compile(r"^\s*(WITH|INSERT|UPDATE|DELETE|SELECT|DO|CALL)\b", re.IGNORECASE)
#: lock_not_available, deadlock_detected
_LOCKED_OUT = frozenset({"55P03", "40P01"})
_TOO_SLOW = "57014"


class MigrationStopped(SchemaError, CommandError):
    """A migration could not be done. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """Who has what we wait for."""

    pid: int
    program: str | None
    state: str | None
    since: datetime | None
    query: str | None

    def __str__(self) -> str:
        if not self.pid:
            return "a prepared transaction (pg_prepared_xacts)"
        what = self.program or "no name"
        if self.state:
            what += f", {self.state}"
        if self.since:
            what += f", since {self.since.astimezone(UTC):%H:%M:%S} UTC"
        return f"process {self.pid} ({what}): {beginning(self.query or 'not to be seen')}"


def beginning(query: str) -> str:
    """What a statement is about, up to the first value that is written in it."""
    words = " ".join(query.split())
    before_values = re.split(r"'|\$\w*\$|(?<![\w$])\d", words, maxsplit=1)[0].strip()
    shown = before_values[:80].strip()
    return shown if shown == words else f"{shown} …"


@contextmanager
def migrating(url: str, *, say: Say) -> Iterator[Connection]:
    """A connection of our own, when it is our turn, with our limits whatever the role's are."""
    engine = create_engine(
        database_url(url),
        poolclass=pool.NullPool,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 5,
            "application_name": "aftercall migrate",
            # From the first statement on; a role may have defaults of a second, even.
            "options": "-c statement_timeout=15s -c lock_timeout=2s",
        },
    )
    try:
        with engine.connect() as connection:
            event.listen(connection, "before_cursor_execute", _limit)
            connection.execute(_OUR_DEFAULTS)
            _wait_for_turn(connection, say)
            connection.commit()
            yield connection
    finally:
        engine.dispose()


def run_patiently(
    connection: Connection,
    run: Callable[[], None],
    *,
    say: Say,
    patience: timedelta = PATIENCE,
    pause: tuple[float, float] = PAUSE_SECONDS,
) -> None:
    """`run`, until it has had its locks. MigrationStopped when it does not get them in time."""
    # Not from the start: before it asks for a lock, it may have built an index for an hour.
    end: float | None = None
    while True:
        with _Watch(connection, say) as watch:
            try:
                _drop_invalid_indexes(connection)
                run()
            except SQLAlchemyError as error:
                if interruption := _interruption(error):
                    raise interruption from None
                connection.rollback()
                if not isinstance(error, DBAPIError):
                    raise
                stopped = _stopped(error, watch)
            else:
                return
        wait, now = random.uniform(*pause), time.monotonic()
        end = end or now + patience.total_seconds()
        if now + wait > end:
            raise MigrationStopped(f"{stopped}, in {_words(patience)} of trying. {_CURE}")
        say(f"{stopped}; again in {wait:.0f} s")
        time.sleep(wait)


_CURE = (
    "What is half done is undone, or taken up the next time. End what it waits for (or let it "
    "end), then run `aftercall migrate` again"
)


def _interruption(error: BaseException) -> BaseException | None:
    """Ctrl-C or a signal, behind the error that Alembic makes of it: it commits whatever comes."""
    cause = error.__context__
    while isinstance(cause, Exception):
        cause = cause.__context__
    return cause


def _stopped(error: DBAPIError, watch: "_Watch") -> str:
    state = error.orig.sqlstate if isinstance(error.orig, psycopg.Error) else None
    what = beginning(error.statement or "")
    if state in _LOCKED_OUT:
        return f"no lock for `{what}`: {watch.whom()}"
    if state == _TOO_SLOW:
        raise MigrationStopped(
            f"`{what}` took over {STATEMENT_TIMEOUT.total_seconds():.0f} s, or was canceled: its "
            "locks were given back; what is half done is undone, or taken up the next time. Run "
            "`aftercall migrate` again when the database has less to do"
        ) from error
    raise error


def _words(time_: timedelta) -> str:
    seconds = time_.total_seconds()
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


# Where this PostgreSQL knows them.
_OUR_DEFAULTS = text(
    "SELECT set_config(name, ours, false) FROM pg_settings JOIN (VALUES"
    " ('idle_in_transaction_session_timeout', '60s'),"
    " ('idle_session_timeout', '0'),"
    " ('transaction_timeout', '0'),"
    " ('default_transaction_isolation', 'read committed')"
    ") AS wanted (name, ours) USING (name)"
)


def _limit(
    connection: Connection,
    _cursor: object,
    statement: str,
    _parameters: object,
    _context: object,
    _many: bool,
) -> None:
    """Before each statement: how long it may wait, and take."""
    dbapi = cast("psycopg.Connection[Any]", connection.connection.dbapi_connection)
    if dbapi.autocommit and dbapi.info.transaction_status != TransactionStatus.IDLE:
        # A transaction that the migration began itself has limits of its own.
        return
    lock, whole = limits(statement, alone=dbapi.autocommit)
    dbapi.execute(
        "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false)",
        [str(_milliseconds(lock)), str(_milliseconds(whole))],
    )


def limits(statement: str, *, alone: bool) -> tuple[timedelta, timedelta]:
    """For a lock, and for all of it; 0 is no limit. `alone`: it is a transaction of its own."""
    if not alone:
        return LOCK_TIMEOUT, STATEMENT_TIMEOUT
    if _PATIENT.search(statement):
        return timedelta(0), timedelta(0)
    return LOCK_TIMEOUT, timedelta(0) if _MOVES.match(statement) else STATEMENT_TIMEOUT


def _milliseconds(time_: timedelta) -> int:
    return int(time_.total_seconds() * 1000)


def _wait_for_turn(connection: Connection, say: Say) -> None:
    # Asked again and again: who waits inside a statement keeps the other one's index from
    # being built concurrently.
    take = text("SELECT pg_try_advisory_lock(:key)")
    next_word = time.monotonic() + 1
    while not connection.execute(take, {"key": MIGRATION_LOCK}).scalar_one():
        if time.monotonic() > next_word:
            holder = connection.execute(_TURN, {"key": MIGRATION_LOCK}).scalar()
            say(f"another migration runs (process {holder}): waiting for its end")
            next_word = time.monotonic() + 30
        connection.commit()
        time.sleep(0.2)


_TURN = text(
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND (classid::bigint << 32) + objid::bigint = :key LIMIT 1"
)
# One on a partitioned table is not valid before all of its parts are: that is no leftover.
_INVALID = text(
    "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname = current_schema()"
    " AND c.relname ~ '^(ix|uq)_'"
    # Somebody builds it just now.
    " AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p"
    " WHERE p.index_relid = i.indexrelid)"
)


def _drop_invalid_indexes(connection: Connection) -> None:
    """What CREATE INDEX CONCURRENTLY leaves when it is broken off: there, and of no use."""
    found = connection.execute(_INVALID).scalars().all()
    connection.commit()
    if not found:
        return
    usual = connection.get_isolation_level()
    connection.execution_options(isolation_level="AUTOCOMMIT")
    try:
        for name in found:
            connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
            connection.commit()
    finally:
        connection.execution_options(isolation_level=usual)


class _Watch:
    """A second connection, which sees what the first one waits for while it waits."""

    def __init__(self, connection: Connection, say: Say) -> None:
        self._engine: Engine = create_engine(
            connection.engine.url,
            poolclass=pool.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"connect_timeout": 5, "application_name": "aftercall migrate (watch)"},
        )
        self._pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        connection.commit()
        self._say = say
        self._stop = threading.Event()
        self._blockers: tuple[Blocker, ...] = ()
        self._said: dict[str, float] = {}
        self._thread = threading.Thread(target=self._look, name="migration-watch", daemon=True)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)
        self._engine.dispose()

    def whom(self) -> str:
        if not self._blockers:
            return "whoever had it was not seen"
        return "waits for " + "; ".join(map(str, self._blockers))

    def _look(self) -> None:
        try:
            with self._engine.connect() as connection:
                while not self._stop.wait(0.3):
                    self._look_once(connection)
        except SQLAlchemyError:
            # The migration goes on without being told of.
            return

    def _look_once(self, connection: Connection) -> None:
        rows = connection.execute(_BLOCKERS, {"pid": self._pid}).all()
        if rows:
            self._blockers = tuple(Blocker(*row) for row in rows)
        progress = connection.execute(_PROGRESS, {"pid": self._pid}).one_or_none()
        if progress is None:
            return
        waiting = f", {self.whom()}" if rows else ""
        share = f", {100 * progress.done / progress.total:.0f} %" if progress.total else ""
        self._tell(progress.name, f"index {progress.name}: {progress.phase}{share}{waiting}")

    def _tell(self, about: str, line: str) -> None:
        """At first after some seconds, then seldom: what is quick needs no word."""
        now = time.monotonic()
        if now > self._said.setdefault(about, now + _FIRST_WORD):
            self._said[about] = now + _NEXT_WORD
            self._say(line)


_FIRST_WORD = 3.0
_NEXT_WORD = 10.0
_BLOCKERS = text(
    "SELECT b.pid, a.application_name, a.state, a.xact_start, a.query FROM pg_stat_activity ours"
    " CROSS JOIN LATERAL (SELECT DISTINCT unnest(pg_blocking_pids(ours.pid)) AS pid) b"
    " LEFT JOIN pg_stat_activity a ON a.pid = b.pid"
    " WHERE ours.pid = :pid AND ours.wait_event_type = 'Lock' ORDER BY a.xact_start"
)
_PROGRESS = text(
    "SELECT coalesce(c.relname, '?') AS name, p.phase,"
    " coalesce(nullif(p.blocks_total, 0), p.tuples_total) AS total,"
    " CASE WHEN p.blocks_total > 0 THEN p.blocks_done ELSE p.tuples_done END AS done"
    " FROM pg_stat_progress_create_index p LEFT JOIN pg_class c ON c.oid = p.index_relid"
    " WHERE p.pid = :pid"
)
