"""The workflow as n8n exports it: Webhook → HTTP Request → Postgres → HTTP Request."""

import json
from itertools import pairwise
from typing import Any

_FIELDS = ("status", "direction", "callee_phone", "duration_seconds", "started_at", "ended_at")
_SAVE = f"""
INSERT INTO calls (call_id, {", ".join(_FIELDS)}, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (call_id) DO UPDATE SET
  {", ".join(f"{name} = EXCLUDED.{name}" for name in _FIELDS)},
  detail = EXCLUDED.detail, saved_at = now()
"""  # noqa: S608 - of constants


def credentials_json(*, socket_directory: str) -> str:
    data = {
        "host": socket_directory,
        "port": 5432,
        "database": "aftercall",
        "user": "postgres",
        "password": "",
        "ssl": "disable",
    }
    return json.dumps([{"id": "bench", "name": "calls", "type": "postgres", "data": data}])


def workflow_json(*, upstream_url: str, hook_url: str, workspace: str) -> str:
    """One workflow, ready for `import:workflow`."""
    nodes = [
        _node(
            "Webhook",
            "n8n-nodes-base.webhook",
            2,
            {"path": "calls", "httpMethod": "POST", "responseMode": "lastNode", "options": {}},
            webhookId="bench-calls",
        ),
        _node("Detail", "n8n-nodes-base.httpRequest", 4.2, _detail(upstream_url, workspace)),
        _node(
            "Save",
            "n8n-nodes-base.postgres",
            2.6,
            {
                "operation": "executeQuery",
                "query": _SAVE,
                "options": {"queryReplacement": _saved_values()},
            },
            credentials={"postgres": {"id": "bench", "name": "calls"}},
        ),
        _node("Hook", "n8n-nodes-base.httpRequest", 4.2, _hook(hook_url, workspace)),
    ]
    names = [node["name"] for node in nodes]
    connections = {
        name: {"main": [[{"node": following, "type": "main", "index": 0}]]}
        for name, following in pairwise(names)
    }
    workflow = {
        "id": "benchcalls",
        "name": "calls",
        "nodes": nodes,
        "connections": connections,
        "settings": {"executionOrder": "v1"},
        "active": False,
    }
    return json.dumps([workflow])


def _node(name: str, kind: str, version: float, parameters: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": f"bench-{name.lower()}",
        "name": name,
        "type": kind,
        "typeVersion": version,
        "position": [0, 0],
        "parameters": parameters,
        **more,
    }


def _detail(url: str, workspace: str) -> dict[str, Any]:
    return {
        "url": url,
        "sendQuery": True,
        "queryParameters": {
            "parameters": [{"name": "call_id", "value": "={{ $json.body.call.call_id }}"}]
        },
        "sendHeaders": True,
        "headerParameters": {
            "parameters": [
                {"name": "x-workspace-id", "value": workspace},
                {"name": "authorization", "value": "Basic YmVuY2g6YmVuY2g="},
            ]
        },
        "options": {},
    }


def _saved_values() -> str:
    values = ["$json.call.call_id", *(f"$json.call.{name}" for name in _FIELDS)]
    return "={{ [" + ", ".join([*values, "JSON.stringify($json)"]) + "] }}"


def _hook(url: str, workspace: str) -> dict[str, Any]:
    told = "$('Detail').item.json"
    members = ("call", "input_parameters", "output_parameters", "recording", "transcript")
    data = [f"call_id: {told}.call.call_id", f"workspace_id: '{workspace}'"]
    data += [f"{name}: {told}.{name}" for name in members]
    body = (
        "={{ JSON.stringify({ type: 'call.completed', "
        f"timestamp: {told}.call.ended_at, data: {{ {', '.join(data)} }} }}) }}}}"
    )
    return {
        "method": "POST",
        "url": url,
        "sendBody": True,
        "specifyBody": "json",
        "jsonBody": body,
        "options": {},
    }
