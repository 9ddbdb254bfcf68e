"""Writes incoming events: one statement for a whole batch, idempotent."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import text

from aftercall.db.forgotten import DIGEST, count_arrivals
from aftercall.db.rows import as_rows
from aftercall.db.session import Executor
from aftercall.domain.work import BARE_TYPES, FOUND_IN_LOG, Acceptance, IncomingEvent

# One statement, so that a lone webhook costs one round trip and five hundred cost little more.
# Everything is inserted in key order: two receivers with the same events take turns, no deadlock.
_ACCEPT = text(
    f"""
    WITH arrived AS MATERIALIZED (
      SELECT i.*, EXISTS (
        -- By the index, event by event: without OFFSET the planner would read the whole table.
        SELECT FROM forgotten_calls f WHERE f.digest = {DIGEST.format("i")} OFFSET 0
      ) AS is_forgotten
      FROM json_to_recordset(CAST(:events AS json)) AS i (
        workspace_id text, call_id text, type text, event_id text, webhook_id uuid,
        received_at timestamptz, priority smallint, repeats int
      )
    ),
    -- What is forgotten stays so: nothing of it is kept, not the webhook's body either.
    incoming AS (SELECT * FROM arrived WHERE NOT is_forgotten),
    new_workspaces AS (
      INSERT INTO workspaces (id)
      SELECT DISTINCT workspace_id FROM incoming ORDER BY 1
      ON CONFLICT DO NOTHING
    ),
    stored_events AS (
      INSERT INTO events
        (workspace_id, call_id, type, event_id, webhook_id, received_at, duplicates)
      SELECT workspace_id, call_id, type, event_id, webhook_id, received_at, repeats
      FROM incoming
      -- A bare id says nothing new of a call that is known.
      WHERE type NOT IN {BARE_TYPES} OR NOT EXISTS (
        SELECT FROM calls
        WHERE calls.workspace_id = incoming.workspace_id AND calls.call_id = incoming.call_id
      )
      ORDER BY workspace_id, call_id, type
      ON CONFLICT (workspace_id, call_id, type) DO UPDATE SET
        duplicates = events.duplicates + EXCLUDED.duplicates + 1,
        last_duplicate_at = EXCLUDED.received_at
      -- xmax is 0 on a row that was inserted, and names this transaction on one that was updated.
      RETURNING workspace_id, call_id, type, webhook_id, (xmax = 0) AS is_new
    ),
    stored_webhooks AS (
      INSERT INTO webhooks (id, received_at, body)
      SELECT w.* FROM unnest(
        CAST(:body_ids AS uuid[]), CAST(:body_times AS timestamptz[]), CAST(:bodies AS bytea[])
      ) AS w (id, received_at, body)
      WHERE w.id IN (SELECT webhook_id FROM stored_events WHERE is_new)
    ),
    due_calls AS (
      INSERT INTO calls (workspace_id, call_id, state, priority, due_at, received_at)
      SELECT workspace_id, call_id, 'queued', min(priority), min(received_at), min(received_at)
      FROM stored_events JOIN incoming USING (workspace_id, call_id, type)
      WHERE is_new
      GROUP BY workspace_id, call_id
      ORDER BY workspace_id, call_id
      ON CONFLICT (workspace_id, call_id) DO UPDATE SET
        state = CASE calls.state WHEN 'fetching' THEN 'fetching' ELSE 'queued' END,
        refetch_wanted = calls.state = 'fetching',
        priority = CASE WHEN calls.state IN ('queued', 'fetching')
          THEN least(calls.priority, EXCLUDED.priority) ELSE EXCLUDED.priority END,
        due_at = CASE calls.state WHEN 'fetching' THEN calls.due_at ELSE EXCLUDED.due_at END,
        attempts = CASE WHEN calls.state IN ('fetched', 'dead') THEN 0 ELSE calls.attempts END,
        lapses = 0,
        not_ready_since = NULL,
        unknown_since = NULL
      RETURNING id, workspace_id, call_id, state, revision, (xmax = 0) AS is_made
    )
    SELECT e.workspace_id, e.call_id, e.type, e.is_new,
           CASE WHEN c.state = 'queued' THEN c.id END AS row_id, c.revision, c.is_made,
           false AS is_forgotten
    FROM stored_events e LEFT JOIN due_calls c USING (workspace_id, call_id)
    UNION ALL
    SELECT workspace_id, call_id, type, false, NULL, NULL, NULL, true
      FROM arrived WHERE is_forgotten
    """
)


def accept_events(
    executor: Executor, events: Sequence[IncomingEvent], *, bodies: Mapping[uuid.UUID, bytes]
) -> list[Acceptance]:
    """Stores events (whose workspace is known by now) and makes their calls due.

    Answers one acceptance for each event, in order. `bodies`: the raw request
    of each `webhook_id`. An event of a forgotten call is a duplicate, and is not kept.
    """
    first: dict[tuple[str, str, str], IncomingEvent] = {}
    repeats: dict[tuple[str, str, str], int] = {}
    for event in events:
        key = _key(event)
        repeats[key] = repeats.get(key, -1) + 1
        first.setdefault(key, event)
    distinct = list(first.values())
    webhook_times = {event.webhook_id: event.received_at for event in distinct}
    rows = executor.execute(
        _ACCEPT,
        {
            "events": as_rows(
                {
                    "workspace_id": event.workspace_id,
                    "call_id": event.call_id,
                    "type": event.type,
                    "event_id": event.event_id,
                    "webhook_id": event.webhook_id,
                    "received_at": event.received_at,
                    "priority": event.priority,
                    "repeats": repeats[_key(event)],
                }
                for event in distinct
            ),
            "body_ids": list(webhook_times),
            "body_times": list(webhook_times.values()),
            "bodies": [bodies[webhook_id] for webhook_id in webhook_times],
        },
    )
    found = rows.all()
    new = {(row.workspace_id, row.call_id, row.type): row for row in found if row.is_new}
    if turned_away := [row for row in found if row.is_forgotten]:
        count_arrivals(
            executor,
            [(row.workspace_id, row.call_id) for row in turned_away],
            at=max(event.received_at for event in distinct),
        )
    acceptances = []
    for event in events:
        key = _key(event)
        is_first = first[key] is event
        if is_first and key in new:
            row = new[key]
            acceptances.append(
                Acceptance(
                    call_row_id=row.row_id,
                    is_duplicate=False,
                    revision=row.revision,
                    is_first=row.is_made or row.revision > 0,
                )
            )
        else:
            acceptances.append(Acceptance(call_row_id=None, is_duplicate=True))
    return acceptances


_ONLY_WORKSPACE = text("SELECT min(id) FROM workspaces HAVING count(*) = 1")


def only_workspace(executor: Executor) -> str | None:
    """The id of the one workspace that there is; None when there are none or several."""
    return executor.execute(_ONLY_WORKSPACE).scalar_one_or_none()


def events_of_call(executor: Executor, workspace_id: str, call_id: str) -> list[dict[str, object]]:
    """Its events, oldest first, for the call's story."""
    rows = executor.execute(_EVENTS_OF_CALL, {"workspace_id": workspace_id, "call_id": call_id})
    return [dict(row) for row in rows.mappings()]


