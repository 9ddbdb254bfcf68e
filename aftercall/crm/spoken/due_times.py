"""When somebody wants to be called again: their words, and the one time that they can mean.

Pure. Wrong with confidence is the only failure that counts: a time is given only when
every word is understood, one day and one time of day are left, and a call may be made
then. Everything else keeps the words and says why a person has to look. The
specification is a table: docs/crm/phrases.md, made from tests/crm/due_times.yaml.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from aftercall.crm.spoken.clocks import (
    FIRST,
    LAST,
    Clock,
    sense_of,
    take_clocks,
    take_parts,
    take_waits,
)
from aftercall.crm.spoken.days import RELATIVE, Day, days_meant, take_days
from aftercall.crm.spoken.plain_words import plain_words

MAX_LENGTH = 200
WITHIN = timedelta(days=30)
#: "4 pm", said at ten past four: tomorrow, or the clock that they looked at is slow?
_JUST_NOW = timedelta(hours=1)
#: Before this hour "tomorrow" is for many what comes after they have slept.
_NIGHT_ENDS = 4
#: "24 December" said on the 25th: a day further away than this needs its year.
_GUESSED_YEAR = timedelta(days=180)

NOTHING_SAID = "nothing was said"
TOO_LONG = "too long to be a time"
NEGATED = "it says when not to call"
NO_TIME = "no time of day"
SEVERAL_TIMES = "more than one time"
WHICH_DAY = "which day is not clear"
WHICH_HALF = "morning or evening is not clear"
NOT_UNDERSTOOD = "not every word is understood"
PAST = "not after the call"
TOO_FAR = "30 days ahead or more"
OUTSIDE_HOURS = "not between 08:00 and 21:00"
CLOCKS_CHANGE = "the clocks change at that hour"


@dataclass(frozen=True, slots=True)
class DueTime:
    """`at` is aware and in the zone; None exactly when `why_not` says why a person has to look."""

    words: str
    at: datetime | None
    why_not: str | None


def read_due_time(words: str, *, said_at: datetime, zone: ZoneInfo) -> DueTime:
    """`said_at` is aware: the call's start."""
    found = _read(words, said_at=said_at, zone=zone)
    if isinstance(found, datetime):
        found = _checked(found, said_at=said_at, zone=zone)
    if isinstance(found, datetime):
        return DueTime(words, found, None)
    return DueTime(words, None, found)


def read_stamp(words: str, *, zone: ZoneInfo) -> datetime | str | None:
    """An ISO 8601 time, aware; in the zone when it names none. Why not; None: it is none."""
    if not _STAMP.fullmatch(words.strip()):
        return None
    try:
        stamp = datetime.fromisoformat(words.strip().replace(" ", "T", 1).replace(" ", ""))
        if not 1900 <= stamp.year < 2200:
            return NOT_UNDERSTOOD
        return stamp.astimezone(zone) if stamp.tzinfo else _localised(stamp, zone=zone)
    except ValueError:
        return NOT_UNDERSTOOD


def read_day(words: str, *, said_at: datetime, zone: ZoneInfo) -> date | str:
    """The day alone, past or coming: "tomorrow", "27/12/2026". A reason when it is not certain."""
    if len(words) > MAX_LENGTH:
        return TOO_LONG
    rest, days = take_days(plain_words(words))
    local = said_at.astimezone(zone)
    meant = days_meant(days, today=local.date())
    if len(meant) != 1 or (RELATIVE in rest and local.hour < _NIGHT_ENDS):
        return WHICH_DAY
    if abs(meant[0] - local.date()) > _GUESSED_YEAR and not re.search(r"\d{4}", words):
        return WHICH_DAY
    return meant[0] if _is_understood(rest) else NOT_UNDERSTOOD


