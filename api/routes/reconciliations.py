"""/api/v1/reconciliations: Twenty2's log of calls, read for those that never came here.

One is begun at its workspace: `POST /api/v1/workspaces/{workspace_id}/reconciliations`.
"""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query

from aftercall.flows import reconciliations
from aftercall.flows.cursors import MAX_LIMIT
from aftercall.flows.views import Page, ReconciliationView
from api.access import ActorOf, ServiceOf
from api.routes.parameters import Text

router = APIRouter(prefix="/reconciliations", tags=["workspaces"])


@router.get("")
def list_all(
    service: ServiceOf,
    workspace_id: Text | None = None,
    cursor: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
) -> Page[ReconciliationView]:
    """Newest first."""
    return reconciliations.list_reconciliations(
        service, workspace_id=workspace_id, cursor=cursor, limit=limit
    )


@router.get("/{reconciliation_id:uuid}")
def show(service: ServiceOf, reconciliation_id: uuid.UUID) -> ReconciliationView:
    return reconciliations.show_reconciliation(service, reconciliation_id)


@router.post("/{reconciliation_id:uuid}/cancel")
def cancel(service: ServiceOf, by: ActorOf, reconciliation_id: uuid.UUID) -> ReconciliationView:
    """Reads no further page. What was queued stays queued."""
    return reconciliations.cancel_reconciliation(service, reconciliation_id, by=by)
