"""Which day is meant: "tomorrow", "Monday", "27th December", "in 3 days".

Pure. Reads plain words (plain_words.py). dateparser reads dates with a month and
counted days, and only those: phrases made of words that are known here, never a
time of day, and its answer has to have the day's number that was said.
"""

import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import dateparser

#: What stands in the text where a day was read: a bare hour may follow the first one only.
RELATIVE, OTHER = "<rel>", "<day>"

_MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    "|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
_WEEKDAYS = (
    "mon(?:day)?|tue(?:s|sday)?|wed(?:nesday)?|thu(?:r|rs|rsday)?|fri(?:day)?|sat(?:urday)?"
    "|sun(?:day)?"
)
_WEEKDAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NTH = r"(\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?: \d{4}(?! (?:hrs|hours)))?"
#: Others cannot be turned from zone to zone.
_YEARS = range(1900, 2200)
_START, _END = r"(?<![\w.:/<-])", r"(?![\w:/>-]|\.\d)"


_NO_WORD = r"(?= (?:at|after|from|between|around|\d|<)| ?$)"


@dataclass(frozen=True, slots=True)
class Day:
    """Words that mean a day: what it can be, from the day on which they were said."""

    candidates: Callable[[date], tuple[date, ...]]
    weekday: int | None = None


def take_days(text: str) -> tuple[str, tuple[Day, ...]]:
    """The text with each day replaced by a mark, and the days."""
    days: list[Day] = []
    for pattern, mark, make in _READERS:

        def take(found: re.Match[str], mark: str = mark, make: _Make = make) -> str:
            weekday = _WEEKDAY_NAMES.index(found[1][:3]) if make is _weekday else None
            days.append(Day(make(found), weekday))
            return mark

        text = pattern.sub(take, text)
    return text, tuple(days)


def days_meant(days: tuple[Day, ...], *, today: date) -> tuple[date, ...]:
    """The days that all the words agree on; several when a word leaves it open."""
    meant: set[date] | None = None
    # Beside a date, "Sunday" only has to agree with it: it may be in three weeks.
    dates = [day for day in days if day.weekday is None]
    for day in dates or days:
        candidates = set(day.candidates(today))
        meant = candidates if meant is None else meant & candidates
    weekdays = {day.weekday for day in days if day.weekday is not None}
    agreed = (day for day in meant or () if weekdays <= {day.weekday()})
    return tuple(sorted(day for day in agreed if day.year in _YEARS))


_Make = Callable[[re.Match[str]], Callable[[date], tuple[date, ...]]]


def _later(days: int) -> _Make:
    return lambda _: lambda today: _days_after(today, days)


def _days_after(today: date, days: int) -> tuple[date, ...]:
    try:
        return (today + timedelta(days=days),)
    except OverflowError:
        return ()


def _weekday(found: re.Match[str]) -> Callable[[date], tuple[date, ...]]:
    wanted = _WEEKDAY_NAMES.index(found[1][:3])

    def candidates(today: date) -> tuple[date, ...]:
        ahead = (wanted - today.weekday()) % 7
        # Said on a Monday, "Monday" is today or in a week: the hour may tell.
        return _days_after(today, ahead) + (_days_after(today, 7) if ahead == 0 else ())

    return candidates


def _nth(found: re.Match[str]) -> Callable[[date], tuple[date, ...]]:
    """The 27th of this month, or of the next when it has passed. Said on a 27th: neither."""
    wanted = int(found[1])

    def candidates(today: date) -> tuple[date, ...]:
        year, month = today.year, today.month
        if wanted < today.day:
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        known = wanted != today.day and year <= 9999
        exists = known and 1 <= wanted <= calendar.monthrange(year, month)[1]
        return (date(year, month, wanted),) if exists else ()

    return candidates


def _with_month(found: re.Match[str]) -> Callable[[date], tuple[date, ...]]:
    numbers = {int(number) for number in re.findall(r"\d+", found[0])}

    def candidates(today: date) -> tuple[date, ...]:
        read = _dateparser(found[0], since=today - timedelta(days=1))
        return (read,) if read is not None and read.day in numbers else ()

    return candidates


def _with_numbers(found: re.Match[str]) -> Callable[[date], tuple[date, ...]]:
    """27/12: the day first. dateparser turns 12/27 into the 12th of December 2027."""

    def candidates(today: date) -> tuple[date, ...]:
        read = _dateparser(found[0], since=today - timedelta(days=1))
        agrees = read is not None and (read.day, read.month) == (int(found[1]), int(found[2]))
        return (read,) if read is not None and agrees else ()

    return candidates


def _iso(found: re.Match[str]) -> Callable[[date], tuple[date, ...]]:
    try:
        read = date.fromisoformat(found[0])
    except ValueError:
        return lambda _: ()
    return lambda _: (read,)


def _counted(found: re.Match[str]) -> Callable[[date], tuple[date, ...]]:
    number, unit = found[1] or found[3], found[2] or found[4]

    def candidates(today: date) -> tuple[date, ...]:
        read = _dateparser(f"in {int(number)} {unit}", since=today)
        return (read,) if read is not None else ()

    return candidates


def _dateparser(words: str, *, since: date) -> date | None:
    """dateparser's next day after `since`, or so many days after it.

    Its base is naive and its zone unset: with a zone, days get skipped.
    """
    read = dateparser.parse(
        words,
        languages=["en"],
        settings={
            "DATE_ORDER": "DMY",
            "PREFER_DATES_FROM": "future",
            "RELATIVE_BASE": datetime.combine(since, time()),
            "REQUIRE_PARTS": ["day", "month"] if not words.startswith("in ") else [],
            "RETURN_AS_TIMEZONE_AWARE": False,
        },
    )
    return read.date() if read is not None else None


def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(_START + pattern + _END)


#: In this order: what is longer comes before what it contains.
_READERS: tuple[tuple[re.Pattern[str], str, _Make], ...] = (
    (_pattern(r"\d{4}-\d{2}-\d{2}"), OTHER, _iso),
    (_pattern(r"(\d{1,2})[/.-](\d{1,2})[/.-](?:\d{4}|\d{2})"), OTHER, _with_numbers),
    (_pattern(r"(\d{1,2})/(\d{1,2})"), OTHER, _with_numbers),
    (_pattern(rf"{_NTH}(?: of)? (?:{_MONTHS}){_YEAR}"), OTHER, _with_month),
    (_pattern(rf"(?:{_MONTHS}) {_NTH}{_YEAR}"), OTHER, _with_month),
    (_pattern(r"day after (?:tomorrow|tmrw)|overmorrow"), RELATIVE, _later(2)),
    (_pattern("tomorrow"), RELATIVE, _later(1)),
    (_pattern("today"), RELATIVE, _later(0)),
    (_pattern(rf"(?:(?:this|coming) )?({_WEEKDAYS})"), OTHER, _weekday),
    (
        _pattern(
            r"(?:(?:in|after) (\d{1,2}) (days?|weeks?)"
            r"|(\d{1,2}) (days?|weeks?) (?:later|from now|from <rel>))"
        ),
        OTHER,
        _counted,
    ),
    (
        # "the 2nd at 5 pm", not "2nd call at 5 pm"
        _pattern(
            r"(?:the )?(\d{1,2})(?:st|nd|rd|th)(?= (?:at|after|from|between|around|\d|<)| ?$)"
        ),
        OTHER,
        _nth,
    ),
    (_pattern(r"(?:the )?(\d{1,2}) date"), OTHER, _nth),
)
