"""Rows of ours, made by SQL: a backlog that waits, and years of calls that are done."""

from bench.stores import Stores

_QUEUED = """
INSERT INTO calls (workspace_id, call_id, state, priority, due_at, received_at)
SELECT '{workspace}', md5('{workspace}' || n), 'queued', {priority}, now(), now()
FROM generate_series({first}, {last}) AS n
"""
_CALLS = """
INSERT INTO calls
  (workspace_id, call_id, state, due_at, attempts, received_at, fetched_at, revision,
   content_hash, status, direction, agent_id, callee_phone, caller_phone, duration_seconds,
   billed_duration_seconds, cost_amount, cost_currency, started_at, ended_at)
SELECT '{workspace}', 'old' || n, 'fetched', at, 0, at, at, 1, decode(md5(n::text), 'hex'),
       'completed', 'outbound', '69de483c68b23495c853b43a', '9876543210', '8045678901', 94, 94,
       15.67, 'INR', at, at
FROM (
  SELECT n, now() - interval '2 years' + n * interval '12 seconds' AS at
  FROM generate_series({first}, {last}) AS n
) AS old
"""
_DELIVERIES = """
INSERT INTO deliveries
  (id, call_row_id, destination_id, revision, type, state, due_at, attempts, created_at,
   delivered_at)
SELECT gen_random_uuid(), calls.id, destinations.id, 1, 'call.completed', 'delivered',
       calls.fetched_at, 1, calls.fetched_at, calls.fetched_at
FROM calls CROSS JOIN destinations
WHERE calls.state = 'fetched' AND calls.id > {after}
"""
_ATTEMPTS = """
INSERT INTO attempts
  (call_row_id, delivery_id, number, started_at, duration_ms, outcome, status_code)
SELECT calls.id, found.delivery_id, 1, calls.fetched_at, 120, 'succeeded', 200
FROM calls
JOIN deliveries ON deliveries.call_row_id = calls.id
CROSS JOIN LATERAL (VALUES (NULL::uuid), (deliveries.id)) AS found (delivery_id)
WHERE calls.state = 'fetched' AND calls.id > {after}
"""
_COUNTED = """
INSERT INTO activity_marks (name, done_id, seen_id, seen_xid, seen_at)
SELECT name, coalesce(newest, 0), coalesce(newest, 0), 0, '-infinity' FROM (
  SELECT 'calls' AS name, (SELECT max(id) FROM calls) AS newest
  UNION ALL SELECT 'attempts', (SELECT max(id) FROM attempts)
) AS n
ON CONFLICT (name) DO UPDATE SET done_id = excluded.done_id, seen_id = excluded.seen_id
"""
#: Rows a statement: they may take half a minute each.
_CHUNK = 250_000


def insert_queued(stores: Stores, *, workspace: str, count: int, priority: int) -> None:
    """Calls that are due, and that nobody has rung for."""
    for first in range(1, count + 1, _CHUNK):
        last = min(first + _CHUNK - 1, count)
        stores.execute(
            _QUEUED.format(workspace=workspace, priority=priority, first=first, last=last)
        )
    # As autovacuum would have done while they came in.
    stores.execute("VACUUM (ANALYZE) calls")


def insert_history(stores: Stores, *, workspace: str, count: int) -> None:
    """Calls that were fetched and delivered, with their attempts; without payloads and webhooks,
    which nothing looks at but by their key."""
    for first in range(1, count + 1, _CHUNK):
        after = stores.number("SELECT max(id) FROM calls")
        last = min(first + _CHUNK - 1, count)
        stores.execute(_CALLS.format(workspace=workspace, first=first, last=last))
        stores.execute(_DELIVERIES.format(after=after))
        stores.execute(_ATTEMPTS.format(after=after))
    stores.execute("VACUUM (ANALYZE) calls")
    stores.execute("VACUUM (ANALYZE) deliveries")
    stores.execute("VACUUM (ANALYZE) attempts")
    # As the sweeps would have done while they came in.
    stores.execute(_COUNTED)
