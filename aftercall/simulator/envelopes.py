"""The two envelopes in which Twenty2 reports an error."""

import json
from collections.abc import Mapping
from typing import Any, Final

from aftercall.simulator.exchange import Reply
from aftercall.simulator.faults import PlannedFault

_CODES: Final = {
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "CALL_NOT_FOUND",
    422: "INVALID_NUMBER",
    429: "RATE_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
}
"""The documented codes; another status gets `HTTP_<status>`."""


def first_envelope(status: int, message: str, *, headers: Mapping[str, str] | None = None) -> Reply:
    """`{"success": false, "error": {"code", "message", "status"}}`."""
    code = _CODES.get(status, f"HTTP_{status}")
    error = {"code": code, "message": message, "status": status}
    return _reply(status, {"success": False, "error": error}, headers)


def second_envelope(status: int, message: str, *, problems: Mapping[str, list[str]]) -> Reply:
    """`{"success": false, "statusCode", "message", "validationErrors"}`."""
    body = {
        "success": False,
        "statusCode": status,
        "message": message,
        "validationErrors": dict(problems),
    }
    return _reply(status, body, None)


def fault_envelope(status: int, fault: PlannedFault) -> Reply:
    """The error that a planned fault asks for, in the envelope that it asks for."""
    message = f"Simulated {fault.kind}."
    if fault.second_envelope:
        return second_envelope(status, message, problems={"call_id": [message]})
    return first_envelope(status, message)


def _reply(status: int, body: dict[str, Any], headers: Mapping[str, str] | None) -> Reply:
    return Reply(status=status, body=json.dumps(body).encode(), headers=headers or {})
