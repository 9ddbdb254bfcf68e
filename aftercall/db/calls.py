"""Claims calls for fetching, records what came of it, finds what is due. Bulk statements only."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text

from aftercall.db.attempts import AttemptRow, insert_attempts
from aftercall.db.rows import IS_QUEUED, Json, as_rows
from aftercall.db.session import Executor
from aftercall.domain.plans import LAPSES_TO_BE_ALONE, MAX_LAPSES, CallStep
from aftercall.domain.states import Priority
from aftercall.domain.work import CallDetail, ClaimedCall


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """A call that is due, of a workspace that may be asked."""

    row_id: int
    workspace_id: str
    priority: int


# `own_workspace`: the one whose credentials are in the environment.
USABLE_WORKSPACE = """
    (w.api_key_sealed IS NOT NULL OR w.id = :own_workspace)
    AND (w.blocked_until IS NULL OR w.blocked_until <= :now)
"""

_WAITING = text(
    f"""
    SELECT c.id, c.workspace_id, c.priority
    FROM calls c JOIN workspaces w ON w.id = c.workspace_id
    WHERE c.id = ANY(:ids) AND c.{IS_QUEUED} AND c.due_at <= :now AND {USABLE_WORKSPACE}
      AND (c.lapses >= {LAPSES_TO_BE_ALONE}) = :alone
    ORDER BY c.priority, c.due_at, c.id
    """
)


def waiting_calls(
    executor: Executor,
    ids: Sequence[int],
    *,
    now: datetime,
    own_workspace: str | None,
    alone: bool = False,
) -> list[WaitingCall]:
    """Which of these may be fetched now, first come first. `alone`: those on their last chance."""
    rows = executor.execute(
        _WAITING,
        {"ids": list(ids), "now": now, "own_workspace": own_workspace, "alone": alone},
    )
    return [WaitingCall(row.id, row.workspace_id, row.priority) for row in rows]


# The first of each line of the workspace `w`, and no join over all that waits.
_FIRSTS = """
    (VALUES (0), (1), (2)) AS p (priority) CROSS JOIN LATERAL (
      SELECT c.due_at FROM calls c
      WHERE c.workspace_id = w.id AND c.priority = p.priority AND c.state = 'queued'
      ORDER BY c.due_at LIMIT 1
    ) AS first
"""
_DUE_BY_WORKSPACE = text(
    f"""
    SELECT DISTINCT w.id FROM workspaces w CROSS JOIN {_FIRSTS}
    WHERE {USABLE_WORKSPACE} AND first.due_at <= :now
    """
)


def workspaces_with_due_calls(
    executor: Executor, *, now: datetime, own_workspace: str | None
) -> list[str]:
    """The workspaces that could be asked for something now."""
    rows = executor.execute(_DUE_BY_WORKSPACE, {"now": now, "own_workspace": own_workspace})
    return list(rows.scalars())


# Priority by priority, so that each walk of the index ends at its first row that is not due.
_DUE = text(
    f"""
    SELECT due.id, due.workspace_id, due.priority
    FROM (VALUES (0), (1), (2)) AS p (priority) CROSS JOIN LATERAL (
      SELECT id, workspace_id, c.priority, due_at FROM calls c
      WHERE c.workspace_id = :workspace_id AND c.priority = p.priority
        AND c.state = 'queued' AND c.due_at <= :now AND c.lapses < {LAPSES_TO_BE_ALONE}
      ORDER BY c.due_at LIMIT :count
    ) AS due
    ORDER BY due.priority, due.due_at LIMIT :count
    """
)


def due_calls(
    executor: Executor, workspace_id: str, *, count: int, now: datetime
) -> list[WaitingCall]:
    """The front of a workspace's line: fresh before retries before backfill, then by `due_at`."""
    rows = executor.execute(_DUE, {"workspace_id": workspace_id, "count": count, "now": now})
    return [WaitingCall(row.id, row.workspace_id, row.priority) for row in rows]


_CLAIM = text(
    f"""
    UPDATE calls SET
      state = 'fetching', lease_token = :token, lease_until = :lease_until, refetch_wanted = false
    WHERE id IN (
      SELECT id FROM calls
      WHERE id = ANY(:ids) AND {IS_QUEUED} AND due_at <= :now
      FOR UPDATE SKIP LOCKED
    )
    RETURNING id, workspace_id, call_id, attempts, priority, due_at, not_ready_since, unknown_since,
      revision, content_hash, looks
    """
)


