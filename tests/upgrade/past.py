"""Years of calls, written by SQL into any schema from 0002 on: webhook, event, call, payload,
delivery and attempts of each."""

import psycopg

_CHUNK = 100_000
_STATEMENTS = (
    """
    INSERT INTO webhooks (id, received_at, body)
    SELECT md5('webhook' || n)::uuid, {at}, convert_to('{{"call": "past' || n || '"}}', 'utf8')
    FROM generate_series({first}, {last}) AS n
    """,
    """
    INSERT INTO calls
      (workspace_id, call_id, state, due_at, attempts, received_at, fetched_at, revision,
       content_hash, status, direction, agent_id, callee_phone, caller_phone, duration_seconds,
       cost_amount, cost_currency, started_at, ended_at)
    SELECT '{workspace}', 'past' || n, 'fetched', {at}, 0, {at}, {at}, 1,
           decode(md5(n::text), 'hex'),
           (ARRAY['completed', 'completed', 'not_connected', 'failed'])[n % 4 + 1], 'outbound',
           'agent_' || n % 40, (6000000000 + n::bigint * 7919 % 3999999999)::text,
           (8000000000 + n % 12)::text, n % 200, 12.5, 'INR', {at}, {at}
    FROM generate_series({first}, {last}) AS n
    """,
    """
    INSERT INTO events (workspace_id, call_id, type, event_id, webhook_id, received_at)
    SELECT '{workspace}', 'past' || n, 'call.completed', 'event' || n,
           md5('webhook' || n)::uuid, {at}
    FROM generate_series({first}, {last}) AS n
    """,
    """
    INSERT INTO call_payloads
      (call_row_id, revision, saved_at, call, input_parameters, output_parameters, raw)
    SELECT id, 1, fetched_at, jsonb_build_object('call_id', call_id, 'status', status),
           '{{"agentName": "Vikram"}}',
           jsonb_build_object('budget', id % 900 * 100000, 'lead_code', 'LC-' || id,
             'interested', (ARRAY['yes', 'no', 'maybe'])[id % 3 + 1]),
           '{{"call": {{"x": 1}}}}'
    FROM calls WHERE call_id LIKE 'past%' AND id > {after}
    """,
    """
    INSERT INTO deliveries
      (id, call_row_id, destination_id, revision, type, state, due_at, attempts, created_at,
       delivered_at)
    SELECT gen_random_uuid(), c.id, d.id, 1, 'call.completed',
           CASE WHEN c.id % 50 = 3 THEN 'dead' ELSE 'delivered' END, fetched_at, 1, fetched_at,
           fetched_at
    FROM calls c CROSS JOIN destinations d WHERE call_id LIKE 'past%' AND c.id > {after}
    """,
    """
    INSERT INTO attempts
      (call_row_id, delivery_id, number, started_at, duration_ms, outcome, status_code)
    SELECT c.id, told.delivery_id, 1, fetched_at, 120, 'succeeded', 200
    FROM calls c JOIN deliveries d ON d.call_row_id = c.id
    CROSS JOIN LATERAL (VALUES (NULL::uuid), (d.id)) AS told (delivery_id)
    WHERE call_id LIKE 'past%' AND c.id > {after}
    """,
)


def insert_past(url: str, *, workspace: str, calls: int) -> None:
    """Calls of the last 90 days but one, all of them done."""
    at = f"(now() - interval '90 days' + n * (interval '89 days' / {calls}))"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        for first in range(1, calls + 1, _CHUNK):
            row = connection.execute("SELECT coalesce(max(id), 0) FROM calls").fetchone()
            assert row is not None
            for statement in _STATEMENTS:
                filled = statement.format(
                    workspace=workspace,
                    at=at,
                    first=first,
                    last=min(first + _CHUNK - 1, calls),
                    after=row[0],
                )
                connection.execute(filled.encode())
        for table in ("webhooks", "calls", "events", "call_payloads", "deliveries", "attempts"):
            # As autovacuum would have done while they came in.
            connection.execute(f"VACUUM (ANALYZE) {table}".encode())
