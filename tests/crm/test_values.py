"""What an agent learned becomes a typed value, or says why not; nothing is guessed."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercall.crm.spoken.amounts import Money
from aftercall.crm.values import Unreadable, Value, ValueType, read_value

INDIA = ZoneInfo("Asia/Kolkata")
SAID_AT = datetime(2024, 12, 25, 10, 0, tzinfo=UTC)


def read(
    raw: object, type_: ValueType, choices: Mapping[str, str] | None = None
) -> Value | Unreadable | None:
    return read_value(raw, type=type_, choices=choices or {}, said_at=SAID_AT, zone=INDIA)


@pytest.mark.parametrize("type_", ValueType)
@pytest.mark.parametrize("raw", [None, "", "  ", "\x00", [], {}])
def test_where_nothing_was_said_there_is_nothing(raw: object, type_: ValueType) -> None:
    assert read(raw, type_) is None


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("  3 BHK ", "3 BHK"),
        ("मुंबई\x00", "मुंबई"),
        ("half\ud83d", "half"),
        (94, "94"),
        (94.0, "94"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (0, "0"),
        (True, "yes"),
        (False, "no"),
        (["2 BHK", None, "3 BHK"], "2 BHK; 3 BHK"),
        ({"city": "Pune", "rooms": 3, "pets": None}, "city: Pune\nrooms: 3"),
        ({"sizes": [1, 2], "more": {"a": 1, "b": True}}, "sizes: 1; 2\nmore: a: 1, b: yes"),
        ([{"a": 1}, {"b": 2}], "a: 1; b: 2"),
    ],
)
def test_anything_is_readable_text(raw: object, text: str) -> None:
    assert read(raw, ValueType.TEXT) == text


@pytest.mark.parametrize(
    ("raw", "number"),
    [
        (3, "3"),
        (2.5, "2.5"),
        (0.1, "0.1"),
        (94.0, "94"),
        ("2.5", "2.5"),
        ("-5", "-5"),
        ("150000", "150000"),
        ("1,50,000", "150000"),
        ("1,50,000.50", "150000.50"),
        ("12,34,56,789", "123456789"),
        ("150,000", "150000"),
        ("1,500,000", "1500000"),
        ("1.5 lakh", "150000"),
        ("1.5 Lakhs", "150000"),
        ("75 lac", "7500000"),
        ("2 crore", "20000000"),
        ("1.25 Cr", "12500000"),
        ("50k", "50000"),
        ("50 K", "50000"),
        ("2 लाख", "200000"),
        ("२ करोड़", "20000000"),
        ("１２", "12"),
    ],
)
def test_a_number_is_read_exactly(raw: object, number: str) -> None:
    assert str(read(raw, ValueType.NUMBER)) == number


@pytest.mark.parametrize(
    "raw",
    [
        "two",
        "1,5",
        "1,50",
        "15,0000",
        "1e5",
        "12 34",
        "10-12",
        "50 lakh to 1 crore",
        "5 people",
        "about 5",
        "1.2.3",
        "₹5",
        "NaN",
        "Infinity",
        float("nan"),
        float("inf"),
        True,
        [1],
        {"n": 1},
        10**5000,
        "9" * 61,
    ],
    ids=lambda raw: "a huge one" if isinstance(raw, int) and raw > 1 else str(raw)[:20],
)
def test_what_is_no_number_is_not_guessed(raw: object) -> None:
    assert isinstance(read(raw, ValueType.NUMBER), Unreadable)


@pytest.mark.parametrize(
    ("raw", "amount", "currency"),
    [
        ("15.67 INR", "15.67", "INR"),
        ("Rs 1,50,000", "150000", "INR"),
        ("Rs. 1,50,000/-", "150000", "INR"),
        ("Rs.500", "500", "INR"),
        ("₹1.5 lakh", "150000", "INR"),
        ("₹ 2 crore", "20000000", "INR"),
        ("50 lakh rupees", "5000000", "INR"),
        ("USD 20", "20", "USD"),
        ("20 usd", "20", "USD"),
        ("€20.50", "20.50", "EUR"),
        ("1.5 lakh", "150000", None),
        (15.67, "15.67", None),
        (15, "15", None),
        ({"amount": "15.67", "currency": "INR"}, "15.67", "INR"),
        ({"amount": 15.67, "currency": "inr"}, "15.67", "INR"),
        ({"amount": 15}, "15", None),
    ],
)
def test_money_is_read_exactly(raw: object, amount: str, currency: str | None) -> None:
    assert read(raw, ValueType.MONEY) == Money(Decimal(amount), currency)


@pytest.mark.parametrize(
    "raw",
    [
        "free",
        "rs",
        "$5",  # whose dollars?
        "5 usd inr",
        "50-60 lakh",
        "under 50 lakh",
        True,
        {"amount": "x"},
        {"currency": "INR"},
        {"amount": 1, "currency": "rupees"},
        {"amount": 1, "currency": 5},
    ],
)
def test_what_is_no_money_is_not_guessed(raw: object) -> None:
    assert isinstance(read(raw, ValueType.MONEY), Unreadable)


@pytest.mark.parametrize("raw", [True, 1, 1.0, "yes", "Yes.", " YES ", "haan", "Haan ji", "जी हाँ"])
def test_yes_is_yes(raw: object) -> None:
    assert read(raw, ValueType.YES_NO) is True


@pytest.mark.parametrize("raw", [False, 0, "no", "No!", "nahi", "नहीं", "false"])
def test_no_is_no(raw: object) -> None:
    assert read(raw, ValueType.YES_NO) is False


@pytest.mark.parametrize("raw", ["maybe", "not sure", "yes no", "2", 2, "not interested", ["yes"]])
def test_what_is_neither_yes_nor_no_is_not_guessed(raw: object) -> None:
    found = read(raw, ValueType.YES_NO)
    assert isinstance(found, Unreadable)
    assert "neither yes nor no" in found.why


CHOICES = {"hot": "Hot lead", "Very  Hot": "Hot lead", "cold": "Cold", "1": "One"}


@pytest.mark.parametrize(
    ("raw", "option"),
    [("Hot", "Hot lead"), (" very hot ", "Hot lead"), ("COLD.", "Cold"), (1, "One")],
)
def test_what_is_said_chooses_the_option(raw: object, option: str) -> None:
    assert read(raw, ValueType.CHOICE, CHOICES) == option


def test_what_is_no_choice_is_not_guessed() -> None:
    assert isinstance(read("hottest", ValueType.CHOICE, CHOICES), Unreadable)


def test_two_options_for_one_word_are_not_guessed() -> None:
    assert isinstance(read("hot", ValueType.CHOICE, {"hot": "A", "HOT": "B"}), Unreadable)


def test_without_choices_the_text_is_the_option() -> None:
    assert read(" Hot ", ValueType.CHOICE) == "Hot"


@pytest.mark.parametrize(
    ("raw", "day"),
    [
        ("2024-01-02", date(2024, 1, 2)),
        ("27/12/2024", date(2024, 12, 27)),
        ("15/08/1985", date(1985, 8, 15)),
        ("tomorrow", date(2024, 12, 26)),
        ("kal", date(2024, 12, 26)),
        ("tomorrow 5 pm", date(2024, 12, 26)),
        ("27 December", date(2024, 12, 27)),
        # It is the 27th already in India.
        ("2024-12-26T20:00:00Z", date(2024, 12, 27)),
    ],
)
def test_a_date_is_a_day_in_the_zone(raw: str, day: date) -> None:
    assert read(raw, ValueType.DATE) == day


@pytest.mark.parametrize(
    "raw", ["Wednesday", "31/11/2024", "12/27/2024", "not tomorrow", "soon", 45000, "24 December"]
)
def test_a_date_that_is_not_certain_is_not_guessed(raw: object) -> None:
    assert isinstance(read(raw, ValueType.DATE), Unreadable)


@pytest.mark.parametrize(
    ("raw", "at"),
    [
        ("tomorrow 5 pm", datetime(2024, 12, 26, 11, 30, tzinfo=UTC)),
        ("kal subah 11 baje", datetime(2024, 12, 26, 5, 30, tzinfo=UTC)),
        # A stamp says it all: it may be past, and at night.
        ("2024-01-01T22:00:00Z", datetime(2024, 1, 1, 22, 0, tzinfo=UTC)),
        ("2024-01-01T10:00", datetime(2024, 1, 1, 4, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_from_words_and_stamps(raw: str, at: datetime) -> None:
    assert read(raw, ValueType.DATE_TIME) == at


@pytest.mark.parametrize("raw", ["later", "tomorrow", "at 8", 5, "2024-13-01T10:00:00Z"])
def test_a_time_that_is_not_certain_is_not_guessed(raw: object) -> None:
    assert isinstance(read(raw, ValueType.DATE_TIME), Unreadable)


def test_a_reason_shows_what_was_said_but_not_a_page_of_it() -> None:
    found = read("x" * 1000, ValueType.NUMBER)
    assert isinstance(found, Unreadable)
    assert len(found.why) < 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from(ValueType))
@settings(max_examples=800, deadline=None)
def test_anything_that_json_can_say_is_answered(raw: Any, type_: ValueType) -> None:
    found = read(raw, type_)
    if isinstance(found, str):
        assert found
        assert "\x00" not in found
        found.encode()
    if isinstance(found, datetime):
        assert found.tzinfo is not None
    if isinstance(found, Decimal):
        assert found.is_finite()


@given(st.floats(-1e20, 1e20))
def test_a_float_is_the_number_that_it_prints(number: float) -> None:
    assert read(number, ValueType.NUMBER) == Decimal(repr(number))


def test_deep_nesting_is_answered() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    for type_ in ValueType:
        read(deep, type_)
