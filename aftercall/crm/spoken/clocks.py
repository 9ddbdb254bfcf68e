"""Which time of day is meant, as far as the words tell: "11 am", "shaam 6 baje", "16:30".

Pure. Reads plain words in which the days are marks already (days.py). A bare hour
is read only with a mark of its own beside it ("at 4", "4 o'clock", "tomorrow 4");
which half of the day it means is decided by callers' hours, and only if they leave one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time, timedelta

#: Call-backs are between these hours, local time, both included.
FIRST, LAST = time(8), time(21)

#: Hours, in 24, that go with a part of the day.
_PARTS = {
    "morning": range(4, 12),
    "afternoon": range(12, 18),
    "evening": range(16, 22),
    "night": range(19, 24),
}
PART = "<part>"


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day as said: all that it can mean. `is_open`: only the earliest of several."""

    senses: tuple[time, ...]
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Sense:
    """What it does mean. `is_bare`: only callers' hours tell which half of the day."""

    at: time
    is_bare: bool


def sense_of(clock: Clock, parts: tuple[str, ...]) -> Sense | None:
    """None when it can mean several times, or none."""
    senses = [at for at in clock.senses if all(at.hour in _PARTS[part] for part in parts)]
    if len(senses) == 1:
        return Sense(senses[0], is_bare=False)
    within = [at for at in senses if FIRST <= at <= LAST]
    return Sense(within[0], is_bare=True) if len(within) == 1 else None


_START, _END = r"(?<![\w.:/<-])", r"(?![\w:/>]|\.\d|-\d)"
_CLOCK = (
    r"(\d{1,2})(?:[:.]([0-5]\d)(?::00)?| (00|15|30|45)(?! (?:hours|minutes|days)))?"
    r"(?: (am|pm|oclock))?(?: (am|pm))?"
)
_ONE = re.compile(rf"{_START}(?:(after|from) )?{_CLOCK}(?: (later|se))?{_END}")
_WINDOW = re.compile(
    rf"(?<![\w.:/<-])(?:(between|from) )?{_CLOCK} ?(and|to|until|-|se) ?{_CLOCK}"
    rf"(?: (between))?{_END}"
)
_PACKED = re.compile(rf"{_START}(?<!\bin )(?<!\bafter )(1[3-9]|2[0-3]):?([0-5]\d) hours{_END}")
_DURATION = r"(\d{1,3}(?:\.5)?) (hours|minutes)(?: (?:and )?(\d{1,2}) minutes)?"
_WAIT = re.compile(
    rf"{_START}(?:(?:in|after) {_DURATION}|{_DURATION} (?:later|from now|mein|me)){_END}"
)
#: Right before a bare hour, these make it a time.
_BEFORE = re.compile(r"(?:\b(?:at|around|about)|<rel>|<part>)$")
_AFTER = re.compile(r"^ ?<part>")


def take_waits(text: str) -> tuple[str, tuple[timedelta, ...]]:
    """ "in two hours": the text without them, and the durations."""
    waits: list[timedelta] = []

    def take(found: re.Match[str]) -> str:
        groups = [group for group in found.groups() if group is not None]
        unit = timedelta(hours=1) if groups[1] == "hours" else timedelta(minutes=1)
        more = timedelta(minutes=int(groups[2])) if len(groups) > 2 else timedelta()
        waits.append(float(groups[0]) * unit + more)
        return "<wait>"

    return _WAIT.sub(take, text), tuple(waits)


def take_parts(text: str) -> tuple[str, tuple[str, ...]]:
    """ "morning": marks in the text, and which parts of the day they are."""
    parts: list[str] = []

    def take(found: re.Match[str]) -> str:
        parts.append(found[1])
        return PART

    pattern = rf"{_START}(?:(?:in )?the |in |at )?(?:early )?({'|'.join(_PARTS)}){_END}"
    return re.sub(pattern, take, text), tuple(parts)


def take_clocks(text: str) -> tuple[str, tuple[Clock, ...]]:
    """ "4 pm", "between 4 and 6": marks in the text, and the times."""
    clocks: list[Clock] = []

    def take_window(found: re.Match[str]) -> str:
        clock = _window(found)
        if clock is None:
            return found[0]
        clocks.append(clock)
        return "<clock>"

    def take_one(found: re.Match[str]) -> str:
        if not _is_clock(found):
            return found[0]
        is_open = found[1] is not None or found[7] is not None
        clocks.append(Clock(_senses(found.groups()[1:6]), is_open=is_open))
        return "<clock>"

    def take_packed(found: re.Match[str]) -> str:
        clocks.append(Clock((time(int(found[1]), int(found[2])),)))
        return "<clock>"

    for pattern, take in ((_PACKED, take_packed), (_WINDOW, take_window), (_ONE, take_one)):
        text = pattern.sub(take, text)
    return text, tuple(clocks)


def _is_clock(found: re.Match[str]) -> bool:
    """Whether a number is a time: it says so itself, or the words beside it do."""
    after, hour, minutes, more_minutes, half, other_half, _ = found.groups()
    if half or other_half or (minutes and not more_minutes):
        return True
    if int(hour) > 12:
        return False
    if after:
        return True
    before, behind = found.string[: found.start()].rstrip(), found.string[found.end() :]
    return bool(_BEFORE.search(before) or _AFTER.search(behind)) and found[7] is None


def _window(found: re.Match[str]) -> Clock | None:
    """The beginning of "4 to 6 pm". None when it is no window: "ten to six" is a time."""
    opening, *clocks, closing = found.groups()
    first, word, last = clocks[:5], clocks[5], clocks[6:]
    is_framed = bool(opening or closing)
    if word == "and" and opening != "between":
        return None
    if word == "to" and not is_framed and _is_minutes(first):
        return None
    before = found.string[: found.start()].rstrip()
    if not (is_framed or first[3] or last[3] or _BEFORE.search(before)):
        return None
    ends = _senses(last)
    return Clock(tuple(at for at in _senses(first) if any(at < end for end in ends)), is_open=True)


def _is_minutes(groups: Sequence[str | None]) -> bool:
    """Whether "… to six" can be so many minutes before six."""
    number, *more = groups
    return not any(more) and (number in ("5", "10") or int(number or 0) > 12)


def _senses(groups: Sequence[str | None]) -> tuple[time, ...]:
    """All that "4:30" can mean: groups are hour, minutes, minutes, am/pm/o'clock, am/pm."""
    hour, minute = int(groups[0] or 0), int(groups[1] or groups[2] or 0)
    halves = {half for half in groups[3:5] if half in ("am", "pm")}
    if hour > 23 or len(halves) > 1:
        return ()
    if hour > 12:
        return () if "am" in halves else (time(hour, minute),)
    if halves:
        return (time(hour % 12 + (12 if "pm" in halves else 0), minute),) if hour else ()
    if (groups[0] or "").startswith("0") and hour < 8:
        # 04:30 is a time in 24 hours, or half past four with a nought: nobody can tell.
        return ()
    return (time(hour % 12, minute), time(hour % 12 + 12, minute))
