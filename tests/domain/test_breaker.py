"""The circuit breaker's pauses."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercall.domain.breaker import OPENS_AFTER, is_tripped, pause


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, None), (9, None), (10, 10), (11, 20), (12, 40), (13, 80), (14, 160), (15, 300), (99, 300)],
)
def test_the_pause_grows_with_every_failed_probe(failures: int, seconds: int | None) -> None:
    assert pause(failures) == (None if seconds is None else timedelta(seconds=seconds))


@given(st.integers(min_value=0, max_value=1_000_000))
def test_it_is_paused_exactly_when_it_is_tripped(failures: int) -> None:
    assert (pause(failures) is not None) == is_tripped(failures) == (failures >= OPENS_AFTER)
