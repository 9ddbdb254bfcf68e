"""How values read on a page: states, phone numbers, durations, sizes. Filters for templates."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

#: State or outcome → tone and what it means. The words are those of the glossary.
STATES: dict[str, tuple[str, str]] = {
    "queued": ("wait", "Waits for its turn"),
    "fetching": ("busy", "Twenty2 is being asked"),
    "fetched": ("good", "The detail is saved"),
    "sending": ("busy", "The hook is being asked"),
    "delivered": ("good", "The hook took it"),
    "dead": ("bad", "Given up; it can be sent again by hand"),
    "held": ("warn", "Its destination is disabled"),
    "skipped": ("quiet", "The destination did not want it"),
    "succeeded": ("good", "It was taken"),
    "retry": ("warn", "It failed and is tried again"),
    "not_ready": ("wait", "The call was still under way"),
    "blocked": ("warn", "The other side let nobody in"),
    "enabled": ("good", "Gets deliveries"),
    "disabled": ("warn", "Deliveries are held"),
    "works": ("good", "Nothing stands in the way"),
    "open": ("bad", "Paused after many failures"),
    "closed": ("good", "Deliveries go out"),
    "probing": ("warn", "One delivery finds out whether it works again"),
    "running": ("busy", "A step at a time"),
    "done": ("good", "At its end"),
    "canceled": ("quiet", "Stopped by hand"),
    "failed": ("bad", "Given up; it can be tried again by hand"),
}


def tone(state: str) -> str:
    return STATES.get(state, ("quiet", ""))[0]


def meaning(state: str) -> str:
    return STATES.get(state, ("quiet", ""))[1]


def sentence_case(word: str) -> str:
    """`not_ready` as people read it: Not ready."""
    text = word.replace("_", " ")
    return text[:1].upper() + text[1:]


def masked_phone(phone: str) -> str:
    """The country's code and the last four digits: +91 •••• ••3210."""
    digits = re.sub(r"\D", "", phone)
    if len(digits) < 6:
        return "••••"
    country = f"+{digits[:-10]} " if phone.startswith("+") and len(digits) > 10 else ""
    return f"{country}•••• ••{digits[-4:]}"


def in_utc(moment: datetime) -> datetime:
    """The first and the last hours of the calendar are beyond it in UTC: there, its ends."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        if moment.year == 1:
            return datetime(1, 1, 1, tzinfo=UTC)
        return datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def utc(moment: datetime) -> str:
    return f"{in_utc(moment):%Y-%m-%d %H:%M:%S} UTC"


def iso(moment: datetime) -> str:
    """As `<time datetime>` wants it."""
    return in_utc(moment).isoformat().replace("+00:00", "Z")


def ago(moment: datetime, now: datetime) -> str:
    """3 min ago; in 2 h."""
    seconds = (now - moment).total_seconds()
    text = span(abs(seconds))
    if abs(seconds) < 5:
        return "just now"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def span(seconds: float) -> str:
    """The largest unit alone: 45 s, 3 min, 2 h, 5 d."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def milliseconds(value: int) -> str:
    """840 ms; 1.2 s."""
    return f"{value} ms" if value < 1_000 else f"{value / 1_000:.1f} s"


def count(value: int) -> str:
    """12,345"""
    return f"{value:,}"


def plural(value: int, one: str, many: str | None = None) -> str:
    """1 delivery; 1,200 deliveries."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def pretty_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


#: As bodies have phone numbers: ten digits or more, not in the middle of a word or a number;
#: in groups when a country's code is before them, or as people write ten digits.
_PHONE = re.compile(
    r"(?<![\w.+-])("
    r"\+?\d{10,15}"
    r"|\+(?=(?:[ -]?\d){10,15}(?![ -]?\d))\d{1,5}(?:[ -]\d{2,10}){1,5}"
    r"|(?:0[ -]?)?\d{5}[ -]\d{5}"
    r")(?![\w-]|\.\w)"
)


def phone_parts(text: str) -> list[tuple[str, bool]]:
    """A text in pieces; True: this one may be a phone number."""
    return [(part, bool(at % 2)) for at, part in enumerate(_PHONE.split(text)) if part]


def as_text(value: Any) -> str:
    """A value of the customer's: text as it is, everything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


FILTERS: dict[str, Callable[..., Any]] = {
    "tone": tone,
    "meaning": meaning,
    "sentence_case": sentence_case,
    "masked_phone": masked_phone,
    "utc": utc,
    "iso": iso,
    "ago": ago,
    "span": span,
    "milliseconds": milliseconds,
    "count": count,
    "plural": plural,
    "pretty_json": pretty_json,
    "as_text": as_text,
    "phone_parts": phone_parts,
}
