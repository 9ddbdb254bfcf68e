"""Workspaces: their credentials, their rate limit, whether they are blocked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from aftercall.db.models import Workspace
from aftercall.db.session import Executor
from aftercall.domain.outcomes import BlockKind


@dataclass(frozen=True, slots=True)
class Access:
    """What is needed to ask Twenty2 for a workspace's calls."""

    workspace_id: str
    api_key_sealed: str | None
    api_secret_sealed: str | None
    rate_limit: int | None
    #: Its credentials were refused: one call at a time finds out whether they work again.
    on_probation: bool


_ACCESS = text(
    """
    SELECT id, api_key_sealed, api_secret_sealed, rate_limit,
      block_kind IS NOT DISTINCT FROM 'credentials' AS on_probation
    FROM workspaces WHERE id = ANY(:ids)
    """
)


def access_to(executor: Executor, workspace_ids: Sequence[str]) -> dict[str, Access]:
    rows = executor.execute(_ACCESS, {"ids": list(workspace_ids)})
    return {row.id: Access(*row) for row in rows}


_START_PROBE = text(
    """
    UPDATE workspaces SET blocked_until = :until
    WHERE id = :id AND block_kind = 'credentials' AND blocked_until <= :now
    """
)


def start_probe(executor: Executor, workspace_id: str, *, now: datetime, wait: timedelta) -> bool:
    """Whether this caller may send the one probe; the next may come after `wait`."""
    result = executor.execute(_START_PROBE, {"id": workspace_id, "now": now, "until": now + wait})
    return bool(result.rowcount)  # type: ignore[attr-defined]


_BLOCK = text(
    """
    UPDATE workspaces SET block_kind = :kind, block_reason = :reason,
      blocked_until = greatest(coalesce(blocked_until, :until), :until)
    WHERE id = :id AND (:kind = 'credentials' OR block_kind IS DISTINCT FROM 'credentials')
    """
)


def block_workspace(
    executor: Executor, workspace_id: str, *, kind: BlockKind, reason: str, until: datetime
) -> None:
    """A rate-limit block never hides that the credentials are refused."""
    executor.execute(
        _BLOCK, {"id": workspace_id, "kind": kind.value, "reason": reason, "until": until}
    )


_RELEASE = text(
    """
    UPDATE workspaces SET block_kind = NULL, block_reason = NULL, blocked_until = NULL,
      forbidden_in_a_row = 0
    WHERE id = :id
    """
)


def release_workspace(executor: Executor, workspace_id: str) -> None:
    executor.execute(_RELEASE, {"id": workspace_id})


_COUNT_FORBIDDEN = text(
    """
    UPDATE workspaces SET forbidden_in_a_row = least(
      CASE WHEN :reset THEN 0 ELSE forbidden_in_a_row END + :count, 30000)
    WHERE id = :id RETURNING forbidden_in_a_row
    """
)
_RESET_FORBIDDEN = text(
    "UPDATE workspaces SET forbidden_in_a_row = 0 WHERE id = :id AND forbidden_in_a_row > 0"
)


def count_forbidden(executor: Executor, workspace_id: str, *, count: int, reset: bool) -> int:
    """Adds to the workspace's 403 answers in a row, from nothing after another answer."""
    return int(
        executor.execute(
            _COUNT_FORBIDDEN, {"id": workspace_id, "count": count, "reset": reset}
        ).scalar_one()
    )


def reset_forbidden(executor: Executor, workspace_id: str) -> None:
    """Another answer than 403 came."""
    executor.execute(_RESET_FORBIDDEN, {"id": workspace_id})


def list_workspaces(session: Session) -> list[Workspace]:
    return list(session.scalars(select(Workspace).order_by(Workspace.id)))


def get_workspace(session: Session, workspace_id: str) -> Workspace | None:
    return session.get(Workspace, workspace_id)
