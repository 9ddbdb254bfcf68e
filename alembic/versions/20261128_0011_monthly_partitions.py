"""Raw webhooks and attempts in partitions of a month, so that the old are dropped, not deleted.

The table that is there becomes the first partition, with all that is in it. Nothing is
copied, and nobody waits: indexes are built and rows are checked beforehand, while webhooks
flow; what needs the table to itself is a fraction of a second, and is tried again rather than
waited for. The code before this one goes on working on the new tables. Who stops it in between
leaves no check behind; who kills it, one that refuses nothing for two months: doctor tells of it.

An event's webhook may be dropped before the event: `events` names it without a foreign key.

Revision ID: 0011
Revises: 0010
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import OperationalError, SQLAlchemyError

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
#: The oldest code that may run on this schema: docs/migrations.md.
runs_with = "0008"

_TABLES = (("webhooks", "received_at"), ("attempts", "started_at"))
#: Partitions that are made beforehand; from then on the service makes them.
_MONTHS_AHEAD = 3
#: Nobody waits longer behind us; then they go first, and we try again.
_LOCK_TIMEOUT = "300ms"
_TRIES = 200
_PAUSE = 0.3
#: Rows that come while this runs are before the end of the first partition. So are those that
#: come when it was killed and nobody has run it again yet: the check would refuse others.
_SLACK = timedelta(days=60)


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for table, column in _TABLES:
            if not _is_partitioned(table):
                try:
                    _prepare(table, column)
                    _swap(table, column)
                except BaseException:
                    _unbind(table)
                    raise


def downgrade() -> None:
    for table, _ in reversed(_TABLES):
        _flatten(table)
    op.execute(
        "UPDATE events SET webhook_id = NULL WHERE webhook_id IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM webhooks WHERE webhooks.id = events.webhook_id)"
    )
    op.create_foreign_key(
        "fk_events_webhook_id",
        "events",
        "webhooks",
        ["webhook_id"],
        ["id"],
        ondelete="SET NULL",
    )


# ---- beforehand, while everything goes on ------------------------------------


def _prepare(table: str, column: str) -> None:
    """An index and a check, so that the table becomes a partition without being read."""
    _briefly(
        f"DROP TABLE IF EXISTS {table}_new",
        f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_bound",
    )
    if not _is_valid(f"{table}_old_pkey"):
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {table}_old_pkey")
        op.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {table}_old_pkey ON {table} (id, {column})")
    op.execute(
        f"CREATE TABLE {table}_new (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        f" PARTITION BY RANGE ({column})"
    )
    newest = op.get_bind().scalar(sa.text(f"SELECT max({column}) FROM {table}"))  # noqa: S608 - ours
    soon = datetime.now(UTC) + _SLACK
    bound = _following(soon if newest is None else max(soon, newest))
    _briefly(
        f"ALTER TABLE {table} ADD CONSTRAINT {table}_bound"
        f" CHECK ({column} < '{bound.isoformat()}') NOT VALID"
    )
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {table}_bound")


def _unbind(table: str) -> None:
    """A check that stayed would refuse every row, one day. What stopped us is what is told."""
    with suppress(SQLAlchemyError):
        _briefly(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_bound")


# ---- the moment --------------------------------------------------------------


def _swap(table: str, column: str) -> None:
    bound = _bound_of(table)
    old = f"{table}_old"
    _briefly(
        *_lock(table),
        f"ALTER TABLE {table} DROP CONSTRAINT pk_{table}",
        f"ALTER TABLE {table} RENAME TO {old}",
        f"ALTER TABLE {old} ADD CONSTRAINT {old}_pkey PRIMARY KEY USING INDEX {old}_pkey",
        f"ALTER TABLE {table}_new RENAME TO {table}",
        f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY (id, {column})",
        *(_of_attempts(old) if table == "attempts" else ()),
        f"ALTER TABLE {table} ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ('{bound}')",
        f"ALTER TABLE {old} DROP CONSTRAINT {table}_bound",
        f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT",
        *(
            f"CREATE TABLE {table}_{since:%Y_%m} PARTITION OF {table}"
            f" FOR VALUES FROM ('{since.isoformat()}') TO ('{_following(since).isoformat()}')"
            for since in _months(datetime.fromisoformat(bound))
        ),
    )


def _lock(table: str) -> tuple[str, ...]:
    if table == "webhooks":
        # In the order in which the receiver takes them.
        return (
            "LOCK TABLE events, webhooks IN ACCESS EXCLUSIVE MODE",
            "ALTER TABLE events DROP CONSTRAINT IF EXISTS fk_events_webhook_id",
        )
    return (f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",)


def _of_attempts(old: str) -> tuple[str, ...]:
    """Its other index, and the ids, which go on where they are."""
    return (
        f"ALTER INDEX ix_attempts_call_row_id RENAME TO {old}_call_row_id",
        "CREATE INDEX ix_attempts_call_row_id ON attempts (call_row_id)",
        f"CREATE TEMPORARY TABLE next_attempt ON COMMIT DROP AS SELECT"
        f" nextval(pg_get_serial_sequence('{old}', 'id')) AS id",
        f"ALTER TABLE {old} ALTER COLUMN id DROP IDENTITY",
        "ALTER TABLE attempts ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY",
        "SELECT setval(pg_get_serial_sequence('attempts', 'id'), id, false) FROM next_attempt",
    )


def _briefly(*statements: str) -> None:
    """All or none, in one transaction that waits for nobody's lock for long."""
    bind = op.get_bind()
    for left in reversed(range(_TRIES)):
        bind.exec_driver_sql("BEGIN")
        try:
            bind.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            for statement in statements:
                bind.exec_driver_sql(statement)
            bind.exec_driver_sql("COMMIT")
            return
        except BaseException as error:
            with suppress(SQLAlchemyError):
                bind.exec_driver_sql("ROLLBACK")
            if not left or not _is_locked_out(error):
                raise
            time.sleep(_PAUSE)


