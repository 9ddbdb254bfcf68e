"""/api/v1/workspaces: credentials go in and never come out; limits; blocks are told."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from aftercall.simulator import Fault, Simulator
from aftercall.twentytwo.inbound import NoCallId, check_workspace_id
from tests.api.server import Api, assert_problem
from tests.conftest import WORKSPACE


def test_the_workspace_of_the_environment_is_there_from_the_start(api: Api) -> None:
    [workspace] = api.get("/workspaces")["items"]
    assert workspace["workspace_id"] == WORKSPACE.id
    assert workspace["credentials_from"] == "environment"
    assert workspace["rate_limit"] == WORKSPACE.rate_limit
    assert workspace["is_blocked"] is False
    assert api.get(f"/workspaces/{WORKSPACE.id}") == workspace


def test_a_workspace_is_made_and_changed_and_its_credentials_never_come_out(api: Api) -> None:
    assert_problem(api.call("GET", "/workspaces/ws_2"), 404, "ws_2")
    put = {"api_key": "key-2", "api_secret": "secret-2", "rate_limit": 120}
    made = api.put("/workspaces/ws_2", put)
    assert (made["workspace_id"], made["rate_limit"], made["has_credentials"]) == (
        "ws_2",
        120,
        True,
    )
    assert api.get("/workspaces/ws_2") == made
    assert {one["workspace_id"] for one in api.get("/workspaces")["items"]} == {
        "ws_2",
        WORKSPACE.id,
    }
    changed = api.put("/workspaces/ws_2", {"rate_limit": 90})
    assert (changed["rate_limit"], changed["has_credentials"]) == (90, True)
    default = api.put("/workspaces/ws_2", {"rate_limit": None})
    assert default["rate_limit"] == WORKSPACE.rate_limit
    assert "secret-2" not in str([made, changed, default, api.get("/workspaces")])


@pytest.mark.parametrize(
    ("workspace_id", "body", "at"),
    [
        ("ws_2", {"api_key": "k"}, "api_key"),
        ("ws_2", {"api_secret": "s"}, "api_key"),
        ("ws_2", {"api_key": "", "api_secret": "s"}, "body.api_key"),
        ("ws_2", {"api_key": "k" * 501, "api_secret": "s"}, "body.api_key"),
        ("ws_2", {"api_key": 17, "api_secret": "s"}, "body.api_key"),
        ("ws_2", {"rate_limit": 0}, "body.rate_limit"),
        ("ws_2", {"rate_limit": -1}, "body.rate_limit"),
        ("ws_2", {"rate_limit": "fast"}, "body.rate_limit"),
        ("ws_2", {"rate_limit": 10**30}, "body.rate_limit"),
        ("ws_2", {"colour": "blue"}, "body.colour"),
        ("ws_2", [], "body"),
        ("w" * 129, {}, "workspace_id"),
        ("%00", {}, "workspace_id"),
        ("%20", {}, "workspace_id"),
    ],
)
def test_what_makes_no_sense_is_a_422_and_makes_no_workspace(
    api: Api, workspace_id: str, body: object, at: str
) -> None:
    answer = api.call("PUT", f"/workspaces/{workspace_id}", json=body)
    assert_problem(answer, 422, at=at)
    assert len(api.get("/workspaces")["items"]) == 1


def test_credentials_that_are_half_a_character_are_refused(api: Api) -> None:
    body = rb'{"api_key": "half \ud83d", "api_secret": "s"}'
    answer = api.call(
        "PUT", "/workspaces/ws_2", data=body, headers={"Content-Type": "application/json"}
    )
    assert_problem(answer, 422)


def test_calls_of_a_second_workspace_are_fetched_with_its_own_credentials(
    api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    second = replace(WORKSPACE, id="ws_2", api_key="key-2", api_secret="secret-2")
    simulator.twentytwo.set_workspace(second)
    [call_id] = simulator.twentytwo.make_calls(1, workspace_id="ws_2")
    api.webhook({"call_id": call_id, "workspace_id": "ws_2"})
    work()
    assert api.get(f"/calls/{call_id}")["state"] == "queued"
    api.put("/workspaces/ws_2", {"api_key": "key-2", "api_secret": "secret-2"})
    work()
    assert api.get(f"/calls/{call_id}")["state"] == "fetched"


def test_refused_credentials_block_the_workspace_and_new_ones_release_it(
    api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    call_ids = simulator.twentytwo.make_calls(3)
    simulator.twentytwo.fail_next(call_ids[0], Fault.UNAUTHORIZED)
    api.webhook({"call_id": call_ids[0]})
    work()
    blocked = api.get(f"/workspaces/{WORKSPACE.id}")
    assert blocked["is_blocked"] is True
    assert "401" in blocked["block_reason"]
    assert blocked["blocked_until"].endswith("Z")
    api.webhook({"call_ids": call_ids[1:]})
    work()
    assert {call["state"] for call in api.calls()} == {"queued"}
    assert {call["attempts"] for call in api.calls()} == {0}
    put = {"api_key": WORKSPACE.api_key, "api_secret": WORKSPACE.api_secret}
    released = api.put(f"/workspaces/{WORKSPACE.id}", put)
    assert (released["is_blocked"], released["block_reason"]) == (False, None)
    assert released["credentials_from"] == "stored"
    work()
    assert {call["state"] for call in api.calls()} == {"fetched"}


def test_a_workspace_s_id_may_hold_slashes(api: Api) -> None:
    put = {"api_key": "key-2", "api_secret": "secret-2"}
    made = api.put("/workspaces/a/b", put)
    assert made["workspace_id"] == "a/b"
    assert api.get("/workspaces/a%2Fb") == made
    assert api.get("/workspaces/a/b/use")["workspace_id"] == "a/b"
    assert api.call("POST", "/workspaces/a/b/check").ok
    assert api.call("POST", "/workspaces/a/b/release").ok
    paths = api.open("/openapi.json").json()["paths"]
    assert "/api/v1/workspaces/{workspace_id}/use" in paths


@pytest.mark.parametrize("workspace_id", [".", ".."])
def test_a_workspace_whose_id_no_address_can_name_is_refused(workspace_id: str) -> None:
    with pytest.raises(NoCallId, match="no address can name"):
        check_workspace_id(workspace_id)
