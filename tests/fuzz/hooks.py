"""What Schemathesis is told of this API that its OpenAPI document cannot say. Runs inside `st`."""

import base64
import itertools
import uuid
from ipaddress import IPv4Address
from typing import Any

import schemathesis
from requests import PreparedRequest
from requests.auth import AuthBase

_ADDRESSES = itertools.count(int(IPv4Address("10.0.0.0")))

#: Whether a name leads to a public address, a text is JMESPath, a workspace is known, a header
#: is ours to set: no schema can tell. A body that should be good gets values that are.
_GOOD_FIELDS: dict[str, Any] = {
    # Nobody listens there: a test of a hook ends at once, and goes nowhere.
    "url": "http://127.0.0.1:9/hook",
    "filter": "output_parameters.interested == 'yes'",
    "mapping": "{phone: call.callee_phone}",
    "workspace_id": None,
    "headers": {"X-Api-Key": "a key"},
    # Which credentials and settings a CRM takes depends on its kind.
    "kind": "webhook",
    "sync": None,
    "credentials": {},
}
#: Which cursors a list has answered is not for a schema to say either.
_A_NUMBER = base64.urlsafe_b64encode(b"1000").decode().rstrip("=")
_GOOD_CURSORS = {
    "/api/v1/audit": base64.urlsafe_b64encode(b"older.1000").decode().rstrip("="),
    "/api/v1/calls": base64.urlsafe_b64encode(b"older.1700000000000000.1000").decode().rstrip("="),
    "/api/v1/deliveries": base64.urlsafe_b64encode(f"older.{uuid.UUID(int=1)}".encode()).decode(),
    "/api/v1/reconciliations": base64.urlsafe_b64encode(
        f"older.{uuid.UUID(int=1)}".encode()
    ).decode(),
}


class _From(AuthBase):
    """Behind a proxy each client has an address of its own, and its own thirty wrong guesses."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["X-Forwarded-For"] = self._address
        return request


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]
) -> None:
    address = str(IPv4Address(next(_ADDRESSES)))
    if case.meta is None or not case.meta.generation.mode.is_positive:
        # Not among the case's own headers: what is wrong may be that one of them is missing.
        kwargs["auth"] = _From(address)
        return
    case.headers["X-Forwarded-For"] = address
    if "cursor" in case.query and case.path in _GOOD_CURSORS:
        case.query["cursor"] = _GOOD_CURSORS[case.path]
    if case.path == "/api/v1/calls/{call_id}/replay":
        # One that is there, though not saved: 409 says more than 404.
        case.path_parameters["call_id"] = "call_1"
        case.query.pop("workspace_id", None)
    if case.path == "/api/v1/destinations/{destination_id}/fields":
        case.path_parameters["destination_id"] = str(uuid.UUID(int=2))
    if "replay_id" in case.path_parameters:
        case.path_parameters["replay_id"] = str(uuid.UUID(int=1))
    if "reconciliation_id" in case.path_parameters:
        case.path_parameters["reconciliation_id"] = str(uuid.UUID(int=3))
    if case.path == "/api/v1/workspaces/{workspace_id}" and isinstance(case.body, dict):
        good = {"region": "IN", "time_zone": "Asia/Kolkata"}
        case.body.update({name: good[name] for name in case.body if name in good})
    if case.path.startswith("/api/v1/people") and isinstance(case.body, dict):
        # What is a phone number is for the world's numbering plans to say.
        good = {"phone": "+91 98715 32305", "region": "IN"}
        case.body.update({name: good[name] for name in case.body if name in good})
    if case.path.startswith("/api/v1/destinations") and isinstance(case.body, dict):
        case.body.update({name: _GOOD_FIELDS[name] for name in case.body if name in _GOOD_FIELDS})
