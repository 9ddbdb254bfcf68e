"""Twenty2's webhook, inbound: is it who it should be, and which calls does it name?

The check is the token in the URL or the header; an HMAC of the body as well
when a secret for it is configured. Shapes: docs/twentytwo.md.
"""

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from typing import Any

from aftercall.domain.unseen import CONTROLS, UNSEEN

MAX_ID_LENGTH = 128
#: So many are stored within a second or two; more would hold up the webhooks behind them.
MAX_IDS = 10_000
_MAX_TYPE_LENGTH = 100
_MAX_EVENT_ID_LENGTH = 200
_CONTROL = re.compile(rf"[{CONTROLS}{UNSEEN}\ud800-\udfff]")


class NotJson(Exception):
    """The body is not JSON. The message says why, for the sender."""


class NoCallId(Exception):
    """The body names no call, or names it wrongly. The message says where, for the sender."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What one webhook says."""

    call_ids: tuple[str, ...]
    workspace_id: str | None
    #: None for a bare id.
    type: str | None
    event_id: str | None


def is_right_token(*given: str | None, token: str) -> bool:
    """Whether one of those given is the token. Takes the same time whichever byte differs."""
    expected = token.encode()
    matches = [
        hmac.compare_digest(candidate.encode("utf-8", "surrogateescape"), expected)
        for candidate in given
        if candidate is not None
    ]
    return any(matches)


def is_signed(body: bytes, *, signature: str | None, secret: str) -> bool:
    """`x-twenty2-signature: sha256=<hex HMAC-SHA256 of the raw body>`."""
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    given = (signature or "").strip().lower()
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def read_notice(body: bytes) -> Notice:
    """The calls that a webhook's body names; NotJson or NoCallId."""
    try:
        parsed = json.loads(body, parse_int=_some_number)
    except RecursionError:
        raise NotJson("The body is JSON nested too deeply") from None
    except ValueError:
        raise NotJson("The body is not JSON") from None
    if not isinstance(parsed, dict):
        raise NoCallId("The body is not a JSON object with a call_id in it")
    return Notice(
        call_ids=_call_ids(parsed),
        workspace_id=_workspace_id(parsed),
        type=_clean(parsed.get("event"), _MAX_TYPE_LENGTH),
        event_id=_clean(parsed.get("event_id"), _MAX_EVENT_ID_LENGTH),
    )


def _some_number(_digits: str) -> int:
    # Which one is of no interest, and Python refuses to read very long ones.
    return 0


@dataclass(frozen=True, slots=True)
class Parties:
    """Between whom a call was, as a webhook says it: the person's numbers, and our own side's."""

    person: tuple[str, ...] = field(default=(), repr=False)
    own: tuple[str, ...] = field(default=(), repr=False)
    #: Whether the direction told them apart; else our own side is among the person's numbers.
    is_told: bool = True


def read_parties(body: bytes) -> Parties:
    """Of a webhook with a call in it; nobody when it names none."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return Parties()
    if not isinstance(parsed, dict):
        return Parties()
    call, contact = parsed.get("call"), parsed.get("contact")
    call = call if isinstance(call, dict) else parsed
    contact = contact if isinstance(contact, dict) else {}
    sides = person_and_own(
        call.get("direction"),
        callee=call.get("to_number") or call.get("callee_phone"),
        caller=call.get("from_number") or call.get("caller_phone"),
    )
    named = contact.get("phone_number")
    person = tuple(str(one) for one in (*sides.person, named) if one)
    return Parties(person=person, own=sides.own, is_told=sides.is_told)


def person_and_own(direction: object, *, callee: object, caller: object) -> Parties:
    """Who is who. When the direction is not known, either may be the person."""
    to, by = (tuple(str(one) for one in (side,) if one) for side in (callee, caller))
    match str(direction or "").strip().lower():
        case "outbound":
            return Parties(person=to, own=by)
        case "inbound":
            return Parties(person=by, own=to)
        case _:
            return Parties(person=(*to, *by), is_told=False)


def check_call_id(value: Any, *, at: str) -> str:
    """The id without surrounding space; NoCallId that names the place otherwise."""
    return _check_id(value, at=at)


def check_workspace_id(value: Any) -> str:
    """The id without surrounding space; NoCallId when it is none that a request can carry."""
    workspace_id = _check_id(value, at="workspace_id")
    if not workspace_id.isascii():
        raise NoCallId("workspace_id has characters that no header can carry to Twenty2")
    if workspace_id in (".", ".."):
        # In an address these are folders: no page and no route could ever be asked for it.
        raise NoCallId(f"workspace_id is {workspace_id!r}, which no address can name")
    return workspace_id


def _call_ids(parsed: dict[str, Any]) -> tuple[str, ...]:
    if "call_ids" in parsed:
        ids = parsed["call_ids"]
        if not isinstance(ids, list) or not ids:
            raise NoCallId("call_ids is not a list with at least one id in it")
        if len(ids) > MAX_IDS:
            raise NoCallId(f"call_ids has more than {MAX_IDS} ids: send them in parts")
        return tuple(_check_id(value, at=f"call_ids[{index}]") for index, value in enumerate(ids))
    if "call_id" in parsed:
        return (_check_id(parsed["call_id"], at="call_id"),)
    call = parsed.get("call")
    if isinstance(call, dict) and "call_id" in call:
        return (_check_id(call["call_id"], at="call.call_id"),)
    raise NoCallId("There is no call_id, call_ids or call.call_id in the body")


def _workspace_id(parsed: dict[str, Any]) -> str | None:
    value = parsed.get("workspace_id")
    if value is None:
        return None
    return check_workspace_id(value)


def _check_id(value: Any, *, at: str) -> str:
    if not isinstance(value, str):
        raise NoCallId(f"{at} is not a string")
    trimmed = value.strip()
    if not trimmed:
        raise NoCallId(f"{at} is empty")
    if len(trimmed) > MAX_ID_LENGTH:
        raise NoCallId(f"{at} is longer than {MAX_ID_LENGTH} characters")
    if _CONTROL.search(trimmed):
        raise NoCallId(f"{at} has control characters in it")
    return trimmed


def _clean(value: Any, length: int) -> str | None:
    if not isinstance(value, str) or not value or _CONTROL.search(value):
        return None
    return value[:length]
