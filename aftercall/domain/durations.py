"""Durations in buckets, from which percentiles can be read without keeping each one. Pure.

Bucket b holds what took up to 2^(b/2) - 1 milliseconds: two buckets for each
doubling, 30 up to half a minute. A percentile is right within a fifth.
"""

from collections.abc import Mapping

LAST_BUCKET = 40


def percentile_ms(buckets: Mapping[int, int], share: float) -> int | None:
    """So many milliseconds, or less, took this share of them; None when there are none."""
    wanted = sum(buckets.values()) * share
    if not wanted:
        return None
    before = 0
    for bucket in sorted(buckets):
        count = buckets[bucket]
        if before + count >= wanted:
            low, high = _upper(bucket - 1), _upper(bucket)
            return round(low + (high - low) * (wanted - before) / count)
        before += count
    raise AssertionError("unreachable: the last bucket reaches every share")


def _upper(bucket: int) -> float:
    return float(2 ** (bucket / 2) - 1) if bucket > 0 else 0.0
