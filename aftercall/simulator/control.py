"""The simulator's own routes, under /_simulator/ on either side, for when it runs by itself.

`GET report` on both. On the fake Twenty2: `POST calls`, which makes calls and
sends their webhooks, and `POST faults`. On the fake CRM: `POST hooks` and
`POST faults`. A request that makes no sense is answered 400, and told what is wrong.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from math import inf
from typing import Any, Final, TypeVar, overload

from aftercall.simulator.crm import FakeCrm
from aftercall.simulator.exchange import HttpRequest, Reply
from aftercall.simulator.faults import Fault, PlannedFault
from aftercall.simulator.report import Report
from aftercall.simulator.twentytwo import FakeTwentyTwo

T = TypeVar("T")
_MOST_CALLS: Final = 100_000


class _BadRequestError(ValueError):
    """The text says which member of the body is wrong."""


def control_twentytwo(
    request: HttpRequest, twentytwo: FakeTwentyTwo, report: Callable[[], Report]
) -> Reply:
    """Answer a request under /_simulator/ on the fake Twenty2."""
    routes = {
        ("GET", "report"): lambda: asdict(report()),
        ("POST", "calls"): lambda: _make_calls(_body(request), twentytwo),
        ("POST", "faults"): lambda: _plan_call_faults(_body(request), twentytwo),
    }
    return _route(request, routes)


def control_crm(request: HttpRequest, crm: FakeCrm, report: Callable[[], Report]) -> Reply:
    """Answer a request under /_simulator/ on the fake CRM."""
    routes = {
        ("GET", "report"): lambda: asdict(report()),
        ("POST", "hooks"): lambda: _add_hook(_body(request), crm),
        ("POST", "faults"): lambda: _plan_hook_faults(_body(request), crm),
    }
    return _route(request, routes)


def _route(
    request: HttpRequest, routes: dict[tuple[str, str], Callable[[], dict[str, Any]]]
) -> Reply:
    do = routes.get((request.method, request.path.removeprefix("/_simulator/")))
    if do is None:
        return _json(404, {"error": "no such route"})
    try:
        return _json(200, do())
    except (ValueError, KeyError) as error:
        return _json(400, {"error": str(error)})


def _make_calls(body: dict[str, Any], twentytwo: FakeTwentyTwo) -> dict[str, Any]:
    """`{"count", "workspace_id"?, "ready_after_seconds"?, "webhook_url"?, "per_second"?,
    "duplicate_rate"?, "hmac_secret"?}`: makes the calls now, sends in the background."""
    count = _member(body, "count", int, default=1)
    if not 1 <= count <= _MOST_CALLS:
        raise _BadRequestError(f"count must be between 1 and {_MOST_CALLS}")
    url = _member(body, "webhook_url", str)
    per_second = _number(body, "per_second")
    duplicate_rate = _number(body, "duplicate_rate") or 0.0
    hmac_secret = _member(body, "hmac_secret", str)
    call_ids = twentytwo.make_calls(
        count,
        workspace_id=_member(body, "workspace_id", str),
        ready_after_seconds=_number(body, "ready_after_seconds") or 0.0,
    )
    if url is not None:
        twentytwo.webhooks.send_all_in_background(
            call_ids,
            url=url,
            per_second=per_second,
            duplicate_rate=duplicate_rate,
            hmac_secret=hmac_secret,
        )
    return {"call_ids": call_ids}


def _plan_call_faults(body: dict[str, Any], twentytwo: FakeTwentyTwo) -> dict[str, Any]:
    """`{"rate", "faults"}`, or `{"faults", "call_id"?}` for the next requests."""
    faults = _faults(body)
    if (rate := _number(body, "rate")) is not None:
        twentytwo.fail_at_rate(rate, faults)
    elif (call_id := _member(body, "call_id", str)) is not None:
        twentytwo.fail_next(call_id, *faults)
    else:
        twentytwo.fail_next_requests(*faults)
    return {"planned": len(faults)}


def _plan_hook_faults(body: dict[str, Any], crm: FakeCrm) -> dict[str, Any]:
    """`{"hook", "rate", "faults"}`, or `{"hook", "faults", "call_id"?}` for the next requests."""
    name = _member(body, "hook", str, default="")
    faults = _faults(body)
    try:
        hook = crm.hook(name)
    except KeyError:
        raise _BadRequestError(f"no hook {name!r}") from None
    if (rate := _number(body, "rate")) is not None:
        hook.fail_at_rate(rate, faults)
    elif (call_id := _member(body, "call_id", str)) is not None:
        hook.fail_next_for_call(call_id, *faults)
    else:
        hook.fail_next(*faults)
    return {"planned": len(faults)}


def _add_hook(body: dict[str, Any], crm: FakeCrm) -> dict[str, Any]:
    """`{"name", "secret"}` or `{"name", "secrets"}`; an existing hook gets the new secrets."""
    name = _member(body, "name", str, default="")
    secret = _member(body, "secret", str)
    secrets = _member(body, "secrets", list, default=[] if secret is None else [secret])
    if not all(isinstance(one, str) for one in secrets):
        raise _BadRequestError("secrets must be strings")
    try:
        crm.hook(name).set_secrets(*secrets)
    except KeyError:
        crm.add_hook(name, *secrets)
    return {"url": crm.hook_url(name)}


def _faults(body: dict[str, Any]) -> list[PlannedFault]:
    """`"faults"`: each a kind, or `{"kind", "seconds"?, "retry_after"?, …}` as `PlannedFault`."""
    planned = []
    for fault in _member(body, "faults", list, default=[]):
        if isinstance(fault, str):
            planned.append(PlannedFault(Fault(fault)))
        elif isinstance(fault, dict):
            planned.append(_planned(fault))
        else:
            raise _BadRequestError("a fault is a kind, or an object with a kind")
    return planned


def _planned(fault: dict[str, Any]) -> PlannedFault:
    return PlannedFault(
        Fault(_member(fault, "kind", str, default="")),
        seconds=_number(fault, "seconds"),
        retry_after=_member(fault, "retry_after", str, default="1"),
        second_envelope=_member(fault, "second_envelope", bool, default=False),
        status_inside=_member(fault, "status_inside", int, default=500),
    )


def _body(request: HttpRequest) -> dict[str, Any]:
    body = json.loads(request.body or b"{}")
    if not isinstance(body, dict):
        raise _BadRequestError("the body must be a JSON object")
    return body


@overload
def _member(body: dict[str, Any], name: str, kind: type[T]) -> T | None: ...
@overload
def _member(body: dict[str, Any], name: str, kind: type[T], *, default: T) -> T: ...
def _member(
    body: dict[str, Any], name: str, kind: type[T], *, default: T | None = None
) -> T | None:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _BadRequestError(f"{name} must be a JSON {_JSON_NAMES[kind]}")
    return value


def _number(body: dict[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
        raise _BadRequestError(f"{name} must be a number, and not negative")
    return float(value)


_JSON_NAMES: Final[dict[type, str]] = {
    int: "integer",
    str: "string",
    bool: "boolean",
    list: "array",
}


def _json(status: int, body: dict[str, Any]) -> Reply:
    return Reply(status=status, body=json.dumps(body).encode())
