"""docs/reference/api.md: every route with what it takes and answers, from the OpenAPI document."""

import json
from collections.abc import Iterator
from typing import Any

from api.app import app
from api.problems import PROBLEMS
from tools.reference_markdown import MADE, joined, table

Json = dict[str, Any]

_INTRODUCTION = (
    "Every route with its parameters, bodies and answers, as `/openapi.json` says them. What they "
    "are for, with examples: [reference](../reference.md#http)."
)
_FAULTS_INTRODUCTION = (
    "Under `/api/v1` every route may answer with one of these, as a problem document (RFC 9457). "
    "They are not named again at each."
)
_FAULTS = {str(status): str(problem["description"]) for status, problem in PROBLEMS.items()}
_LIMITS = {
    "minimum": "at least {:,}",
    "exclusiveMinimum": "more than {:,}",
    "maximum": "at most {:,}",
    "exclusiveMaximum": "less than {:,}",
    "minLength": "{:,} or more characters",
    "maxLength": "{:,} characters at most",
    "minItems": "{:,} or more",
    "maxItems": "{:,} at most",
}


def api_page() -> str:
    """The whole page."""
    document = app.openapi()
    routes = [
        _route(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = [
        _schema(name, schema)
        for name, schema in sorted(document.get("components", {}).get("schemas", {}).items())
    ]
    return joined(
        "# The API, field by field",
        MADE,
        _INTRODUCTION,
        "## Routes",
        *routes,
        "## Faults",
        _FAULTS_INTRODUCTION,
        table(["answer", "meaning"], _FAULTS.items()),
        "## Bodies and answers",
        *schemas,
    )


def _route(method: str, path: str, operation: Json) -> str:
    parameters = [
        [f"`{one['name']}`", one["in"], form(one["schema"]), _default(one), _words(one)]
        for one in operation.get("parameters", [])
    ]
    return joined(
        f"### {method.upper()} `{path}`",
        operation.get("description") or operation.get("summary", ""),
        table(["parameter", "in", "form", "default", "meaning"], parameters),
        *_body(operation.get("requestBody")),
        table(["answer", "body", "meaning"], _answers(operation["responses"])),
    ).rstrip()


def _default(parameter: Json) -> str:
    if parameter.get("required"):
        return "required"
    default = parameter["schema"].get("default")
    return "" if default is None else f"`{json.dumps(default)}`"


def _words(described: Json) -> str:
    return str(described.get("description") or described.get("schema", {}).get("description", ""))


def _body(body: Json | None) -> Iterator[str]:
    if body is not None:
        for kind, content in body["content"].items():
            yield f"Body, `{kind}`: {form(content.get('schema', {}))}."


def _answers(responses: Json) -> Iterator[list[str]]:
    for status, response in responses.items():
        if status in _FAULTS and response.get("description") == _FAULTS[status]:
            continue
        contents = response.get("content", {})
        bodies = [
            f"`{kind}`" if not content.get("schema") else form(content["schema"])
            for kind, content in contents.items()
        ]
        yield [status, " or ".join(dict.fromkeys(bodies)), response.get("description", "")]


def _schema(name: str, schema: Json) -> str:
    required = set(schema.get("required", []))
    rows = [
        [
            f"`{field}`",
            form(one),
            "required" if field in required else _default({"schema": one}),
            _words(one),
        ]
        for field, one in schema.get("properties", {}).items()
    ]
    fields = table(["field", "form", "default", "meaning"], rows) or f"{form(schema)}."
    return joined(f"### {name}", str(schema.get("description", "")), fields).rstrip()


def form(schema: Json) -> str:
    """What may stand there, in words; a schema with a name is linked."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(form(one) for one in schema[key]))
    if "const" in schema:
        return f"`{json.dumps(schema['const'], ensure_ascii=False)}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(one, ensure_ascii=False)}`" for one in schema["enum"])
    return ", ".join([_kind(schema), *_limits(schema)])


def _kind(schema: Json) -> str:
    match schema.get("type"):
        case "array":
            return f"list of {form(schema.get('items', {}))}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"object of {form(schema['additionalProperties'])}"
        case "string":
            return {"date-time": "time", "uuid": "uuid", "uri": "URL"}.get(
                schema.get("format", ""), "text"
            )
        case "integer":
            return "whole number"
        case "boolean":
            return "true or false"
        case None:
            return "anything"
        case other:
            return str(other)


def _limits(schema: Json) -> Iterator[str]:
    for key, words in _LIMITS.items():
        if key in schema:
            yield words.format(schema[key])
