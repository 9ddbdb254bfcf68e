"""Calls that were forgotten: written down by their digest, and asked for at every arrival.

The digest is SHA-256 of workspace and id: PostgreSQL makes it itself, and no key has to be kept
for as long as something may come back.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from aftercall.db.rows import as_rows
from aftercall.db.session import Executor

#: Of a row with `workspace_id` and `call_id`. No id has a control character in it.
DIGEST = "sha256(convert_to({0}.workspace_id || chr(31) || {0}.call_id, 'UTF8'))"

_NAMED = """
    json_to_recordset(CAST(:rows AS json)) AS n (workspace_id text, call_id text)
"""
_FORGET = text(
    f"""
    INSERT INTO forgotten_calls (digest, forgotten_at)
    SELECT DISTINCT {DIGEST.format("n")}, CAST(:now AS timestamptz) FROM {_NAMED} ORDER BY 1
    ON CONFLICT DO NOTHING
    """
)
_KNOWN = text(
    f"""
    SELECT n.workspace_id, n.call_id
    FROM {_NAMED} JOIN forgotten_calls f ON f.digest = {DIGEST.format("n")}
    """
)
_COUNT = text(
    f"""
    UPDATE forgotten_calls f SET arrivals = f.arrivals + n.arrivals, last_arrival_at = :at
    FROM (
      SELECT f.digest, CAST(n.arrivals AS int) AS arrivals
      FROM forgotten_calls f JOIN (
        SELECT {DIGEST.format("n")} AS digest, count(*) AS arrivals FROM {_NAMED} GROUP BY 1
      ) AS n USING (digest)
      ORDER BY f.digest FOR UPDATE OF f
    ) AS n
    WHERE f.digest = n.digest
    """
)

#: A call's workspace and id.
Name = tuple[str, str]


def note_forgotten(executor: Executor, names: Sequence[Name], *, now: datetime) -> None:
    """From now on nothing of these calls is taken."""
    executor.execute(_FORGET, {"rows": _rows(names), "now": now})


def known_as_forgotten(executor: Executor, names: Sequence[Name]) -> frozenset[Name]:
    """Those of these calls that are written down already."""
    rows = executor.execute(_KNOWN, {"rows": _rows(names)})
    return frozenset((row.workspace_id, row.call_id) for row in rows)


def count_arrivals(executor: Executor, names: Sequence[Name], *, at: datetime) -> None:
    """They were named again, and turned away."""
    executor.execute(_COUNT, {"rows": _rows(names), "at": at})


def _rows(names: Sequence[Name]) -> str:
    return as_rows(
        {"workspace_id": workspace_id, "call_id": call_id} for workspace_id, call_id in names
    )
