"""When to try again: the schedules as tables, and what holds for every wait."""

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercall.domain.schedules import (
    DELIVERY_ATTEMPTS,
    FETCH_ATTEMPTS,
    delivery_wait,
    fetch_wait,
    look_wait,
    parse_retry_after,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = timedelta(0)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Loaded(random.Random):
    """A die that always falls the same way: 0 is the least, just under 1 the most."""

    def __init__(self, falls: float) -> None:
        super().__init__(0)
        self._falls = falls

    def random(self) -> float:
        return self._falls


LEAST, MIDDLE, MOST = Loaded(0.0), Loaded(0.5), Loaded(0.999999)


# ---- deliveries --------------------------------------------------------------

#: After which attempt, how long. The first attempt is at once.
DELIVERY_TABLE = {
    1: 5 * SECOND,
    2: 30 * SECOND,
    3: 2 * MINUTE,
    4: 10 * MINUTE,
    5: 30 * MINUTE,
    6: 2 * HOUR,
    7: 5 * HOUR,
    8: 10 * HOUR,
    9: 14 * HOUR,
    10: 20 * HOUR,
    11: 24 * HOUR,
    12: None,
}


@pytest.mark.parametrize(("attempt", "wait"), list(DELIVERY_TABLE.items()))
def test_deliveries_follow_their_schedule(attempt: int, wait: timedelta | None) -> None:
    assert delivery_wait(attempt, asked=None, rng=MIDDLE) == wait


def test_a_delivery_has_twelve_attempts() -> None:
    assert DELIVERY_ATTEMPTS == 12
    assert delivery_wait(11, asked=None, rng=MIDDLE) is not None
    for attempt in (12, 13, 1_000):
        assert delivery_wait(attempt, asked=HOUR, rng=MIDDLE) is None


@given(st.integers(1, 11), st.floats(0, 1, exclude_max=True))
def test_a_deliverys_jitter_keeps_near_the_schedule(attempt: int, falls: float) -> None:
    scheduled = DELIVERY_TABLE[attempt]
    wait = delivery_wait(attempt, asked=None, rng=Loaded(falls))
    assert scheduled is not None
    assert wait is not None
    assert 0.9 * scheduled <= wait <= 1.1 * scheduled


def test_deliveries_that_failed_together_do_not_come_back_together() -> None:
    rng = random.Random(7)
    assert len({delivery_wait(6, asked=None, rng=rng) for _ in range(100)}) == 100


# ---- fetches -----------------------------------------------------------------

#: After which attempt, at most how long: five times as long each time, up to half a day.
FETCH_TABLE = {
    1: 5 * SECOND,
    2: 25 * SECOND,
    3: 125 * SECOND,
    4: 625 * SECOND,
    5: 3_125 * SECOND,
    6: 15_625 * SECOND,
    7: 12 * HOUR,
    8: 12 * HOUR,
    9: 12 * HOUR,
}


@pytest.mark.parametrize(("attempt", "cap"), list(FETCH_TABLE.items()))
def test_a_fetchs_jitter_is_full_up_to_its_cap(attempt: int, cap: timedelta) -> None:
    def wait(rng: random.Random) -> timedelta:
        found = fetch_wait(attempt, asked=None, at_most=None, rng=rng)
        assert found is not None
        return found

    assert wait(LEAST) == NOTHING
    assert wait(MIDDLE) == cap / 2
    assert 0.99 * cap < wait(MOST) <= cap


def test_a_fetch_has_ten_attempts() -> None:
    assert FETCH_ATTEMPTS == 10
    for attempt in (10, 11, 1_000):
        assert fetch_wait(attempt, asked=HOUR, at_most=None, rng=MIDDLE) is None


@pytest.mark.parametrize("at_most", [1, 3, 10, 50])
def test_some_failures_have_fewer_attempts_and_none_has_more(at_most: int) -> None:
    waits = [
        fetch_wait(attempt, asked=None, at_most=at_most, rng=MIDDLE) for attempt in range(1, 60)
    ]
    assert sum(wait is not None for wait in waits) == min(at_most, 10) - 1


def total_fetch_wait(rng: random.Random) -> timedelta:
    waits = [fetch_wait(attempt, asked=None, at_most=None, rng=rng) for attempt in FETCH_TABLE]
    return sum((wait for wait in waits if wait is not None), NOTHING)


def test_a_call_is_given_up_after_about_a_day() -> None:
    rng = random.Random(7)
    mean = fmean(total_fetch_wait(rng) / HOUR for _ in range(500))
    assert 18 < mean < 26
    assert total_fetch_wait(MOST) < timedelta(hours=48)


# ---- what holds for every wait -----------------------------------------------

asked_waits = st.none() | st.timedeltas(min_value=NOTHING, max_value=timedelta(days=40_000))
dice = st.floats(0, 1, exclude_max=True).map(Loaded)


@given(st.integers(1, 20), asked_waits, st.none() | st.integers(1, 20), dice)
def test_a_fetch_waits_what_was_asked_up_to_a_day_and_never_longer_than_that(
    attempt: int, asked: timedelta | None, at_most: int | None, rng: random.Random
) -> None:
    wait = fetch_wait(attempt, asked=asked, at_most=at_most, rng=rng)
    if attempt >= min(10, at_most or 10):
        assert wait is None
    else:
        assert wait is not None
        assert min(asked or NOTHING, 24 * HOUR) <= wait <= 24 * HOUR


@given(st.integers(1, 20), asked_waits, dice)
def test_a_delivery_waits_what_was_asked_up_to_a_day_and_not_much_longer(
    attempt: int, asked: timedelta | None, rng: random.Random
) -> None:
    wait = delivery_wait(attempt, asked=asked, rng=rng)
    if attempt >= 12:
        assert wait is None
    else:
        assert wait is not None
        assert min(asked or NOTHING, 24 * HOUR) <= wait <= 1.1 * 24 * HOUR


# ---- looks -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "wait"),
    [
        (NOTHING, 15 * SECOND),
        (15 * SECOND, 15 * SECOND),
        (30 * SECOND, 15 * SECOND),
        (MINUTE, 30 * SECOND),
        (10 * MINUTE, 5 * MINUTE),
        (30 * MINUTE, 15 * MINUTE),
        (HOUR, 15 * MINUTE),
        (48 * HOUR, 15 * MINUTE),
        pytest.param(-MINUTE, 15 * SECOND, id="another machine's clock was ahead"),
    ],
)
def test_looks_grow_from_15_seconds_to_15_minutes(age: timedelta, wait: timedelta) -> None:
    assert look_wait(age) == wait


