"""What stands beside a call on a page: where its deliveries are, and when it was saved."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, select, tuple_
from sqlalchemy.orm import Session

from aftercall.db.models import Call, CallPayload, Delivery, Destination


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """One delivery of a call's newest revision."""

    workspace_id: str
    call_id: str
    state: str
    destination_id: uuid.UUID
    destination: str


def states_of_deliveries(session: Session, calls: Sequence[tuple[str, str]]) -> list[DeliveryState]:
    """Of calls by workspace and id, as many as a page has: one lookup each, by their indexes."""
    rows = session.execute(
        select(
            Call.workspace_id,
            Call.call_id,
            Delivery.state,
            Delivery.destination_id,
            Destination.name,
        )
        .join(
            Delivery,
            and_(Delivery.call_row_id == Call.id, Delivery.revision == Call.revision),
        )
        .join(Destination, Destination.id == Delivery.destination_id)
        .where(tuple_(Call.workspace_id, Call.call_id).in_(calls))
        .order_by(Destination.name, Delivery.id)
    )
    return [DeliveryState(*row) for row in rows]


def saves_of_call(session: Session, workspace_id: str, call_id: str) -> list[tuple[int, datetime]]:
    """Each revision and when it was saved, oldest first."""
    rows = session.execute(
        select(CallPayload.revision, CallPayload.saved_at)
        .join(Call, Call.id == CallPayload.call_row_id)
        .where(Call.workspace_id == workspace_id, Call.call_id == call_id)
        .order_by(CallPayload.revision)
    )
    return [(revision, saved_at) for revision, saved_at in rows]