def _read(words: str, *, said_at: datetime, zone: ZoneInfo) -> datetime | str:
    if not words.strip():
        return NOTHING_SAID
    if len(words) > MAX_LENGTH:
        return TOO_LONG
    stamp = read_stamp(words, zone=zone)
    if stamp is not None:
        return stamp
    text = plain_words(words)
    if _NEGATIONS & set(text.split()):
        return NEGATED
    text, days = take_days(text)
    text, waits = take_waits(text)
    text, parts = take_parts(text)
    text, clocks = take_clocks(text)
    if not clocks and not waits:
        return NO_TIME
    if len(clocks) + len(waits) > 1:
        return SEVERAL_TIMES
    if not _is_understood(text, zone=zone):
        return NOT_UNDERSTOOD
    if waits:
        alone = not days and not parts
        return (said_at.astimezone(UTC) + waits[0]).astimezone(zone) if alone else SEVERAL_TIMES
    local = said_at.astimezone(zone)
    if RELATIVE in text and local.hour < _NIGHT_ENDS:
        return WHICH_DAY
    return _on_a_day(days, clocks[0], parts, said_at=local, zone=zone)


def _on_a_day(
    days: tuple[Day, ...],
    clock: Clock,
    parts: tuple[str, ...],
    *,
    said_at: datetime,
    zone: ZoneInfo,
) -> datetime | str:
    sense = sense_of(clock, parts)
    if sense is None:
        return WHICH_HALF
    today = said_at.date()
    if days:
        candidates = days_meant(days, today=today)
    elif sense.is_bare or clock.is_open:
        # "after 4", said at five, is now; "at 10", said at three, is tonight or tomorrow.
        candidates = (today,)
    else:
        candidates = (today, today + timedelta(days=1))
    moments = [_local(day, sense.at, zone=zone) for day in candidates]
    coming = [moment for moment in moments if moment > said_at]
    if not moments or (len(coming) > 1 and days):
        return WHICH_DAY
    if not coming:
        return PAST if days else WHICH_DAY
    if len(moments) > len(coming) and said_at - moments[0] < _JUST_NOW:
        return WHICH_DAY
    return _localised(datetime.combine(coming[0].date(), sense.at), zone=zone)


def _local(day: date, at: time, *, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, at, tzinfo=zone)


def _localised(local: datetime, *, zone: ZoneInfo) -> datetime | str:
    """In the zone, unless that hour comes twice or not at all there."""
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    return first if first.utcoffset() == second.utcoffset() else CLOCKS_CHANGE


def _checked(at: datetime, *, said_at: datetime, zone: ZoneInfo) -> datetime | str:
    """The guards, whoever read it."""
    local = at.astimezone(zone)
    ahead = at.astimezone(UTC) - said_at.astimezone(UTC)
    if ahead <= timedelta():
        return PAST
    if ahead >= WITHIN:
        return TOO_FAR
    if not FIRST <= local.time() <= LAST:
        return OUTSIDE_HOURS
    return local


def _is_understood(rest: str, *, zone: ZoneInfo | None = None) -> bool:
    """Whether all that is left says nothing about when."""
    around = _AROUND | _INDIA if zone is not None and zone.key in _IN_INDIA else _AROUND
    return all(word in around or word.startswith("<") for word in _spaced(rest))


def _spaced(text: str) -> list[str]:
    return re.sub(r"(<\w+>)", r" \1 ", text).split()


_STAMP = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)? ?(?:[Zz]|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)

_NEGATIONS = frozenset({
    "not", "no", "dont", "never", "cant", "cannot", "wont", "except", "unless", "avoid",
    "without", "nahi", "nahin", "nhi", "nai", "mat", "na", "नहीं", "नही", "मत", "ना", "न",
})  # fmt: skip

#: Words that may stand around a time and change nothing about it. What is missing here is
#: missing on purpose: busy, will (whose?), if, or, maybe, before, until, next, every, you.
_AROUND = frozenset({
    "please", "pls", "plz", "kindly", "call", "callback", "ring", "phone", "contact", "talk",
    "speak", "connect", "me", "back", "at", "on", "the", "around", "about", "approx",
    "approximately", "ok", "okay", "yes", "yeah", "sure", "fine", "good", "sir", "madam", "maam",
    "is", "be", "free", "available", "works", "time", "sharp", "exactly", "only", "again",
    "customer", "wants", "want", "requested", "mein",
})  # fmt: skip
_INDIA = frozenset({"ist"})
_IN_INDIA = frozenset({"Asia/Kolkata", "Asia/Calcutta"})
