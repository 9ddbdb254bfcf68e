"""POST /webhooks/twentytwo: check, read, store, answer. The one asynchronous route."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from aftercall.flows.accept_events import NoWorkspace
from aftercall.twentytwo.inbound import (
    MAX_IDS,
    NoCallId,
    NotJson,
    is_right_token,
    is_signed,
    read_notice,
)
from api.paths import WEBHOOK as PATH
from api.problems import Problem
from api.receiver import NotStored, Receiver
from api.request_line import request_id_of, seen_of

router = APIRouter()

_EXAMPLES: dict[str, Any] = {
    "Twenty2's webhook": {
        "value": {
            "event": "call.completed",
            "event_id": "evt_1c0e…",
            "workspace_id": "699ed3b91ee5bee389dcb6a3",
            "call": {"call_id": "call_9c4d7e12ab", "status": "completed"},
        }
    },
    "one id": {"value": {"call_id": "call_9c4d7e12ab"}},
    "many ids": {"value": {"call_ids": ["call_9c4d7e12ab", "call_77aa01bc23"]}},
}
#: Visible ASCII at both ends: what a schema can say of an id.
_ID = {"type": "string", "pattern": "^[!-~]([ -~]{0,126}[!-~])?$"}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"workspace_id": {"anyOf": [_ID, {"type": "null"}]}},
    # The first that is there counts.
    "anyOf": [
        {
            "properties": {
                "call_ids": {"type": "array", "items": _ID, "minItems": 1, "maxItems": MAX_IDS}
            },
            "required": ["call_ids"],
        },
        {"properties": {"call_id": _ID, "call_ids": False}, "required": ["call_id"]},
        {
            "properties": {
                "call": {"type": "object", "properties": {"call_id": _ID}, "required": ["call_id"]},
                "call_id": False,
                "call_ids": False,
            },
            "required": ["call"],
        },
    ],
}


@router.post(
    PATH,
    summary="Takes the webhook that a call has ended",
    description="200 once it is stored. `received` counts the call ids in the request, "
    "`duplicates` those of them that were known already.",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _SCHEMA, "examples": _EXAMPLES}},
        },
        "parameters": [
            {
                "name": "token",
                "in": "query",
                "schema": {"type": "string"},
                "description": "AFTERCALL_WEBHOOK_TOKEN; or as `Authorization: Bearer`",
            }
        ],
    },
    responses={
        400: {"description": "The body is not JSON"},
        401: {"description": "Wrong token or signature"},
        408: {"description": "The body did not come in time"},
        413: {"description": "The body is over 1 MiB"},
        422: {"description": "No valid call id in it"},
        503: {"description": "It could not be stored: send it again"},
    },
)
async def receive_webhook(request: Request) -> JSONResponse:
    state = request.app.state
    receiver: Receiver = state.receiver
    seen = seen_of(request.scope)
    # The token first: nobody without it makes us read a body.
    in_url = _only(request.query_params.getlist("token"))
    if not is_right_token(in_url, bearer(request), token=state.webhook_token):
        seen.reason = "token"
        raise Problem(401, "The token is missing or wrong: put it in the URL as ?token=…")
    body = await request.body()
    signature = _only(request.headers.getlist("x-twenty2-signature"))
    if state.hmac_secret is not None and not is_signed(
        body, signature=signature, secret=state.hmac_secret
    ):
        seen.reason = "signature"
        raise Problem(401, "The x-twenty2-signature is missing or does not fit the body")
    try:
        seen.notice = notice = read_notice(body)
        receipt = await receiver.receive(
            notice, body, request_id=request_id_of(request.scope), trace=seen.trace
        )
    except NotJson as error:
        seen.reason = "not_json"
        raise Problem(400, str(error)) from None
    except (NoCallId, NoWorkspace) as error:
        seen.reason = "no_call_id" if isinstance(error, NoCallId) else "no_workspace"
        raise Problem(422, str(error)) from None
    except NotStored:
        raise Problem(503, "It could not be stored; send it again", {"Retry-After": "5"}) from None
    seen.received, seen.duplicates = receipt.received, receipt.duplicates
    seen.webhook_id, seen.accepted = receipt.webhook_id, receipt.accepted
    seen.kept_in = receipt.kept_in
    return JSONResponse({"received": receipt.received, "duplicates": receipt.duplicates})


def bearer(request: Request) -> str | None:
    """The token of `Authorization: Bearer …`."""
    authorization = _only(request.headers.getlist("authorization")) or ""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _only(given: Sequence[str]) -> str | None:
    """What is given twice is not given: which one counts is not for its order to say."""
    return given[0] if len(given) == 1 else None
