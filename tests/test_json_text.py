"""What is written as JSON is what was read."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercall.json_text import dump_json

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_what_is_written_reads_the_same(value: Any) -> None:
    assert repr(json.loads(dump_json(value))) == repr(value)


def test_it_is_compact_and_not_escaped() -> None:
    assert dump_json({"पता": [1, 2.5, None]}) == '{"पता":[1,2.5,null]}'.encode()


def test_a_number_beyond_64_bits_stays_what_it_is() -> None:
    assert dump_json([2**64, -(2**70)]) == b"[18446744073709551616,-1180591620717411303424]"


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        dump_json("\ud800")


def test_what_is_infinite_has_no_place_in_json() -> None:
    assert dump_json([math.inf]) == b"[null]"
