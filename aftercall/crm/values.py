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
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import assert_never
from zoneinfo import ZoneInfo

from aftercall.crm.due_times import read_day, read_due_time, read_stamp


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
class Money:
    """15.67, "INR"; the currency in ISO 4217, or None when it was not said."""

    amount: Decimal
    currency: str | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """It is not of this type; why, for a person."""

    why: str


Value = str | Decimal | bool | date | datetime | Money

#: Deeper than this nothing is written out, whatever came in.
_MAX_DEPTH = 6
_MAX_NUMBER_LENGTH = 60
#: No CRM has a field for it, and written out it would be a page of digits.
_TOO_LARGE = Decimal(10) ** 25


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
            return _number(raw)
        case ValueType.YES_NO:
            return _yes_no(raw)
        case ValueType.CHOICE:
            return _choice(raw, choices)
        case ValueType.DATE:
            return _date(raw, said_at=said_at, zone=zone)
        case ValueType.DATE_TIME:
            return _date_time(raw, said_at=said_at, zone=zone)
        case ValueType.MONEY:
            return _money(raw)
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
            number = _number(raw)
            # Python refuses to write out an int of thousands of digits; Decimal does it.
            return f"{number:f}" if isinstance(number, Decimal) else str(Decimal(raw))
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


# ---- numbers and money -------------------------------------------------------

_TIMES = {
    **dict.fromkeys(("k", "thousand", "hazaar", "hazar", "हज़ार", "हजार"), Decimal(1_000)),
    **dict.fromkeys(("lakh", "lakhs", "lac", "lacs", "lakhon", "लाख"), Decimal(100_000)),
    **dict.fromkeys(("crore", "crores", "cr", "karod", "करोड़"), Decimal(10_000_000)),
}
_TIMES = {unicodedata.normalize("NFKC", word): times for word, times in _TIMES.items()}
_NUMBER = re.compile(
    # 1,50,000 and 150,000; a comma elsewhere may be a decimal one: not read.
    r"([+-]?)(\d+|\d{1,3}(?:,\d{2})*,\d{3}|\d{1,3}(?:,\d{3})+)(\.\d+)?"
    r" ?([^\W\d_][\w\u0900-\u097f]*)?"
)


def _number(raw: object) -> Decimal | Unreadable:
    found: Decimal | None = None
    match raw:
        case bool():
            pass
        case int():
            found = Decimal(raw)
        case float() | Decimal():
            # repr of a float is the shortest that means it: no binary noise.
            found = _exactly(Decimal(repr(raw))) if isinstance(raw, float) else raw
        case str():
            found = _spoken_number(raw)
        case _:
            pass
    if found is None or not found.is_finite() or abs(found) >= _TOO_LARGE:
        return Unreadable(f"{_shown(raw)} is not a number")
    return found


def _spoken_number(said: str) -> Decimal | None:
    text = _digits(said)
    found = _NUMBER.fullmatch(text) if len(text) <= _MAX_NUMBER_LENGTH else None
    if found is None:
        return None
    sign, whole, fraction, word = found.groups()
    if word is not None and word not in _TIMES:
        return None
    try:
        number = Decimal(f"{sign}{whole.replace(',', '')}{fraction or ''}")
    except InvalidOperation:
        return None
    return _exactly(number * _TIMES[word]) if word else number


def _exactly(number: Decimal) -> Decimal:
    """1.5 lakh is 150000, not 1.5E+5 or 150000.0."""
    if not number.is_finite() or abs(number) >= _TOO_LARGE:
        return number
    return Decimal(int(number)) if number == number.to_integral_value() else number.normalize()


def _digits(said: str) -> str:
    text = unicodedata.normalize("NFKC", said).casefold()
    text = "".join(str(unicodedata.digit(character, character)) for character in text)
    return " ".join(text.replace("−", "-").split())


_CURRENCIES = {
    **dict.fromkeys(("₹", "rs.", "rs", "inr", "rupees", "rupee", "rupaye", "रुपये", "/-"), "INR"),
    **dict.fromkeys(("us$", "usd"), "USD"),
    **dict.fromkeys(("€", "eur", "euro", "euros"), "EUR"),
    **dict.fromkeys(("£", "gbp"), "GBP"),
    **dict.fromkeys(("aed", "dirham", "dirhams"), "AED"),
    **dict.fromkeys(("sgd",), "SGD"),
}


def _money(raw: object) -> Money | Unreadable:
    if isinstance(raw, dict):
        return _money_of_parts(raw)
    if not isinstance(raw, str):
        number = _number(raw)
        return Money(number, None) if isinstance(number, Decimal) else _no_money(raw)
    text, currency = _digits(raw), None
    for sign in sorted(_CURRENCIES, key=len, reverse=True):
        rest = _without(text, sign)
        if rest is None:
            continue
        if currency not in (None, _CURRENCIES[sign]):
            return _no_money(raw)
        text, currency = rest, _CURRENCIES[sign]
    amount = _spoken_number(text)
    return Money(amount, currency) if amount is not None else _no_money(raw)


def _without(text: str, sign: str) -> str | None:
    """The text without the sign at its start or end; None when it is not there by itself."""
    if text.startswith(sign) and not text[len(sign) :][:1].isalpha():
        return text[len(sign) :].strip()
    before = text[: -len(sign)]
    if text.endswith(sign) and not (sign[0].isalpha() and before[-1:].isalpha()):
        return before.strip()
    return None


def _money_of_parts(raw: Mapping[object, object]) -> Money | Unreadable:
    """{"amount": "15.67", "currency": "INR"}: how a call's cost reads."""
    currency = raw.get("currency")
    amount = _number(raw.get("amount"))
    if not isinstance(amount, Decimal) or not isinstance(currency, str | None):
        return _no_money(raw)
    code = _clean(currency or "").upper()
    if code and not re.fullmatch(r"[A-Z]{3}", code):
        return _no_money(raw)
    return Money(amount, code or None)


def _no_money(raw: object) -> Unreadable:
    return Unreadable(f"{_shown(raw)} is not an amount of money")


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
