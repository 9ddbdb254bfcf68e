"""One telephone number, however people and CRMs write it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercall.crm.phones import Number, is_same, read_number, spellings

NUMBER = Number(e164="+919871532305", national="9871532305", region="IN")
ABROAD = Number(e164="+16502530000", national="6502530000", region="US")


@pytest.mark.parametrize(
    "raw",
    [
        "9871532305",
        "09871532305",
        "919871532305",
        "+919871532305",
        "0091 9871532305",
        "00919871532305",
        "98715-32305",
        "98715 32305",
        "98715.32305",
        "987-153-2305",
        "+91 98715 32305",
        "+91-98715-32305",
        "+91-9871532305",
        "91-9871532305",
        "(0) 98715 32305",
        "+91 (0) 98715 32305",
        "+91(0)9871532305",
        "(+91) 9871532305",
        "+91 09871532305",
        " 9871532305\n",
        "\u202a+91 98715 32305\u202c",
        "9871\u00a0532\u00a0305",
        "９８７１５３２３０５",
        "९८७१५३२३०५",
        "+९१ ९८७१५ ३२३०५",
        "tel:+91-98715-32305",
        "tel:9871532305;ext=5",
        "Mobile: 9871532305",
        "call 9871532305",
        "9871532305 ext. 12",
        "9871532305x12",
        "+91 98715 32305 extn 3",
        "9871532305#12",
    ],
)
def test_every_spelling_of_it_is_the_number(raw: str) -> None:
    assert read_number(raw, region="IN") == NUMBER
    assert is_same(NUMBER, raw, region="IN")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "",
        "   ",
        "unknown",
        "999999",
        "100",
        "0000000000",
        "98715323",
        "98715323051234",
        "+91 98715",
        "9871532305 / 9871532306",
        "9871532305, 9876543210",
        "1800FLOWERS",
        "98715O2305",
        "9871532305 home",
        "agent@sip.example",
        "+",
        "0091",
        "9" * 10_000,
    ],
)
def test_what_cannot_be_a_number_is_none(raw: str | None) -> None:
    assert read_number(raw, region="IN") is None
    assert not is_same(NUMBER, raw, region="IN")


@pytest.mark.parametrize(
    "raw", ["+1 650-253-0000", "16502530000", "001 650 253 0000", "+1 (650) 253-0000"]
)
def test_a_number_from_abroad_is_read_with_its_country(raw: str) -> None:
    assert read_number(raw, region="IN") == ABROAD


def test_the_region_says_how_a_number_without_a_country_is_read() -> None:
    assert read_number("(650) 253-0000", region="US") == ABROAD
    assert read_number("020 7946 0018", region="GB") == Number("+442079460018", "2079460018", "GB")
    assert read_number("9871532305", region="US") is None


def test_a_landline_keeps_its_area_code() -> None:
    number = Number("+912223456789", "2223456789", "IN")
    assert read_number("022 2345 6789", region="IN") == number
    assert read_number("+91 22 23456789", region="IN") == number


def test_a_number_with_its_plus_is_believed_when_its_length_fits() -> None:
    # A range that is newer than the metadata.
    assert read_number("+91 5123456789", region="IN") == Number("+915123456789", "5123456789", "IN")


def test_another_number_is_not_the_same() -> None:
    assert not is_same(NUMBER, "9871532306", region="IN")
    assert not is_same(NUMBER, "+1 987 153 2305", region="IN")


def test_the_likeliest_spellings_come_first() -> None:
    assert spellings(NUMBER)[:6] == (
        "+919871532305",
        "9871532305",
        "919871532305",
        "09871532305",
        "00919871532305",
        "+91 98715 32305",
    )


@pytest.mark.parametrize("wanted", ["+91-9871532305", "098715 32305", "98715-32305"])
def test_what_crms_store_verbatim_is_among_the_spellings(wanted: str) -> None:
    assert wanted in spellings(NUMBER)


@pytest.mark.parametrize("number", [NUMBER, ABROAD])
def test_no_spelling_comes_twice(number: Number) -> None:
    assert len(set(spellings(number))) == len(spellings(number))


NUMBERS = st.integers(6_000_000_000, 9_999_999_999).map(str)


@given(NUMBERS)
@settings(max_examples=200, deadline=None)
def test_every_spelling_reads_as_the_number_again(national: str) -> None:
    number = read_number(f"+91{national}", region="IN")
    assert number is not None
    for spelling in spellings(number):
        assert read_number(spelling, region="IN") == number, spelling


@given(st.sampled_from(["+16502530000", "+442079460018", "+97142345678", "+390612345678"]))
def test_spellings_from_abroad_with_their_country_read_as_the_number(e164: str) -> None:
    number = read_number(e164, region="IN")
    assert number is not None
    for spelling in spellings(number):
        if spelling.startswith(("+", "(+", "00")) and not spelling.startswith("+390("):
            assert read_number(spelling, region="IN") == number, spelling


@given(st.text(max_size=80) | st.from_regex(r"[+0-9() x#;=-]{0,30}", fullmatch=True))
@settings(max_examples=500, deadline=None)
def test_any_text_is_answered(raw: str) -> None:
    number = read_number(raw, region="IN")
    assert number is None or number.e164.startswith("+")
