"""Reading Twenty2's log of calls page by page: what to look up, and which page comes next.

Pure. How the log is paged and in which order is documented nowhere
(docs/twentytwo.md), so no single sign ends the reading: the order must have
shown itself on every page before old pages end it, and a page that comes again
is followed by further tries. At the end its beginning is read once more, for
what came or moved meanwhile.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any


class ReconciliationState(StrEnum):
    RUNNING = "running"
    """Has pages to read; `due_at` says when the next may be."""
    DONE = "done"
    """Read to its end."""
    CANCELED = "canceled"
    """Stopped by hand; what was queued stays queued."""
    FAILED = "failed"
    """Given up, with the reason in `last_error`; one by hand goes on from its page."""


class ReconciliationKind(StrEnum):
    BY_HAND = "by_hand"
    PERIODIC = "periodic"


class Manner(IntEnum):
    """How a page is asked for: the next is tried when Twenty2 refuses the parameters."""

    PAGE_AND_LIMIT = 0
    PAGE = 1
    PLAIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A call, as the log tells of it."""

    call_id: str
    #: When it began; else when it ended; None when the line does not tell.
    at: datetime | None = None
    ended_at: datetime | None = None
    #: It has no end yet: it is not asked for before the next time.
    is_under_way: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """One answer of the log."""

    lines: tuple[LogLine, ...]
    #: Entries that are no call.
    unreadable: int = 0
    #: What the answer says of further pages, if it does.
    next_cursor: str | None = None
    has_more: bool | None = None
    total: int | None = None
    #: What a person should know if the reading ends here.
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which calls are wanted: those that began in between. None: no bound."""

    since: datetime | None = None
    until: datetime | None = None
    #: What ended later than this is left for the next time: its webhook may be on its way.
    ended_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The page that is asked for next, and what the reading before it has shown."""

    page: int = 1
    cursor: str | None = None
    manner: Manner = Manner.PAGE_AND_LIMIT
    #: The whole was read, and its beginning is read once more.
    is_second_look: bool = False
    #: The ids at the end of the page before.
    last_ids: tuple[str, ...] = ()
    #: Pages in a row that led no further.
    stalls: int = 0
    #: Pages in a row that were wholly before `since`.
    old_pages: int = 0
    #: The time in the middle of the page before; None without times.
    middle_at: datetime | None = None
    #: So far each page was in order, and older than the one before.
    is_newest_first: bool = True
    #: Of a second look: what a person should know of how the first one ended.
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What one page is about. Calls of the page before are not counted again."""

    #: To be looked up, and queued where they are not known.
    wanted: tuple[str, ...] = ()
    under_way: int = 0
    outside: int = 0
    #: A bound is set, and no line tells a time.
    has_no_times: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """There is nothing more to read."""

    #: What a person should know about it.
    note: str | None = field(default=None)


#: Calls a page, as it is asked for.
PAGE_SIZE = 100
#: Pages in a row that lead no further until the reading ends. More than one: when exactly a page of
#: new calls came between two requests, the next page is the one before, and there is more behind.
STALLS = 3
#: Pages in a row before `since` until the reading ends, if all were newest first.
OLD_PAGES = 2
#: So much later than the line before it may a line be, and they are still in order: the log may go
#: by another time than a call's beginning.
_TOLERANCE = timedelta(hours=1)
#: One pair of lines in so many may be out of order even so.
_PAIRS = 10
#: As many ids of a page are kept to be compared with the next.
_KEPT_IDS = 1_000
#: Ten million calls: nobody has as many, and a log that never ends has to end.
MAX_PAGES = 100_000

#: How a log may refuse the page after its last one.
_NO_SUCH_PAGE = frozenset({400, 404, 422})

REPEATS = (
    f"Twenty2 answered what it had answered before, {STALLS} pages in a row: either that was all, "
    "or it takes no page number, and older calls cannot be seen"
)
NO_TIMES = (
    "Twenty2's log tells no times, so --since, --until and AFTERCALL_KEEP_CALLS_DAYS cannot be "
    "applied: run one by hand without them"
)
NO_PAGES = "Twenty2 refuses page numbers: only its first page was read"


def choose(page: LogPage, position: Position, window: Window) -> Choice:
    """What to look up. A line without a time has that of its neighbour."""
    has_bound = window.since is not None or window.until is not None
    times = _times(page.lines)
    if has_bound and page.lines and not any(times):
        return Choice(has_no_times=True)
    before = frozenset(position.last_ids)
    wanted: dict[str, None] = {}
    others: dict[str, bool] = {}
    for line, at in zip(page.lines, times, strict=True):
        if line.call_id in before:
            continue
        if _is_outside(at, window):
            others[line.call_id] = False
        elif line.is_under_way or _has_only_just_ended(line, window):
            others[line.call_id] = True
        else:
            wanted[line.call_id] = None
    left = {call_id: is_open for call_id, is_open in others.items() if call_id not in wanted}
    return Choice(
        wanted=tuple(wanted),
        under_way=sum(left.values()),
        outside=len(left) - sum(left.values()),
    )


def next_position(
    page: LogPage, position: Position, window: Window, *, missing: int
) -> Position | End:
    """Where the reading goes after this page, of whose calls `missing` were not known."""
    seen = _after(page, position, window)
    end = _end_of(page, position, seen, window)
    if position.is_second_look:
        return seen if end is None and missing else End(position.note)
    if end is None:
        return seen
    if position.page == 1 and position.cursor is None:
        return end
    return Position(manner=position.manner, is_second_look=True, note=end.note)


def after_refusal(position: Position) -> Position | None:
    """The first page, asked for in the next manner; None when there is none.

    Further pages keep their manner: in another one a page may hold more or fewer calls, and begin
    elsewhere.
    """
    if position.page > 1 or position.cursor is not None or position.manner is Manner.PLAIN:
        return None
    return replace(position, manner=Manner(position.manner + 1))


def page_behind_the_last(position: Position, status: int) -> LogPage | None:
    """The empty page that a refusal stands for, after pages that were there; None: it is none."""
    if position.page == 1 or position.cursor is not None or status not in _NO_SUCH_PAGE:
        return None
    return LogPage(
        lines=(),
        note=f"Twenty2 answered {status} to page {position.page}, "
        "and that was taken for the end of the log",
    )


def _after(page: LogPage, position: Position, window: Window) -> Position:
    ids = tuple(line.call_id for line in page.lines)
    # The end of a page leads on, unless it stood on the page before.
    leads_on = bool(ids) and ids[-1] not in position.last_ids
    times = [line.at for line in page.lines if line.at is not None]
    middle = sorted(times)[len(times) // 2] if times else None
    return Position(
        page=position.page + 1,
        cursor=page.next_cursor,
        manner=position.manner,
        is_second_look=position.is_second_look,
        last_ids=ids[-_KEPT_IDS:] or position.last_ids,
        stalls=0 if leads_on else position.stalls + 1,
        old_pages=position.old_pages + 1 if _is_old(times, window) else 0,
        middle_at=middle or position.middle_at,
        is_newest_first=position.is_newest_first
        and _falls(times)
        and (middle is None or position.middle_at is None or middle <= position.middle_at),
        note=position.note,
    )


def _end_of(page: LogPage, position: Position, seen: Position, window: Window) -> End | None:
    """Why this was the last page; None when there may be more."""
    if page.next_cursor is not None:
        # The cursor that led here leads nowhere else.
        has_more = page.next_cursor != position.cursor and page.has_more is not False
    elif position.cursor is not None:
        has_more = page.has_more is True
    else:
        is_empty = not page.lines and not page.unreadable
        has_more = not is_empty and page.has_more is not False
    if not has_more:
        return End(page.note)
    if seen.stalls >= STALLS:
        return End(REPEATS)
    if position.manner is Manner.PLAIN and page.next_cursor is None:
        return End(NO_PAGES)
    if window.since is not None and seen.is_newest_first and seen.old_pages >= OLD_PAGES:
        return End()
    return None


def _times(lines: Sequence[LogLine]) -> list[datetime | None]:
    """Each line's time, or that of the line before it, or of the first one that has one."""
    last = next((line.at for line in lines if line.at is not None), None)
    times: list[datetime | None] = []
    for line in lines:
        last = line.at or last
        times.append(last)
    return times


