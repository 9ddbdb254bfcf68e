"""What waits, what failed, how destinations stand: each read through an index of its own."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from aftercall.db.delivery_search import REASON_LENGTH
from aftercall.db.session import Executor

#: Of each destination and state, and of dead calls: so many of the newest are looked at.
NEWEST = 5_000
#: Where groups are looked at for their own sake: some 30 ms.
NEWEST_OF_GROUPS = 10_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits to be worked on: all of it, what is due, and since when the oldest is."""

    kind: str
    count: int
    due: int
    oldest_due_at: datetime | None


_WAITING = text(
    """
    SELECT 'call', count(*), count(*) FILTER (WHERE due_at <= :now),
      min(due_at) FILTER (WHERE due_at <= :now)
    FROM calls WHERE state = 'queued'
    UNION ALL
    SELECT 'delivery', count(*), count(*) FILTER (WHERE due_at <= :now),
      min(due_at) FILTER (WHERE due_at <= :now)
    FROM deliveries WHERE state = 'queued'
    """
)


def count_waiting(executor: Executor, *, now: datetime) -> list[Waiting]:
    return [Waiting(*row) for row in executor.execute(_WAITING, {"now": now})]


_UNDONE = text(
    " UNION ALL ".join(
        f"""
        SELECT t.id, '{state}' AS state,
          (SELECT count(*) FROM deliveries d WHERE d.destination_id = t.id AND d.state = '{state}')
          AS deliveries
        FROM destinations t WHERE t.removed_at IS NULL
          AND (CAST(:id AS uuid) IS NULL OR t.id = :id)
        """
        for state in ("queued", "sending", "dead", "held")
    )
)


def count_undone(
    executor: Executor, destination_id: uuid.UUID | None = None
) -> dict[uuid.UUID, dict[str, int]]:
    """Of each destination, or of one: deliveries that wait, are under way, dead, held."""
    found: dict[uuid.UUID, dict[str, int]] = {}
    for row in executor.execute(_UNDONE, {"id": destination_id}):
        found.setdefault(row.id, {})[row.state] = row.deliveries
    return found


@dataclass(frozen=True, slots=True)
class FailureCount:
    """So many failed in the same way. Of calls: the workspace; of deliveries: the destination."""

    kind: str
    state: str
    workspace_id: str | None
    destination_id: uuid.UUID | None
    destination: str | None
    reason: str
    count: int
    oldest_at: datetime
    newest_at: datetime
    #: Whether the destination is: its dead stay, and nobody can mend them.
    is_removed: bool = False


_FIRST, _LAST = uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)
_GROUPS = text(
    f"""
    SELECT 'delivery', s.state, NULL, t.id, t.name, g.reason, g.count, g.oldest, g.newest,
      t.removed_at IS NOT NULL
    FROM destinations t CROSS JOIN (VALUES ('dead'), ('held')) AS s (state) CROSS JOIN LATERAL (
      SELECT coalesce(left(last_error, {REASON_LENGTH}), '') AS reason, count(*) AS count,
        min(created_at) AS oldest, max(created_at) AS newest
      FROM (
        SELECT last_error, created_at FROM deliveries d
        -- As rows, and ordered by all of them: a plain ORDER BY id has the planner walk through
        -- all deliveries, the newest first, where there are more dead ones than it thinks.
        WHERE (d.destination_id, d.state, d.id) >= (t.id, s.state, CAST('{_FIRST}' AS uuid))
          AND (d.destination_id, d.state, d.id) <= (t.id, s.state, CAST('{_LAST}' AS uuid))
          AND d.state IN ('dead', 'held', 'delivered', 'skipped')
        ORDER BY d.destination_id DESC, d.state DESC, d.id DESC LIMIT :newest
      ) AS n
      GROUP BY 1
    ) AS g
    WHERE (CAST(:state AS text) IS NULL OR s.state = :state)
      AND (CAST(:id AS uuid) IS NULL OR t.id = :id)
      AND (:with_removed OR t.removed_at IS NULL)
    ORDER BY g.count DESC, g.newest DESC LIMIT :count
    """
)
_CALL_GROUPS = text(
    f"""
    SELECT 'call', 'dead', workspace_id, CAST(NULL AS uuid), NULL,
      coalesce(left(last_error, {REASON_LENGTH}), '') AS reason, count(*) AS count,
      min(received_at), max(received_at) AS newest
    FROM (
      SELECT workspace_id, last_error, received_at FROM calls
      WHERE state = 'dead' ORDER BY id DESC LIMIT :newest
    ) AS n
    GROUP BY workspace_id, 6 ORDER BY count DESC, newest DESC LIMIT :count
    """
)


def delivery_groups(
    executor: Executor,
    *,
    state: str | None = None,
    destination_id: uuid.UUID | None = None,
    newest: int = NEWEST_OF_GROUPS,
    count: int = 500,
    with_removed: bool = True,
) -> list[FailureCount]:
    """The newest dead and held ones by destination and reason, the largest group first."""
    asked = {
        "state": state,
        "id": destination_id,
        "newest": newest,
        "count": count,
        "with_removed": with_removed,
    }
    rows = executor.execute(_GROUPS, asked)
    return [FailureCount(*row) for row in rows]


def call_groups(executor: Executor, *, newest: int, count: int) -> list[FailureCount]:
    """Dead calls by workspace and reason, the largest group first."""
    rows = executor.execute(_CALL_GROUPS, {"newest": newest, "count": count})
    return [FailureCount(*row) for row in rows]
