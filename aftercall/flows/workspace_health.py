"""What a batch's answers say of their workspaces: blocked, working again, forbidden in a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from aftercall.db import workspaces as workspaces_db
from aftercall.db.session import Executor
from aftercall.domain.outcomes import (
    CREDENTIALS_PROBE_WAIT,
    FORBIDDEN_IN_A_ROW,
    Blocked,
    BlockKind,
    FetchOutcome,
    Retry,
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sign:
    """One finished request, as far as it says something of its workspace."""

    workspace_id: str
    is_probe: bool
    #: None when there was no answer.
    status_code: int | None
    outcome: FetchOutcome

    @property
    def is_forbidden(self) -> bool:
        return isinstance(self.outcome, Retry) and self.outcome.forbidden

    @property
    def shows_access(self) -> bool:
        """Whether Twenty2 let us in, whatever it then said of the call."""
        if isinstance(self.outcome, Blocked):
            return self.outcome.kind is BlockKind.RATE_LIMIT
        answered = self.status_code is not None and self.status_code < 500
        return answered and not self.is_forbidden


def note_signs(executor: Executor, signs: Sequence[Sign], *, now: datetime) -> None:
    """Writes down what a batch's answers say, in the order in which they came."""
    by_workspace: dict[str, list[Sign]] = {}
    # In the order of ids: two recorders with workspaces in common take turns.
    for sign in sorted(signs, key=lambda sign: sign.workspace_id):
        by_workspace.setdefault(sign.workspace_id, []).append(sign)
    for workspace_id, its in by_workspace.items():
        if any(sign.is_probe and sign.shows_access for sign in its):
            workspaces_db.release_workspace(executor, workspace_id)
            log.info("workspace.released", workspace_id=workspace_id)
        for sign in its:
            if isinstance(sign.outcome, Blocked) and sign.outcome.kind is not None:
                _block(executor, workspace_id, sign.outcome, sign.outcome.kind, now=now)
        _count_forbidden(executor, workspace_id, its, now=now)


def _count_forbidden(
    executor: Executor, workspace_id: str, signs: Sequence[Sign], *, now: datetime
) -> None:
    answered = [sign for sign in signs if sign.status_code is not None]
    # Only those since the last other answer are in a row.
    in_a_row = 0
    for sign in reversed(answered):
        if not sign.is_forbidden:
            break
        in_a_row += 1
    if not in_a_row:
        if answered:
            workspaces_db.reset_forbidden(executor, workspace_id)
        return
    total = workspaces_db.count_forbidden(
        executor, workspace_id, count=in_a_row, reset=in_a_row < len(answered)
    )
    last = answered[-1].outcome
    if total >= FORBIDDEN_IN_A_ROW and isinstance(last, Retry):
        blocked = Blocked(
            f"{last.reason} ({total} times in a row)",
            CREDENTIALS_PROBE_WAIT,
            BlockKind.CREDENTIALS,
        )
        _block(executor, workspace_id, blocked, BlockKind.CREDENTIALS, now=now)


def _block(
    executor: Executor, workspace_id: str, blocked: Blocked, kind: BlockKind, *, now: datetime
) -> None:
    workspaces_db.block_workspace(
        executor, workspace_id, kind=kind, reason=blocked.reason, until=now + blocked.wait
    )
    log.warning(
        "workspace.blocked",
        workspace_id=workspace_id,
        kind=kind.value,
        reason=blocked.reason,
        for_seconds=round(blocked.wait.total_seconds()),
    )
