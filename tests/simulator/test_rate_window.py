"""The window is exact: tables of arrival times, and the law against brute force."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercall.simulator.rate_window import SlidingWindow

Arrivals = list[tuple[float, bool]]


@pytest.mark.parametrize(
    ("limit", "arrivals"),
    [
        pytest.param(3, [(0, True), (1, True), (2, True), (3, False)], id="the fourth of three"),
        pytest.param(1, [(0, True), (59.999, False), (60, True)], id="exactly a window later"),
        pytest.param(
            2,
            [(0, True), (50, True), (59, False), (60, True), (109, False), (110, True)],
            id="slides, does not restart",
        ),
        pytest.param(
            1,
            [(0, True), (20, False), (40, False), (60, True)],
            id="a refused request does not use the limit up",
        ),
        pytest.param(0, [(0, False), (100, False)], id="a limit of nothing"),
    ],
)
def test_the_window_admits_as_the_table_says(limit: int, arrivals: Arrivals) -> None:
    window = SlidingWindow(limit=limit, window_seconds=60.0)
    assert [(at, window.arrive(at).allowed) for at, _ in arrivals] == arrivals


def test_a_breach_counts_and_the_overrun_grows_with_insistence() -> None:
    window = SlidingWindow(limit=2, window_seconds=60.0)
    overruns = [window.arrive(at).overrun for at in (0, 1, 2, 3, 4, 70)]
    assert overruns == [0, 0, 1, 2, 3, 0]
    assert (window.breaches, window.largest_overrun) == (3, 3)


def test_a_refused_request_learns_when_there_is_room() -> None:
    window = SlidingWindow(limit=2, window_seconds=60.0)
    window.arrive(0.0)
    window.arrive(10.0)
    assert window.arrive(25.0).wait_seconds == 35.0
    assert window.arrive(60.0).allowed


def test_a_limit_lowered_meanwhile_waits_until_enough_have_left() -> None:
    window = SlidingWindow(limit=3, window_seconds=60.0)
    for at in (0.0, 10.0, 20.0):
        window.arrive(at)
    window.limit = 1
    assert window.arrive(30.0).wait_seconds == 50.0
    assert not window.arrive(79.9).allowed
    assert window.arrive(80.0).allowed


@given(
    limit=st.integers(1, 5),
    gaps=st.lists(st.integers(0, 20), max_size=60),
)
def test_no_window_ever_holds_more_than_the_limit_and_none_is_refused_without_need(
    limit: int, gaps: list[int]
) -> None:
    window = SlidingWindow(limit=limit, window_seconds=60)
    admitted: list[int] = []
    at = 0
    for gap in gaps:
        at += gap
        in_window = sum(at - earlier < 60 for earlier in admitted)
        allowed = window.arrive(at).allowed
        assert allowed == (in_window < limit)
        if allowed:
            admitted.append(at)
