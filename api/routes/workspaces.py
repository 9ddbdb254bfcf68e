"""/api/v1/workspaces: credentials (write-only), limits, blocks."""

from fastapi import APIRouter

from aftercall.flows import look
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.views import Page, WorkspaceView
from api.access import ActorOf, ServiceOf

router = APIRouter(prefix="/workspaces", tags=["workspaces"])


@router.get("")
def list_all(service: ServiceOf) -> Page[WorkspaceView]:
    return Page(items=look.show_workspaces(service), next_cursor=None)


@router.get("/{workspace_id}")
def show(service: ServiceOf, workspace_id: str) -> WorkspaceView:
    return look.show_workspace(service, workspace_id)


@router.put("/{workspace_id}")
def put(service: ServiceOf, by: ActorOf, workspace_id: str, spec: WorkspaceSpec) -> WorkspaceView:
    """Makes the workspace, or sets what is given. New credentials release a block."""
    return set_workspace(service, workspace_id, spec, by=by)
