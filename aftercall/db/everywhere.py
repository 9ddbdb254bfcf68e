"""Looks through every column of every table for a number, and takes it out where that breaks
nothing.

The tables are read from PostgreSQL's catalogue, not from the models: a table that somebody adds
is looked through as well. So are the planner's statistics, which keep samples of what stood there.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, text

from aftercall.db import people as people_db
from aftercall.db.session import Executor
from aftercall.domain.traces import Traces

#: What an operator wrote: changed by nobody but them.
SETTINGS = frozenset({"destinations", "workspaces"})
STATISTICS = "pg_statistic"


@dataclass(frozen=True, slots=True)
class Column:
    """`kind`: text, json, bytes, or other: searched as text and never rewritten."""

    name: str
    kind: str
    is_fixed: bool

    @property
    def as_text(self) -> str:
        return f"CAST({_quoted(self.name)} AS text)"


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    #: The primary key's columns, with their types; else where PostgreSQL has put the row.
    key: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that has the number in it."""

    table: Table
    #: As texts.
    key: tuple[str, ...] = field(repr=False)
    #: Of the columns that hold it: what stands there.
    values: dict[str, str | bytes] = field(repr=False)


_TABLES = text(
    """
    SELECT c.relname AS name, a.attname AS column, t.typname AS type, t.typcategory AS category,
      a.attgenerated <> '' OR EXISTS (
        SELECT FROM pg_index i
        WHERE i.indrelid = c.oid AND i.indisunique AND a.attnum = ANY(i.indkey)
      ) OR EXISTS (
        SELECT FROM pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype = 'f' AND a.attnum = ANY(k.conkey)
      ) AS is_fixed,
      coalesce((
        SELECT array_agg(ARRAY[b.attname, format_type(b.atttypid, b.atttypmod)] ORDER BY b.attnum)
        FROM pg_index i JOIN pg_attribute b ON b.attrelid = c.oid AND b.attnum = ANY(i.indkey)
        WHERE i.indrelid = c.oid AND i.indisprimary
      ), ARRAY[ARRAY['ctid', 'tid']]) AS key
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        AND NOT a.attisdropped
      JOIN pg_type t ON t.oid = a.atttypid
    WHERE c.relnamespace = CAST(current_schema() AS regnamespace)
      AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    ORDER BY c.relname, a.attnum
    """
)
_KINDS = {
    "text": "text",
    "varchar": "text",
    "bpchar": "text",
    "json": "json",
    "jsonb": "json",
    "bytea": "bytes",
}


def read_tables(executor: Executor) -> list[Table]:
    """Those of our schema, with the columns that can hold a text."""
    found: dict[str, tuple[tuple[tuple[str, str], ...], list[Column]]] = {}
    for row in executor.execute(_TABLES):
        its_key = tuple((name, type_) for name, type_ in row.key)
        columns = found.setdefault(row.name, (its_key, []))[1]
        kind = _KINDS.get(row.type, "other" if row.category in "AU" else None)
        # Ids that PostgreSQL makes hold nothing of anybody's.
        if kind is not None and row.type != "uuid":
            is_fixed = row.is_fixed or row.name in SETTINGS or kind == "other"
            columns.append(Column(row.column, kind, is_fixed))
    return [Table(name, key, tuple(columns)) for name, (key, columns) in found.items() if columns]


def hits(
    connection: Connection, table: Table, traces: Traces, *, but_of_calls: Sequence[int] = ()
) -> Iterator[Hit]:
    """The rows that have it; `but_of_calls`: not those of these calls."""
    texts = [one.as_text for one in table.columns if one.kind != "bytes"]
    either = [f"concat_ws(chr(1), {', '.join(texts)}) ~ :pattern"] if texts else []
    in_bytes = [one for one in table.columns if one.kind == "bytes"]
    either += [people_db.bytes_may_hold(_quoted(one.name)) for one in in_bytes]
    shown = [
        *(f"CAST({_quoted(name)} AS text)" for name, _ in table.key),
        *(_quoted(one.name) if one.kind == "bytes" else one.as_text for one in table.columns),
    ]
    own = people_db.OWN_ROWS.get(table.name)
    rows = connection.execution_options(yield_per=100).execute(
        text(
            f"SELECT {', '.join(shown)} FROM {_quoted(table.name)} WHERE ({' OR '.join(either)})"
            + (f" AND NOT ({own})" if own and but_of_calls else "")
        ),
        {
            "pattern": traces.pattern,
            **({"raw_pattern": traces.raw_pattern} if in_bytes else {}),
            **({"ids": list(but_of_calls)} if own and but_of_calls else {}),
        },
    )
    for row in rows:
        key, values = tuple(row[: len(table.key)]), row[len(table.key) :]
        held = {
            column.name: value
            for column, value in zip(table.columns, values, strict=True)
            if value is not None and _without(column, value, traces) != value
        }
        if held:
            yield Hit(table, key, held)