def _is_locked_out(error: BaseException) -> bool:
    # lock_not_available, deadlock_detected
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) in {
        "55P03",
        "40P01",
    }


# ---- and back ----------------------------------------------------------------


def _flatten(table: str) -> None:
    flat = f"{table}_flat"
    op.execute(f"CREATE TABLE {flat} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
    op.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    op.execute(f"INSERT INTO {flat} SELECT * FROM {table}")  # noqa: S608 - names of ours
    has_ids = table == "attempts"
    if has_ids:
        op.execute(
            "CREATE TEMPORARY TABLE next_attempt ON COMMIT DROP AS SELECT"
            " nextval(pg_get_serial_sequence('attempts', 'id')) AS id"
        )
    op.execute(f"DROP TABLE {table}")
    op.execute(f"ALTER TABLE {flat} RENAME TO {table}")
    op.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY (id)")
    if has_ids:
        op.execute("CREATE INDEX ix_attempts_call_row_id ON attempts (call_row_id)")
        op.execute("ALTER TABLE attempts ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY")
        op.execute(
            "SELECT setval(pg_get_serial_sequence('attempts', 'id'), id, false) FROM next_attempt"
        )


# ---- months ------------------------------------------------------------------


def _following(at: datetime) -> datetime:
    """The first moment of the month after."""
    at = at.astimezone(UTC)
    years, month = divmod(at.month, 12)
    return datetime(at.year + years, month + 1, 1, tzinfo=UTC)


def _months(bound: datetime) -> Iterator[datetime]:
    """From the end of the first partition to some months ahead."""
    last = datetime.now(UTC)
    for _ in range(_MONTHS_AHEAD):
        last = _following(last)
    since = bound.astimezone(UTC)
    while since <= last:
        yield since
        since = _following(since)


def _is_partitioned(table: str) -> bool:
    return bool(_scalar("SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(:of)", table))


def _is_valid(index: str) -> bool:
    return bool(
        _scalar("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:of)", index)
    )


def _bound_of(table: str) -> str:
    """What `_prepare` decided, as the check has it."""
    said = _scalar(
        "SELECT substring(pg_get_constraintdef(oid) FROM '''([^'']+)''') FROM pg_constraint"
        " WHERE conrelid = to_regclass(:of) AND conname = :of || '_bound'",
        table,
    )
    return str(said)


def _scalar(statement: str, table: str) -> object:
    parameters: Sequence[dict[str, str]] | dict[str, str] = {"of": table}
    return op.get_bind().scalar(sa.text(statement), parameters)
