"""How long things are kept, and which months are over: pure, by the clock that is given."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercall.domain.retention import (
    DataKind,
    Partition,
    Retention,
    following,
    missing_months,
    month_of,
    months_from,
    over,
)

times = st.integers(0, 6_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def month(year: int, number: int) -> datetime:
    return datetime(year, number, 1, tzinfo=UTC)


def partition(since: datetime | None, until: datetime | None) -> Partition:
    return Partition(name=f"of_{until}", since=since, until=until)


@given(times)
def test_a_time_lies_in_its_month(at: datetime) -> None:
    assert month_of(at) <= at < following(at)
    assert month_of(following(at)) == following(at)


@pytest.mark.parametrize(
    ("at", "after"),
    [
        (datetime(2026, 11, 28, 15, tzinfo=UTC), month(2026, 12)),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), month(2027, 1)),
        (datetime(2028, 2, 29, tzinfo=UTC), month(2028, 3)),
        # In India it is January already.
        (datetime(2027, 1, 1, 3, tzinfo=timezone(timedelta(hours=5, minutes=30))), month(2027, 1)),
    ],
)
def test_the_month_after(at: datetime, after: datetime) -> None:
    assert following(at) == after


def test_months_go_on_across_the_year() -> None:
    assert months_from(datetime(2026, 11, 28, tzinfo=UTC)) == [
        month(2026, 11),
        month(2026, 12),
        month(2027, 1),
        month(2027, 2),
    ]


def test_only_months_without_a_partition_are_missing() -> None:
    there = [
        partition(None, month(2026, 12)),
        partition(month(2027, 1), month(2027, 2)),
        Partition(name="default", since=None, until=None, is_default=True),
    ]
    missing = missing_months(there, now=datetime(2026, 11, 28, tzinfo=UTC))
    assert missing == [month(2026, 12), month(2027, 2)]


@given(times, st.integers(0, 400))
def test_nothing_that_is_young_is_in_a_month_that_is_over(now: datetime, days: int) -> None:
    cutoff = Retention(attempts=days).cutoff(DataKind.ATTEMPTS, now=now)
    assert cutoff is not None
    months = [month_of(now - timedelta(days=31 * back)) for back in range(16)]
    partitions = [partition(one, following(one)) for one in sorted(set(months))]
    gone = over(partitions, cutoff=cutoff)
    for one in gone:
        assert one.until is not None
        assert one.until <= cutoff
    # A month longer at most.
    left = [one for one in partitions if one not in gone]
    assert all(one.since is not None and one.since > cutoff - timedelta(days=31) for one in left)


def test_without_a_time_nothing_is_over_and_the_default_never_is() -> None:
    default = Partition(name="default", since=None, until=None, is_default=True)
    old = partition(None, month(2000, 1))
    assert over([old, default], cutoff=None) == []
    assert over([old, default], cutoff=month(2026, 1)) == [old]


@pytest.mark.parametrize(
    ("retention", "kind", "days"),
    [
        (Retention(), DataKind.CALLS, None),
        (Retention(raw_events=90), DataKind.RAW_EVENTS, 90),
        (Retention(raw_events=90, calls=30), DataKind.RAW_EVENTS, 30),
        (Retention(calls=30), DataKind.MEDIA, 30),
        (Retention(media=10, calls=30), DataKind.MEDIA, 10),
    ],
)
def test_nothing_outlives_its_call(retention: Retention, kind: DataKind, days: int | None) -> None:
    assert retention.days(kind) == days


def test_a_time_before_all_times_is_no_fault() -> None:
    cutoff = Retention(calls=36_500).cutoff(DataKind.CALLS, now=datetime(50, 1, 1, tzinfo=UTC))
    assert cutoff == datetime(1, 1, 1, tzinfo=UTC)
