"""What every route has in common: the token, problem documents, the OpenAPI page, huge bodies."""

import json
import re
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator

from tests.api.server import Api, Json, assert_problem
from tests.api.test_webhooks import chunked, padded

ID = "018f0000-0000-7000-8000-000000000000"
#: Method, path below /api/v1, and what OpenAPI calls the path.
ROUTES = [
    ("GET", "/calls", "/calls"),
    ("POST", "/calls", "/calls"),
    ("GET", "/calls/call_1", "/calls/{call_id}"),
    ("POST", "/calls/call_1/refetch", "/calls/{call_id}/refetch"),
    ("POST", "/calls/call_1/refetch-media", "/calls/{call_id}/refetch-media"),
    ("POST", "/calls/call_1/revoke-links", "/calls/{call_id}/revoke-links"),
    ("GET", "/destinations", "/destinations"),
    ("POST", "/destinations", "/destinations"),
    ("GET", f"/destinations/{ID}", "/destinations/{destination_id}"),
    ("PATCH", f"/destinations/{ID}", "/destinations/{destination_id}"),
    ("DELETE", f"/destinations/{ID}", "/destinations/{destination_id}"),
    ("POST", f"/destinations/{ID}/test", "/destinations/{destination_id}/test"),
    ("POST", f"/destinations/{ID}/enable", "/destinations/{destination_id}/enable"),
    ("POST", f"/destinations/{ID}/disable", "/destinations/{destination_id}/disable"),
    ("POST", f"/destinations/{ID}/rotate-secret", "/destinations/{destination_id}/rotate-secret"),
    ("GET", "/deliveries", "/deliveries"),
    ("GET", f"/deliveries/{ID}", "/deliveries/{delivery_id}"),
    ("POST", f"/deliveries/{ID}/replay", "/deliveries/{delivery_id}/replay"),
    ("POST", "/deliveries/replay", "/deliveries/replay"),
    ("GET", "/workspaces", "/workspaces"),
    ("GET", "/workspaces/ws_1", "/workspaces/{workspace_id}"),
    ("PUT", "/workspaces/ws_1", "/workspaces/{workspace_id}"),
    ("GET", "/audit", "/audit"),
    ("GET", "/stats", "/stats"),
    ("GET", "/stats/overview", "/stats/overview"),
    ("POST", "/calls/call_1/replay", "/calls/{call_id}/replay"),
    ("GET", "/calls.csv", "/calls.csv"),
    ("POST", "/destinations/preview", "/destinations/preview"),
    ("GET", "/destinations/kinds", "/destinations/kinds"),
    ("GET", f"/destinations/{ID}/fields", "/destinations/{destination_id}/fields"),
    ("POST", f"/destinations/{ID}/backfill", "/destinations/{destination_id}/backfill"),
    ("GET", f"/deliveries/{ID}/request", "/deliveries/{delivery_id}/request"),
    ("GET", "/workspaces/ws_1/use", "/workspaces/{workspace_id}/use"),
    ("POST", "/workspaces/ws_1/check", "/workspaces/{workspace_id}/check"),
    ("POST", "/workspaces/ws_1/release", "/workspaces/{workspace_id}/release"),
    ("GET", "/deliveries/groups", "/deliveries/groups"),
    ("POST", "/deliveries/replay/preview", "/deliveries/replay/preview"),
    ("GET", "/replays", "/replays"),
    ("GET", f"/replays/{ID}", "/replays/{replay_id}"),
    ("POST", f"/replays/{ID}/cancel", "/replays/{replay_id}/cancel"),
    ("GET", "/reconciliations", "/reconciliations"),
    ("GET", f"/reconciliations/{ID}", "/reconciliations/{reconciliation_id}"),
    ("POST", f"/reconciliations/{ID}/cancel", "/reconciliations/{reconciliation_id}/cancel"),
    ("POST", "/workspaces/ws_1/reconciliations", "/workspaces/{workspace_id}/reconciliations"),
    ("POST", "/people/find", "/people/find"),
    ("POST", "/people/export", "/people/export"),
    ("POST", "/people/forget", "/people/forget"),
]
BODIES = [(method, path) for method, path, _ in ROUTES if method in ("PATCH", "PUT")] + [
    ("POST", "/calls"),
    ("POST", "/destinations"),
    ("POST", "/deliveries/replay"),
    ("POST", "/deliveries/replay/preview"),
    ("POST", "/people/find"),
    ("POST", "/people/forget"),
]
NOBODY = {"Authorization": ""}


# ---- the token ---------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "_"), ROUTES)
def test_every_route_wants_the_admin_token(api: Api, method: str, path: str, _: str) -> None:
    for authorization in (
        "",
        "Bearer wrong",
        "Bearer ",
        "Bearer the-webhook-token-of-the-tests",
        "Basic the admin token of the tests",
    ):
        answer = api.call(method, path, headers={"Authorization": authorization}, json={})
        problem = assert_problem(answer, 401, "admin token")
        assert "the admin token of the tests" not in str(problem)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    answer = api.call(method, f"{path}?token=the admin token of the tests", headers=NOBODY, json={})
    assert answer.status_code == 401


