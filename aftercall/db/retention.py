"""Finds and deletes what is past its time, row by row: payloads, media, calls.

Nothing that is not settled is ever deleted: no call that is queued or fetched, that will
be looked at again, or that has a delivery that waits, is under way or held. Each statement
here works on a few rows, locks them, and looks again under the lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from aftercall.db.session import Executor

# One keeper at a time; each step is safe beside another one, too.
_LOCK = 7_130_151_018_120_120
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:key)")


def take_turn(executor: Executor) -> bool:
    """Until the transaction's end. False: somebody else is at work."""
    return bool(executor.execute(_TRY_LOCK, {"key": _LOCK}).scalar_one())


#: What a bulk replay will send is settled until then.
_REPLAYS = text("SELECT EXISTS (SELECT FROM replays WHERE state = 'running')")


def is_replaying(executor: Executor) -> bool:
    return bool(executor.execute(_REPLAYS).scalar_one())


_UNSETTLED_DELIVERY = "d.state IN ('queued', 'sending', 'held')"
# Where no media are kept nobody fetches what is queued.
_SETTLED_MEDIA = """
    (m.state IN ('stored', 'dead') OR m.state = 'queued' AND NOT CAST(:keeps_media AS boolean))
"""
# Only what is fetched is looked at again.
_SETTLED_CALL = f"""
    c.state IN ('fetched', 'dead') AND NOT c.refetch_wanted
    AND (c.state = 'dead' OR c.look_again_at IS NULL)
    AND NOT EXISTS (
      SELECT FROM deliveries d WHERE d.call_row_id = c.id AND {_UNSETTLED_DELIVERY}
    )
    AND NOT EXISTS (
      SELECT FROM media m WHERE m.call_row_id = c.id AND NOT {_SETTLED_MEDIA}
    )
"""
# What is not counted yet would be missing in the overview's history.
_COUNTED_CALL = """
    c.id <= (SELECT done_id FROM activity_marks WHERE name = 'calls')
    AND NOT EXISTS (
      SELECT FROM attempts a WHERE a.call_row_id = c.id
        AND a.id > (SELECT done_id FROM activity_marks WHERE name = 'attempts')
    )
"""
_OLD_CALL = "c.received_at < :cutoff AND (c.fetched_at IS NULL OR c.fetched_at < :cutoff)"

_COUNTED_UP_TO = text("SELECT done_id FROM activity_marks WHERE name = 'attempts'")


def attempts_counted_up_to(executor: Executor) -> int:
    """The id up to which the overview has counted attempts."""
    return int(executor.execute(_COUNTED_UP_TO).scalar_one_or_none() or 0)


def newest_id_in(executor: Executor, partition: str) -> int:
    """Of a partition of attempts; 0 when it is empty."""
    return int(executor.execute(text(f"SELECT coalesce(max(id), 0) FROM {partition}")).scalar_one())


# ---- payloads ----------------------------------------------------------------

# In the order of calls, which is that of time: no index on `saved_at` has to be paid for at
# each save. Behind the last call that came before the cutoff nothing is old enough.
_LAST_OLD_CALL = text(
    """
    SELECT coalesce(max(id), 0) FROM (
      SELECT id FROM calls WHERE received_at < :cutoff
      ORDER BY received_at DESC, id DESC LIMIT 1000
    ) AS newest
    """
)


def last_old_call(executor: Executor, *, cutoff: datetime) -> int:
    """The highest row of those that came before the cutoff; 0: there are none."""
    return int(executor.execute(_LAST_OLD_CALL, {"cutoff": cutoff}).scalar_one())


@dataclass(frozen=True, slots=True)
class Walked:
    """One step over some rows: how many went, and behind which call the next step begins."""

    count: int
    #: None: the end was reached.
    after: int | None


