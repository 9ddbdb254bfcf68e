"""Every endpoint of the operator's API has examples of what it takes and answers; they fit."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.app import create_app

DOCUMENT = create_app().openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if path.startswith("/api/v1")
}


def fits(example: Any, schema: dict[str, Any]) -> None:
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(example)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_its_answer_has_an_example_that_fits(name: str) -> None:
    answers = [
        content["application/json"]
        for status, answer in OPERATIONS[name]["responses"].items()
        if status.startswith("2") and "application/json" in (content := answer.get("content", {}))
    ]
    for answer in answers:
        if answer.get("schema"):
            fits(answer["example"], answer["schema"])


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_what_it_takes_has_an_example_that_fits(name: str) -> None:
    if "requestBody" not in OPERATIONS[name]:
        return
    body = OPERATIONS[name]["requestBody"]["content"]["application/json"]
    schema = body["schema"]
    examples = [body["example"]] if "example" in body else list(schema.get("examples", []))
    assert examples or "examples" in str(schema) or "examples" in body
    for example in examples:
        fits(example, schema)
