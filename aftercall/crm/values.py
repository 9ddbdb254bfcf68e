"""What an agent learned, as a typed value for a CRM's field.

Pure and total. Nothing is guessed: what cannot be read as the field's type is
Unreadable, with the reason in words for a person. Amounts are Decimal throughout.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import assert_never
from zoneinfo import ZoneInfo

from aftercall.crm.spoken.amounts import Money, read_amount, read_money
from aftercall.crm.spoken.due_times import read_day, read_due_time, read_stamp

__all__ = ["Money", "Unreadable", "Value", "ValueType", "read_value"]


class ValueType(StrEnum):
    """What a CRM's field takes."""

    TEXT = "text"
    NUMBER = "number"
    YES_NO = "yes_no"
    CHOICE = "choice"
    DATE = "date"
    DATE_TIME = "date_time"
    MONEY = "money"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """It is not of this type; why, for a person."""

    why: str


Value = str | Decimal | bool | date | datetime | Money

#: Deeper than this nothing is written out, whatever came in.
_MAX_DEPTH = 6


def read_value(
    raw: object,
    *,
    type: ValueType,  # noqa: A002 - the word that a mapping uses
    choices: Mapping[str, str],
    said_at: datetime,
    zone: ZoneInfo,
) -> Value | Unreadable | None:
    """None: nothing was said. `choices` maps what is said to the CRM's option."""
    if raw is None or (isinstance(raw, str | list | tuple | dict) and not raw):
        return None
    if isinstance(raw, str) and not _clean(raw):
        return None
    match type:
        case ValueType.TEXT:
            return _text(raw) or None
        case ValueType.NUMBER:
            number = read_amount(raw)
            return Unreadable(f"{_shown(raw)} is not a number") if number is None else number
        case ValueType.YES_NO:
            return _yes_no(raw)
        case ValueType.CHOICE:
            return _choice(raw, choices)
        case ValueType.DATE:
            return _date(raw, said_at=said_at, zone=zone)
        case ValueType.DATE_TIME:
            return _date_time(raw, said_at=said_at, zone=zone)
        case ValueType.MONEY:
            money = read_money(raw)
            return (
                Unreadable(f"{_shown(raw)} is not an amount of money") if money is None else money
            )
        case _:
            assert_never(type)


# ---- text --------------------------------------------------------------------


def _clean(text: str) -> str:
    """Without what PostgreSQL and CRMs refuse: NUL, halves of surrogate pairs."""
    return re.sub(r"[\x00\ud800-\udfff]", "", text).strip()


def _text(raw: object, *, depth: int = 0) -> str:
    if depth > _MAX_DEPTH:
        return "…"
    match raw:
        case None:
            return ""
        case bool():
            return "yes" if raw else "no"
        case str():
            return _clean(raw)
        case int() | float() | Decimal():
            number = read_amount(raw)
            # Python refuses to write out an int of thousands of digits; Decimal does it.
            return str(Decimal(raw)) if number is None else f"{number:f}"
        case list() | tuple():
            items = (_text(item, depth=depth + 1) for item in raw)
            return "; ".join(item for item in items if item)
        case dict():
            lines = ((_clean(str(key)), _text(item, depth=depth + 1)) for key, item in raw.items())
            # Inside of something else an object stays on one line.
            return ("\n" if depth == 0 else ", ").join(
                f"{key}: {item}" for key, item in lines if item
            )
        case _:
            return _clean(str(raw))


def _asked(raw: object) -> str:
    """What is compared: one line, without regard to case or full-width letters."""
    text = unicodedata.normalize("NFKC", _text(raw)).casefold()
    return " ".join(text.split()).rstrip(".!।")


# ---- yes or no, and choices --------------------------------------------------

_YES = frozenset({
    "yes", "y", "yeah", "yep", "yup", "yes sir", "true", "1", "haan", "han", "ha", "haan ji",
    "haanji", "ji", "ji haan", "jee", "bilkul", "हाँ", "हां", "जी", "जी हाँ", "जी हां", "बिल्कुल",
})  # fmt: skip
_NO = frozenset({
    "no", "n", "nope", "nah", "no sir", "false", "0", "nahi", "nahin", "nahi ji", "ji nahi",
    "ji nahin", "नहीं", "नही", "जी नहीं",
})  # fmt: skip


def _yes_no(raw: object) -> bool | Unreadable:
    if isinstance(raw, bool):
        return raw
    asked = _asked(raw) if isinstance(raw, str | int | float) else ""
    if asked in _YES:
        return True
    if asked in _NO:
        return False
    return Unreadable(f"{_shown(raw)} is neither yes nor no")


def _choice(raw: object, choices: Mapping[str, str]) -> str | Unreadable | None:
    if not choices:
        return _text(raw) or None
    asked = _asked(raw)
    options = {option for said, option in choices.items() if _asked(said) == asked}
    if len(options) == 1:
        return options.pop()
    return Unreadable(f"{_shown(raw)} is none of the choices of this field")


# ---- days and times ----------------------------------------------------------


def _date(raw: object, *, said_at: datetime, zone: ZoneInfo) -> date | Unreadable:
    if isinstance(raw, datetime):
        return raw.astimezone(zone).date() if raw.tzinfo else raw.date()
    if isinstance(raw, date):
        return raw
    if not isinstance(raw, str):
        return Unreadable(f"{_shown(raw)} is not a date")
    stamp = read_stamp(raw, zone=zone)
    if isinstance(stamp, datetime):
        return stamp.astimezone(zone).date()
    day = read_day(raw, said_at=said_at, zone=zone)
    if isinstance(day, date):
        return day
    # "tomorrow 5 pm" has a day in it, too.
    due = read_due_time(raw, said_at=said_at, zone=zone)
    return due.at.date() if due.at else Unreadable(f"{_shown(raw)} is not a certain date: {day}")


def _date_time(raw: object, *, said_at: datetime, zone: ZoneInfo) -> datetime | Unreadable:
    if isinstance(raw, datetime) and raw.tzinfo is not None:
        return raw.astimezone(zone)
    if not isinstance(raw, str):
        return Unreadable(f"{_shown(raw)} is not a time")
    stamp = read_stamp(raw, zone=zone)
    if isinstance(stamp, datetime):
        return stamp
    due = read_due_time(raw, said_at=said_at, zone=zone)
    if due.at is None:
        return Unreadable(f"{_shown(raw)} is not a certain time: {due.why_not}")
    return due.at


def _shown(raw: object) -> str:
    """What was said, short enough for a sentence."""
    try:
        text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = type(raw).__name__
    text = " ".join(_clean(text).split())
    return f"“{text[:60]}…”" if len(text) > 60 else f"“{text}”"
