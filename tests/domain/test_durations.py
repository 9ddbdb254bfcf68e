"""Percentiles from buckets are about those of the durations themselves."""

import math

from hypothesis import given
from hypothesis import strategies as st

from aftercall.domain.durations import LAST_BUCKET, percentile_ms


def bucket(milliseconds: int) -> int:
    """As the counting statement has it."""
    return min(math.ceil(2 * math.log2(milliseconds + 1)), LAST_BUCKET)


@given(st.lists(st.integers(0, 30_000), min_size=1), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(values: list[int], share: float) -> None:
    buckets: dict[int, int] = {}
    for value in values:
        buckets[bucket(value)] = buckets.get(bucket(value), 0) + 1
    true = sorted(values)[math.ceil(len(values) * share) - 1]
    found = percentile_ms(buckets, share)
    assert found is not None
    # A bucket is as wide as from 1 to the square root of 2; and half a millisecond is rounded.
    assert true / 1.5 - 1.5 <= found <= true * 1.5 + 1.5


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentile_ms({}, 0.5) is None
