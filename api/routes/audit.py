"""/api/v1/audit: who changed or replayed what."""

from typing import Annotated

from fastapi import APIRouter, Query

from aftercall.flows.audit import list_entries
from aftercall.flows.cursors import MAX_LIMIT
from aftercall.flows.views import AuditView, Page
from api.access import ServiceOf
from api.routes.parameters import Text

router = APIRouter(prefix="/audit", tags=["audit"])


@router.get("")
def list_all(
    service: ServiceOf,
    subject: Annotated[Text | None, Query(description="The id of what it was done to")] = None,
    cursor: Text | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
) -> Page[AuditView]:
    """Newest first. Entries are only added; they hold no secrets and no phone numbers."""
    return list_entries(service, subject=subject, cursor=cursor, limit=limit)
