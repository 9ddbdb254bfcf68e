"""Deliveries by the thousand, without fetching and sending each."""

import uuid
from datetime import UTC, datetime

from sqlalchemy import text

from aftercall.db.deliveries import NewDelivery, insert_deliveries
from aftercall.db.session import Database
from aftercall.domain.ids import new_id
from aftercall.domain.states import DeliveryState
from tests.conftest import WORKSPACE

_CALLS = text(
    """
    WITH w AS (INSERT INTO workspaces (id) VALUES (:workspace) ON CONFLICT DO NOTHING)
    INSERT INTO calls (workspace_id, call_id, state, priority, received_at, due_at)
    SELECT :workspace, :prefix || n, 'fetched', 0, :now, :now FROM generate_series(1, :count) AS n
    RETURNING id
    """
)


_PAYLOADS = text(
    """
    INSERT INTO call_payloads (call_row_id, revision, saved_at, call, input_parameters,
      output_parameters, raw)
    SELECT id, 1, :now, '{}', '{}', '{}', '{}' FROM unnest(CAST(:ids AS bigint[])) AS c (id)
    """
)


def make_deliveries(
    database: Database,
    destination_id: str,
    count: int,
    *,
    state: DeliveryState = DeliveryState.DEAD,
    reason: str | None = "The hook answered 400 (Bad Request)",
) -> list[uuid.UUID]:
    """One call each, which was saved, in the given state and for the given reason."""
    now = datetime.now(UTC)
    with database.transaction() as session:
        asked = {
            "workspace": WORKSPACE.id,
            "prefix": f"call_{uuid.uuid4().hex[:8]}_",
            "now": now,
            "count": count,
        }
        calls = list(session.execute(_CALLS, asked).scalars())
        session.execute(_PAYLOADS, {"now": now, "ids": calls})
        made = [
            NewDelivery(
                id=new_id(),
                call_row_id=call,
                destination_id=uuid.UUID(destination_id),
                revision=1,
                type="call.completed",
                state=state,
                error=reason,
            )
            for call in calls
        ]
        insert_deliveries(session, made, now=now)
    return [one.id for one in made]
