"""One person's rows: finds them by the number, keeps workers off them, counts and deletes them."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, text

from aftercall.db.session import Executor

#: Tables with a row for each call, and how one finds a call's rows there.
_OF_CALLS = "call_row_id = ANY(:ids)"
_OF_EVENTS = (
    "(workspace_id, call_id) IN (SELECT workspace_id, call_id FROM calls WHERE id = ANY(:ids))"
)
#: A webhook that brought events of other people's calls as well is not theirs alone.
_OF_WEBHOOKS = f"""
    id IN (SELECT webhook_id FROM events WHERE {_OF_EVENTS})
    AND NOT EXISTS (
      SELECT FROM events other JOIN calls c USING (workspace_id, call_id)
      WHERE other.webhook_id = webhooks.id AND c.id <> ALL(:ids)
    )
"""
#: In the order in which they are deleted: who records what a request did holds its delivery or
#: its call until that is committed, and what it added is there for the statements that follow.
OWN_ROWS = {
    "deliveries": _OF_CALLS,
    "attempts": _OF_CALLS,
    "crm_steps": _OF_CALLS,
    "media": _OF_CALLS,
    "transcripts": _OF_CALLS,
    "call_payloads": _OF_CALLS,
    "webhooks": _OF_WEBHOOKS,
    "events": _OF_EVENTS,
    "calls": "id = ANY(:ids)",
}


_DIGEST_BYTES = 32


def bytes_may_hold(column: str) -> str:
    """A condition: whether :pattern, or :raw_pattern, is found in bytes.

    The second takes twenty times as long, and only finds what is written with escapes or beyond
    ASCII, which bytes without a backslash in this form have not. A digest is no text.
    """
    said = f"encode({column}, 'escape')"
    return (
        f"({said} ~ :pattern OR octet_length({column}) > {_DIGEST_BYTES} "
        f"AND strpos({said}, chr(92)) > 0 AND {said} ~ :raw_pattern)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A call whose numbers, or whose webhook, may be the person's."""

    id: int
    workspace_id: str
    call_id: str
    answered_call_id: str | None
    state: str
    region: str
    direction: str | None
    callee_phone: str | None = field(repr=False)
    caller_phone: str | None = field(repr=False)
    #: Where nothing else tells whose call it is.
    webhook: bytes | None = field(repr=False)


_CANDIDATE = (
    "c.id, c.workspace_id, c.call_id, c.answered_call_id, c.state, w.region, c.direction, "
    "c.callee_phone, c.caller_phone"
)
_BY_NUMBER = text(
    f"""
    SELECT {_CANDIDATE}, CAST(NULL AS bytea) AS webhook
    FROM calls c JOIN workspaces w ON w.id = c.workspace_id
    WHERE c.callee_phone ~ :pattern OR c.caller_phone ~ :pattern
    """
)
# Not fetched yet, or Twenty2 named no number.
_BY_WEBHOOK = text(
    f"""
    SELECT {_CANDIDATE}, h.body AS webhook
    FROM webhooks h JOIN events e ON e.webhook_id = h.id
      JOIN calls c ON c.workspace_id = e.workspace_id AND c.call_id = e.call_id
      JOIN workspaces w ON w.id = c.workspace_id
    WHERE c.callee_phone IS NULL AND c.caller_phone IS NULL
      AND {bytes_may_hold("h.body")}
    """
)


def candidates(
    connection: Connection, *, pattern: str, raw_pattern: str
) -> Generator[Candidate, None, None]:
    """Read as they are found: of a company's own line there are very many."""
    streaming = connection.execution_options(yield_per=500)
    for query, where in (
        (_BY_NUMBER, {"pattern": pattern}),
        (_BY_WEBHOOK, {"pattern": pattern, "raw_pattern": raw_pattern}),
    ):
        # Whoever has seen enough stops in the middle.
        with streaming.execute(query, where) as result:
            for row in result.mappings():
                yield Candidate(**row)


def without_time_limit(executor: Executor) -> None:
    """For this transaction: it goes over whole tables."""
    executor.execute(text("SET LOCAL statement_timeout = 0"))