_EVENTS_OF_CALL = text(
    """
    SELECT type, event_id, received_at, duplicates, last_duplicate_at
    FROM events WHERE workspace_id = :workspace_id AND call_id = :call_id ORDER BY id
    """
)


# Their ids grow with the time; and the events stay when the raw webhooks go. All of one request
# have one type: a page of a log, or a file of ids, is one step. 3,000 take some 80 ms.
_NEWEST = text(
    """
    WITH RECURSIVE step AS (
      (SELECT webhook_id, type, received_at, 1 AS number FROM events
       WHERE webhook_id IS NOT NULL ORDER BY webhook_id DESC LIMIT 1)
      UNION ALL
      SELECT older.webhook_id, older.type, older.received_at, step.number + 1
      FROM step CROSS JOIN LATERAL (
        SELECT webhook_id, type, received_at FROM events
        WHERE events.webhook_id < step.webhook_id ORDER BY webhook_id DESC LIMIT 1
      ) AS older
      WHERE step.type = ANY (:besides) AND step.number < 3000
    )
    SELECT received_at FROM step WHERE type <> ALL (:besides)
    """
)


def _key(event: IncomingEvent) -> tuple[str, str, str]:
    if event.workspace_id is None:
        raise ValueError("an event needs its workspace before it is stored")
    return event.workspace_id, event.call_id, event.type


def newest_event_at(executor: Executor) -> datetime | None:
    """When we were last told of a call. What we found ourselves is no sign that webhooks come."""
    return executor.execute(_NEWEST, {"besides": [FOUND_IN_LOG]}).scalar_one_or_none()


def newest_webhook_at(executor: Executor) -> datetime | None:
    """When the last webhook with a type came in, as Twenty2's have one. Ids by hand have none."""
    return executor.execute(_NEWEST, {"besides": list(BARE_TYPES)}).scalar_one_or_none()
