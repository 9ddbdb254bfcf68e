"""A number is found in every spelling, and nothing else is taken for it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercall.domain.traces import Traces

ASHA = Traces("91", "9871532305")


@pytest.mark.parametrize(
    "said",
    [
        "9871532305",
        "+919871532305",
        "919871532305",
        "00919871532305",
        "09871532305",
        "+91 98715 32305",
        "+91-98715-32305",
        "(+91) 98715 32305",
        "+91(0)9871532305",
        "98715 32305",
        "987-153-2305",
        "98715.32305",
        "98715, 32305",
        "98715\u00a032305",
        "9 8 7 1 5 3 2 3 0 5",
        "९८७१५३२३०५",
        "+९१ ९८७१५ ३२३०५",
        "９８７１５３２３０５",
        "৯৮৭১৫৩২৩০৫",
    ],
)
def test_every_spelling_is_found_and_goes_whole(said: str) -> None:
    text = f"Call me on {said} tomorrow."
    assert ASHA.holds(text)
    left = ASHA.without(text)
    assert "***" in left
    assert not any(digit in left for digit in said if digit.isdigit())
    assert left.startswith("Call me on ")
    assert left.endswith(" tomorrow.")


@pytest.mark.parametrize(
    "said",
    [
        "9871532306",
        "59871532305",
        "98715323051",
        "+1 9871532305",
        "+1-987-153-2305",
        "0044 9871532305",
        "9871532 x 305",
        "",
    ],
)
def test_another_number_is_left_alone(said: str) -> None:
    assert not ASHA.holds(said)
    assert ASHA.without(said) == said


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"phone": 9871532305}', '{"phone": "***"}'),
        ('{"phone": 919871532305, "n": 1.50}', '{"phone": "***", "n": 1.50}'),
        ('{"a": "call 98715 32305"}', '{"a": "call ***"}'),
        ('{"9871532305": true}', '{"***": true}'),
        (r'{"a": "\u096f\u096e\u096d\u0967\u096b\u0969\u0968\u0969\u0966\u096b"}', '{"a": "***"}'),
        ('{"a": 98715, "b": 32305}', '{"a": 98715, "b": 32305}'),
        ("[98715, 32305]", "[98715, 32305]"),
        ('{"a": "nothing", "b": [1e5, null]}', '{"a": "nothing", "b": [1e5, null]}'),
    ],
)
def test_json_stays_json_and_all_else_in_it_as_it_was_written(before: str, after: str) -> None:
    assert ASHA.json_without(before) == after
    json.loads(after)


def test_the_beginning_of_a_json_text_is_looked_into_as_well() -> None:
    assert ASHA.text_without('{"error": "no lead for +91 98715 32305, tr') == (
        '{"error": "no lead for ***, tr'
    )


def test_bytes_that_are_no_text_stay_as_they_are() -> None:
    assert ASHA.bytes_without(b"\xff\xfe 9871532305 \x00") == b"\xff\xfe *** \x00"


@given(st.text())
def test_what_is_redacted_holds_it_no_more(text: str) -> None:
    left = ASHA.without(text + "+91 9871532305" + text)
    assert not ASHA.holds(left)
    assert ASHA.without(left) == left


@given(st.recursive(st.none() | st.integers() | st.text(), lambda one: st.lists(one)))
def test_a_json_text_without_it_is_not_changed_in_a_single_character(value: object) -> None:
    text = json.dumps(value)
    if not ASHA.holds(text):
        assert ASHA.json_without(text) == text
