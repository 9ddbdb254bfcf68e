"""What the fake Twenty2 says about a call: its detail, its line in the logs, its webhook.

Shapes follow the provider's page "Get Call Detail" for the answers, and its other
public pages for the webhook and the older spellings. `spoil` applies the faults of content.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from aftercall.simulator.calls import SimulatedCall, iso
from aftercall.simulator.faults import Fault

JsonObject = dict[str, Any]

UNKNOWN_STATUS: Final = "voicemail_left"
NESTED_LEVELS: Final = 3000
_DEEP_TEXT: Final = "(the simulator puts nested lists here)"
_DEEP_MARK: Final = json.dumps(_DEEP_TEXT).encode()


def detail(call: SimulatedCall, *, status: str | None = None) -> JsonObject:
    """The true answer of /call/detail. `status`: the one shown while the call is under way."""
    under_way = status is not None
    answer: JsonObject = {
        "success": True,
        "call": {
            "call_id": call.call_id,
            "agent_id": call.agent_id,
            "status": status or call.status,
            "direction": call.direction,
            "callee_phone": call.callee_phone,
            "caller_phone": call.caller_phone,
            "duration_seconds": 0 if under_way else call.duration_seconds,
            "billed_duration_seconds": 0 if under_way else call.billed_duration_seconds,
            "cost": None if under_way else call.cost,
            "started_at": call.started_at,
            "ended_at": None if under_way else call.ended_at,
        },
        "input_parameters": call.input_parameters,
        "output_parameters": {} if under_way else call.output_parameters,
        "recording": None if under_way else call.recording,
        "transcript": None if under_way else call.transcript,
    }
    return {name: value for name, value in answer.items() if name not in call.omitted}


def log_line(call: SimulatedCall, *, status: str | None = None) -> JsonObject:
    """The call as /call/logs lists it: without the billed duration."""
    line: JsonObject = detail(call, status=status)["call"]
    del line["billed_duration_seconds"]
    return line


def webhook(call: SimulatedCall, *, event: str | None, event_id: str) -> JsonObject:
    """The provider's webhook. `event` None: the one that fits the call's status."""
    fitting = "call.completed" if call.connected else "call.failed"
    has_recording = call.recording is not None and "recording" not in call.omitted
    return {
        "event": event or fitting,
        "event_id": event_id,
        "timestamp": iso(datetime.now(UTC)),
        "workspace_id": call.workspace_id,
        "assistant_id": call.agent_id,
        "assistant_name": call.agent_name,
        "call": {
            "call_id": call.call_id,
            "direction": call.direction,
            "status": call.status,
            "from_number": call.caller_phone,
            "to_number": call.callee_phone,
            "started_at": call.started_at,
            "answered_at": call.answered_at,
            "ended_at": call.ended_at,
            "duration_seconds": call.duration_seconds,
            "billed_duration_seconds": call.billed_duration_seconds,
            "call_cost_inr": _rupees(call.cost),
            "disconnection_reason": call.disconnection_reason,
        },
        "campaign": _campaign(call),
        "contact": {
            "phone_number": call.callee_phone,
            "input_variables": call.input_parameters or {},
        },
        "output_variables": call.output_parameters or {},
        "recording": {
            "available": has_recording,
            "url": call.recording.get("url") if has_recording and call.recording else None,
        },
        "transcript": {"available": call.transcript is not None},
    }


def other_id(call_id: str) -> str:
    """The id that OTHER_ID puts into an answer: always the same one for a call."""
    return "call_" + hashlib.blake2b(call_id.encode("utf-8", "replace"), digest_size=5).hexdigest()


def spoil(answer: JsonObject, faults: Iterable[Fault]) -> JsonObject:
    """The detail with these content faults, in order; other kinds of fault change nothing."""
    for fault in faults:
        if fault in _SPOILERS:
            answer = _SPOILERS[fault](answer)
    return answer


def encode(answer: JsonObject) -> bytes:
    """JSON in UTF-8 as the provider sends it; escaped where UTF-8 could not hold it."""
    try:
        encoded = json.dumps(answer, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        encoded = json.dumps(answer).encode()
    # Spliced in, because json.dumps itself gives up long before 3,000 levels.
    return encoded.replace(_DEEP_MARK, b"[" * NESTED_LEVELS + b"]" * NESTED_LEVELS)


def _missing_fields(answer: JsonObject) -> JsonObject:
    call = answer["call"]
    return {"success": True, "call": {"call_id": call["call_id"], "status": call["status"]}}


def _null_fields(answer: JsonObject) -> JsonObject:
    kept = ("call_id", "status")
    call = {name: value if name in kept else None for name, value in answer["call"].items()}
    nothing = dict.fromkeys(("input_parameters", "output_parameters", "recording", "transcript"))
    return {"success": True, "call": call, **nothing}


def _other_id(answer: JsonObject) -> JsonObject:
    call = answer["call"]
    return {**answer, "call": {**call, "call_id": other_id(call["call_id"])}}


def _other_spelling(answer: JsonObject) -> JsonObject:
    call = {_OLDER_NAMES.get(name, name): value for name, value in answer["call"].items()}
    if "cost" in call:
        call["call_cost_inr"] = _rupees(call.pop("cost"))
    return {
        _OLDER_NAMES.get(name, name): call if name == "call" else value
        for name, value in answer.items()
    }


_OLDER_NAMES: Final = {
    "agent_id": "assistant_id",
    "callee_phone": "to_number",
    "caller_phone": "from_number",
    "input_parameters": "input_variables",
    "output_parameters": "output_variables",
}


def _unknown_status(answer: JsonObject) -> JsonObject:
    return {**answer, "call": {**answer["call"], "status": UNKNOWN_STATUS, "ended_at": None}}


def _unknown_status_ended(answer: JsonObject) -> JsonObject:
    ended_at = answer["call"].get("ended_at") or "2024-12-25T10:01:34Z"
    return {**answer, "call": {**answer["call"], "status": UNKNOWN_STATUS, "ended_at": ended_at}}


def _unknown_fields(answer: JsonObject) -> JsonObject:
    call = {**answer["call"], "sentiment": {"score": 0.8}, "tags": ["hot", None, 3]}
    return {**answer, "call": call, "analysis": [{"turn": 1}], "schema_version": 7}


def _nul_in_text(answer: JsonObject) -> JsonObject:
    return _with_outputs(answer, {"notes": "before\u0000after", "reaction": "half \ud83d a smile"})


def _deep_json(answer: JsonObject) -> JsonObject:
    return _with_outputs(answer, {"nested": _DEEP_TEXT})


def _with_outputs(answer: JsonObject, more: JsonObject) -> JsonObject:
    return {**answer, "output_parameters": {**(answer.get("output_parameters") or {}), **more}}


_SPOILERS: Final[dict[Fault, Callable[[JsonObject], JsonObject]]] = {
    Fault.MISSING_FIELDS: _missing_fields,
    Fault.NULL_FIELDS: _null_fields,
    Fault.OTHER_ID: _other_id,
    Fault.OTHER_SPELLING: _other_spelling,
    Fault.UNKNOWN_STATUS: _unknown_status,
    Fault.UNKNOWN_STATUS_ENDED: _unknown_status_ended,
    Fault.UNKNOWN_FIELDS: _unknown_fields,
    Fault.NUL_IN_TEXT: _nul_in_text,
    Fault.DEEP_JSON: _deep_json,
}


def _rupees(cost: str | None) -> float | None:
    try:
        return float(cost.split()[0]) if cost else None
    except ValueError:
        return None


def _campaign(call: SimulatedCall) -> JsonObject | None:
    if call.campaign_name is None:
        return None
    campaign_id = hashlib.blake2b(call.campaign_name.encode(), digest_size=12).hexdigest()
    return {"campaign_id": campaign_id, "campaign_name": call.campaign_name}