_SOME_PAYLOADS = text(
    """
    SELECT call_row_id, revision, saved_at < :cutoff AS is_old FROM call_payloads
    WHERE call_row_id > :after AND call_row_id <= :last
    ORDER BY call_row_id LIMIT :count
    """
)
# Locked first, looked at then: a replay holds the payload of what it sends.
_LOCK_PAYLOADS = text(
    """
    SELECT p.call_row_id, p.revision FROM call_payloads p
      JOIN unnest(CAST(:rows AS bigint[]), CAST(:revisions AS int[])) AS o (call_row_id, revision)
      USING (call_row_id, revision)
    WHERE p.saved_at < :cutoff ORDER BY 1, 2 FOR UPDATE OF p SKIP LOCKED
    """
)
_DELETE_PAYLOADS = text(
    f"""
    DELETE FROM call_payloads p
    USING unnest(CAST(:rows AS bigint[]), CAST(:revisions AS int[])) AS o (call_row_id, revision),
      calls c
    WHERE p.call_row_id = o.call_row_id AND p.revision = o.revision AND c.id = p.call_row_id
      AND c.state IN ('fetched', 'dead') AND NOT c.refetch_wanted
      AND NOT EXISTS (
        SELECT FROM deliveries d
        WHERE d.call_row_id = p.call_row_id AND d.revision = p.revision AND {_UNSETTLED_DELIVERY}
      )
    """
)


def delete_payloads(
    executor: Executor, *, cutoff: datetime, after: int, last: int, count: int
) -> Walked:
    """Walks over up to `count` payloads of calls behind `after`, up to `last`."""
    asked = {"cutoff": cutoff, "after": after, "last": last, "count": count}
    found = executor.execute(_SOME_PAYLOADS, asked).all()
    # A call with more revisions than a step takes is begun again, and goes bit by bit.
    end = found[-1].call_row_id if len(found) == count else None
    if end is not None and found[0].call_row_id != end:
        end -= 1
    old = [row for row in found if row.is_old]
    if not old:
        return Walked(0, end)
    locked = executor.execute(
        _LOCK_PAYLOADS,
        {
            "rows": [row.call_row_id for row in old],
            "revisions": [row.revision for row in old],
            "cutoff": cutoff,
        },
    ).all()
    gone: Any = executor.execute(
        _DELETE_PAYLOADS,
        {
            "rows": [row.call_row_id for row in locked],
            "revisions": [row.revision for row in locked],
        },
    )
    return Walked(gone.rowcount, end)


# A delivery may be sent again only while what it would send is there; and it stays until then.
_HOLD_PAYLOADS = text(
    """
    SELECT p.call_row_id, p.revision FROM call_payloads p
      JOIN unnest(CAST(:rows AS bigint[]), CAST(:revisions AS int[])) AS o (call_row_id, revision)
      USING (call_row_id, revision)
    ORDER BY 1, 2 FOR KEY SHARE OF p
    """
)


def hold_payloads(
    executor: Executor, keys: Sequence[tuple[int, int]]
) -> frozenset[tuple[int, int]]:
    """Which of these (call's row, revision) are there; they stay until the transaction's end."""
    if not keys:
        return frozenset()
    rows = executor.execute(
        _HOLD_PAYLOADS,
        {"rows": [row for row, _ in keys], "revisions": [revision for _, revision in keys]},
    )
    return frozenset((row.call_row_id, row.revision) for row in rows)


# ---- media -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OldMedia:
    """A recording or transcript that is past its time. `path`: of its file, if it has one."""

    call_row_id: int
    kind: str
    path: str | None


