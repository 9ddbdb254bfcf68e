"""Claims calls for fetching: no more than the rate limit grants now, in the right order.

Looks first, takes permits, then leases. A call that gets no permit is not
touched; permits whose calls had gone to somebody else are given back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from aftercall.db import calls as calls_db
from aftercall.db import workspaces as workspaces_db
from aftercall.domain.outcomes import CREDENTIALS_PROBE_WAIT, BlockKind
from aftercall.domain.states import Priority
from aftercall.domain.work import ClaimedCall, Credentials
from aftercall.flows.service import Service
from aftercall.rate_limit import Grant, Lane, Permit, Wish
from aftercall.sealing import SealError
from aftercall.twentytwo.rate_limit import workspace_lane

#: Longer than the longest request and the patience for its record, short enough that a call
#: whose worker was killed is under way again within a minute.
LEASE = timedelta(seconds=40)


@dataclass(frozen=True, slots=True)
class FetchJob:
    """A claimed call and the credentials to ask for it with."""

    claim: ClaimedCall
    credentials: Credentials
    permit: Permit


def claim_with_permits(
    service: Service, row_ids: Sequence[int], *, alone: bool = False
) -> list[FetchJob]:
    """The calls that this process may ask for right now, leased, with their permits taken.

    `alone`: of those on their last chance, else none of those.
    """
    now = service.clock()
    with service.database.statements() as connection:
        waiting = calls_db.waiting_calls(
            connection, row_ids, now=now, own_workspace=service.own_workspace, alone=alone
        )
        if not waiting:
            return []
        access = workspaces_db.access_to(connection, list({call.workspace_id for call in waiting}))
    keys = open_credentials(service, access, now=now)
    by_workspace: dict[str, list[calls_db.WaitingCall]] = {}
    for call in waiting:
        if call.workspace_id in keys:
            by_workspace.setdefault(call.workspace_id, []).append(call)
    lanes = {id_: lane_of(service, access[id_]) for id_ in by_workspace}
    wishes = [
        _wish(lanes[id_], calls, on_probation=access[id_].on_probation)
        for id_, calls in by_workspace.items()
    ]
    grants = dict(zip(by_workspace, service.limiter.take(wishes), strict=True))
    claims: list[ClaimedCall] = []
    try:
        with service.database.statements() as connection:
            claims = _claim_granted(connection, by_workspace, grants, access, now=now, alone=alone)
    finally:
        _give_back_unused(service, lanes, grants, claims)
    permits = {id_: Permit(lanes[id_], grant) for id_, grant in grants.items()}
    return [
        FetchJob(claim, keys[claim.workspace_id], permits[claim.workspace_id]) for claim in claims
    ]


def lane_of(service: Service, access: workspaces_db.Access) -> Lane:
    limit = access.rate_limit or service.settings.twentytwo_rate_limit
    return workspace_lane(access.workspace_id, requests_per_minute=limit)


def open_credentials(
    service: Service, access: dict[str, workspaces_db.Access], *, now: datetime
) -> dict[str, Credentials]:
    keys: dict[str, Credentials] = {}
    for workspace_id, entry in access.items():
        try:
            credentials = service.credentials(entry)
        except SealError as error:
            with service.database.transaction() as session:
                workspaces_db.block_workspace(
                    session,
                    workspace_id,
                    kind=BlockKind.CREDENTIALS,
                    reason=str(error),
                    until=now + CREDENTIALS_PROBE_WAIT,
                )
            continue
        if credentials is not None:
            keys[workspace_id] = credentials
    return keys


def _wish(lane: Lane, calls: list[calls_db.WaitingCall], *, on_probation: bool) -> Wish:
    if on_probation:
        return Wish(lane, fresh=1, paced=0)
    fresh = sum(call.priority == Priority.FRESH for call in calls)
    return Wish(lane, fresh=fresh, paced=len(calls) - fresh)


def _claim_granted(
    connection: Connection,
    by_workspace: dict[str, list[calls_db.WaitingCall]],
    grants: dict[str, Grant],
    access: dict[str, workspaces_db.Access],
    *,
    now: datetime,
    alone: bool,
) -> list[ClaimedCall]:
    chosen: list[int] = []
    probes: set[str] = set()
    for workspace_id, waiting in by_workspace.items():
        grant = grants[workspace_id]
        if not grant.total:
            continue
        if access[workspace_id].on_probation:
            if not workspaces_db.start_probe(
                connection, workspace_id, now=now, wait=CREDENTIALS_PROBE_WAIT
            ):
                continue
            probes.add(workspace_id)
        if grant.is_crowded and not alone:
            # Whoever rings when the line is long, rings for the front of the line.
            waiting = calls_db.due_calls(connection, workspace_id, count=grant.total, now=now)
        chosen.extend(call.row_id for call in waiting[: grant.total])
    if not chosen:
        return []
    return calls_db.claim_calls(
        connection, sorted(chosen), now=now, lease=LEASE, probes=frozenset(probes)
    )


def _give_back_unused(
    service: Service, lanes: dict[str, Lane], grants: dict[str, Grant], claims: list[ClaimedCall]
) -> None:
    for workspace_id, grant in grants.items():
        used = sum(claim.workspace_id == workspace_id for claim in claims)
        service.limiter.give_back(lanes[workspace_id], grant, grant.total - used)