def _is_outside(at: datetime | None, window: Window) -> bool:
    if at is None:
        return False
    is_before = window.since is not None and at < window.since
    return is_before or (window.until is not None and at >= window.until)


def _has_only_just_ended(line: LogLine, window: Window) -> bool:
    return (
        window.ended_before is not None
        and line.ended_at is not None
        and line.ended_at > window.ended_before
    )


def _is_old(times: Sequence[datetime], window: Window) -> bool:
    return bool(times) and window.since is not None and max(times) < window.since


def _falls(times: Sequence[datetime]) -> bool:
    """Whether the lines are newest first, as good as all of them."""
    rises = sum(later - at > _TOLERANCE for at, later in itertools.pairwise(times))
    return rises * _PAIRS <= max(len(times) - 1, 0)


# ---- as it is stored -----------------------------------------------------------


def to_json(position: Position) -> dict[str, Any]:
    """A JSON object of it."""
    return {
        "page": position.page,
        "cursor": position.cursor,
        "manner": int(position.manner),
        "is_second_look": position.is_second_look,
        "last_ids": list(position.last_ids),
        "stalls": position.stalls,
        "old_pages": position.old_pages,
        "middle_at": position.middle_at and position.middle_at.isoformat(),
        "is_newest_first": position.is_newest_first,
        "note": position.note,
    }


def to_json_at_end(position: Position) -> dict[str, Any]:
    """The same of a reading that nobody goes on with: which page it was, and none of its ids."""
    return {"page": position.page}


def from_json(stored: dict[str, Any]) -> Position:
    """The position that `to_json` made it of; what is not there is as at the beginning."""
    given = {name: value for name, value in stored.items() if value is not None}
    if "middle_at" in given:
        given["middle_at"] = datetime.fromisoformat(given["middle_at"])
    if "manner" in given:
        given["manner"] = Manner(given["manner"])
    given["last_ids"] = tuple(given.get("last_ids", ()))
    return Position(**given)
