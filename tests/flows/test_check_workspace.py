"""A check asks once and says plainly what is wrong."""

from datetime import timedelta

import pytest
from pydantic import SecretStr

from aftercall.db.workspaces import block_workspace
from aftercall.domain.outcomes import BlockKind
from aftercall.flows.check_workspace import check_workspace, judge, release
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.errors import NotFound
from aftercall.flows.service import Service
from aftercall.rate_limit import Wish
from aftercall.twentytwo.rate_limit import workspace_lane
from tests.conftest import WORKSPACE, Clock
from tests.flows.work import accept


@pytest.mark.parametrize(
    ("status", "works", "says"),
    [
        (404, True, "accepts"),
        (200, True, "accepts"),
        (401, False, "does not accept the API key"),
        (403, False, "not for this workspace"),
        (429, None, "fewer requests"),
        (503, None, "fault of its own"),
    ],
)
def test_each_answer_is_told_in_words(status: int, works: bool | None, says: str) -> None:
    view = judge("ws", status)
    assert (view.works, view.status_code) == (works, status)
    assert says in view.message
    assert (view.cure is None) == (works is True)


def test_twenty2_is_asked_with_the_credentials_that_are_set(service: Service) -> None:
    assert check_workspace(service, WORKSPACE.id).works is True
    wrong = WorkspaceSpec(api_key=SecretStr("wrong"), api_secret=SecretStr("wrong"))
    set_workspace(service, WORKSPACE.id, wrong)
    view = check_workspace(service, WORKSPACE.id)
    assert (view.works, view.status_code) == (False, 401)
    assert "wrong" not in view.model_dump_json()


def test_without_credentials_nothing_is_asked(service: Service) -> None:
    set_workspace(service, "other", WorkspaceSpec(rate_limit=5))
    view = check_workspace(service, "other")
    assert (view.works, view.status_code) == (False, None)
    with pytest.raises(NotFound):
        check_workspace(service, "nobody's")


def test_with_the_limit_used_up_nothing_is_asked(service: Service) -> None:
    lane = workspace_lane(WORKSPACE.id, requests_per_minute=WORKSPACE.rate_limit)
    service.limiter.take([Wish(lane, fresh=WORKSPACE.rate_limit, paced=0)])
    view = check_workspace(service, WORKSPACE.id)
    assert view.works is None
    assert "rate limit" in view.message


def test_a_block_can_be_ended_by_hand(service: Service, clock: Clock) -> None:
    accept(service, ["call_1"])
    with service.database.transaction() as session:
        block_workspace(
            session,
            WORKSPACE.id,
            kind=BlockKind.CREDENTIALS,
            reason="401",
            until=clock.now + timedelta(days=365),
        )
    assert not release(service, WORKSPACE.id).is_blocked
