"""How a fault looks on the wire, for either side.

Not here: faults of content (`payloads.spoil`), and when a fault happens (`faults`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from aftercall.simulator.exchange import Manner, Reply
from aftercall.simulator.faults import CONTENT_FAULTS, Fault, PlannedFault

HUGE_BODY_BYTES: Final = 6 * 1024 * 1024 + 1
REDIRECT_TARGET: Final = "/redirected"
"""Where redirects lead. A request counted here came from a client that followed one."""

ErrorReply = Callable[[int, PlannedFault], Reply]
"""What a side answers with an error status: its own envelope around it."""

_STATUS_OF: Final = {
    Fault.BAD_REQUEST: 400,
    Fault.UNAUTHORIZED: 401,
    Fault.FORBIDDEN: 403,
    Fault.NOT_FOUND: 404,
    Fault.METHOD_NOT_ALLOWED: 405,
    Fault.REQUEST_TIMEOUT: 408,
    Fault.CONFLICT: 409,
    Fault.GONE: 410,
    Fault.CONTENT_TOO_LARGE: 413,
    Fault.UNSUPPORTED_MEDIA_TYPE: 415,
    Fault.UNPROCESSABLE: 422,
    Fault.TOO_EARLY: 425,
    Fault.RATE_LIMITED: 429,
    Fault.RATE_LIMITED_WITHOUT_RETRY_AFTER: 429,
    Fault.SERVER_ERROR: 500,
    Fault.BAD_GATEWAY: 502,
    Fault.UNAVAILABLE: 503,
    Fault.GATEWAY_TIMEOUT: 504,
    Fault.MOVED: 301,
    Fault.FOUND: 302,
}
_SAYS_RETRY_AFTER: Final = {Fault.RATE_LIMITED, Fault.UNAVAILABLE}
_REDIRECTS: Final = {Fault.MOVED, Fault.FOUND}

_BODY_OF: Final = {
    Fault.NOT_JSON: b"<!DOCTYPE html><html><body><h1>Down for maintenance</h1></body></html>",
    Fault.EMPTY: b"",
    Fault.JSON_LIST: b'[{"success": true}]',
    Fault.JSON_NULL: b"null",
}


def faulty_reply(
    fault: PlannedFault, *, truth: Callable[[], Reply], error_reply: ErrorReply
) -> Reply:
    """The reply that this fault makes of the true answer.

    `truth` is called only where the request has its effect
    (`FAULTS_AFTER_THE_EFFECT`). A content fault leaves the reply as it is.
    """
    kind = fault.kind
    if (status := _STATUS_OF.get(kind)) is not None:
        return _with_fault_headers(error_reply(status, fault), fault)
    if (body := _BODY_OF.get(kind)) is not None:
        content_type = "text/html" if kind is Fault.NOT_JSON else "application/json"
        truth()
        return Reply(body=body, content_type=content_type)
    if kind is Fault.RESET:
        return Reply(manner=Manner.RESET)
    if kind is Fault.HANG:
        return Reply(manner=Manner.HANG)
    if kind is Fault.SUCCESS_FALSE:
        return replace(error_reply(fault.status_inside, fault), status=200)
    return _true_but(fault, truth())


def _true_but(fault: PlannedFault, truth: Reply) -> Reply:
    match fault.kind:
        case Fault.SLOW:
            return replace(truth, delay_seconds=1.0 if fault.seconds is None else fault.seconds)
        case Fault.DRIP:
            pause = 0.05 if fault.seconds is None else fault.seconds
            return replace(truth, manner=Manner.DRIP, drip_seconds=pause)
        case Fault.LOST_ANSWER:
            return replace(truth, manner=Manner.RESET)
        case Fault.TRUNCATED:
            return replace(truth, manner=Manner.TRUNCATED)
        case Fault.HUGE:
            return replace(truth, body=_padded(truth.body))
        case kind if kind in CONTENT_FAULTS:
            return truth
        case kind:
            raise AssertionError(f"nobody wrote how {kind} looks")


def _with_fault_headers(reply: Reply, fault: PlannedFault) -> Reply:
    if fault.kind in _SAYS_RETRY_AFTER:
        return replace(reply, headers={**reply.headers, "Retry-After": fault.retry_after})
    if fault.kind in _REDIRECTS:
        return replace(reply, headers={**reply.headers, "Location": REDIRECT_TARGET})
    return reply


def _padded(json_object: bytes) -> bytes:
    """The same JSON object with one more member, so long that the whole is too big."""
    return json_object.rstrip()[:-1] + b', "padding": "' + b"x" * HUGE_BODY_BYTES + b'"}'