_OLD_MEDIA = text(
    f"""
    SELECT m.call_row_id, m.kind, m.path FROM media m JOIN calls c ON c.id = m.call_row_id
    WHERE m.call_row_id > :after AND m.call_row_id <= :last AND {_SETTLED_MEDIA}
      AND coalesce(m.stored_at, m.due_at) < :cutoff AND {_SETTLED_CALL}
    ORDER BY m.call_row_id LIMIT :count
    """
)
# Only what is still as it was found: a file that came in the meantime has another path.
_DELETE_MEDIA = text(
    f"""
    WITH gone AS (
      DELETE FROM media m USING (
        SELECT m.call_row_id, m.kind FROM media m
          JOIN unnest(CAST(:rows AS bigint[]), CAST(:kinds AS text[]), CAST(:paths AS text[]))
            AS o (call_row_id, kind, path) USING (call_row_id, kind)
        WHERE {_SETTLED_MEDIA} AND m.path IS NOT DISTINCT FROM o.path
        ORDER BY 1, 2 FOR UPDATE OF m SKIP LOCKED
      ) AS locked
      WHERE m.call_row_id = locked.call_row_id AND m.kind = locked.kind
      RETURNING m.call_row_id, m.kind
    ), texts AS (
      DELETE FROM transcripts t USING gone
      WHERE gone.kind = 'transcript' AND t.call_row_id = gone.call_row_id
    )
    SELECT count(*) FROM gone
    """
)
_NAMED = text(
    """
    SELECT m.path FROM media m
      JOIN unnest(CAST(:rows AS bigint[]), CAST(:kinds AS text[]), CAST(:paths AS text[]))
        AS f (call_row_id, kind, path) USING (call_row_id, kind)
    WHERE m.path = f.path
    """
)


def old_media(
    executor: Executor,
    *,
    cutoff: datetime,
    after: int,
    last: int,
    count: int,
    keeps_media: bool,
) -> list[OldMedia]:
    """Of settled calls behind `after`, up to `last`, in their order."""
    asked = {
        "cutoff": cutoff,
        "after": after,
        "last": last,
        "count": count,
        "keeps_media": keeps_media,
    }
    return [OldMedia(*row) for row in executor.execute(_OLD_MEDIA, asked)]


def delete_media(executor: Executor, media: Sequence[OldMedia], *, keeps_media: bool) -> int:
    """Their rows, and the text of the transcripts: the files are gone already."""
    asked = {**_as_arrays(media), "keeps_media": keeps_media}
    return int(executor.execute(_DELETE_MEDIA, asked).scalar_one())


def named_paths(executor: Executor, files: Sequence[OldMedia]) -> frozenset[str]:
    """Those of these files that their row names."""
    return frozenset(executor.execute(_NAMED, _as_arrays(files)).scalars())


def _as_arrays(media: Sequence[OldMedia]) -> dict[str, object]:
    return {
        "rows": [one.call_row_id for one in media],
        "kinds": [one.kind for one in media],
        "paths": [one.path for one in media],
    }


# ---- calls -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OldCall:
    """A call that is past its time."""

    row_id: int
    received_at: datetime
    is_settled: bool


_SOME_CALLS = text(
    f"""
    SELECT c.id, c.received_at,
      ({_OLD_CALL}) AND {_SETTLED_CALL} AND {_COUNTED_CALL} AS is_settled
    FROM (
      SELECT * FROM calls
      WHERE received_at < :cutoff
        AND (received_at, id) > (CAST(:after_at AS timestamptz), CAST(:after AS bigint))
      ORDER BY received_at, id LIMIT :count
    ) AS c
    ORDER BY c.received_at, c.id
    """
)
_MEDIA_OF = text(
    "SELECT m.call_row_id, m.kind, m.path FROM media m WHERE m.call_row_id = ANY(:ids) "
    f"AND {_SETTLED_MEDIA}"
)
# In the order of all who write: events before calls, calls before deliveries before media.
_LOCK_EVENTS = text(
    """
    SELECT e.id, e.webhook_id FROM events e
      JOIN calls c ON c.workspace_id = e.workspace_id AND c.call_id = e.call_id
    WHERE c.id = ANY(:ids) ORDER BY e.workspace_id, e.call_id, e.type FOR UPDATE OF e
    """
)
_LOCK_CALLS = text("SELECT id FROM calls WHERE id = ANY(:ids) ORDER BY id FOR UPDATE SKIP LOCKED")
_LOCK_DELIVERIES = text(
    "SELECT id FROM deliveries WHERE call_row_id = ANY(:ids) ORDER BY id FOR UPDATE"
)
# A statement of its own: as things are now that they are locked. A file that nobody has
# removed yet keeps its call.
_STILL_SETTLED = text(
    f"""
    SELECT c.id FROM calls c
    WHERE c.id = ANY(:ids) AND {_OLD_CALL} AND {_SETTLED_CALL}
      AND NOT EXISTS (SELECT FROM media m WHERE m.call_row_id = c.id)
    """
)
_DELETE_CALLS = (
    text(
        """
        DELETE FROM events e USING calls c WHERE c.id = ANY(:ids)
          AND c.workspace_id = e.workspace_id AND c.call_id = e.call_id
        """
    ),
    text("DELETE FROM attempts WHERE call_row_id = ANY(:ids)"),
    # With its deliveries, payloads, texts and steps.
    text("DELETE FROM calls WHERE id = ANY(:ids)"),
)
_DELETE_WEBHOOKS = text(
    """
    DELETE FROM webhooks w WHERE w.id = ANY(:ids)
      AND NOT EXISTS (SELECT FROM events e WHERE e.webhook_id = w.id)
    """
)


