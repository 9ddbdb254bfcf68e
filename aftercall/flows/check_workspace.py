"""Asks Twenty2 once whether a workspace's credentials work, and says plainly what is wrong."""

from contextlib import closing

import redis

from aftercall.db.workspaces import Access, access_to, release_workspace
from aftercall.domain.exchange import NoAnswer
from aftercall.domain.work import Credentials
from aftercall.flows.audit import Actor, record
from aftercall.flows.claim_calls import lane_of
from aftercall.flows.look import show_workspace
from aftercall.flows.service import Service
from aftercall.flows.views import WorkspaceCheckView, WorkspaceView
from aftercall.rate_limit import Permit, Wish
from aftercall.sealing import SealError
from aftercall.twentytwo.client import Twenty2

#: No call has it: an answer of 404 shows that the credentials are good.
UNKNOWN_CALL = "aftercall-doctor"


def check_workspace(service: Service, workspace_id: str) -> WorkspaceCheckView:
    """One request, within the rate limit. Changes nothing; NotFound when there is none."""
    show_workspace(service, workspace_id)
    access = _access(service, workspace_id)
    credentials = _credentials(service, access)
    if isinstance(credentials, WorkspaceCheckView):
        return credentials
    lane = lane_of(service, access)
    try:
        [grant] = service.limiter.take([Wish(lane, fresh=1, paced=0)])
    except redis.RedisError:
        return _view(
            workspace_id,
            None,
            "Not asked: Redis does not answer, and permits come from there.",
            cure="Start Redis, or correct AFTERCALL_REDIS_URL.",
        )
    if not grant.fresh:
        return _view(
            workspace_id,
            None,
            "Not asked: its rate limit is used up, or Twenty2 asked us to wait.",
            cure="Try again in a minute.",
        )
    with closing(Twenty2(service.settings.twentytwo_base_url)) as twentytwo:
        exchange = twentytwo.call_detail(
            UNKNOWN_CALL, workspace_id=workspace_id, credentials=credentials
        )
    permit = Permit(lane, grant)
    service.limiter.end([(permit, permit.age())])
    if isinstance(exchange, NoAnswer):
        return _view(
            workspace_id,
            None,
            f"Twenty2 cannot be reached: {exchange.detail}",
            cure="Check TWENTYTWO_BASE_URL and this machine's way to the internet.",
        )
    return judge(workspace_id, exchange.status)


def credentials_fault(service: Service, workspace_id: str) -> WorkspaceCheckView | None:
    """What is wrong with them before anybody is asked: None when they can be sent."""
    credentials = _credentials(service, _access(service, workspace_id))
    return credentials if isinstance(credentials, WorkspaceCheckView) else None


def _access(service: Service, workspace_id: str) -> Access:
    with service.database.transaction() as session:
        found = access_to(session, [workspace_id])
    return found.get(workspace_id, Access(workspace_id, None, None, None, False))


def _credentials(service: Service, access: Access) -> Credentials | WorkspaceCheckView:
    cure = f"Set them with `aftercall workspaces set {access.workspace_id}`."
    try:
        credentials = service.credentials(access)
    except SealError as error:
        return _view(access.workspace_id, False, str(error), cure=cure)
    if credentials is None:
        return _view(access.workspace_id, False, "It has no credentials.", cure=cure)
    return credentials


def release(service: Service, workspace_id: str, *, by: Actor | None = None) -> WorkspaceView:
    """By hand: its calls are asked for again, at once."""
    view = show_workspace(service, workspace_id)
    with service.database.transaction() as session:
        release_workspace(session, workspace_id)
        record(session, by, "workspace.released", workspace_id)
    try:
        access = Access(workspace_id, None, None, view.rate_limit, False)
        service.limiter.unblock(lane_of(service, access).name)
    except redis.RedisError:
        pass  # the block there lasts minutes at most
    return show_workspace(service, workspace_id)


def judge(workspace_id: str, status: int) -> WorkspaceCheckView:
    """What Twenty2's answer says of the credentials."""
    works: bool | None = True
    cure: str | None = None
    match status:
        case 401:
            works, message = False, "Twenty2 does not accept the API key and secret (401)."
            cure = (
                "Copy both anew from Twenty2's dashboard, and set them in the console or with "
                f"`aftercall workspaces set {workspace_id}`."
            )
        case 403:
            works, message = False, "The API key is good, but not for this workspace (403)."
            cure = "Check the workspace's id, and that the key belongs to it."
        case 429:
            works, message = None, "Twenty2 wants fewer requests (429)."
            cure = "Try again in a minute; if others use the key too, set a lower limit here."
        case status if status >= 500:
            works, message = None, f"Twenty2 has a fault of its own ({status})."
            cure = "Try again later."
        case _:
            message = "Twenty2 accepts its credentials."
    return _view(workspace_id, works, message, cure=cure, status=status)


def _view(
    workspace_id: str,
    works: bool | None,
    message: str,
    *,
    cure: str | None,
    status: int | None = None,
) -> WorkspaceCheckView:
    return WorkspaceCheckView(
        workspace_id=workspace_id, works=works, status_code=status, message=message, cure=cure
    )