_REGIONS = text("SELECT DISTINCT region FROM workspaces ORDER BY 1")


def regions(executor: Executor) -> list[str]:
    """Where the workspaces' numbers without a country belong."""
    return list(executor.execute(_REGIONS).scalars())


_WAITING = text(
    """
    SELECT count(*) FROM calls
    WHERE state IN ('queued', 'fetching') AND callee_phone IS NULL AND caller_phone IS NULL
    """
)


def count_numberless(executor: Executor) -> int:
    """Calls that are still to be fetched: whose they are is not known yet."""
    return int(executor.execute(_WAITING).scalar_one())


def count_own(executor: Executor, ids: Sequence[int]) -> dict[str, int]:
    """How many rows of each table are these calls'."""
    return {
        table: int(
            executor.execute(
                text(f"SELECT count(*) FROM {table} WHERE {own}"), {"ids": list(ids)}
            ).scalar_one()
        )
        for table, own in OWN_ROWS.items()
    }


@dataclass(frozen=True, slots=True)
class Span:
    """From the first call to the last, as they were received."""

    first_at: datetime | None
    last_at: datetime | None


_SPAN = text("SELECT min(received_at), max(received_at) FROM calls WHERE id = ANY(:ids)")


def span_of(executor: Executor, ids: Sequence[int]) -> Span:
    return Span(*executor.execute(_SPAN, {"ids": list(ids)}).one())


# ---- keeping others off ------------------------------------------------------

_WRITERS = text(
    """
    SELECT virtualtransaction FROM pg_locks
    WHERE relation = CAST('calls' AS regclass) AND mode = 'RowExclusiveLock' AND granted
      AND pid <> pg_backend_pid()
    """
)


def writers(executor: Executor) -> frozenset[str]:
    """The transactions that may add calls, and did not see what was committed after they began."""
    return frozenset(executor.execute(_WRITERS).scalars())


_POSTPONE = tuple(
    text(statement)
    for statement in (
        "UPDATE calls SET due_at = :until, look_again_at = NULL WHERE id = ANY(:ids) "
        "AND (look_again_at IS NOT NULL OR state = 'queued' AND due_at < :until)",
        "UPDATE deliveries SET due_at = :until "
        "WHERE call_row_id = ANY(:ids) AND state = 'queued' AND due_at < :until",
        "UPDATE media SET due_at = :until "
        "WHERE call_row_id = ANY(:ids) AND state = 'queued' AND due_at < :until",
    )
)
_UNDER_WAY = text(
    """
    SELECT (SELECT count(*) FROM calls
        WHERE id = ANY(:ids) AND state = 'fetching' AND lease_until > :now)
      + (SELECT count(*) FROM deliveries
        WHERE call_row_id = ANY(:ids) AND state = 'sending' AND lease_until > :now)
      + (SELECT count(*) FROM media
        WHERE call_row_id = ANY(:ids) AND state = 'fetching' AND lease_until > :now)
    """
)


def postpone(executor: Executor, ids: Sequence[int], *, until: datetime) -> None:
    """Nobody claims anything of these calls until then."""
    for statement in _POSTPONE:
        executor.execute(statement, {"ids": list(ids), "until": until})


def count_under_way(executor: Executor, ids: Sequence[int], *, now: datetime) -> int:
    """Requests of these calls that workers are making just now."""
    return int(executor.execute(_UNDER_WAY, {"ids": list(ids), "now": now}).scalar_one())


# ---- what others have --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRow:
    """A delivery that went out, or may have."""

    destination_id: object
    destination: str
    kind: str
    delivery_id: object
    call_row_id: int
    call_id: str
    is_delivered: bool


_SENT = text(
    """
    SELECT t.id AS destination_id, t.name AS destination, t.kind, d.id AS delivery_id,
      d.call_row_id, c.call_id, d.delivered_at IS NOT NULL AS is_delivered
    FROM deliveries d JOIN destinations t ON t.id = d.destination_id
      JOIN calls c ON c.id = d.call_row_id
    WHERE d.call_row_id = ANY(:ids)
      AND (d.delivered_at IS NOT NULL OR d.state = 'sending' OR d.attempts > 0 OR EXISTS (
        SELECT FROM attempts a WHERE a.call_row_id = d.call_row_id AND a.delivery_id = d.id
      ))
    ORDER BY t.name, t.id, d.id
    """
)


