"""The fake Twenty2 over HTTP: who may ask, how often, and what is answered."""

import time
from dataclasses import replace

import pytest
import requests

from aftercall.simulator import (
    DEFAULT_WORKSPACE,
    Fault,
    SimulatedCall,
    SimulatedWorkspace,
    Simulator,
    other_id,
)

from .raw_client import detail, get

OTHER_WORKSPACE = SimulatedWorkspace(id="other", api_key="other-key", api_secret="other-secret")


def limited(rate_limit: int, *, says_retry_after: bool = False) -> list[SimulatedWorkspace]:
    return [replace(DEFAULT_WORKSPACE, rate_limit=rate_limit, says_retry_after=says_retry_after)]


class Clock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_calls_detail_is_answered(simulator: Simulator) -> None:
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    answer = detail(simulator, call_id)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["call"]["call_id"] == call_id
    assert answer.json()["output_parameters"] == simulator.twentytwo.call(call_id).output_parameters


@pytest.mark.parametrize("authorization", [None, "Bearer x", "Basic bm9ib2R5Om5vdGhpbmc=", "Basic"])
def test_without_good_credentials_it_is_401(
    simulator: Simulator, authorization: str | None
) -> None:
    headers = {"x-workspace-id": DEFAULT_WORKSPACE.id}
    if authorization is not None:
        headers["Authorization"] = authorization
    url = f"{simulator.twentytwo.base_url}/call/detail?call_id=c"
    answer = requests.get(url, headers=headers, timeout=5)
    assert answer.status_code == 401
    assert answer.json()["success"] is False
    assert answer.json()["error"]["code"] == "UNAUTHORIZED"
    assert answer.json()["error"]["status"] == 401


@pytest.mark.parametrize("workspace_id", ["", "unknown", OTHER_WORKSPACE.id])
def test_a_workspace_that_the_key_does_not_own_is_403(
    simulator: Simulator, workspace_id: str
) -> None:
    simulator.twentytwo.set_workspace(OTHER_WORKSPACE)
    answer = get(simulator, "/call/detail", workspace_id=workspace_id, call_id="c")
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "FORBIDDEN"


def test_an_unknown_call_is_404(simulator: Simulator) -> None:
    answer = detail(simulator, "nowhere")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "CALL_NOT_FOUND"


def test_a_call_of_another_workspace_is_404(simulator: Simulator) -> None:
    simulator.twentytwo.set_workspace(OTHER_WORKSPACE)
    [call_id] = simulator.twentytwo.make_calls(1, workspace_id="other")
    assert detail(simulator, call_id).status_code == 404
    own = get(simulator, "/call/detail", workspace=OTHER_WORKSPACE, call_id=call_id)
    assert own.status_code == 200


def test_a_missing_call_id_is_422_in_the_second_envelope(simulator: Simulator) -> None:
    answer = get(simulator, "/call/detail")
    assert answer.status_code == 422
    assert answer.json()["statusCode"] == 422
    assert "call_id" in answer.json()["validationErrors"]


def test_another_route_or_method_is_404(simulator: Simulator) -> None:
    assert get(simulator, "/call/nothing").status_code == 404
    posted = requests.post(f"{simulator.twentytwo.base_url}/call/detail", timeout=5)
    assert posted.status_code == 404


def test_new_credentials_shut_the_old_ones_out(simulator: Simulator) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.set_workspace(replace(DEFAULT_WORKSPACE, api_secret="new"))
    assert detail(simulator, call_id).status_code == 401
    new = replace(DEFAULT_WORKSPACE, api_secret="new")
    assert get(simulator, "/call/detail", workspace=new, call_id=call_id).status_code == 200


def test_a_call_for_an_unknown_workspace_is_refused(simulator: Simulator) -> None:
    with pytest.raises(ValueError, match="no workspace 'nowhere' here"):
        simulator.twentytwo.add_call(SimulatedCall(call_id="c", workspace_id="nowhere"))
    with pytest.raises(ValueError, match="no workspace 'nowhere' here"):
        simulator.twentytwo.make_calls(1, workspace_id="nowhere")


def test_a_call_that_is_not_ready_says_so_and_then_becomes_final(simulator: Simulator) -> None:
    [call_id] = simulator.twentytwo.make_calls(1, status="completed", ready_after_looks=2)
    statuses = [detail(simulator, call_id).json()["call"]["status"] for _ in range(3)]
    assert statuses == ["initiated", "connected", "completed"]


def test_a_quirk_is_in_every_answer(simulator: Simulator) -> None:
    [call_id] = simulator.twentytwo.make_calls(1, quirks=(Fault.OTHER_ID,))
    ids = {detail(simulator, call_id).json()["call"]["call_id"] for _ in range(2)}
    assert ids == {other_id(call_id)}


