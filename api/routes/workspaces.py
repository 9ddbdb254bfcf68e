"""/api/v1/workspaces: credentials (write-only), limits, blocks."""

from typing import Annotated

from fastapi import APIRouter, Body, Path
from pydantic import BaseModel, ConfigDict, Field

from aftercall.flows import look
from aftercall.flows.check_workspace import check_workspace, release
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.overview import use_of
from aftercall.flows.reconciliations import start_reconciliation
from aftercall.flows.views import (
    Page,
    ReconciliationView,
    WorkspaceCheckView,
    WorkspaceUseView,
    WorkspaceView,
)
from api.access import ActorOf, ServiceOf
from api.routes.parameters import Moment

#: Twenty2 gets it in a header. The flow checks it; this is for the document.
WorkspaceId = Annotated[
    str, Path(json_schema_extra={"pattern": "^[!-~]([ -~]{0,126}[!-~])?$", "maxLength": 128})
]

router = APIRouter(prefix="/workspaces", tags=["workspaces"])


@router.get("")
def list_all(service: ServiceOf) -> Page[WorkspaceView]:
    return Page(items=look.show_workspaces(service), next_cursor=None)


@router.get("/{workspace_id:path}/use")
def use(service: ServiceOf, workspace_id: str) -> WorkspaceUseView:
    """With how much of its rate limit is used now."""
    return use_of(service, look.show_workspace(service, workspace_id))


@router.post("/{workspace_id:path}/check")
def check(service: ServiceOf, workspace_id: str) -> WorkspaceCheckView:
    """Asks Twenty2 once, within the rate limit, whether the credentials work."""
    return check_workspace(service, workspace_id)


@router.post("/{workspace_id:path}/release")
def release_now(service: ServiceOf, by: ActorOf, workspace_id: str) -> WorkspaceView:
    """Ends a block by hand. Refused credentials block it again at the next call."""
    return release(service, workspace_id, by=by)


class Reading(BaseModel):
    """Which calls: those that began in between; null: no bound."""

    model_config = ConfigDict(extra="forbid", strict=True)

    since: Annotated[Moment, Field(strict=False)] | None = None
    until: Annotated[Moment, Field(strict=False)] | None = None


@router.post("/{workspace_id:path}/reconciliations", status_code=202)
def reconcile(
    service: ServiceOf,
    by: ActorOf,
    workspace_id: str,
    which: Annotated[Reading | None, Body(examples=[{"since": "2024-12-25T00:00:00Z"}])] = None,
) -> ReconciliationView:
    """Reads Twenty2's log for calls that never came here, and queues them, behind all else.

    Goes on with the last one if that failed and was about the same. 409 while one is under way.
    """
    which = which or Reading()
    return start_reconciliation(service, workspace_id, since=which.since, until=which.until, by=by)


# After the others: an id may hold slashes, and this would take theirs for a part of it.
@router.get("/{workspace_id:path}")
def show(service: ServiceOf, workspace_id: str) -> WorkspaceView:
    return look.show_workspace(service, workspace_id)


@router.put("/{workspace_id:path}")
def put(
    service: ServiceOf, by: ActorOf, workspace_id: WorkspaceId, spec: WorkspaceSpec
) -> WorkspaceView:
    """Makes the workspace, or sets what is given. New credentials release a block."""
    return set_workspace(service, workspace_id, spec, by=by)
