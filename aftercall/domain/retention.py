"""How long each kind of data is kept, and which months of it are over. Pure.

A month that is dropped is over as a whole: what is kept for ninety days is there for
ninety days at least, and a month longer at most (docs/retention.md).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

#: Partitions there are beforehand: so long may nobody look after them.
MONTHS_AHEAD = 3
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


class DataKind(StrEnum):
    """What has a time of its own; the order is that in which it goes."""

    RAW_EVENTS = "raw_events"
    ATTEMPTS = "attempts"
    PAYLOADS = "payloads"
    MEDIA = "media"
    CALLS = "calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Days that each kind is kept; None: for ever. Nothing outlives its call."""

    raw_events: int | None = None
    attempts: int | None = None
    payloads: int | None = None
    media: int | None = None
    calls: int | None = None

    def days(self, kind: DataKind) -> int | None:
        own: int | None = getattr(self, kind.value)
        if self.calls is None or own is None:
            return self.calls if own is None else own
        return min(own, self.calls)

    def cutoff(self, kind: DataKind, *, now: datetime) -> datetime | None:
        """What is older goes; None: nothing does."""
        days = self.days(kind)
        if days is None:
            return None
        try:
            return now - timedelta(days=days)
        except OverflowError:
            return _BEGINNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A part of a table by time: from `since`, before `until`; None: without an end there."""

    name: str
    since: datetime | None
    until: datetime | None
    #: Takes what no other one does.
    is_default: bool = False
    size_bytes: int = 0

    def holds(self, at: datetime) -> bool:
        return (
            not self.is_default
            and (self.since is None or self.since <= at)
            and (self.until is None or at < self.until)
        )


def month_of(at: datetime) -> datetime:
    """Its first moment, in UTC."""
    at = at.astimezone(UTC)
    return datetime(at.year, at.month, 1, tzinfo=UTC)


def following(at: datetime) -> datetime:
    """The first moment of the next month."""
    years, month = divmod(month_of(at).month, 12)
    return datetime(month_of(at).year + years, month + 1, 1, tzinfo=UTC)


def months_from(now: datetime, *, ahead: int = MONTHS_AHEAD) -> list[datetime]:
    """This month and the next ones."""
    months = [month_of(now)]
    for _ in range(ahead):
        months.append(following(months[-1]))
    return months


def missing_months(
    partitions: Iterable[Partition], *, now: datetime, ahead: int = MONTHS_AHEAD
) -> list[datetime]:
    """Those that have no partition yet, of this one and the next ones."""
    there = list(partitions)
    return [
        month
        for month in months_from(now, ahead=ahead)
        if not any(partition.holds(month) for partition in there)
    ]


def over(partitions: Sequence[Partition], *, cutoff: datetime | None) -> list[Partition]:
    """Those in which nothing is as young as `cutoff`, the oldest first."""
    if cutoff is None:
        return []
    done = [one for one in partitions if one.until is not None and one.until <= cutoff]
    return sorted(done, key=lambda one: one.until or cutoff)