def some_calls(
    executor: Executor,
    *,
    cutoff: datetime,
    after_at: datetime,
    after: int,
    count: int,
    keeps_media: bool,
) -> list[OldCall]:
    """The next calls that came before the cutoff, the oldest first, settled or not."""
    asked = {
        "cutoff": cutoff,
        "after_at": after_at,
        "after": after,
        "count": count,
        "keeps_media": keeps_media,
    }
    return [OldCall(*row) for row in executor.execute(_SOME_CALLS, asked)]


def media_of_calls(executor: Executor, ids: Sequence[int], *, keeps_media: bool) -> list[OldMedia]:
    asked = {"ids": list(ids), "keeps_media": keeps_media}
    return [OldMedia(*row) for row in executor.execute(_MEDIA_OF, asked)]


def delete_calls(
    executor: Executor, ids: Sequence[int], *, cutoff: datetime, keeps_media: bool
) -> int:
    """With all that hangs on them. Those that are not settled any more, or are in use, stay."""
    asked = {"ids": list(ids)}
    webhooks = {row.webhook_id for row in executor.execute(_LOCK_EVENTS, asked) if row.webhook_id}
    asked = {"ids": list(executor.execute(_LOCK_CALLS, asked).scalars())}
    executor.execute(_LOCK_DELIVERIES, asked)
    settled = executor.execute(
        _STILL_SETTLED, {**asked, "cutoff": cutoff, "keeps_media": keeps_media}
    ).scalars()
    asked = {"ids": list(settled)}
    if not asked["ids"]:
        return 0
    for statement in _DELETE_CALLS:
        executor.execute(statement, asked)
    executor.execute(_DELETE_WEBHOOKS, {"ids": sorted(webhooks)})
    return len(asked["ids"])


# ---- what a CRM's people were called -----------------------------------------

_FORGET_PEOPLE = text(
    """
    DELETE FROM crm_people WHERE (destination_id, number) IN (
      SELECT destination_id, number FROM crm_people
      WHERE (lease_until IS NULL OR lease_until < :before)
        AND (made_at IS NULL OR made_at < :before)
      LIMIT :count FOR UPDATE SKIP LOCKED
    )
    """
)


def forget_people(executor: Executor, *, before: datetime, count: int) -> int:
    """Numbers that no sync remembers anybody by any more."""
    gone: Any = executor.execute(_FORGET_PEOPLE, {"before": before, "count": count})
    return int(gone.rowcount)


# ---- readings of the log that came to their end --------------------------------

# From the last complete one the next periodic one looks back: it stays, however old.
_FORGET_RECONCILIATIONS = text(
    """
    DELETE FROM reconciliations WHERE id IN (
      SELECT r.id FROM reconciliations r
      WHERE r.state <> 'running' AND r.finished_at < :before AND (
        r.state <> 'done' OR EXISTS (
          SELECT FROM reconciliations n
          WHERE n.workspace_id = r.workspace_id AND n.id > r.id AND n.state = 'done'
            AND (n.kind = 'periodic' OR n.since IS NULL AND n.until IS NULL)
        )
      )
      LIMIT :count FOR UPDATE OF r SKIP LOCKED
    )
    """
)


