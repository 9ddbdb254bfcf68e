"""What operators look at: pages of calls and deliveries, one call's story, counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from aftercall.db.call_search import WITH_PAYLOAD
from aftercall.db.models import Attempt, Call, CallPayload


def find_call(
    session: Session, call_id: str, workspace_id: str | None
) -> list[tuple[Call, CallPayload | None]]:
    """Of each workspace that has a call of this id."""
    rows = WITH_PAYLOAD.where(Call.call_id == call_id).order_by(Call.id)
    if workspace_id is not None:
        rows = rows.where(Call.workspace_id == workspace_id)
    return [(row[0], row[1]) for row in session.execute(rows)]


def payload_of(session: Session, call_row_id: int, revision: int) -> CallPayload | None:
    return session.get(CallPayload, (call_row_id, revision))


#: Between the clocks of the machines.
_SKEW = timedelta(days=1)


def attempts_of_calls(
    session: Session, call_row_ids: Sequence[int], *, since: datetime
) -> list[Attempt]:
    """Of fetches and deliveries alike, oldest first. `since`: when the first call came in.

    Partitions of the time before are not looked at.
    """
    its = select(Attempt).where(
        Attempt.call_row_id.in_(call_row_ids), Attempt.started_at >= since - _SKEW
    )
    return list(session.scalars(its.order_by(Attempt.id)))


# Each state through an index of its own, which holds no row of the other states.
_INDEXED = {
    "call": ("queued", "fetching", "dead"),
    "delivery": ("queued", "sending", "dead", "held"),
}
_COUNTS = text(
    " UNION ALL ".join(
        f"""
        SELECT '{kind}' AS kind, '{state}' AS state, count(*) AS count,
          {"count(*) FILTER (WHERE due_at <= :now)" if state == "queued" else "0"} AS due,
          {
            "min(due_at) FILTER (WHERE due_at <= :now)"
            if state == "queued"
            else "CAST(NULL AS timestamptz)"
        } AS oldest
        FROM {table} WHERE state = '{state}'
        """
        for kind, table in (("call", "calls"), ("delivery", "deliveries"))
        for state in _INDEXED[kind]
    )
)
#: From so many rows on, those in the states where rows stay are estimated, not counted.
COUNTED = 200_000
_SIZE = text("SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = to_regclass(:table)")
_EXACT = {
    "call": text("SELECT state, count(*) FROM calls WHERE state = 'fetched' GROUP BY state"),
    "delivery": text(
        "SELECT state, count(*) FROM deliveries WHERE state IN ('delivered', 'skipped') "
        "GROUP BY state"
    ),
}
# As the last ANALYZE found them, which the hot tables have every few thousand rows.
_ESTIMATE = text(
    """
    SELECT f.state, CAST(f.share * c.reltuples AS bigint)
    FROM pg_stats s JOIN pg_class c ON c.oid = to_regclass(:table),
      LATERAL unnest(CAST(CAST(s.most_common_vals AS text) AS text[]), s.most_common_freqs)
        AS f (state, share)
    WHERE s.schemaname = current_schema() AND s.tablename = :table AND s.attname = 'state'
      AND f.state IN ('fetched', 'delivered', 'skipped')
    """
)


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many rows of a kind are in a state, and how many of them wait to be worked on."""

    kind: str
    state: str
    count: int
    due: int
    oldest_due_at: datetime | None


def count_states(session: Session, *, now: datetime) -> list[StateCount]:
    """Exact; of a large table, where rows come to stay (fetched, delivered) about right."""
    rows: Any = session.execute(_COUNTS, {"now": now})
    counts = [StateCount(row.kind, row.state, row.count, row.due, row.oldest) for row in rows]
    return [*counts, *settled_counts(session)]


def settled_counts(session: Session) -> list[StateCount]:
    """Where rows come to stay; of a large table about right."""
    counts: list[StateCount] = []
    for kind, table in (("call", "calls"), ("delivery", "deliveries")):
        size = session.execute(_SIZE, {"table": table}).scalar_one_or_none() or 0
        statement = _EXACT[kind] if size < COUNTED else _ESTIMATE
        settled = session.execute(statement, {"table": table} if size >= COUNTED else {})
        counts.extend(StateCount(kind, state, count, 0, None) for state, count in settled)
    return counts
