"""Reading a log of calls whose paging and order nobody documents: nothing is missed, it ends."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from aftercall.domain.call_log import (
    OLD_PAGES,
    REPEATS,
    STALLS,
    Choice,
    End,
    LogLine,
    LogPage,
    Manner,
    Position,
    Window,
    after_refusal,
    choose,
    from_json,
    next_position,
    to_json,
)

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ALL = Window()


def line(number: int, *, at: datetime | None = None, **fields: object) -> LogLine:
    """The call of a number: the higher, the later."""
    began = T0 + timedelta(minutes=number) if at is None else at
    return LogLine(call_id=f"call_{number}", at=began, **fields)  # type: ignore[arg-type]


def page_of(numbers: Sequence[int], **hints: object) -> LogPage:
    return LogPage(lines=tuple(line(number) for number in numbers), **hints)  # type: ignore[arg-type]


class Reading:
    """Reads a log to its end, as the flow does, with a set for the database."""

    def __init__(self, ask: Callable[[Position], LogPage], window: Window = ALL) -> None:
        self.ask = ask
        self.window = window
        self.known: set[str] = set()
        self.counts = {"known": 0, "missing": 0}
        self.pages = 0
        self.position: Position | None = Position()
        self.note: str | None = None

    def step(self) -> None:
        assert self.position is not None
        position = self.position
        page = self.ask(position)
        choice = choose(page, position, self.window)
        missing = [call_id for call_id in choice.wanted if call_id not in self.known]
        self.known |= set(missing)
        self.pages += 1
        self.counts["missing"] += len(missing)
        if not position.is_second_look:
            self.counts["known"] += len(choice.wanted) - len(missing)
        following = next_position(page, position, self.window, missing=len(missing))
        if isinstance(following, End):
            self.position, self.note = None, following.note
        else:
            self.position = from_json(to_json(following))

    def to_its_end(self, *, between: Callable[[], None] = lambda: None) -> "Reading":
        while self.position is not None:
            self.step()
            between()
            assert self.pages < 1_000, "it has no end"
        return self


def pages_in(log: list[int], size: int) -> Callable[[Position], LogPage]:
    """A log that takes page numbers; it may change while it is read."""
    return lambda position: page_of(log[(position.page - 1) * size :][:size])


def ids(numbers: Sequence[int]) -> set[str]:
    return {f"call_{number}" for number in numbers}


# ---- nothing is missed, and it ends ------------------------------------------


@given(
    count=st.integers(0, 60),
    size=st.integers(1, 25),
    order=st.sampled_from(["newest first", "oldest first", "none"]),
    seed=st.integers(0, 1_000),
)
def test_whatever_the_order_and_the_size_every_call_is_found_once(
    count: int, size: int, order: str, seed: int
) -> None:
    log = list(range(count))
    if order == "newest first":
        log.reverse()
    elif order == "none":
        Random(seed).shuffle(log)
    reading = Reading(pages_in(log, size)).to_its_end()
    assert reading.known == ids(log)
    assert reading.counts == {"known": 0, "missing": count}
    assert reading.note is None


@settings(max_examples=300)
@given(
    count=st.integers(0, 60),
    # More calls than fit on a page between any two requests: no reader keeps up with that.
    size=st.integers(4, 20),
    growth=st.lists(st.integers(0, 3), max_size=80),
    known=st.sets(st.integers(0, 60)),
)
def test_new_calls_that_shift_the_pages_hide_none(
    count: int, size: int, growth: list[int], known: set[int]
) -> None:
    log = list(range(count, 0, -1))
    at_its_beginning = list(log)
    reading = Reading(pages_in(log, size))
    reading.known = ids(list(known))
    coming = iter(growth)

    def grow() -> None:
        for _ in range(next(coming, 0)):
            log.insert(0, len(log) + 1)

    reading.to_its_end(between=grow)
    assert ids(at_its_beginning) <= reading.known


def test_exactly_a_page_of_new_calls_makes_a_page_come_again_and_is_not_the_end() -> None:
    log = list(range(40, 0, -1))
    reading = Reading(pages_in(log, 10))
    reading.step()
    log[:0] = range(50, 40, -1)
    reading.to_its_end()
    assert reading.known == ids(range(1, 51))
    assert reading.note is None


def test_many_pages_of_new_calls_after_a_long_interruption_hide_none() -> None:
    log = list(range(100, 0, -1))
    window = Window(since=T0 + timedelta(minutes=40))
    reading = Reading(pages_in(log, 10), window)
    for _ in range(3):
        reading.step()
    log[:0] = range(400, 100, -1)
    reading.to_its_end()
    assert ids(range(40, 401)) <= reading.known


def test_a_call_that_moves_to_the_front_while_it_is_read_is_found_there() -> None:
    log = list(range(30, 0, -1))
    reading = Reading(pages_in(log, 10))
    reading.step()
    # It began only now: it stood last, and stands first.
    log.remove(1)
    log.insert(0, 1)
    reading.to_its_end()
    assert reading.known == ids(range(1, 31))


@given(st.integers(1, 50), st.integers(2, 30), st.booleans())
def test_a_log_that_takes_no_page_number_ends_soon_and_says_so(
    count: int, size: int, grows: bool
) -> None:
    log = list(range(count, 0, -1))

    def grow() -> None:
        if grows:
            log.insert(0, len(log) + 1)

    reading = Reading(lambda _: page_of(log[:size]))
    reading.to_its_end(between=grow)
    # Of the first look; the second one finds the beginning as it was, and says nothing.
    assert reading.note == REPEATS
    if not grows:
        assert reading.pages <= STALLS + 2
    assert reading.pages <= 2 * (STALLS + 2)


@given(
    st.lists(
        st.builds(
            LogPage,
            lines=st.lists(
                st.builds(
                    LogLine,
                    call_id=st.sampled_from("abcdefgh"),
                    at=st.none() | st.datetimes(timezones=st.just(UTC)),
                    ended_at=st.none() | st.datetimes(timezones=st.just(UTC)),
                    is_under_way=st.booleans(),
                ),
                max_size=6,
            ).map(tuple),
            unreadable=st.integers(0, 2),
            next_cursor=st.none() | st.sampled_from("xyz"),
            has_more=st.none() | st.booleans(),
        ),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
)
def test_whatever_stands_on_a_page_every_line_has_one_fate(
    pages: list[LogPage], is_bounded: bool
) -> None:
    window = Window(since=T0, until=T0 + timedelta(days=1)) if is_bounded else ALL
    position: Position | End = Position()
    for page in pages:
        if isinstance(position, End):
            break
        choice = choose(page, position, window)
        new = {one.call_id for one in page.lines} - set(position.last_ids)
        if not choice.has_no_times:
            assert len(choice.wanted) + choice.under_way + choice.outside == len(new)
            assert set(choice.wanted) <= new
        position = next_position(page, position, window, missing=0)
        if isinstance(position, Position):
            assert from_json(to_json(position)) == position


# ---- hints -------------------------------------------------------------------


def test_a_cursor_is_followed_to_its_end() -> None:
    log = list(range(25, 0, -1))
    asked: list[str | None] = []

    def ask(position: Position) -> LogPage:
        asked.append(position.cursor)
        at = int(position.cursor or "0")
        following = str(at + 10) if at + 10 < len(log) else None
        return page_of(log[at : at + 10], next_cursor=following)

    reading = Reading(ask).to_its_end()
    assert reading.known == ids(log)
    # And its beginning once more.
    assert asked == [None, "10", "20", None]


def test_a_cursor_that_leads_to_itself_is_the_end() -> None:
    reading = Reading(lambda _: page_of([1, 2], next_cursor="same")).to_its_end()
    assert reading.pages <= 4


def test_an_answer_that_says_there_is_no_more_is_believed() -> None:
    reading = Reading(lambda _: page_of([2, 1], has_more=False)).to_its_end()
    assert reading.pages == 1


def test_a_log_of_one_page_is_not_read_twice_to_its_end() -> None:
    reading = Reading(pages_in([2, 1], 10)).to_its_end()
    # The page, the empty one behind it, and its beginning once more.
    assert (reading.pages, reading.counts["missing"]) == (3, 2)


# ---- since and until ---------------------------------------------------------


def test_old_pages_end_it_only_where_every_page_was_newest_first() -> None:
    window = Window(since=T0 + timedelta(minutes=951))
    log = list(range(1_000, 0, -1))
    reading = Reading(pages_in(log, 10), window).to_its_end()
    assert reading.known == ids(range(951, 1_001))
    assert reading.pages == 5 + OLD_PAGES + 1
    turned = list(range(1, 1_001))
    reading = Reading(pages_in(turned, 10), window).to_its_end()
    assert reading.known == ids(range(951, 1_001))
    assert reading.pages > 100


@given(
    times=st.lists(st.integers(0, 5_000), min_size=1, max_size=60),
    size=st.integers(1, 15),
    since=st.integers(0, 5_000),
)
def test_of_a_log_in_no_order_no_call_within_the_bounds_is_missed_unless_it_looked_ordered(
    times: list[int], size: int, since: int
) -> None:
    bound = T0 + timedelta(minutes=since)
    lines = [
        LogLine(call_id=f"call_{number}", at=T0 + timedelta(minutes=at))
        for number, at in enumerate(times)
    ]

    def ask(position: Position) -> LogPage:
        return LogPage(lines=tuple(lines[(position.page - 1) * size :][:size]))

    reading = Reading(ask, Window(since=bound)).to_its_end()
    wanted = {one.call_id for one in lines if one.at is not None and one.at >= bound}
    assert reading.known <= wanted
    for missed in wanted - reading.known:
        # Two whole pages before it were too old, and every page until then was older than the last.
        at = int(missed.removeprefix("call_")) // size
        assert at >= OLD_PAGES
        assert any(
            all(one.at < bound for one in lines[page * size : (page + OLD_PAGES) * size])  # type: ignore[operator]
            for page in range(at - OLD_PAGES + 1)
        )


def test_bounds_without_any_time_in_the_log_are_refused_not_guessed() -> None:
    page = LogPage(lines=(LogLine(call_id="a"), LogLine(call_id="b")))
    assert choose(page, Position(), Window(since=T0)) == Choice(has_no_times=True)
    assert choose(page, Position(), ALL).wanted == ("a", "b")


def test_a_line_without_a_time_has_that_of_its_neighbour() -> None:
    lines = (
        LogLine(call_id="first"),
        line(100),
        LogLine(call_id="x"),
        line(1),
        LogLine(call_id="y"),
    )
    choice = choose(LogPage(lines=lines), Position(), Window(since=T0 + timedelta(minutes=50)))
    assert choice.wanted == ("first", "call_100", "x")
    assert choice.outside == 2


def test_what_is_under_way_or_has_only_just_ended_is_left_for_the_next_time() -> None:
    lines = (
        line(3, is_under_way=True),
        line(2, ended_at=T0 + timedelta(minutes=10)),
        line(1, ended_at=T0 + timedelta(minutes=1)),
    )
    window = Window(ended_before=T0 + timedelta(minutes=8))
    assert choose(LogPage(lines=lines), Position(), window) == Choice(
        wanted=("call_1",), under_way=2
    )
    assert choose(LogPage(lines=lines), Position(), ALL).wanted == ("call_2", "call_1")


# ---- refusals ----------------------------------------------------------------


def test_refused_parameters_are_left_out_one_by_one() -> None:
    first = Position()
    without_limit = after_refusal(first)
    assert without_limit is not None
    assert without_limit.manner is Manner.PAGE
    plain = after_refusal(without_limit)
    assert plain is not None
    assert plain.manner is Manner.PLAIN
    assert after_refusal(plain) is None
    # Without a limit, page 3 may be another one.
    assert after_refusal(Position(page=3)) is None
    assert after_refusal(Position(cursor="x")) is None
