"""JSON that is there to break its reader, for the webhook and for every body of the operator's.

Which bodies there are is read from the OpenAPI document, so that a new route is
among them.
"""

import json
import uuid

import pytest
import requests

from aftercall.crm.destination_spec import DestinationSpec
from tests.api.server import Json
from tests.door.server import Door
from tests.door.wire import HOOK

#: Of the processor's time: on a busy machine the clock would measure the neighbours.
SOON = 2.0
MANY = 60_000
ID = str(uuid.UUID(int=1))
BOMBS = {
    "nested lists": b'{"call_id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "nested and unfinished": b'{"a":[' * 100_000,
    "a huge integer": b'{"call_id": "c", "rate_limit": ' + b"9" * 1_000_000 + b"}",
    "a huge fraction": b'{"call_id": "c", "rate_limit": 0.' + b"9" * 1_000_000 + b"}",
    "a huge exponent": b'{"call_id": "c", "rate_limit": 1e999999999999, "timeout_seconds": 1E400}',
    "a huge string": b'{"call_id": "' + b"x" * 1_000_000 + b'"}',
    "escapes only": b'{"call_id": "' + b"\\u0041" * 170_000 + b'"}',
    "many keys": json.dumps({f"k{n}": n for n in range(MANY)}).encode(),
    "many empty lists": b'{"call_ids": [' + b"[]," * 300_000 + b"[]]}",
    "many equal keys": b"{" + b'"call_id": "c",' * MANY + b'"call_id": "c"}',
    "keys that collide": json.dumps({str(n << 61): n for n in range(30_000)}).encode(),
    "a duplicate key": b'{"call_id": "first", "call_id": "second", "name": "a", "name": "b"}',
    "NaN": b'{"call_id": "c", "rate_limit": NaN, "timeout_seconds": NaN, "name": NaN}',
    "infinities": b'{"call_id": "c", "rate_limit": Infinity, "timeout_seconds": -Infinity}',
    "a lone surrogate": b'{"call_id": "\\ud800", "name": "\\udfff", "workspace_id": "\\ud83d"}',
    "a lone surrogate in a key": b'{"\\ud800": 1, "call_id": "c"}',
    "NUL": b'{"call_id": "a\\u0000b", "name": "a\\u0000b", "workspace_id": "\\u0000"}',
    "NUL in a key": b'{"\\u0000": 1, "call_id": "c"}',
    "a raw NUL": b'{"call_id": "a\x00b"}',
    "nothing but NULs": b"\x00" * 10_000,
    "UTF-16": '{"call_id": "c"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"call_id": "c"}'.encode("utf-16-le"),
    "UTF-32": '{"call_id": "c"}'.encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + b'{"call_id": "c"}',
    "an overlong slash": b'{"call_id": "\xc0\xaf"}',
    "half a character": b'{"call_id": "\xe0\xa4"}',
    "CESU surrogates": b'{"call_id": "\xed\xa0\xbd\xed\xb8\x80"}',
}


@pytest.fixture(scope="module")
def bodies(_door: Door) -> list[tuple[str, str]]:
    """Method and path of every operation that takes a body, the webhook first."""
    paths = _door.api.open("/openapi.json").json()["paths"]
    found = [
        (
            method.upper(),
            path.replace("{workspace_id}", "ws_1")
            .replace("{destination_id}", ID)
            .replace("{call_id}", "call_1"),
        )
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "requestBody" in operation and path.startswith("/api/v1")
    ]
    assert len(found) >= 5
    assert not [path for _, path in found if "{" in path]
    return [("POST", HOOK), *found]


def send(door: Door, method: str, path: str, raw: bytes) -> requests.Response:
    """It must be no failure of ours, and be answered soon."""
    headers = {"Content-Type": "application/json"}
    before = door.processor_seconds()
    if path == HOOK:
        answer = door.api.webhook(raw=raw, headers=headers)
    else:
        below = path.removeprefix("/api/v1")
        answer = door.api.call(method, below, data=raw, headers=headers)
    seconds = door.processor_seconds() - before
    assert answer.status_code < 500, (method, path, answer.text[:500])
    assert seconds < SOON, (method, path, seconds)
    assert len(answer.content) < 2 * len(raw) + 64 * 1024, "the answer is a bomb itself"
    return answer


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_body_makes_it_fail_or_think_for_long(
    door: Door, bodies: list[tuple[str, str]], bomb: str
) -> None:
    for method, path in bodies:
        answer = send(door, method, path, BOMBS[bomb])
        if not answer.ok:
            assert answer.headers["content-type"] == "application/problem+json"
            json.loads(answer.content.decode("utf-8"))
    # What was stored can be shown.
    for path in ("/calls", "/destinations", "/deliveries", "/workspaces", "/stats"):
        door.api.get(path)


def test_of_two_equal_keys_the_last_one_counts(door: Door) -> None:
    answer = send(door, "POST", HOOK, BOMBS["a duplicate key"])
    assert answer.json() == {"received": 1, "duplicates": 0}
    assert [call["call_id"] for call in door.api.calls()] == ["second"]


STRINGS = {
    "NUL": "a\0b",
    "a lone surrogate": "a\ud800b",
    "a line break": "a\nb",
    "an escape sequence": "a\x1b[31mb",
    "a direction mark": "a\u202eb",
    "a noncharacter": "a\uffffb",
    "a million letters": "x" * 900_000,
    "a number": 10**400,
    "a negative number": -(10**30),
    "a small fraction": 1e-300,
    "a list": [[[]]],
    "an object": {"a": {}},
    "true": True,
    "nothing": None,
}
DESTINATION: Json = {"name": "leads", "url": "https://crm.example.com/hook"}
FIELDS: list[tuple[str, str, Json, str]] = [
    *[("POST", "/destinations", DESTINATION, field) for field in DestinationSpec.model_fields],
    ("POST", "/destinations", {**DESTINATION, "headers": {}}, "headers.X-Key"),
    ("PUT", "/workspaces/ws_1", {"api_key": "k", "api_secret": "s"}, "api_key"),
    ("PUT", "/workspaces/ws_1", {"api_key": "k", "api_secret": "s"}, "api_secret"),
    ("PUT", "/workspaces/ws_1", {}, "rate_limit"),
    ("POST", "/calls", {}, "call_ids"),
    ("POST", "/calls", {"call_ids": ["c"]}, "workspace_id"),
    *[
        ("POST", "/deliveries/replay", {"state": "dead"}, field)
        for field in ("state", "destination_id", "since", "until")
    ],
]


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [pytest.param(*one, id=f"{one[1]} {one[3]}") for one in FIELDS],
)
def test_no_value_in_any_field_makes_it_fail(
    door: Door, method: str, path: str, body: Json, field: str
) -> None:
    outer, _, inner = field.partition(".")
    for value in STRINGS.values():
        for given in (value, [value]):
            filled = {**body, outer: {inner: given} if inner else given}
            send(door, method, f"/api/v1{path}", json.dumps(filled).encode())
    for shown in ("/destinations", "/workspaces", "/calls"):
        door.api.get(shown)


EXPRESSIONS = {
    "brackets": "[" * 50_000,
    "parentheses": "(" * 50_000 + "a" + ")" * 50_000,
    "negations": "!" * 100_000 + "a",
    "dots": ".".join(["a"] * 50_000),
    "pipes": "|".join(["a"] * 50_000),
    "ors": "||".join(["a"] * 50_000),
    "objects": "{a:" * 20_000 + "b" + "}" * 20_000,
    "a literal": "`" + "[" * 50_000 + "]" * 50_000 + "`",
    "a huge index": "a[" + "9" * 100_000 + "]",
    "functions": "not_null(" * 20_000 + "a" + ")" * 20_000,
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_no_expression_makes_it_fail_or_think_for_long(door: Door, expression: str) -> None:
    for field in ("filter", "mapping"):
        body = {**DESTINATION, field: EXPRESSIONS[expression]}
        send(door, "POST", "/api/v1/destinations", json.dumps(body).encode())
