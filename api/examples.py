"""An example of each answer, for /docs: by the name of its schema. A test holds them to it."""

from typing import Any, Final

from fastapi import FastAPI

Json = dict[str, Any]

_DAY: Final = "2024-12-25"
_DESTINATION_ID: Final = "0193fd1c-9a50-7cc1-8a3e-5d2f8c1b7a10"
_WORKSPACE_ID: Final = "699ed3b91ee5bee389dcb6a3"


def _at(time: str) -> str:
    return f"{_DAY}T{time}Z"


_ATTEMPT: Json = {
    "number": 1,
    "started_at": _at("10:01:36"),
    "duration_ms": 143,
    "outcome": "succeeded",
    "status_code": 200,
    "reason": None,
    "response_excerpt": '{"accepted": true}',
    "next_due_at": None,
}
_DELIVERY: Json = {
    "id": "0193fd1d-02f4-7b6e-9d51-3f0a7c4e2b88",
    "call_id": "call_9c4d7e12ab",
    "workspace_id": _WORKSPACE_ID,
    "destination_id": _DESTINATION_ID,
    "destination": "Leads in the CRM",
    "type": "call.completed",
    "revision": 1,
    "state": "delivered",
    "due_at": None,
    "last_error": None,
    "created_at": _at("10:01:36"),
    "delivered_at": _at("10:01:36"),
    "attempts": [_ATTEMPT],
    "next_attempt": None,
    "kind": "webhook",
    "steps": [],
}
_MEDIA: Json = {"url": "https://storage.example.com/call_9c4d7e12ab", "expires_at": _at("23:00:00")}
_CALL: Json = {
    "call_id": "call_9c4d7e12ab",
    "workspace_id": _WORKSPACE_ID,
    "state": "fetched",
    "status": "completed",
    "direction": "outbound",
    "agent_id": "69de483c68b23495c853b43a",
    "answered_call_id": None,
    "callee_phone": "9999999999",
    "caller_phone": "8888888888",
    "duration_seconds": 94,
    "billed_duration_seconds": 94,
    "cost": {"amount": "15.67", "currency": "INR"},
    "started_at": _at("10:00:00"),
    "ended_at": _at("10:01:34"),
    "input_parameters": {"agentName": "Rohit"},
    "output_parameters": {"interested": "yes", "callback_time": "Tomorrow 11am"},
    "recording": _MEDIA,
    "transcript": None,
    "revision": 1,
    "due_at": None,
    "last_error": None,
    "received_at": _at("10:01:35"),
    "fetched_at": _at("10:01:36"),
}
_STORY: Json = {
    **_CALL,
    "attempts_spent": 1,
    "next_attempt": None,
    "look_again_at": None,
    "media": [
        {
            "kind": "recording",
            "state": "stored",
            "due_at": None,
            "attempts": 1,
            "last_error": None,
            "size_bytes": 1_503_812,
            "content_type": "audio/mpeg",
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "stored_at": _at("10:01:40"),
            "link": "https://calls.example.com/media/42/recording/mC0…",
        }
    ],
    "transcript_text": None,
    "attempts": [{**_ATTEMPT, "response_excerpt": None}],
    "events": [
        {
            "type": "call.completed",
            "event_id": "evt_5d0c2c1e-8a5e-4a52-9d5c-0d8f5c8e4f11",
            "received_at": _at("10:01:35"),
            "duplicates": 0,
            "last_duplicate_at": None,
        }
    ],
    "deliveries": [_DELIVERY],
    "not_kept": [],
    "raw": {"success": True, "call": {"call_id": "call_9c4d7e12ab", "status": "completed"}},
}
_RECONCILIATION: Json = {
    "id": "0193fd1f-6d30-7a4f-8c11-2b7d9e0f5a66",
    "workspace_id": _WORKSPACE_ID,
    "kind": "periodic",
    "state": "done",
    "since": "2024-12-22T06:00:00Z",
    "until": None,
    "page": 13,
    "pages_read": 14,
    "calls_seen": 1290,
    "already_known": 1204,
    "missing": 3,
    "under_way": 2,
    "outside": 81,
    "unreadable": 0,
    "total": None,
    "last_error": None,
    "note": None,
    "due_at": None,
    "created_at": _at("12:00:00"),
    "finished_at": _at("12:00:21"),
}
_PLACE: Json = {"where": "call_payloads", "column": "input_parameters", "count": 1}
_ELSEWHERE: Json = {
    "destination_id": _DESTINATION_ID,
    "destination": "Leads in the CRM",
    "kind": "webhook",
    "delivered": ["0193fd1d-02f4-7b6e-9d51-3f0a7c4e2b88"],
    "perhaps": [],
    "records": [{"step": "person", "remote_id": "20615"}],
}
_DESTINATION: Json = {
    "id": _DESTINATION_ID,
    "name": "Leads in the CRM",
    "kind": "webhook",
    "url": "https://crm.example.com/hooks/calls",
    "workspace_id": None,
    "enabled": True,
    "disabled_reason": None,
    "events": ["call.completed", "call.failed", "call.updated"],
    "filter": "output_parameters.interested == 'yes'",
    "mapping": None,
    "headers": {"X-Api-Key": "********"},
    "sync": None,
    "credentials": {},
    "timeout_seconds": 15,
    "max_in_flight": 32,
    "rate_limit_per_second": None,
    "failing_since": None,
    "failures_in_a_row": 0,
    "paused_until": None,
    "old_secret_until": None,
    "waiting": 0,
    "held": 0,
    "created_at": _at("09:00:00"),
    "updated_at": _at("09:00:00"),
}
_WORKSPACE: Json = {
    "workspace_id": _WORKSPACE_ID,
    "has_credentials": True,
    "credentials_from": "stored",
    "rate_limit": 60,
    "is_blocked": False,
    "blocked_until": None,
    "block_reason": None,
    "region": "IN",
    "time_zone": "Asia/Kolkata",
}
_REPLAY: Json = {
    "id": "0193fd20-6b1e-7f0a-8c4d-9e2b1a7d3c55",
    "state": "running",
    "conditions": {"state": "dead", "destination_id": _DESTINATION_ID},
    "total": 12_480,
    "done": 3_000,
    "created_at": _at("12:00:00"),
    "finished_at": None,
}
_FAILURE: Json = {
    "kind": "delivery",
    "state": "dead",
    "workspace_id": None,
    "destination_id": _DESTINATION_ID,
    "destination": "Leads in the CRM",
    "reason": "the hook answered 422",
    "count": 17,
    "oldest_at": _at("08:00:00"),
    "newest_at": _at("11:00:00"),
    "cure": "The CRM does not understand the body: compare its answer with the mapping, correct "
    "one of them, then replay.",
    "is_removed": False,
}
_ACTIVITY: Json = {"since": _at("00:00:00"), "received": 412, "saved": 410, "delivered": 409}
_WAITING: Json = {"count": 2, "due": 1, "oldest_due_at": _at("11:59:58"), "oldest_due_seconds": 2.1}
_USE: Json = {**_WORKSPACE, "used_now": 12}
_HEALTH: Json = {
    "id": _DESTINATION_ID,
    "name": "Leads in the CRM",
    "enabled": True,
    "disabled_reason": None,
    "breaker": "closed",
    "is_failing": False,
    "failing_since": None,
    "paused_until": None,
    "attempts": 412,
    "succeeded": 409,
    "success_rate": 0.993,
    "p50_ms": 118,
    "p95_ms": 640,
    "waiting": 1,
    "sending": 0,
    "dead": 1,
    "held": 0,
}