def redact(executor: Executor, hit: Hit, traces: Traces) -> list[str]:
    """Takes it out of the row, where the row is still as it was; answers the columns."""
    changed = {
        column: value
        for column in hit.table.columns
        if not column.is_fixed and column.name in hit.values
        for value in [_without(column, hit.values[column.name], traces)]
    }
    if not changed:
        return []
    where = [
        f"{_quoted(name)} = CAST(:key_{number} AS {type_})"
        for number, (name, type_) in enumerate(hit.table.key)
    ]
    sets, values = [], {f"key_{number}": value for number, value in enumerate(hit.key)}
    parameters: dict[str, object] = dict(values)
    for number, (column, value) in enumerate(changed.items()):
        name = _quoted(column.name)
        as_type = {"json": "jsonb", "bytes": "bytea", "text": "text"}[column.kind]
        sets.append(f"{name} = CAST(:new_{number} AS {as_type})")
        same = name if column.kind == "bytes" else column.as_text
        where.append(f"{same} = :old_{number}")
        parameters[f"new_{number}"] = value
        parameters[f"old_{number}"] = hit.values[column.name]
    found = executor.execute(
        text(
            f"UPDATE {_quoted(hit.table.name)} SET {', '.join(sets)} "
            f"WHERE {' AND '.join(where)} RETURNING 1"
        ),
        parameters,
    )
    return [column.name for column in changed] if found.all() else []


def _without(column: Column, value: str | bytes, traces: Traces) -> str | bytes:
    if isinstance(value, bytes):
        return traces.bytes_without(value)
    return traces.json_without(value) if column.kind == "json" else traces.text_without(value)


#: A table's, and those of its indexes on expressions, which stand under the index's name.
_STATISTICS = text(
    """
    SELECT tablename AS relation, attname AS column, inherited,
      coalesce((
        SELECT t.relname FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
          JOIN pg_class t ON t.oid = i.indrelid
        WHERE c.relname = tablename AND c.relnamespace = CAST(current_schema() AS regnamespace)
      ), tablename) AS table,
      concat_ws(chr(1), CAST(most_common_vals AS text), CAST(histogram_bounds AS text),
        CAST(most_common_elems AS text)) AS samples
    FROM pg_stats WHERE schemaname = current_schema()
    """
)
_HEX = re.compile(r"\\x([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of one column, or of an index's expression."""

    relation: str
    column: str
    #: Whether they are of a partitioned table as a whole.
    is_inherited: bool
    #: What to vacuum.
    table: str


def held_statistics(executor: Executor, traces: Traces) -> list[Statistics]:
    """Of whose values the planner has kept this one."""
    return [
        Statistics(row.relation, row.column, row.inherited, row.table)
        for row in executor.execute(_STATISTICS)
        if traces.holds(row.samples)
        or traces.backwards in row.samples
        or any(traces.holds(_read_bytes(found[1])) for found in _HEX.finditer(row.samples))
    ]


def _read_bytes(digits: str) -> str:
    return bytes.fromhex(digits[: len(digits) // 2 * 2]).decode("utf-8", "replace")


def clear_statistics(executor: Executor, held: Sequence[Statistics]) -> bool:
    """Takes them out: ANALYZE keeps those of a table without rows. False before PostgreSQL 18,
    where nothing but the next rows takes their place.
    """
    if executor.execute(_MAJOR_VERSION).scalar_one() < 18:
        return False
    for one in held:
        executor.execute(
            _CLEAR,
            {"relation": one.relation, "column": one.column, "is_inherited": one.is_inherited},
        )
    return True


_MAJOR_VERSION = text("SELECT CAST(current_setting('server_version_num') AS integer) / 10000")
_CLEAR = text(
    """
    SELECT pg_clear_attribute_stats(
      CAST(current_schema() AS text), :relation, :column, :is_inherited
    )
    """
)


def vacuum(connection: Connection, tables: Sequence[str]) -> None:
    """Dead rows and old samples go. Each statement is a transaction of its own; not inside one."""
    connection.execute(text("SET statement_timeout = 0"))
    try:
        for table in tables:
            connection.execute(text(f"VACUUM (ANALYZE) {_quoted(table)}"))
    finally:
        connection.execute(text("RESET statement_timeout"))


def _quoted(name: str) -> str:
    return name if name == "ctid" else '"' + name.replace('"', '""') + '"'
