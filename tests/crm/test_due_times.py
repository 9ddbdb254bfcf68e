"""When somebody wants to be called again: the table is the law, guards hold for any text."""

import re
import time as clock
from collections import Counter
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercall.crm.spoken.due_times import MAX_LENGTH, TOO_LONG, read_day, read_due_time
from tests.crm.phrases import PAGE, TABLE, Phrase, groups, page

INDIA = ZoneInfo("Asia/Kolkata")
ZONES = [INDIA, ZoneInfo("Europe/London"), ZoneInfo("America/New_York"), ZoneInfo("Asia/Kathmandu")]
SAID_AT = datetime(2024, 12, 25, 15, 30, tzinfo=INDIA)
PHRASES = [phrase for group in groups() for phrase in group.phrases]


def meaning(words: str, *, said_at: datetime = SAID_AT, zone: ZoneInfo = INDIA) -> str:
    found = read_due_time(words, said_at=said_at, zone=zone)
    return found.why_not or f"{found.at:%Y-%m-%d %H:%M}"


@pytest.mark.parametrize("phrase", PHRASES, ids=lambda phrase: f"{phrase.words[:40]!r}")
def test_a_phrase_means_what_the_table_says(phrase: Phrase) -> None:
    assert meaning(phrase.words, said_at=phrase.said_at, zone=phrase.zone) == phrase.meaning


def test_the_table_has_at_least_150_phrases() -> None:
    assert len(PHRASES) >= 150


def test_no_phrase_stands_twice_in_a_group() -> None:
    # YAML would silently take the last one.
    for group in yaml.compose(TABLE.read_text()).value:
        for key, rows in group.value:
            if key.value == "phrases":
                counts = Counter(words.value for words, _ in rows.value)
                assert [words for words, count in counts.items() if count > 1] == []


def test_the_page_for_people_is_made_from_the_table() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.crm.phrases"


def test_the_words_are_kept_as_they_were() -> None:
    assert read_due_time("  Kal 5 Baje ", said_at=SAID_AT, zone=INDIA).words == "  Kal 5 Baje "
    assert read_due_time("Later!", said_at=SAID_AT, zone=INDIA).words == "Later!"


def test_the_time_is_in_the_zone() -> None:
    found = read_due_time("tomorrow 11 am", said_at=SAID_AT.astimezone(UTC), zone=INDIA)
    assert found.at == datetime(2024, 12, 26, 5, 30, tzinfo=UTC)
    assert found.at is not None
    assert found.at.tzinfo is INDIA


def test_a_long_text_is_no_time() -> None:
    words = "tomorrow 11 am".ljust(MAX_LENGTH)
    assert meaning(words) == "2024-12-26 11:00"
    assert meaning(words + " ") == TOO_LONG


# ---- laws --------------------------------------------------------------------

#: Words that the reader knows, thrown together, get further into it than any text.
KNOWN_WORDS = """
    tomorrow today kal parso monday sat sun 27th december 27/12 5 05 11 12 8 4:30 5.30 17:00
    am pm baje oclock morning shaam night noon midnight at in after before between and to -
    se mein ke baad hours ghante minutes days weeks later from now half past quarter an a
    not nahi or next 2024-12-27 2024-12-27T10:00Z 29/2 31 tarikh ist ? ½ कल सुबह ११ बजे
"""
KNOWN = st.lists(st.sampled_from(KNOWN_WORDS.split()), max_size=9).map(" ".join)
SOON = st.integers(946_684_800, 4_102_444_800).map(lambda at: datetime.fromtimestamp(at, UTC))


@given(st.one_of(KNOWN, KNOWN, st.text(max_size=300)), SOON, st.sampled_from(ZONES))
@settings(max_examples=1500, deadline=None)
def test_whatever_is_said_the_time_is_one_at_which_a_call_can_be_made(
    words: str, said_at: datetime, zone: ZoneInfo
) -> None:
    found = read_due_time(words, said_at=said_at, zone=zone)
    assert (found.at is None) == bool(found.why_not)
    if found.at is not None:
        assert timedelta() < found.at - said_at < timedelta(days=30)
        local = found.at.astimezone(zone).time()
        assert time(8) <= local <= time(21)
        # A number: in digits, or one of the words above that is one ("sat baje" is seven o'clock).
        assert any(character.isdigit() for character in words) or re.search("noon|an|sat", words)


@given(st.text(max_size=10_000), SOON)
@settings(max_examples=100, deadline=None)
def test_any_text_is_answered(words: str, said_at: datetime) -> None:
    read_due_time(words, said_at=said_at, zone=INDIA)
    read_day(words, said_at=said_at, zone=INDIA)


@pytest.mark.parametrize(
    "words",
    ["5" * 10_000, "5 " * 100, "5-" * 100, "ﷺ" * 200, "in 5 hours " * 18, "at " * 66, "१" * 200],
    ids=lambda words: words[:6],
)
def test_no_text_takes_long(words: str) -> None:
    started = clock.process_time()
    read_due_time(words, said_at=SAID_AT, zone=INDIA)
    assert clock.process_time() - started < 0.5


@given(KNOWN, SOON)
@settings(max_examples=300, deadline=None)
def test_a_not_before_it_makes_any_time_doubtful(words: str, said_at: datetime) -> None:
    assert read_due_time(f"not {words}", said_at=said_at, zone=INDIA).at is None


@given(KNOWN, SOON)
@settings(max_examples=300, deadline=None)
def test_a_word_that_is_not_known_makes_any_time_doubtful(words: str, said_at: datetime) -> None:
    assert read_due_time(f"{words} perhaps", said_at=said_at, zone=INDIA).at is None


# ---- the day alone -----------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "day"),
    [
        ("tomorrow", "2024-12-26"),
        ("kal", "2024-12-26"),
        ("27/12", "2024-12-27"),
        ("15/08/1985", "1985-08-15"),
        ("1985-08-15", "1985-08-15"),
        ("Friday", "2024-12-27"),
        ("Wednesday", "which day is not clear"),
        # Yesterday, or in a year.
        ("24 December", "which day is not clear"),
        ("15/08/85", "which day is not clear"),
        ("tomorrow or Friday", "which day is not clear"),
        ("not tomorrow", "not every word is understood"),
        ("", "which day is not clear"),
    ],
)
def test_a_day_is_read_alone(words: str, day: str) -> None:
    assert str(read_day(words, said_at=SAID_AT, zone=INDIA)) == day