def claim_calls(
    executor: Executor,
    ids: Sequence[int],
    *,
    now: datetime,
    lease: timedelta,
    probes: frozenset[str],
) -> list[ClaimedCall]:
    """Takes the lease of those that nobody else has. `probes`: the workspaces on probation."""
    token = uuid.uuid4()
    rows = executor.execute(
        _CLAIM, {"ids": list(ids), "now": now, "token": token, "lease_until": now + lease}
    )
    return [
        ClaimedCall(
            row_id=row.id,
            workspace_id=row.workspace_id,
            call_id=row.call_id,
            lease_token=token,
            attempts=row.attempts,
            priority=row.priority,
            due_at=row.due_at,
            not_ready_since=row.not_ready_since,
            unknown_since=row.unknown_since,
            revision=row.revision,
            content_hash=row.content_hash,
            is_probe=row.workspace_id in probes,
            looks=row.looks,
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCall:
    """What is written of a call that Twenty2 told us, ready for the database."""

    detail: CallDetail
    content_hash: bytes
    #: One more than before when the content is new.
    revision: int
    #: JSON texts.
    call: str
    input_parameters: str
    output_parameters: str
    recording: str | None
    transcript: str | None
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRecord:
    """One finished fetch: the step of its row, the attempt, and the call where there is one."""

    claim: ClaimedCall
    step: CallStep
    attempt: AttemptRow
    saved: SavedCall | None
    #: When it is looked at again for media that are not there yet, and how often that was decided.
    look_again_at: datetime | None = None
    looks: int = 0


_STEP = text(
    """
    UPDATE calls SET
      state = CASE WHEN calls.refetch_wanted AND r.state <> 'queued' THEN 'queued'
        ELSE r.state END,
      due_at = CASE WHEN calls.refetch_wanted THEN :now ELSE r.due_at END,
      attempts = CASE WHEN calls.refetch_wanted THEN 0 ELSE r.attempts END,
      -- Whoever wants it again said which, and that patience starts over.
      priority = CASE WHEN calls.refetch_wanted THEN calls.priority ELSE r.priority END,
      not_ready_since = CASE WHEN calls.refetch_wanted THEN NULL ELSE r.not_ready_since END,
      unknown_since = CASE WHEN calls.refetch_wanted THEN NULL ELSE r.unknown_since END,
      last_error = r.last_error,
      lease_token = NULL, lease_until = NULL, lapses = 0, refetch_wanted = false
    FROM json_to_recordset(CAST(:rows AS json)) AS r (
      id bigint, token uuid, state text, due_at timestamptz, attempts smallint,
      priority smallint, not_ready_since timestamptz, unknown_since timestamptz, last_error text
    )
    WHERE calls.id = r.id AND calls.lease_token = r.token
    RETURNING calls.id
    """
)

# The call and its payload: one statement, so that a batch costs one round trip less.
_SAVE = text(
    """
    WITH r AS MATERIALIZED (
      SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS r (
        id bigint, token uuid, attempts smallint, revision int, content_hash bytea,
        answered_call_id text, status text, direction text, agent_id text, callee_phone text,
        caller_phone text, duration_seconds int, billed_duration_seconds int,
        cost_amount numeric, cost_currency text, started_at timestamptz, ended_at timestamptz,
        call jsonb, input_parameters jsonb, output_parameters jsonb, recording jsonb,
        transcript jsonb, raw jsonb, look_again_at timestamptz, looks smallint
      )
    ),
    saved AS (
      UPDATE calls SET
        state = CASE WHEN calls.refetch_wanted THEN 'queued' ELSE 'fetched' END,
        due_at = CASE WHEN calls.refetch_wanted THEN :now ELSE calls.due_at END,
        attempts = CASE WHEN calls.refetch_wanted THEN 0 ELSE r.attempts END,
        not_ready_since = NULL, unknown_since = NULL, last_error = NULL,
        lease_token = NULL, lease_until = NULL, lapses = 0, refetch_wanted = false,
        fetched_at = :now, revision = r.revision, content_hash = r.content_hash,
        answered_call_id = r.answered_call_id, status = r.status, direction = r.direction,
        agent_id = r.agent_id, callee_phone = r.callee_phone, caller_phone = r.caller_phone,
        duration_seconds = r.duration_seconds,
        billed_duration_seconds = r.billed_duration_seconds, cost_amount = r.cost_amount,
        cost_currency = r.cost_currency, started_at = r.started_at, ended_at = r.ended_at,
        look_again_at = r.look_again_at, looks = r.looks
      FROM r
      WHERE calls.id = r.id AND calls.lease_token = r.token
      RETURNING calls.id
    )
    INSERT INTO call_payloads (call_row_id, revision, saved_at, call, input_parameters,
      output_parameters, recording, transcript, raw)
    SELECT id, revision, :now, call, input_parameters, output_parameters, recording, transcript, raw
    FROM r JOIN saved USING (id)
    -- The same content again: only the links are new.
    ON CONFLICT (call_row_id, revision) DO UPDATE SET
      saved_at = EXCLUDED.saved_at, recording = EXCLUDED.recording,
      transcript = EXCLUDED.transcript, raw = EXCLUDED.raw
    RETURNING call_row_id
    """
)


def record_fetches(
    executor: Executor, records: Sequence[FetchRecord], *, now: datetime
) -> frozenset[int]:
    """Writes steps, calls and attempts; answers the rows that were still ours to write."""
    # By row, so that two recorders with rows in common take turns.
    in_order = sorted(records, key=lambda record: record.claim.row_id)
    saves = [record for record in in_order if record.saved is not None]
    steps = [record for record in in_order if record.saved is None]
    ours = frozenset(_write_saves(executor, saves, now) | _write_steps(executor, steps, now))
    insert_attempts(
        executor, [record.attempt for record in in_order if record.claim.row_id in ours]
    )
    return ours


def _write_steps(executor: Executor, records: Sequence[FetchRecord], now: datetime) -> set[int]:
    if not records:
        return set()
    rows = as_rows(
        {
            "id": record.claim.row_id,
            "token": record.claim.lease_token,
            "state": record.step.state,
            "due_at": record.step.due_at,
            "attempts": record.step.attempts,
            "priority": record.step.priority,
            "not_ready_since": record.step.not_ready_since,
            "unknown_since": record.step.unknown_since,
            "last_error": record.step.error,
        }
        for record in records
    )
    return set(executor.execute(_STEP, {"now": now, "rows": rows}).scalars())


def _write_saves(executor: Executor, records: Sequence[FetchRecord], now: datetime) -> set[int]:
    if not records:
        return set()
    rows = as_rows(
        _call_row(record, record.saved) for record in records if record.saved is not None
    )
    return set(executor.execute(_SAVE, {"now": now, "rows": rows}).scalars())


def _call_row(record: FetchRecord, saved: SavedCall) -> dict[str, object]:
    claim, detail = record.claim, saved.detail
    is_another = detail.answered_call_id != claim.call_id
    return {
        "id": claim.row_id,
        "token": claim.lease_token,
        "attempts": record.step.attempts,
        "revision": saved.revision,
        "content_hash": saved.content_hash,
        "answered_call_id": detail.answered_call_id if is_another else None,
        "status": detail.status,
        "direction": detail.direction,
        "agent_id": detail.agent_id,
        "callee_phone": detail.callee_phone,
        "caller_phone": detail.caller_phone,
        "duration_seconds": detail.duration_seconds,
        "billed_duration_seconds": detail.billed_duration_seconds,
        "cost_amount": detail.cost_amount,
        "cost_currency": detail.cost_currency,
        "started_at": detail.started_at,
        "ended_at": detail.ended_at,
        "call": Json(saved.call),
        "input_parameters": Json(saved.input_parameters),
        "output_parameters": Json(saved.output_parameters),
        "recording": saved.recording and Json(saved.recording),
        "transcript": saved.transcript and Json(saved.transcript),
        "raw": Json(saved.raw),
        "look_again_at": record.look_again_at,
        "looks": record.looks,
    }


_RELEASE_LAPSED = text(
    f"""
    UPDATE calls SET
      state = CASE WHEN lapses + 1 >= {MAX_LAPSES} THEN 'dead' ELSE 'queued' END,
      last_error = CASE WHEN lapses + 1 >= {MAX_LAPSES}
        THEN 'gave up: the worker was lost {MAX_LAPSES} times while it fetched this call, the last '
          'time with nothing else in hand (killed, out of memory, or out of time)'
        ELSE 'the worker was lost while it fetched this call' END,
      lapses = lapses + 1, lease_token = NULL, lease_until = NULL
    WHERE id IN (
      SELECT id FROM calls WHERE state = 'fetching' AND lease_until < :now
      ORDER BY lease_until LIMIT :count FOR UPDATE SKIP LOCKED
    )
    RETURNING id, state
    """
)


def release_lapsed_calls(executor: Executor, *, now: datetime, count: int = 1000) -> int:
    """Makes calls whose worker is gone due again, or dead at the third time."""
    return len(executor.execute(_RELEASE_LAPSED, {"now": now, "count": count}).all())


_LAST_CHANCES = text(
    f"""
    SELECT id FROM calls
    WHERE state = 'queued' AND lapses >= {LAPSES_TO_BE_ALONE} AND due_at <= :now
    ORDER BY due_at LIMIT :count
    """
)


def last_chance_calls(executor: Executor, *, now: datetime, count: int) -> list[int]:
    """Those that are due and must be worked on alone."""
    return list(executor.execute(_LAST_CHANCES, {"now": now, "count": count}).scalars())


_GIVE_BACK = text(
    """
    UPDATE calls SET state = 'queued', lease_token = NULL, lease_until = NULL
    WHERE id = ANY(:ids) AND lease_token = ANY(:tokens) AND state = 'fetching'
    """
)


def give_back_calls(executor: Executor, claims: Sequence[ClaimedCall]) -> None:
    """Puts calls back as they were, without an attempt: the request was never made."""
    executor.execute(
        _GIVE_BACK,
        {
            "ids": [claim.row_id for claim in claims],
            "tokens": list({claim.lease_token for claim in claims}),
        },
    )


_REFETCH = text(
    """
    UPDATE calls SET
      state = CASE state WHEN 'fetching' THEN 'fetching' ELSE 'queued' END,
      refetch_wanted = state = 'fetching',
      due_at = CASE state WHEN 'fetching' THEN due_at ELSE :now END,
      attempts = 0, lapses = 0, priority = 0, not_ready_since = NULL,
      unknown_since = NULL
    WHERE id = ANY(:ids)
    RETURNING id, state
    """
)


def make_calls_due(executor: Executor, ids: Sequence[int], *, now: datetime) -> list[int]:
    """By hand: fetch these again, from the first attempt. Answers those to ring for."""
    rows = executor.execute(_REFETCH, {"ids": list(ids), "now": now})
    return [row.id for row in rows if row.state == "queued"]


# Only while nothing else of the workspace waits: a look takes its turn behind everything.
_LOOK_AGAIN = text(
    f"""
    UPDATE calls SET state = 'queued', priority = {Priority.BACKFILL}, due_at = :now,
      attempts = 0, lapses = 0, not_ready_since = NULL, unknown_since = NULL, look_again_at = NULL
    WHERE id = ANY (ARRAY (
      SELECT n.id FROM workspaces w CROSS JOIN LATERAL (
        SELECT min(first.due_at) AS due_at FROM {_FIRSTS}
      ) AS waiting CROSS JOIN LATERAL (
        SELECT c.id FROM calls c
        WHERE c.workspace_id = w.id AND c.state = 'fetched' AND c.look_again_at <= :now
        ORDER BY c.look_again_at LIMIT :count FOR UPDATE SKIP LOCKED
      ) AS n
      WHERE {USABLE_WORKSPACE} AND (waiting.due_at > :now) IS NOT FALSE
    ))
    """
)


def queue_looks(
    executor: Executor, *, now: datetime, own_workspace: str | None, count: int
) -> None:
    """Makes calls due whose media were missing, up to `count` of each workspace."""
    executor.execute(_LOOK_AGAIN, {"now": now, "own_workspace": own_workspace, "count": count})