def _page(*items: Json, **more: Any) -> Json:
    return {"items": list(items), "next_cursor": None, **more}


#: By the schema of the answer.
ANSWERS: Final[dict[str, Any]] = {
    "AcceptedView": {"received": 2, "duplicates": 0},
    "CallStory": _STORY,
    "PageBothWays_CallView_": _page({**_CALL, "attempts": 1}, previous_cursor=None),
    "DeliveryView": _DELIVERY,
    "PageBothWays_DeliveryView_": _page(_DELIVERY, previous_cursor=None),
    "DestinationView": _DESTINATION,
    "Page_DestinationView_": _page(_DESTINATION),
    "NewDestinationView": {
        **_DESTINATION,
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    },
    "TestView": {
        "outcome": "succeeded",
        "status_code": 200,
        "duration_ms": 143,
        "reason": None,
        "response_excerpt": '{"accepted": true}',
        "checks": [],
    },
    "Page_KindView_": _page(
        {
            "kind": "hubspot",
            "name": "HubSpot",
            "api": "https://api.hubapi.com",
            "api_hint": "",
            "credentials": [
                {"key": "token", "label": "Access token", "hint": "…", "required": True}
            ],
            "options": [],
            "objects": ["contact"],
        }
    ),
    "Page_CrmFieldView_": _page(
        {
            "field": "hs_lead_status",
            "label": "Lead status",
            "type": "enumeration",
            "read_only": False,
            "choices": ["NEW", "OPEN"],
        }
    ),
    "BackfillView": {"looked_at": 100, "wanted": 64, "queued": 60},
    "PreviewView": {
        "faults": [],
        "calls": [
            {
                "call_id": "call_9c4d7e12ab",
                "workspace_id": _WORKSPACE_ID,
                "type": "call.completed",
                "is_wanted": True,
                "reason": None,
                "body": {"phone": "9999999999"},
                "headers": {"Content-Type": "application/json"},
                "plan": None,
            }
        ],
        "unmapped": [],
        "sources": ["output_parameters.interested"],
    },
    "FailuresView": {**_page(_FAILURE), "is_complete": True},
    "ReplayPreviewView": {
        "total": 17,
        "destinations": [
            {
                "destination_id": _DESTINATION_ID,
                "destination": "Leads in the CRM",
                "enabled": True,
                "count": 17,
            }
        ],
    },
    "ReplayView": {"replayed": 12_480, "replay": _REPLAY},
    "RequestView": {
        "method": "POST",
        "url": "https://crm.example.com/hooks/calls",
        "headers": {"webhook-id": "0193fd1d-02f4-7b6e-9d51-3f0a7c4e2b88"},
        "body": {"phone": "9999999999"},
        "fault": None,
    },
    "ReplayProgressView": _REPLAY,
    "Page_ReplayProgressView_": _page(_REPLAY),
    "WorkspaceView": _WORKSPACE,
    "ReconciliationView": _RECONCILIATION,
    "Page_ReconciliationView_": _page(_RECONCILIATION),
    "Page_WorkspaceView_": _page(_WORKSPACE),
    "WorkspaceUseView": _USE,
    "WorkspaceCheckView": {
        "workspace_id": _WORKSPACE_ID,
        "works": True,
        "status_code": 404,
        "message": "Twenty2 takes the key and the secret",
        "cure": None,
    },
    "Page_AuditView_": _page(
        {
            "id": 7,
            "at": _at("09:00:00"),
            "actor": "admin",
            "via": "console",
            "address": "203.0.113.7",
            "action": "destination.created",
            "subject": _DESTINATION_ID,
            "detail": {"name": "Leads in the CRM"},
        }
    ),
    "PersonView": {
        "ending": "9999",
        "mark": "5f0c6b1d2e9a4477",
        "calls": 2,
        "first_call_at": _at("10:01:35"),
        "last_call_at": _at("16:20:02"),
        "under_way": 0,
        "held": {"calls": 2, "call_payloads": 2, "deliveries": 2, "attempts": 4},
        "files": 4,
        "spooled": 0,
        "mentions": [_PLACE],
        "elsewhere": [_ELSEWHERE],
        "calls_to_fetch": 0,
    },
    "ForgottenView": {
        "ending": "9999",
        "mark": "5f0c6b1d2e9a4477",
        "is_complete": True,
        "began_at": _at("17:00:00"),
        "ended_at": _at("17:00:03"),
        "erased": {"calls": 2, "call_payloads": 2, "deliveries": 2, "attempts": 4},
        "files": 4,
        "spooled": 0,
        "redacted": [_PLACE],
        "left": [],
        "elsewhere": [_ELSEWHERE],
        "calls_to_fetch": 0,
        "remarks": ["Sound is not looked into"],
    },
    "StatsView": {
        "calls": {"queued": 2, "fetching": 0, "fetched": 410, "dead": 1},
        "deliveries": {"queued": 1, "delivered": 409, "dead": 1},
        "due_calls": 1,
        "due_deliveries": 0,
        "oldest_due_call_at": _at("11:59:58"),
        "oldest_due_delivery_at": None,
        "newest_event_at": _at("12:00:00"),
    },
    "OverviewView": {
        "at": _at("12:00:00"),
        "window": "24h",
        "is_well": False,
        "is_complete": True,
        "today": _ACTIVITY,
        "last_24h": _ACTIVITY,
        "last_7d": _ACTIVITY,
        "last_30d": _ACTIVITY,
        "series_step_seconds": 1800,
        "series": [_ACTIVITY],
        "waiting_calls": _WAITING,
        "waiting_deliveries": {**_WAITING, "oldest_due_at": None, "oldest_due_seconds": None},
        "workspaces": [_USE],
        "destinations": [_HEALTH],
        "failures": [_FAILURE],
        "newest_event_at": _at("12:00:00"),
    },
}
#: Of requests whose routes have none of their own.
REQUESTS: Final[dict[str, Any]] = {
    "POST /api/v1/calls": {"call_ids": ["call_9c4d7e12ab"], "workspace_id": _WORKSPACE_ID},
    "POST /api/v1/calls/{call_id}/replay": {"destination_id": _DESTINATION_ID},
    "PATCH /api/v1/destinations/{destination_id}": {"timeout_seconds": 20},
    "POST /api/v1/destinations/preview": {"mapping": "{phone: call.callee_phone}", "count": 3},
    "POST /api/v1/deliveries/replay/preview": {"state": "dead", "destination_id": _DESTINATION_ID},
    "POST /api/v1/deliveries/replay": {"state": "dead", "destination_id": _DESTINATION_ID},
    "POST /api/v1/people/find": {"phone": "+91 98765 43210"},
    "POST /api/v1/people/export": {"phone": "98765 43210", "region": "IN"},
    "POST /api/v1/people/forget": {"phone": "+91 98765 43210", "confirm": True},
    "PUT /api/v1/workspaces/{workspace_id}": {
        "api_key": "the key",
        "api_secret": "the secret",
        "rate_limit": 60,
    },
}


def install_examples(app: FastAPI) -> None:
    """The OpenAPI document has them."""
    plain = app.openapi

    def with_examples() -> Json:
        document = plain()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _add(operation, f"{method.upper()} {path}")
        return document

    app.openapi = with_examples  # type: ignore[method-assign]


def _add(operation: Json, name: str) -> None:
    for answer in operation.get("responses", {}).values():
        content = answer.get("content", {}).get("application/json", {})
        schema = str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]
        if schema in ANSWERS:
            content["example"] = ANSWERS[schema]
    if name in REQUESTS:
        body = operation["requestBody"]["content"]["application/json"]
        body.setdefault("example", REQUESTS[name])
