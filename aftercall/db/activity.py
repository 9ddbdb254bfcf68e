"""Counts what happened, by the half hour, so that nobody has to count millions of rows.

Calls and attempts are only added to, in the order of their ids. A sweep counts
those behind the last mark, once each: up to an id below which nothing can come
any more, because every transaction that was open when it was seen has ended.
What is behind that is counted when somebody looks.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from aftercall.db.session import Executor
from aftercall.domain.durations import LAST_BUCKET

#: Ids counted in one step: some 50 ms.
STEP = 20_000
#: With more than that to count first, the newest hours are not told yet.
MAX_TAIL = 200_000
#: An id is taken a moment before its transaction can be seen.
_LAG = timedelta(seconds=5)
_LOCK = 7_130_151_018_120_118

_BUCKET = "date_bin('30 minutes', {}, TIMESTAMPTZ '2000-01-01 00:00Z')"
_CALLS = f"""
    SELECT {_BUCKET.format("received_at")} AS at, 'received' AS kind, workspace_id AS scope,
      '' AS outcome, 0 AS duration_bucket, count(*) AS count
    FROM calls WHERE {{ids}} GROUP BY 1, 3
"""
_ATTEMPTS = f"""
    SELECT {_BUCKET.format("a.started_at")} AS at,
      CASE WHEN a.delivery_id IS NULL THEN 'fetch' ELSE 'delivery' END AS kind,
      coalesce(d.destination_id::text, c.workspace_id, '') AS scope,
      -- A CRM was asked, and nothing was to be done there: that is no delivery.
      CASE WHEN a.delivery_id IS NOT NULL AND a.outcome = 'succeeded' AND a.reason IS NOT NULL
        THEN 'skipped' ELSE a.outcome END AS outcome,
      CASE WHEN a.delivery_id IS NULL THEN 0
        ELSE least(ceil(2 * log(2.0, a.duration_ms + 1)), {LAST_BUCKET}) END AS duration_bucket,
      count(*) AS count
    FROM (SELECT * FROM attempts WHERE {{ids}} OFFSET 0) AS a
      LEFT JOIN deliveries d ON d.id = a.delivery_id
      LEFT JOIN calls c ON c.id = a.call_row_id AND a.delivery_id IS NULL
    GROUP BY 1, 2, 3, 4, 5
"""
_SOURCES = {"calls": _CALLS, "attempts": _ATTEMPTS}
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:key)")
_BEGIN = text(
    """
    INSERT INTO activity_marks (name, done_id, seen_id, seen_xid, seen_at)
    VALUES ('calls', 0, 0, 0, '-infinity'), ('attempts', 0, 0, 0, '-infinity')
    ON CONFLICT DO NOTHING
    """
)
_MARK = text(
    """
    SELECT done_id, seen_id,
      seen_at <= now() - CAST(:lag AS interval)
        AND CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) >= seen_xid
        AS is_settled,
      -- Transactions that this cluster has not begun yet: the mark was restored from another.
      CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint) < seen_xid
        AS is_foreign
    FROM activity_marks WHERE name = :name
    """
)
_COUNT = {
    name: text(
        f"""
        INSERT INTO activity_counts (at, kind, scope, outcome, duration_bucket, count)
        {source.format(ids="id > :after AND id <= :upto")}
        ORDER BY 1, 2, 3, 4, 5
        ON CONFLICT (at, kind, scope, outcome, duration_bucket)
          DO UPDATE SET count = activity_counts.count + EXCLUDED.count
        """
    )
    for name, source in _SOURCES.items()
}
_DONE = text("UPDATE activity_marks SET done_id = :upto WHERE name = :name")
# The newest id and the open transactions, as one snapshot has them.
_SEE = {
    name: text(
        f"""
        UPDATE activity_marks SET seen_at = now(),
          seen_id = greatest(seen_id, coalesce((SELECT max(id) FROM {name}), 0)),
          seen_xid = CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)
        WHERE name = '{name}'
        """
    )
    for name in _SOURCES
}


def count_activity(executor: Executor, *, lag: timedelta = _LAG) -> int:
    """One step, in the caller's transaction. Answers how many ids it went over; one at a time."""
    if not executor.execute(_TRY_LOCK, {"key": _LOCK}).scalar_one():
        return 0
    return sum(_count_next(executor, name, lag=lag) for name in _SOURCES)


def _count_next(executor: Executor, name: str, *, lag: timedelta) -> int:
    mark = executor.execute(_MARK, {"name": name, "lag": lag}).one_or_none()
    if mark is None:
        executor.execute(_BEGIN)
        return 0
    if mark.is_foreign:
        executor.execute(_SEE[name])
        return 0
    if not mark.is_settled:
        return 0
    upto = min(mark.seen_id, mark.done_id + STEP)
    if upto > mark.done_id:
        executor.execute(_COUNT[name], {"after": mark.done_id, "upto": upto})
        executor.execute(_DONE, {"name": name, "upto": upto})
    if upto == mark.seen_id:
        executor.execute(_SEE[name])
    return int(upto - mark.done_id)


@dataclass(frozen=True, slots=True)
class Activity:
    """How often something happened in the time from `at` on."""

    at: datetime
    kind: str
    scope: str
    outcome: str
    duration_bucket: int
    count: int


_TAIL = "id > coalesce((SELECT done_id FROM activity_marks WHERE name = '{}'), 0)"
_BEHIND = text(
    """
    SELECT coalesce(max(newest - coalesce(done_id, 0)), 0) FROM (
      SELECT 'calls' AS name, max(id) AS newest FROM calls
      UNION ALL SELECT 'attempts', max(id) FROM attempts
    ) AS n LEFT JOIN activity_marks USING (name)
    """
)
# What was counted, and what was not yet: as one snapshot has them, so that nothing is told twice.
_READ = text(
    f"""
    SELECT date_bin(
        CASE WHEN at >= :fine_since THEN INTERVAL '30 minutes' ELSE CAST(:step AS interval) END,
        at, :since) AS bin, kind, scope, outcome, duration_bucket, CAST(sum(count) AS bigint)
    FROM (
      SELECT at, kind, scope, outcome, duration_bucket, count FROM activity_counts
      UNION ALL SELECT * FROM ({_CALLS.format(ids=_TAIL.format("calls"))}) AS c
      WHERE NOT :counted_only
      UNION ALL SELECT * FROM ({_ATTEMPTS.format(ids=_TAIL.format("attempts"))}) AS a
      WHERE NOT :counted_only
    ) AS happened
    WHERE at >= :since GROUP BY 1, 2, 3, 4, 5
    """
)


def activity_since(
    executor: Executor, since: datetime, *, fine_since: datetime, step: timedelta
) -> tuple[list[Activity], bool]:
    """All that happened, and whether the newest hours are in it: not while much is uncounted.

    By the half hour from `fine_since` on; before that in steps, counted from `since`.
    """
    is_complete = int(executor.execute(_BEHIND).scalar_one()) <= MAX_TAIL
    rows = executor.execute(
        _READ,
        {
            "since": since,
            "fine_since": fine_since,
            "step": step,
            "counted_only": not is_complete,
        },
    )
    return [Activity(*row) for row in rows], is_complete