def test_a_wrong_token_is_told_before_the_body_is_read(api: Api) -> None:
    answer = api.call("POST", "/destinations", data=b"{", headers=NOBODY)
    assert_problem(answer, 401)


# ---- problem documents -------------------------------------------------------


@pytest.mark.parametrize("path", ["/nothing", "/api/v1", "/api/v1/nothing", "/api/v2/calls"])
def test_a_path_that_leads_nowhere_is_a_404_problem(api: Api, path: str) -> None:
    assert_problem(api.open(path), 404)


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/calls"), ("PUT", "/destinations"), ("POST", "/stats")]
)
def test_a_method_that_a_route_does_not_have_is_a_405_problem(
    api: Api, method: str, path: str
) -> None:
    assert_problem(api.call(method, path), 405)


@pytest.mark.parametrize(("method", "path"), BODIES)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"name": "\xff"}',
        b"[" * 100_000,
        b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"call_ids": [' + b"[" * 500 + b"]" * 500 + b"]}",
        b"1" * 10_000,
        b'{"name": NaN, "call_ids": [Infinity], "state": -Infinity}',
    ],
)
def test_a_body_that_is_no_sensible_json_is_a_problem_and_no_failure(
    api: Api, method: str, path: str, body: bytes
) -> None:
    answer = api.call(method, path, data=body, headers={"Content-Type": "application/json"})
    problem = assert_problem(answer, answer.status_code)
    assert problem["status"] in (400, 404, 422), problem


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_body_over_the_cap_is_a_413_announced_or_chunked(
    api: Api, method: str, path: str
) -> None:
    body = padded(1024 * 1024 + 1)
    assert_problem(api.call(method, path, data=body), 413, "byte")
    parts = urlsplit(api.origin)
    head = (
        f"{method} /api/v1{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Authorization: Bearer the admin token of the tests\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(head.encode() + chunked(body))
        first_line = connection.recv(65_536).partition(b"\r\n")[0]
    assert b" 413 " in first_line


def test_a_huge_but_permitted_body_is_a_problem_within_seconds(api: Api) -> None:
    ids = ["x" * 90] * 10_000
    answer = api.call("POST", "/calls", data=json.dumps({"call_ids": ids}).encode())
    assert answer.status_code in (202, 422)
    many_fields = {f"field_{number}": 1 for number in range(50_000)}
    answer = api.call("POST", "/destinations", json=many_fields)
    assert_problem(answer, 422)
    assert len(answer.content) < 1024 * 1024


# ---- the OpenAPI document ----------------------------------------------------


@pytest.fixture
def openapi(api: Api) -> Json:
    found: Json = api.open("/openapi.json").json()
    return found


def test_the_openapi_document_names_each_route(openapi: Json) -> None:
    named = {
        (method.upper(), path) for path, methods in openapi["paths"].items() for method in methods
    }
    expected = {(method, f"/api/v1{path}") for method, _, path in ROUTES}
    expected |= {
        ("POST", "/webhooks/twentytwo"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    }
    assert named >= expected


def test_the_openapi_document_is_valid(openapi: Json) -> None:
    assert openapi["openapi"].startswith("3.1")
    assert openapi["info"]["title"]
    assert openapi["info"]["version"]
    for name, schema in openapi["components"]["schemas"].items():
        assert schema, name
        Draft202012Validator.check_schema(schema)
    for reference in _references(openapi):
        target: Any = openapi
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
    operations = [
        (path, operation)
        for path, methods in openapi["paths"].items()
        for operation in methods.values()
    ]
    ids = [operation["operationId"] for _, operation in operations]
    assert len(ids) == len(set(ids))
    for path, operation in operations:
        in_path = {
            parameter["name"]
            for parameter in operation.get("parameters", [])
            if parameter["in"] == "path"
        }
        assert in_path == set(re.findall(r"\{(\w+)\}", path)), path
        assert all("description" in answer for answer in operation["responses"].values()), path


def test_the_operators_routes_say_that_they_want_the_token(openapi: Json) -> None:
    for path, methods in openapi["paths"].items():
        for operation in methods.values():
            assert bool(operation.get("security")) == path.startswith("/api/v1"), path


def test_the_openapi_document_tells_how_errors_look(openapi: Json) -> None:
    """They are problem documents, and not FastAPI's own HTTPValidationError."""
    for path, methods in openapi["paths"].items():
        for operation in methods.values():
            if "422" in operation["responses"] and path.startswith("/api/v1"):
                content = operation["responses"]["422"].get("content", {})
                assert set(content) == {"application/problem+json"}, path


def test_the_docs_page_is_there(api: Api) -> None:
    answer = api.open("/docs")
    assert answer.ok
    assert "text/html" in answer.headers["content-type"]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for item in value.values() for found in _references(item)]
    if isinstance(value, list):
        return [found for item in value for found in _references(item)]
    return []