@given(st.timedeltas(), st.timedeltas())
def test_an_older_call_is_never_looked_at_sooner(one: timedelta, other: timedelta) -> None:
    younger, older = sorted((one, other))
    assert 15 * SECOND <= look_wait(younger) <= look_wait(older) <= 15 * MINUTE


# ---- Retry-After -------------------------------------------------------------

IN_FIVE_MINUTES = NOW + 5 * MINUTE


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", NOTHING),
        ("1", SECOND),
        ("120", 2 * MINUTE),
        ("  120\t", 2 * MINUTE),
        ("86400", 24 * HOUR),
        ("0120", 2 * MINUTE),
        pytest.param("0" * 20 + "120", 2 * MINUTE, id="many leading zeros"),
        # RFC 9110's three spellings of a date, and the zones that people send all the same.
        ("Thu, 01 Jan 2026 00:05:00 GMT", 5 * MINUTE),
        ("Thursday, 01-Jan-26 00:05:00 GMT", 5 * MINUTE),
        ("Thu Jan  1 00:05:00 2026", 5 * MINUTE),
        ("Thu, 01 Jan 2026 05:35:00 +0530", 5 * MINUTE),
        ("Thu, 01 Jan 2026 00:05:00 -0000", 5 * MINUTE),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, wait: timedelta) -> None:
    assert parse_retry_after(value, now=NOW) == wait


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "   ",
        "soon",
        "-5",
        "+5",
        "1.5",
        "1e3",
        "6_0",
        "0x10",
        "60 s",
        "60, 120",
        "\N{ARABIC-INDIC DIGIT SIX}\N{ARABIC-INDIC DIGIT ZERO}",
        "\N{SUPERSCRIPT TWO}",
        "\x00",
        ",",
        "2026-01-01T00:05:00Z",
        "Thu, 99 Jan 2026 00:05:00 GMT",
        "Thu, 01 Jan 99999 00:05:00 GMT",
        "Thu, 01 Jan 2026 00:05:00 +9999999999",
        "Thu, 01 Jan " + "9" * 6_000 + " 00:05:00 GMT",
        "Thu, 01 Jan 99999999999 00:05:00 GMT",
        "Thu, 01 Jan 2026 00:05:00 +9999999999999",
    ],
)
def test_a_retry_after_that_makes_no_sense_is_none(value: str | None) -> None:
    assert parse_retry_after(value, now=NOW) is None


@pytest.mark.parametrize(
    "value",
    [
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Wed, 31 Dec 2025 23:59:59 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
    ],
)
def test_a_date_in_the_past_asks_for_nothing(value: str) -> None:
    # Their clock is behind ours: not "at once", or a 429 would be met with request upon request.
    assert parse_retry_after(value, now=NOW) is None


@pytest.mark.parametrize(
    "value", ["9" * 12, "9" * 400, "9" * 6_000, "Fri, 31 Dec 9999 23:59:59 -2359"]
)
def test_a_huge_retry_after_is_long_and_does_no_harm(value: str) -> None:
    wait = parse_retry_after(value, now=NOW)
    assert wait is not None
    assert wait > timedelta(days=365)
    assert fetch_wait(1, asked=wait, at_most=None, rng=MIDDLE) == 24 * HOUR
    assert delivery_wait(1, asked=wait, rng=MIDDLE) == 24 * HOUR
    _ = NOW + 24 * HOUR


_date_words = st.lists(
    st.sampled_from(
        ["Thu", ",", "01", "Jan", "2026", "00:05:00", "GMT", "+0530", "-", "+", ".", ":", "99", "1"]
    )
    | st.text(max_size=3),
    max_size=9,
).map(" ".join)


@given(st.text(max_size=40) | _date_words)
def test_whatever_the_header_says_it_is_a_wait_or_none(value: str) -> None:
    wait = parse_retry_after(value, now=NOW)
    assert wait is None or wait >= NOTHING


@given(st.integers(1, 10**9))
def test_any_later_date_is_the_time_until_then(seconds: int) -> None:
    header = format_datetime(NOW + seconds * SECOND, usegmt=True)
    assert parse_retry_after(header, now=NOW) == seconds * SECOND
