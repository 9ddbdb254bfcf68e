"""Reads the answer of `GET /call/logs`, and says how its pages are asked for.

"Paginated", the pages say, and no more: `page` and `limit` are assumed, a
cursor is followed where an answer has one, and hints of further pages are read
in the spellings that are usual (docs/twentytwo.md). An entry that is no call is
counted and costs nothing else.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import AliasChoices, Field

from aftercall.domain.call_log import PAGE_SIZE, LogLine, LogPage, Manner, Position
from aftercall.domain.exchange import Exchange, NoAnswer
from aftercall.domain.outcomes import UNDER_WAY_STATUSES, Refused, Unreadable
from aftercall.domain.work import Parameters
from aftercall.twentytwo.answers import Lenient, Moment, Word, in_utc, read_body
from aftercall.twentytwo.inbound import NoCallId, check_call_id

_LISTS = ("calls", "data")
#: Objects that hints of further pages stand in, beside the answer itself.
_HINTS = ("pagination", "paging", "page_info", "meta", "data")
_CURSORS = ("next_cursor", "nextCursor", "next_page_token", "nextPageToken")
_MORE = ("has_more", "hasMore", "has_next", "hasNext", "has_next_page", "hasNextPage")
_TOTALS = ("total", "total_count", "totalCount", "total_calls")
_MAX_CURSOR = 2_000
_MAX_TOTAL = 2**31 - 1


def parameters_of(position: Position) -> dict[str, str]:
    """What the page is asked for with."""
    limit = {"limit": str(PAGE_SIZE)} if position.manner is Manner.PAGE_AND_LIMIT else {}
    if position.cursor is not None:
        return {"cursor": position.cursor, **limit}
    if position.manner is Manner.PLAIN:
        return {}
    return {"page": str(position.page), **limit}


def read_logs(exchange: Exchange, *, now: datetime) -> LogPage | Refused | Unreadable | NoAnswer:
    """What Twenty2 said."""
    body = read_body(exchange, now=now)
    if not isinstance(body, dict):
        return body
    entries = _entries(body)
    if entries is None:
        return Unreadable("there is no list of calls in it")
    lines = [line for entry in entries if (line := _read_line(entry)) is not None]
    hints = [body, *(part for name in _HINTS if isinstance(part := body.get(name), dict))]
    return LogPage(
        lines=tuple(lines),
        unreadable=len(entries) - len(lines),
        next_cursor=_cursor(hints),
        has_more=_first(hints, _MORE, bool),
        total=_total(hints),
    )


class _Line(Lenient):
    status: Word
    started_at: Moment = Field(
        None, validation_alias=AliasChoices("started_at", "answered_at", "created_at")
    )
    ended_at: Moment


def _entries(body: Parameters) -> Sequence[Any] | None:
    """The list, under the name that is documented or where others have it."""
    data = body.get("data")
    for holder in (body, data if isinstance(data, dict) else {}):
        for name in _LISTS:
            if isinstance(found := holder.get(name), list):
                return found
    return None


def _read_line(entry: Any) -> LogLine | None:
    """None when it is no call."""
    if not isinstance(entry, dict):
        return None
    try:
        call_id = check_call_id(entry.get("call_id"), at="call_id")
    except NoCallId:
        return None
    if "\ufffd" in call_id:
        # It stands for what cannot be stored: whose id that was, nobody knows.
        return None
    line = _Line.model_validate(entry)
    ended_at = in_utc(line.ended_at)
    return LogLine(
        call_id=call_id,
        at=in_utc(line.started_at) or ended_at,
        ended_at=ended_at,
        is_under_way=line.status in UNDER_WAY_STATUSES,
    )


def _cursor(hints: Sequence[Mapping[str, Any]]) -> str | None:
    cursor = _first(hints, _CURSORS, str)
    return cursor if cursor and len(cursor) <= _MAX_CURSOR else None


def _total(hints: Sequence[Mapping[str, Any]]) -> int | None:
    total = _first(hints, _TOTALS, int)
    return total if total is not None and 0 <= total <= _MAX_TOTAL else None


def _first(hints: Sequence[Mapping[str, Any]], names: Sequence[str], kind: type[Any]) -> Any:
    """The first value of that kind under one of the names."""
    found = (hint[name] for hint in hints for name in names if name in hint)
    # By its very type: a truth is an int as well.
    return next((value for value in found if type(value) is kind), None)