def sent_rows(executor: Executor, ids: Sequence[int]) -> list[SentRow]:
    return [SentRow(**row) for row in executor.execute(_SENT, {"ids": list(ids)}).mappings()]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRow:
    """Whom we made at a CRM for this number."""

    destination_id: object
    destination: str
    kind: str
    remote_id: str | None


_KNOWN = text(
    """
    SELECT t.id AS destination_id, t.name AS destination, t.kind, p.remote_id
    FROM crm_people p JOIN destinations t ON t.id = p.destination_id
    WHERE p.number = :number ORDER BY t.name, t.id
    """
)


def known_rows(executor: Executor, number: str) -> list[KnownRow]:
    return [KnownRow(**row) for row in executor.execute(_KNOWN, {"number": number}).mappings()]


# ---- deleting ----------------------------------------------------------------

_LOCK = text("SELECT id FROM calls WHERE id = ANY(:ids) ORDER BY id FOR UPDATE")


def delete_calls(executor: Executor, ids: Sequence[int]) -> dict[str, int]:
    """All rows of these calls, in the caller's transaction; how many of each table.

    A result that a worker brings afterwards finds no row with its lease, and is not written.
    """
    executor.execute(_LOCK, {"ids": list(ids)})
    counts: dict[str, int] = {}
    webhook_ids = _webhook_ids(executor, ids)
    for table, own in OWN_ROWS.items():
        if table != "webhooks":
            counts[table] = _delete(executor, table, own, ids=list(ids))
    # Behind the events: one that other calls came with stays, and is redacted.
    counts["webhooks"] = _delete(
        executor,
        "webhooks",
        "id = ANY(:webhooks) AND NOT EXISTS (SELECT FROM events WHERE webhook_id = webhooks.id)",
        webhooks=webhook_ids,
    )
    return counts


def _webhook_ids(executor: Executor, ids: Sequence[int]) -> list[object]:
    query = text(f"SELECT DISTINCT webhook_id FROM events WHERE {_OF_EVENTS}")
    found = executor.execute(query, {"ids": list(ids)}).scalars()
    return [one for one in found if one is not None]


def delete_known(executor: Executor, number: str) -> int:
    """What was remembered of this number for CRMs."""
    return _delete(executor, "crm_people", "number = :number", number=number)


def _delete(executor: Executor, table: str, which: str, **where: object) -> int:
    rows = executor.execute(text(f"DELETE FROM {table} WHERE {which} RETURNING 1"), where)
    return len(rows.all())


# ---- handing out -------------------------------------------------------------

_NAME = text("SELECT workspace_id, call_id FROM calls WHERE id = :id")
_PAYLOADS = text(
    """
    SELECT revision, saved_at, call, input_parameters, output_parameters, recording, transcript
    FROM call_payloads WHERE call_row_id = :id ORDER BY revision
    """
)
_WEBHOOKS = text(
    """
    SELECT h.received_at, h.body FROM events e JOIN webhooks h ON h.id = e.webhook_id
    WHERE e.workspace_id = :workspace_id AND e.call_id = :call_id ORDER BY e.id
    """
)


def name_of(executor: Executor, call_row_id: int) -> tuple[str, str]:
    """Its workspace and id."""
    row = executor.execute(_NAME, {"id": call_row_id}).one()
    return row.workspace_id, row.call_id


def payloads_of(executor: Executor, call_row_id: int) -> list[dict[str, object]]:
    """Every revision, the first one first."""
    return [dict(row) for row in executor.execute(_PAYLOADS, {"id": call_row_id}).mappings()]


def webhooks_of(
    executor: Executor, workspace_id: str, call_id: str
) -> list[tuple[datetime, bytes]]:
    """As they came, and when."""
    where = {"workspace_id": workspace_id, "call_id": call_id}
    return [(row.received_at, bytes(row.body)) for row in executor.execute(_WEBHOOKS, where)]
