"""What the document says and the API did otherwise, each fault once; found by Schemathesis."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.server import Api, Json, assert_problem


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/calls", "GET, POST"),
        ("OPTIONS", "/destinations", "GET, POST"),
        ("PUT", "/destinations/018f0000-0000-7000-8000-000000000000", "DELETE, GET, PATCH"),
        ("DELETE", "/workspaces/ws_1", "GET, PUT"),
        ("GET", "/deliveries/replay", "POST"),
    ],
)
def test_a_405_names_all_methods_of_the_path_and_not_those_of_one_route(
    api: Api, method: str, path: str, allowed: str
) -> None:
    answer = api.call(method, path)
    assert_problem(answer, 405)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("moment", ["0", "1700000000", "0.5", "1e9"])
def test_a_bare_number_is_no_moment(api: Api, moment: str) -> None:
    for path in ("/calls?since=", "/calls?until="):
        assert_problem(api.call("GET", path + moment), 422, "2024-12-25T10:00:00Z")
    for value in (moment, float(moment)):
        answer = api.call("POST", "/deliveries/replay", json={"since": value})
        assert_problem(answer, 422, at="body.since")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timeout_seconds", "15"),
        ("timeout_seconds", True),
        ("max_in_flight", "2"),
        ("rate_limit_per_second", "5"),
        ("enabled", "no"),
        ("enabled", 0),
    ],
)
def test_a_text_that_looks_like_a_number_or_a_truth_is_none(
    api: Api, add_destination: Callable[..., Json], field: str, value: Any
) -> None:
    made = add_destination()
    answer = api.call("PATCH", f"/destinations/{made['id']}", json={field: value})
    assert_problem(answer, 422, at=field)
    new = {"name": "two", "url": "http://127.0.0.1:9/", field: value}
    assert_problem(api.call("POST", "/destinations", json=new), 422, at=f"body.{field}")


def test_a_whole_number_may_be_written_with_its_point(
    api: Api, add_destination: Callable[..., Json]
) -> None:
    assert add_destination(timeout_seconds=20.0)["timeout_seconds"] == 20
    assert api.put("/workspaces/ws_2", {"rate_limit": 60.0})["rate_limit"] == 60
    assert_problem(api.call("PUT", "/workspaces/ws_2", json={"rate_limit": "60"}), 422)


def test_a_workspace_that_no_header_can_name_is_refused_when_it_is_set(api: Api) -> None:
    # Else each of its calls would be asked for in vain, ten times.
    answer = api.call("PUT", "/workspaces/कॉल", json={"rate_limit": 1})
    assert_problem(answer, 422, at="workspace_id")


def test_the_examples_in_the_document_are_taken_as_they_stand(api: Api) -> None:
    document = api.open("/openapi.json").json()
    tried = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None or "{" in path:
                continue
            for example in _examples(document, content):
                answer = api.call(method.upper(), path.removeprefix("/api/v1"), json=example)
                if not path.startswith("/api/v1"):
                    answer = api.webhook(example)
                assert answer.ok, (path, answer.text)
                tried += 1
    assert tried >= 6


def _examples(document: Json, content: Json) -> list[Any]:
    schema = content["schema"]
    examples = [example["value"] for example in content.get("examples", {}).values()]
    examples += schema.get("examples", [])
    if "$ref" in schema:
        named = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        examples += named.get("examples", [])
    return examples