def forget_reconciliations(executor: Executor, *, before: datetime, count: int) -> int:
    """Those that ended before then, but for the newest that was read to its end."""
    gone: Any = executor.execute(_FORGET_RECONCILIATIONS, {"before": before, "count": count})
    return int(gone.rowcount)


# ---- for those who look ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stock:
    """What there is of a kind of data."""

    oldest_at: datetime | None
    size_bytes: int


_STOCKS = {
    "raw_events": "SELECT received_at FROM webhooks ORDER BY id LIMIT 1",
    "attempts": "SELECT started_at FROM attempts ORDER BY id LIMIT 1",
    "payloads": "SELECT saved_at FROM call_payloads ORDER BY call_row_id LIMIT 1",
    "media": "SELECT coalesce(stored_at, due_at) FROM media ORDER BY call_row_id LIMIT 1",
    "calls": "SELECT received_at FROM calls ORDER BY received_at LIMIT 1",
}
_TABLES = {
    "raw_events": ("webhooks",),
    "attempts": ("attempts",),
    "payloads": ("call_payloads",),
    "media": ("media", "transcripts"),
    "calls": ("calls", "events", "deliveries", "crm_steps"),
}
_SIZE = text(
    """
    SELECT coalesce(sum(pg_total_relation_size(t.relid)), 0)
    FROM unnest(CAST(:tables AS text[])) AS n (name), pg_partition_tree(n.name) AS t
    """
)
_PLAIN_SIZE = text(
    """
    SELECT coalesce(sum(pg_total_relation_size(to_regclass(n.name))), 0)
    FROM unnest(CAST(:tables AS text[])) AS n (name)
    """
)
_FILES = text("SELECT coalesce(sum(size_bytes), 0) FROM media WHERE stored_at IS NOT NULL")
#: So many are counted of what would go.
COUNTED = 100_000
_DUE = {
    "payloads": text(
        f"""
        SELECT count(*) FROM (
          SELECT FROM call_payloads p JOIN calls c ON c.id = p.call_row_id
          WHERE p.call_row_id <= :last AND p.saved_at < :cutoff
            AND c.state IN ('fetched', 'dead') AND NOT c.refetch_wanted
            AND NOT EXISTS (
              SELECT FROM deliveries d WHERE d.call_row_id = p.call_row_id
                AND d.revision = p.revision AND {_UNSETTLED_DELIVERY}
            )
          LIMIT :count
        ) AS due
        """
    ),
    "media": text(
        f"""
        SELECT count(*) FROM (
          SELECT FROM media m JOIN calls c ON c.id = m.call_row_id
          WHERE m.call_row_id <= :last AND {_SETTLED_MEDIA}
            AND coalesce(m.stored_at, m.due_at) < :cutoff AND {_SETTLED_CALL}
          LIMIT :count
        ) AS due
        """
    ),
    "calls": text(
        f"""
        SELECT count(*) FROM (
          SELECT FROM calls c WHERE {_OLD_CALL} AND {_SETTLED_CALL} LIMIT :count
        ) AS due
        """
    ),
}


def stock_of(executor: Executor, kind: str) -> Stock:
    """The oldest, about, and the space that it takes. Of media: with the files."""
    oldest = executor.execute(text(_STOCKS[kind])).scalar_one_or_none()
    is_parted = kind in {"raw_events", "attempts"}
    statement = _SIZE if is_parted else _PLAIN_SIZE
    size = int(executor.execute(statement, {"tables": list(_TABLES[kind])}).scalar_one())
    if kind == "media":
        size += int(executor.execute(_FILES).scalar_one())
    return Stock(oldest, size)


def count_due(executor: Executor, kind: str, *, cutoff: datetime, keeps_media: bool) -> int:
    """How many rows are past their time and settled; at most one more than `COUNTED`."""
    asked: dict[str, object] = {"cutoff": cutoff, "count": COUNTED + 1}
    if kind != "calls":
        asked["last"] = last_old_call(executor, cutoff=cutoff)
    if kind != "payloads":
        asked["keeps_media"] = keeps_media
    return int(executor.execute(_DUE[kind], asked).scalar_one())
