"""What a CRM's answer means: by its description's rules, and by its status where they say nothing.

Pure. A failure is certain when the CRM surely did nothing; after any other the
step is in doubt, and the CRM is asked before it is sent again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aftercall.crm.description import Description, FailureRule
from aftercall.crm.mapping import MappingError
from aftercall.crm.templates import look
from aftercall.domain.exchange import Answer, Exchange, Failure, NoAnswer
from aftercall.domain.outcomes import Blocked, Dead, DeliveryOutcome, Retry
from aftercall.domain.schedules import parse_retry_after

_LONGEST_MESSAGE = 300
#: Where nothing says how long to wait.
_LIMIT_WAIT = timedelta(seconds=15)
_MISSING = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class Good:
    """It did what it was asked; `json` is what it said, None for nothing."""

    json: Any


@dataclass(frozen=True, slots=True)
class Bad:
    """It did not, or nobody knows."""

    outcome: DeliveryOutcome
    #: It surely did nothing.
    is_certain: bool
    #: What was to be changed is not there any more.
    is_missing: bool = False
    #: It does not take our token, or our key.
    is_unauthorized: bool = False


Reading = Good | Bad


def read_answer(
    exchange: Exchange, description: Description, *, doing: str, now: datetime
) -> Reading:
    """`doing`: the step, for a person: "make the contact"."""
    match exchange:
        case Answer():
            return _read(exchange, description, doing=doing, now=now)
        case NoAnswer(failure=Failure.FORBIDDEN_ADDRESS, detail=detail):
            return Bad(
                Dead(
                    f"{doing}: {detail}. If this network is meant, allow it with "
                    "AFTERCALL_ALLOWED_PRIVATE_NETWORKS and replay"
                ),
                is_certain=True,
            )
        case NoAnswer(failure=Failure.INVALID_REQUEST, detail=detail):
            return Bad(
                Dead(f"{doing}: {detail}. Correct the destination and replay"), is_certain=True
            )
        case NoAnswer(failure=failure, detail=detail):
            return Bad(Retry(f"{doing}: {detail}"), is_certain=failure is Failure.TLS)


def _read(answer: Answer, description: Description, *, doing: str, now: datetime) -> Reading:
    said_json, is_json = _json_of(answer)
    message = _message(said_json, description.messages)
    said = f"{doing}: {description.name} answered {answer.status}"
    if message:
        said = f"{said}: {message}"
    wait = parse_retry_after(answer.retry_after, now=now)
    for rule in description.failures:
        if _fits(rule, answer.status, said_json):
            return _by_rule(rule, said_json, said=said, wait=wait)
    if 200 <= answer.status < 300:
        if answer.body and not is_json:
            return Bad(Retry(f"{said}, but not with JSON"), is_certain=False)
        return Good(said_json)
    return _by_status(answer.status, said=said, wait=wait)


def _by_rule(rule: FailureRule, said_json: Any, *, said: str, wait: timedelta | None) -> Reading:
    said = f"{said} ({rule.says})" if rule.says else said
    match rule.means:
        case "wait":
            wait = wait or timedelta(seconds=rule.seconds)
            return Bad(Blocked(said, wait, destination_waits=True), is_certain=True)
        case "retry":
            return Bad(Retry(said, wait=wait), is_certain=True)
        case "dead":
            return Bad(Dead(said), is_certain=True)
        case "credentials":
            return Bad(Retry(said, wait=wait), is_certain=True, is_unauthorized=True)
        case "missing":
            return Bad(Retry(said, wait=wait), is_certain=True, is_missing=True)
        case "done":
            return Good(said_json)


def _by_status(status: int, *, said: str, wait: timedelta | None) -> Bad:
    if status == 429:
        wait = wait or _LIMIT_WAIT
        return Bad(Blocked(said, wait, destination_waits=True), is_certain=True)
    if status == 401:
        return Bad(Retry(said, wait=wait), is_certain=True, is_unauthorized=True)
    if status in _MISSING:
        return Bad(Retry(said, wait=wait), is_certain=True, is_missing=True)
    if status == 403 or status in {409, 423, 425}:
        return Bad(Retry(said, wait=wait), is_certain=True)
    if 300 <= status < 400:
        return Bad(Dead(f"{said}: redirects are not followed"), is_certain=True)
    if 400 <= status < 500 and status != 408:
        return Bad(Dead(said), is_certain=True)
    return Bad(Retry(said, wait=wait), is_certain=False)


def _fits(rule: FailureRule, status: int, said: Any) -> bool:
    if rule.status and status not in rule.status:
        return False
    if rule.when is None:
        return True
    try:
        found = look(rule.when, said)
    except MappingError:
        return False
    return bool(found)


def _json_of(answer: Answer) -> tuple[Any, bool]:
    try:
        return json.loads(answer.body), True
    except (ValueError, RecursionError):
        return None, False


def _message(said: Any, paths: Sequence[str]) -> str:
    for path in paths:
        try:
            found = look(path, said)
        except MappingError:
            continue
        if isinstance(found, str) and found.strip():
            return " ".join(found.split())[:_LONGEST_MESSAGE]
    return ""
