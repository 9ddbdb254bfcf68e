"""Reads the answer of `GET /call/detail`, in both spellings and both error envelopes.

Lenient: one odd value never costs the call; what cannot be read becomes None
and stays in `raw`. Follows `get-call-detail` and the older pages that
contradict it (docs/twentytwo.md).
"""

import json
import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json, to_json

from aftercall.domain.exchange import Exchange, NoAnswer
from aftercall.domain.outcomes import Found, Reading, Refused, Unreadable
from aftercall.domain.schedules import parse_retry_after
from aftercall.domain.work import CallDetail, Media, Parameters

#: For the codes of the first envelope, when it brings no number.
_STATUS_OF_CODE = {
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "CALL_NOT_FOUND": 404,
    "RATE_LIMIT_EXCEEDED": 429,
    "INVALID_ASSISTANT": 422,
    "INVALID_NUMBER": 422,
    "INTERNAL_ERROR": 500,
}
_MAX_INT = 2**31 - 1
#: Python converts no more, lest it take for ever.
_MAX_DIGITS = 4_300
#: What is saved is shown again, and pydantic shows nothing that is deeper than 254.
_MAX_DEPTH = 200
#: What PostgreSQL's jsonb does not take, escaped or not.
_UNSTORABLE = re.compile(r"\\u0000|\\u[dD]|[\ud800-\udfff]")
_COST = re.compile(r"(?:([A-Z]{3})\s*)?(-?\d{1,12}(?:\.\d{1,6})?)\s*([A-Z]{3})?")


def read_answer(exchange: Exchange, *, now: datetime) -> tuple[Reading, CallDetail | None]:
    """What Twenty2 said; the detail goes with `Found` only."""
    body = read_body(exchange, now=now)
    if not isinstance(body, dict):
        return body, None
    if not isinstance(body.get("call"), dict):
        return Unreadable("there is no call in it"), None
    detail = _read_call(body)
    return Found(detail.status, has_ended=bool(body["call"].get("ended_at"))), detail


def read_body(exchange: Exchange, *, now: datetime) -> Parameters | Refused | Unreadable | NoAnswer:
    """The JSON object of a good answer, whatever it is about; else why there is none."""
    if isinstance(exchange, NoAnswer):
        return exchange
    retry_after = parse_retry_after(exchange.retry_after, now=now)
    if exchange.body_was_cut:
        parsed: Any = Unreadable("it is longer than 5 MiB")
    else:
        parsed = parse_json(exchange.body)
    body: Parameters = parsed if isinstance(parsed, dict) else {}
    if not 200 <= exchange.status < 300:
        message = _error_in(body)[1]
        return Refused(exchange.status, message, retry_after)
    if isinstance(parsed, Unreadable):
        return parsed
    if body.get("success") is False:
        status, message = _error_in(body)
        if status is None:
            return Unreadable(f"success is false, without an error {message}".strip())
        return Refused(status, message, retry_after)
    return body


def parse_json(body: bytes) -> Any:
    """The JSON value, fit to be stored; Unreadable when it is none."""
    try:
        return _parse_plain(body)
    except ValueError:
        return _parse_any(body)


def _parse_plain(body: bytes) -> Any:
    """As good as every answer, in a third of the time; ValueError for what needs a closer look.

    Whole numbers of any length stay what they are, which not every fast parser grants.
    """
    if b"\\u0000" in body or body.count(b"[") + body.count(b"{") >= _MAX_DEPTH:
        raise ValueError
    value = from_json(body, allow_inf_nan=False)
    # A number like 1e999 becomes infinite all the same.
    if b"Infinity" in to_json(value, inf_nan_mode="constants"):
        raise ValueError
    return value


def _parse_any(body: bytes) -> Any:
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        value = json.loads(
            text, parse_constant=lambda _: None, parse_float=_finite, parse_int=_short
        )
        if _UNSTORABLE.search(text):
            value = _storable(value)
        if _is_deeper_than(_MAX_DEPTH, value):
            raise RecursionError
    except RecursionError:
        return Unreadable("the JSON is nested too deeply")
    except ValueError:
        return Unreadable("it is not JSON" if body else "it is empty")
    return value


def _is_deeper_than(depth: int, value: Any) -> bool:
    level = [value]
    for _ in range(depth):
        if not level:
            return False
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return bool(level)


