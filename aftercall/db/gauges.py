"""What Prometheus is told at each scrape: counted through partial indexes, a few milliseconds.

Rows that wait are counted exactly, by workspace or destination. Where rows come
to stay (fetched, delivered, stored) large tables are estimated, as in `reading`.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from aftercall.db.events import newest_webhook_at
from aftercall.db.reading import COUNTED, settled_counts
from aftercall.domain.outcomes import BlockKind


@dataclass(frozen=True, slots=True)
class Queued:
    """Rows of one workspace or destination that wait: all of them, and those that are due."""

    owner: str
    count: int
    due: int
    oldest_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class WorkspaceNow:
    """How a workspace stands."""

    id: str
    rate_limit: int | None
    has_own_key: bool
    block_kind: BlockKind | None
    blocked_until: datetime | None


@dataclass(frozen=True, slots=True)
class DestinationNow:
    """How a destination stands."""

    id: uuid.UUID
    name: str
    enabled: bool
    failures_in_a_row: int
    failing_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that a scrape reads of the database."""

    #: By workspace, by destination; media all together.
    calls: list[Queued]
    deliveries: list[Queued]
    media: Queued
    #: By kind and state, without `queued`.
    others: list[tuple[str, str, int]]
    #: The oldest first.
    workspaces: list[WorkspaceNow]
    destinations: list[DestinationNow]
    newest_webhook_at: datetime | None


_DUE = "count(*) FILTER (WHERE due_at <= :now), min(due_at) FILTER (WHERE due_at <= :now)"
_CALLS = text(
    f"SELECT workspace_id, count(*), {_DUE} FROM calls WHERE state = 'queued' GROUP BY workspace_id"
)
_DELIVERIES = text(
    f"SELECT CAST(destination_id AS text), count(*), {_DUE} FROM deliveries "
    "WHERE state = 'queued' GROUP BY destination_id"
)
_MEDIA = text(f"SELECT 'media', count(*), {_DUE} FROM media WHERE state = 'queued'")
# The settled ones of a destination and a state stand together in their index.
_OTHERS = text(
    """
    SELECT 'call', 'fetching', count(*) FROM calls WHERE state = 'fetching'
    UNION ALL SELECT 'call', 'dead', count(*) FROM calls WHERE state = 'dead'
    UNION ALL SELECT 'delivery', 'sending', count(*) FROM deliveries WHERE state = 'sending'
    UNION ALL SELECT 'media', 'fetching', count(*) FROM media WHERE state = 'fetching'
    UNION ALL
    SELECT 'delivery', s.state, coalesce(sum(n.count), 0)
    FROM (VALUES ('dead'), ('held')) AS s (state)
    LEFT JOIN destinations t ON true
    LEFT JOIN LATERAL (
      SELECT count(*) AS count FROM deliveries d
      WHERE d.destination_id = t.id AND d.state = s.state
        AND d.state IN ('dead', 'held', 'delivered', 'skipped')
    ) AS n ON true
    GROUP BY s.state
    """
)
_WORKSPACES = text(
    """
    SELECT id, rate_limit, api_key_sealed IS NOT NULL, block_kind, blocked_until
    FROM workspaces ORDER BY created_at, id
    """
)
_DESTINATIONS = text(
    """
    SELECT id, name, enabled, failures_in_a_row, failing_since
    FROM destinations WHERE removed_at IS NULL ORDER BY created_at, id
    """
)
_MEDIA_SIZE = text("SELECT CAST(reltuples AS bigint) FROM pg_class WHERE oid = 'media'::regclass")
_MEDIA_SETTLED = text(
    "SELECT state, count(*) FROM media WHERE state IN ('stored', 'dead') GROUP BY state"
)
_MEDIA_ESTIMATE = text(
    """
    SELECT f.state, CAST(f.share * c.reltuples AS bigint)
    FROM pg_stats s JOIN pg_class c ON c.oid = 'media'::regclass,
      LATERAL unnest(CAST(CAST(s.most_common_vals AS text) AS text[]), s.most_common_freqs)
        AS f (state, share)
    WHERE s.schemaname = current_schema() AND s.tablename = 'media' AND s.attname = 'state'
      AND f.state IN ('stored', 'dead')
    """
)


def standing(session: Session, *, now: datetime) -> Standing:
    when = {"now": now}
    others: list[Any] = list(session.execute(_OTHERS))
    size = session.execute(_MEDIA_SIZE).scalar_one()
    media = session.execute(_MEDIA_SETTLED if size < COUNTED else _MEDIA_ESTIMATE)
    settled = [("media", row[0], row[1]) for row in media]
    return Standing(
        calls=[Queued(*row) for row in session.execute(_CALLS, when)],
        deliveries=[Queued(*row) for row in session.execute(_DELIVERIES, when)],
        media=Queued(*session.execute(_MEDIA, when).one()),
        others=[
            *((kind, state, int(count)) for kind, state, count in others),
            *((one.kind, one.state, one.count) for one in settled_counts(session)),
            *settled,
        ],
        workspaces=[
            WorkspaceNow(id_, limit, own, kind and BlockKind(kind), until)
            for id_, limit, own, kind, until in session.execute(_WORKSPACES)
        ],
        destinations=[DestinationNow(*row) for row in session.execute(_DESTINATIONS)],
        newest_webhook_at=newest_webhook_at(session),
    )