def test_the_logs_list_the_newest_call_first_page_by_page(simulator: Simulator) -> None:
    call_ids = simulator.twentytwo.make_calls(25)
    pages = [
        get(simulator, "/call/logs", page=str(page), limit="10").json()["calls"]
        for page in (1, 2, 3, 4)
    ]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    listed = [call["call_id"] for page in pages for call in page]
    by_age = sorted(
        call_ids, key=lambda call_id: simulator.twentytwo.call(call_id).started_at or ""
    )
    assert listed == by_age[::-1]
    assert len(get(simulator, "/call/logs").json()["calls"]) == 20


@pytest.mark.parametrize(
    ("page", "limit", "wrong"),
    [("0", "1", "page"), ("x", "1", "page"), ("1", "0", "limit"), ("1", "101", "limit")],
)
def test_a_page_that_makes_no_sense_is_422(
    simulator: Simulator, page: str, limit: str, wrong: str
) -> None:
    answer = get(simulator, "/call/logs", page=page, limit=limit)
    assert answer.status_code == 422
    assert set(answer.json()["validationErrors"]) == {wrong}


def test_the_logs_can_fail_too(simulator: Simulator) -> None:
    simulator.twentytwo.fail_next_logs(Fault.UNAVAILABLE)
    statuses = [get(simulator, "/call/logs").status_code for _ in range(2)]
    assert statuses == [503, 200]


def test_faults_at_a_rate_hit_details_and_spare_the_truth_behind_them(
    simulator: Simulator,
) -> None:
    call_ids = simulator.twentytwo.make_calls(20)
    simulator.twentytwo.fail_at_rate(0.5, [Fault.SERVER_ERROR, Fault.BAD_GATEWAY])
    statuses = [detail(simulator, call_id).status_code for call_id in call_ids for _ in range(3)]
    assert {200, 500, 502} == set(statuses)
    simulator.twentytwo.fail_at_rate(0, [])
    assert {detail(simulator, call_id).status_code for call_id in call_ids} == {200}


def test_the_request_over_the_limit_is_429_and_a_breach() -> None:
    with Simulator(workspaces=limited(2), clock=Clock()) as simulator:
        [call_id] = simulator.twentytwo.make_calls(1)
        answers = [detail(simulator, call_id) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        assert answers[-1].json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"
        assert "Retry-After" not in answers[-1].headers
        report = simulator.report()
        assert (report.rate_limit_breaches, report.largest_overrun) == (2, 2)


def test_a_429_says_when_to_come_back_if_the_workspace_does() -> None:
    clock = Clock()
    with Simulator(workspaces=limited(1, says_retry_after=True), clock=clock) as simulator:
        detail(simulator, "c")
        clock.now += 20.5
        assert detail(simulator, "c").headers["Retry-After"] == "40"
        clock.now += 39.5
        assert detail(simulator, "c").status_code == 404


def test_every_request_with_good_credentials_uses_the_limit_up() -> None:
    with Simulator(workspaces=limited(4), clock=Clock()) as simulator:
        [call_id] = simulator.twentytwo.make_calls(1)
        simulator.twentytwo.fail_next(call_id, Fault.SERVER_ERROR)
        statuses = [
            detail(simulator, call_id).status_code,
            detail(simulator, "unknown").status_code,
            get(simulator, "/call/detail").status_code,
            get(simulator, "/call/logs").status_code,
            detail(simulator, call_id).status_code,
        ]
        assert statuses == [500, 404, 422, 200, 429]


def test_bad_credentials_use_nobodys_limit_up() -> None:
    with Simulator(workspaces=limited(1), clock=Clock()) as simulator:
        assert get(simulator, "/call/logs", workspace=OTHER_WORKSPACE).status_code == 401
        assert get(simulator, "/call/logs", workspace_id="unknown").status_code == 403
        assert get(simulator, "/call/logs").status_code == 200


def test_each_workspace_has_its_own_limit() -> None:
    workspaces = [*limited(1), replace(OTHER_WORKSPACE, rate_limit=1)]
    with Simulator(workspaces=workspaces, clock=Clock()) as simulator:
        assert get(simulator, "/call/logs").status_code == 200
        assert get(simulator, "/call/logs").status_code == 429
        assert get(simulator, "/call/logs", workspace=OTHER_WORKSPACE).status_code == 200


def test_a_planned_429_is_no_breach(simulator: Simulator) -> None:
    simulator.twentytwo.fail_next("c", Fault.RATE_LIMITED)
    assert detail(simulator, "c").status_code == 429
    assert simulator.report().rate_limit_breaches == 0


def test_on_a_real_clock_no_window_holds_more_than_the_limit() -> None:
    limit, window = 5, 0.5
    admitted: list[tuple[float, float]] = []
    with Simulator(workspaces=limited(limit), rate_window_seconds=window) as simulator:
        [call_id] = simulator.twentytwo.make_calls(1)
        while len(admitted) < 3 * limit:
            asked = time.monotonic()
            status = detail(simulator, call_id).status_code
            if status == 200:
                admitted.append((asked, time.monotonic()))
            else:
                assert status == 429
        assert simulator.report().rate_limit_breaches > 0
    for (first_asked, _), (_, last_answered) in zip(admitted, admitted[limit:], strict=False):
        assert last_answered - first_asked >= window
