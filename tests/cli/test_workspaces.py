"""`aftercall workspaces …`."""

import json

import pytest

from tests.api.server import Api
from tests.cli.command import Command, assert_one_line
from tests.conftest import WORKSPACE


def test_an_empty_list_says_how_to_add_one(aftercall: Command) -> None:
    said = aftercall.ok("workspaces", "list", TWENTYTWO_WORKSPACE_ID="")
    assert "aftercall workspaces set" in said


def test_the_list_as_json_is_what_the_api_answers(aftercall: Command, api: Api) -> None:
    assert json.loads(aftercall.ok("workspaces", "list", "--json")) == api.get("/workspaces")


def test_credentials_are_set_by_option_or_when_asked_and_are_never_shown(
    aftercall: Command, api: Api
) -> None:
    said = aftercall(
        "workspaces", "set", "ws_2", "--api-key", "key-2", "--rate-limit", "90", stdin="secret-2\n"
    )
    assert said.code == 0, said
    found = api.get("/workspaces/ws_2")
    assert (found["has_credentials"], found["rate_limit"]) == (True, 90)
    asked = aftercall("workspaces", "set", "ws_3", stdin="key-3\nsecret-3\n")
    assert asked.code == 0, asked
    assert api.get("/workspaces/ws_3")["has_credentials"] is True
    as_json = aftercall.ok("workspaces", "set", "ws_2", "--rate-limit", "80", "--json")
    assert json.loads(as_json) == api.get("/workspaces/ws_2")
    listed = aftercall.ok("workspaces", "list")
    assert WORKSPACE.id in listed
    assert "ws_3" in listed
    for text in (said.said, asked.said, as_json, listed):
        assert "secret-2" not in text
        assert "secret-3" not in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ws_2", "--rate-limit", "0"), "rate_limit"),
        (("w" * 129, "--rate-limit", "5"), "128"),
        (("", "--rate-limit", "5"), "workspace_id"),
        (("ws_2", "--api-secret", "s"), "api_key"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    aftercall: Command, arguments: tuple[str, ...], says: str
) -> None:
    assert_one_line(aftercall("workspaces", "set", *arguments), says)


def test_nobody_to_ask_is_no_traceback(aftercall: Command) -> None:
    result = aftercall("workspaces", "set", "ws_2")
    assert result.code != 0
    assert "Traceback" not in result.said


def test_its_use_is_told_and_as_json_as_the_api_answers(aftercall: Command, api: Api) -> None:
    said = aftercall.ok("workspaces", "use", WORKSPACE.id)
    assert "requests in the last minute" in said
    as_json = aftercall.ok("workspaces", "use", WORKSPACE.id, "--json")
    assert json.loads(as_json) == api.get(f"/workspaces/{WORKSPACE.id}/use")
