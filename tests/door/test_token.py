"""The webhook's token: given wrongly, not at all, twice, and here and there."""

import ast
from pathlib import Path

import pytest

from tests.api.server import assert_problem
from tests.conftest import ADMIN_TOKEN, WEBHOOK_TOKEN
from tests.door.server import Door
from tests.door.wire import BODY, post, said, status

ROOT = Path(__file__).resolve().parents[2]
URL = "/webhooks/twentytwo"
RIGHT = f"Bearer {WEBHOOK_TOKEN}"


@pytest.mark.parametrize(
    ("query", "authorizations", "expected"),
    [
        # One right token opens, wherever it is; what a proxy adds beside it does no harm.
        (f"?token={WEBHOOK_TOKEN}", [], 200),
        (f"?token={WEBHOOK_TOKEN}", ["Bearer wrong"], 200),
        (f"?token={WEBHOOK_TOKEN}", ["Basic d3Jvbmc6d3Jvbmc="], 200),
        ("?token=wrong", [RIGHT], 200),
        ("", [RIGHT], 200),
        ("", [f"bearer  {WEBHOOK_TOKEN} "], 200),
        # Given twice in one place it is not given: no order of the two opens.
        (f"?token=wrong&token={WEBHOOK_TOKEN}", [], 401),
        (f"?token={WEBHOOK_TOKEN}&token=wrong", [], 401),
        (f"?token={WEBHOOK_TOKEN}&token={WEBHOOK_TOKEN}", [], 401),
        ("", ["Bearer wrong", RIGHT], 401),
        ("", [RIGHT, "Bearer wrong"], 401),
        ("", [f"{RIGHT}, Bearer wrong"], 401),
        # Not where it belongs.
        ("", [], 401),
        ("?", [], 401),
        ("?token", [], 401),
        ("?token=", [], 401),
        (f"?Token={WEBHOOK_TOKEN}", [], 401),
        (f"?token[]={WEBHOOK_TOKEN}", [], 401),
        (f"?x=1;token={WEBHOOK_TOKEN}", [], 401),
        (f"?token={WEBHOOK_TOKEN}%00", [], 401),
        (f"?token={WEBHOOK_TOKEN}%20", [], 401),
        (f"?token={WEBHOOK_TOKEN}&token=", [], 401),
        (f"?token={ADMIN_TOKEN.replace(' ', '%20')}", [], 401),
        # Not ASCII, not UTF-8.
        ("?token=%D0%BA%D0%BB%D1%8E%D1%87", [], 401),
        ("?token=%ff%fe", [], 401),
        ("?token=%ED%A0%80", [], 401),
        ("", ["Bearer \xff\xfe"], 401),
        ("", ["Bearer ключ".encode().decode("latin-1")], 401),
    ],
)
def test_only_one_right_token_opens(
    door: Door, query: str, authorizations: list[str], expected: int
) -> None:
    headers = [("Authorization", one) for one in authorizations]
    answer = said(door, post(BODY, *headers, path=URL + query))
    assert status(answer) == expected, answer
    assert WEBHOOK_TOKEN.encode() not in answer
    assert len(door.api.calls()) == (1 if expected == 200 else 0)


@pytest.mark.parametrize("token", ["ключ", "\xff", "\ud800", "a" * 60_000])
def test_no_admin_token_however_odd_is_more_than_a_401(door: Door, token: str) -> None:
    raw = token.encode("utf-8", "surrogatepass").decode("latin-1")
    answer = said(door, post(b"{}", ("Authorization", f"Bearer {raw}"), path="/api/v1/calls"))
    assert status(answer) == 401, answer


def test_every_secret_is_compared_in_constant_time() -> None:
    """No `==` and no `in` between things that are named after secrets."""
    secret_names = ("token", "secret", "signature", "digest", "hmac")
    found: list[str] = []
    compared = 0
    for path in [*ROOT.glob("api/**/*.py"), *ROOT.glob("aftercall/twentytwo/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and "compare_digest" in ast.unparse(node.func):
                compared += 1
            if not isinstance(node, ast.Compare):
                continue
            sides = [ast.unparse(side).lower() for side in (node.left, *node.comparators)]
            is_named = any(name in side for side in sides for name in secret_names)
            is_none = any(side == "none" for side in sides)
            if is_named and not is_none:
                found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert found == []
    assert compared >= 2


def test_a_wrong_token_is_told_before_the_body_comes(door: Door) -> None:
    announced = ("Content-Length", "1000")
    for path in (URL, "/api/v1/calls", "/api/v1/destinations", "/api/v1/deliveries/replay"):
        json_type = ("Content-Type", "application/json")
        request = post(b"", ("Authorization", "Bearer wrong"), json_type, path=path)
        request = request.replace(b"Content-Length: 0", ": ".join(announced).encode())
        answer = said(door, request, seconds=2)
        assert status(answer) == 401, path


def test_a_body_without_the_admin_token_is_never_parsed(door: Door) -> None:
    answer = door.api.call(
        "POST",
        "/destinations",
        data=b"{",
        headers={"Authorization": "", "Content-Type": "application/json"},
    )
    assert_problem(answer, 401, "admin token")