def _short(text: str) -> int | str:
    return int(text) if len(text.lstrip("-")) <= _MAX_DIGITS else text


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _storable(value: Any) -> Any:
    match value:
        case str():
            return (
                value.replace("\x00", "\ufffd")
                .encode("utf-16", "surrogatepass")
                .decode("utf-16", "replace")
            )
        case list():
            return [_storable(item) for item in value]
        case dict():
            return {_storable(key): _storable(item) for key, item in value.items()}
        case _:
            return value


def _error_in(body: Parameters) -> tuple[int | None, str]:
    """The status and the message of either envelope."""
    error = body.get("error")
    if not isinstance(error, dict):
        error = {"message": error} if isinstance(error, str) else {}
    code = error.get("code") or body.get("code")
    status = None
    for candidate in (error.get("status"), body.get("statusCode"), _STATUS_OF_CODE.get(str(code))):
        if isinstance(candidate, int) and 400 <= candidate < 600:
            status = candidate
            break
    message = error.get("message") or body.get("message") or ""
    parts = [str(part) for part in (code, message, body.get("validationErrors")) if part]
    return status, ": ".join(parts)[:500]


# ---- the call ----------------------------------------------------------------


def _number(value: Any) -> Any:
    return None if isinstance(value, bool) else value


def in_utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        # The calendar's first or last day, in another zone: somebody's "not set".
        return None


Word = Annotated[str | None, Field(None, max_length=500)]
Count = Annotated[int | None, Field(None, ge=0, le=_MAX_INT), BeforeValidator(_number)]
Moment = Annotated[datetime | None, Field(None)]
Object = Annotated[dict[str, Any] | None, Field(None)]


def _named(*names: str) -> Any:
    return Field(None, validation_alias=AliasChoices(*names))


class Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    @model_validator(mode="wrap")
    @classmethod
    def _odd_is_absent(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        # Null and what cannot be read, so that one spelling does not hide another's value.
        if not isinstance(value, dict):
            return validate(value)
        known = {key: item for key, item in value.items() if item is not None}
        while True:
            try:
                return validate(known)
            except ValidationError as error:
                odd = {
                    fault["loc"][0]
                    for fault in error.errors(include_url=False, include_input=False)
                }
                if not odd & known.keys():
                    raise
                known = {key: item for key, item in known.items() if key not in odd}


class _Media(Lenient):
    url: Annotated[str | None, Field(None, max_length=8_000)]
    expires_at: Moment


MediaOrNone = Annotated[_Media | None, Field(None)]


class _Call(Lenient):
    call_id: Word
    agent_id: Word = _named("agent_id", "assistant_id")
    status: Word
    direction: Word
    callee_phone: Word = _named("callee_phone", "to_number")
    caller_phone: Word = _named("caller_phone", "from_number")
    duration_seconds: Count
    billed_duration_seconds: Count
    cost: Word
    call_cost_inr: Word
    started_at: Moment
    ended_at: Moment


class _Answer(Lenient):
    call: _Call
    input_parameters: Object = _named("input_parameters", "input_variables")
    output_parameters: Object = _named("output_parameters", "output_variables")
    recording: MediaOrNone
    transcript: MediaOrNone


def _read_call(body: Parameters) -> CallDetail:
    answer = _Answer.model_validate(body)
    call = answer.call
    amount, currency = _read_cost(call.cost)
    if amount is None:
        amount, _ = _read_cost(call.call_cost_inr)
        currency = None if amount is None else "INR"
    return CallDetail(
        answered_call_id=call.call_id,
        status=call.status or "",
        direction=call.direction,
        agent_id=call.agent_id,
        callee_phone=call.callee_phone,
        caller_phone=call.caller_phone,
        duration_seconds=call.duration_seconds,
        billed_duration_seconds=call.billed_duration_seconds,
        cost_amount=amount,
        cost_currency=currency,
        started_at=in_utc(call.started_at),
        ended_at=in_utc(call.ended_at),
        input_parameters=answer.input_parameters or {},
        output_parameters=answer.output_parameters or {},
        recording=_read_media(answer.recording),
        transcript=_read_media(answer.transcript),
        raw=body,
    )


def _read_cost(text: str | None) -> tuple[Decimal | None, str | None]:
    """ "15.67 INR" as an amount and a currency."""
    found = _COST.fullmatch(text.strip()) if text else None
    if found is None:
        return None, None
    return Decimal(found[2]), found[3] or found[1]


def _read_media(media: _Media | None) -> Media | None:
    if media is None or not media.url:
        return None
    return Media(url=media.url, expires_at=in_utc(media.expires_at))
