"""Partitions of a month: which there are, making them ahead, dropping those that are over.

Rows that no month takes go into a default partition, so that an insert never fails for
lack of one. Nothing here waits long for a lock: whoever holds it goes first, and the next
round tries again.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from aftercall.db.session import Executor
from aftercall.domain.retention import Partition, following


@dataclass(frozen=True, slots=True)
class PartitionedTable:
    """Its name, and the time that it is partitioned by."""

    name: str
    column: str


WEBHOOKS = PartitionedTable("webhooks", "received_at")
ATTEMPTS = PartitionedTable("attempts", "started_at")
PARTITIONED = (WEBHOOKS, ATTEMPTS)

#: So long does the hot path wait behind us at most.
_LOCK_TIMEOUT = "250ms"
#: lock_not_available, deadlock_detected
_BUSY = frozenset({"55P03", "40P01"})
_NAME = re.compile(
    rf"({'|'.join(table.name for table in PARTITIONED)})_(old|default|new|\d{{4,5}}_\d\d)"
)


class TableBusy(Exception):
    """Somebody holds the table; the next round tries again."""

    def __init__(self) -> None:
        super().__init__("the table was in use; the next round tries again")


def is_partition(name: str) -> bool:
    """Whether a table of this name is part of another one: no model tells of it."""
    return _NAME.fullmatch(name) is not None


_PARTITIONS = text(
    """
    SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound,
      CAST(pg_total_relation_size(c.oid) AS bigint) AS size_bytes
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass(:table) ORDER BY c.relname
    """
)
_BOUND = re.compile(r"FOR VALUES FROM \((.+?)\) TO \((.+?)\)")


def find_partitions(executor: Executor, table: PartitionedTable) -> list[Partition]:
    """All of them, the default too."""
    rows = executor.execute(_PARTITIONS, {"table": table.name})
    return [_partition(row.name, row.bound, row.size_bytes) for row in rows]


def _partition(name: str, bound: str, size_bytes: int) -> Partition:
    found = _BOUND.fullmatch(bound)
    since, until = (None, None) if found is None else (_moment(found[1]), _moment(found[2]))
    return Partition(
        name=name, since=since, until=until, is_default=found is None, size_bytes=size_bytes
    )


def _moment(said: str) -> datetime | None:
    if said in {"MINVALUE", "MAXVALUE"}:
        return None
    return datetime.fromisoformat(said.strip("'")).astimezone(UTC)


def rows_in_default(executor: Executor, table: PartitionedTable) -> int:
    """Normally none. Up to 1,000 are counted."""
    query = f"SELECT count(*) FROM (SELECT FROM {table.name}_default LIMIT 1000) AS few"
    return int(executor.execute(text(query)).scalar_one())


@dataclass(frozen=True, slots=True)
class LeftBound:
    """A check that refuses rows from a moment on. Only a migration that was killed leaves one."""

    table: str
    constraint: str
    until: datetime


_LEFT_BOUNDS = text(
    """
    SELECT names.name, c.conname,
      CAST(substring(pg_get_constraintdef(c.oid) FROM '''([^'']+)''') AS timestamptz)
    FROM unnest(CAST(:tables AS text[])) AS names (name)
    JOIN pg_constraint c ON c.conrelid = to_regclass(names.name)
      AND c.conname = names.name || '_bound'
    ORDER BY names.name
    """
)


def find_left_bounds(executor: Executor) -> list[LeftBound]:
    """Those of 0011, while it has not come to its end. It makes them, and drops them again."""
    tables = [table.name for table in PARTITIONED]
    return [LeftBound(*row) for row in executor.execute(_LEFT_BOUNDS, {"tables": tables})]


def make_partition(session: Session, table: PartitionedTable, month: datetime) -> str:
    """Of this month; takes over what the default holds of it. Answers the name. TableBusy.

    Attached, not made as a partition: those who insert do not wait.
    """
    since, until = month, following(month)
    name = f"{table.name}_{since:%Y_%m}"
    bounds = {"since": since, "until": until}
    with _without_waiting(session):
        session.execute(
            text(
                f"CREATE TABLE {name} (LIKE {table.name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
            )
        )
        session.execute(text(f"LOCK TABLE {table.name} IN SHARE UPDATE EXCLUSIVE MODE"))
        session.execute(text(f"LOCK TABLE {table.name}_default IN ACCESS EXCLUSIVE MODE"))
        session.execute(
            text(
                f"WITH its AS (DELETE FROM {table.name}_default WHERE {table.column} >= :since"
                f" AND {table.column} < :until RETURNING *) INSERT INTO {name} SELECT * FROM its"
            ),
            bounds,
        )
        session.execute(
            text(
                f"ALTER TABLE {table.name} ATTACH PARTITION {name}"
                f" FOR VALUES FROM ('{since.isoformat()}') TO ('{until.isoformat()}')"
            )
        )
    return name


def drop_partition(session: Session, table: PartitionedTable, partition: Partition) -> None:
    """With all that is in it. TableBusy when somebody is at the table for longer than a moment."""
    if not is_partition(partition.name):
        raise ValueError(f"{partition.name} is no partition")
    with _without_waiting(session):
        # The table first, as everybody locks it.
        session.execute(text(f"LOCK TABLE ONLY {table.name} IN ACCESS EXCLUSIVE MODE"))
        session.execute(text(f"DROP TABLE {partition.name}"))


def delete_from_default(
    session: Session, table: PartitionedTable, cutoff: datetime, count: int
) -> int:
    """What is old there: a webhook that was kept elsewhere until its month had been dropped."""
    gone: Any = session.execute(
        text(
            f"DELETE FROM {table.name}_default WHERE ctid = ANY (ARRAY (SELECT ctid"
            f" FROM {table.name}_default WHERE {table.column} < :cutoff LIMIT :count))"
        ),
        {"cutoff": cutoff, "count": count},
    )
    return int(gone.rowcount)


@contextmanager
def _without_waiting(session: Session) -> Iterator[None]:
    session.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in _BUSY:
            raise TableBusy from error
        raise
