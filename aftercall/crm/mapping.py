"""What a destination wants to get, and in which shape: JMESPath over a delivery's `data`.

Pure. Expressions are checked when they are saved; what still fails on a real
call's data is a MappingError, which a person can mend.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import jmespath
from jmespath.exceptions import (
    IncompleteExpressionError,
    JMESPathError,
    LexerError,
    ParseError,
)

from aftercall.crm.functions import fault_in
from aftercall.domain.work import ClaimedDelivery, Parameters
from aftercall.json_text import dump_json

MAX_EXPRESSION_LENGTH = 10_000
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


class MappingError(Exception):
    """An expression is malformed, or fails on this data. The message says where."""


def check_expression(expression: str) -> None:
    """MappingError when it is not JMESPath."""
    if len(expression) > MAX_EXPRESSION_LENGTH:
        raise MappingError(f"It is longer than {MAX_EXPRESSION_LENGTH} characters")
    if not is_storable(expression):
        raise MappingError("It has characters in it that cannot be stored")
    try:
        parsed: Any = jmespath.compile(expression).parsed
    except (JMESPathError, RecursionError, ValueError) as error:
        raise MappingError(f"It is not JMESPath: {_one_line(error)}") from None
    fault = fault_in(parsed)
    if fault is not None:
        raise MappingError(fault)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with an expression, and at which character; None: it cannot be told."""

    message: str
    offset: int | None


def fault_of(expression: str) -> Fault | None:
    """None when it is good."""
    try:
        check_expression(expression)
    except MappingError as error:
        return Fault(*_place_of(expression, str(error)))
    return None


def _place_of(expression: str, message: str) -> tuple[str, int | None]:
    if len(expression) > MAX_EXPRESSION_LENGTH or not is_storable(expression):
        return message, None
    try:
        jmespath.compile(expression)
    except LexerError as error:
        return f"This is not JMESPath: {error.message}", min(error.lex_position, len(expression))
    except IncompleteExpressionError:
        return "It ends too early: something is missing here", len(expression)
    except ParseError as error:
        if not error.token_value:
            return "It ends too early: something is missing here", len(expression)
        return f"This is not expected here: {error.token_value}", error.lex_position
    except (JMESPathError, RecursionError, ValueError):
        return message, None
    # Its functions are wrong; their names are in the message.
    name = re.search(r"(\w+)\(\)", message)
    at = expression.find(f"{name[1]}(") if name else -1
    return message, None if at < 0 else at


def is_storable(text: str) -> bool:
    """Whether PostgreSQL takes it: no NUL, no half of a surrogate pair."""
    return not _UNSTORABLE.search(text)


def storable(text: str) -> str:
    """The same, with a mark for each character that it does not take."""
    return _UNSTORABLE.sub("\ufffd", text)


def is_wanted(filter_: str | None, data: Parameters) -> bool:
    """Whether the filter says yes. Empty, false and null are no, as JMESPath has it."""
    if filter_ is None:
        return True
    found = _search(filter_, data)
    return not (found is None or found is False or found in ("", [], {}))


def data_of(
    *,
    call_id: str,
    workspace_id: str,
    call: Parameters,
    input_parameters: Parameters,
    output_parameters: Parameters,
    recording: Parameters | None,
    transcript: Parameters | None,
) -> Parameters:
    """A call as filters and mappings see it, and as the default body has it under `data`."""
    return {
        "call_id": call_id,
        "workspace_id": workspace_id,
        "call": call,
        "input_parameters": input_parameters,
        "output_parameters": output_parameters,
        "recording": recording,
        "transcript": transcript,
    }


def make_data(delivery: ClaimedDelivery) -> Parameters:
    """The data of a delivery."""
    return data_of(
        call_id=delivery.call_id,
        workspace_id=delivery.workspace_id,
        call=delivery.call,
        input_parameters=delivery.input_parameters,
        output_parameters=delivery.output_parameters,
        recording=_with_link(delivery.recording, delivery.recording_link),
        transcript=_with_link(delivery.transcript, delivery.transcript_link),
    )


def _with_link(media: Parameters | None, link: str | None) -> Parameters | None:
    return media if media is None or link is None else {**media, "link": link}


def make_body(delivery: ClaimedDelivery) -> bytes:
    """The request's body: the same bytes on every attempt. MappingError when the mapping fails."""
    data = make_data(delivery)
    try:
        if delivery.mapping is None:
            created_at = delivery.created_at.astimezone(UTC)
            timestamp = created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return dump_json({"type": delivery.type, "timestamp": timestamp, "data": data})
        body = _search(delivery.mapping, data)
        if body is None:
            raise MappingError("The mapping gives nothing (null) for this call")
        # What was calculated may be infinite, which is an error.
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise MappingError(f"The body is not JSON: {_one_line(error)}") from None


def _search(expression: str, data: Parameters) -> Any:
    try:
        return jmespath.search(expression, data)
    except (JMESPathError, RecursionError, TypeError, ValueError, ArithmeticError) as error:
        raise MappingError(f"{_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    # It may quote what it is about, and JSON can spell any character.
    return storable(" ".join(str(error).split())[:300])
