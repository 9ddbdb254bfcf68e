"""What the list of calls is filtered by: read from a URL, written into one. Pure but for the clock.

A day begins where the viewer is: the page's script says in which zone that is, and
without it days are UTC's. "Today" and "24 hours" stay what they say, however
long a page is open or a link is old.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Annotated
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import Depends, Query

from aftercall.db.call_search import CallQuery
from aftercall.domain.states import CallState
from api.routes.parameters import Text

#: Key and name of the choices of time.
TIMES = (
    ("", "Any time"),
    ("today", "Today"),
    ("24h", "Last 24 hours"),
    ("7d", "Last 7 days"),
    ("dates", "Between dates…"),
)
_SPANS = {"24h": timedelta(hours=24), "7d": timedelta(days=7)}
_MOST_Q = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """As it was given; `faults` names the fields that cannot be read."""

    q: str = ""
    state: tuple[CallState, ...] = ()
    status: str = ""
    workspace_id: str = ""
    parameter: str = ""
    when: str = ""
    since: str = ""
    until: str = ""
    zone: str = ""
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not self.params()

    @property
    def is_detailed(self) -> bool:
        """Whether one of the seldom fields is in use, or wrong."""
        return bool(self.status or self.workspace_id or self.parameter)

    def params(self) -> list[tuple[str, str]]:
        """For a URL; without what is empty."""
        single = [
            (name, getattr(self, name))
            for name in ("q", "status", "workspace_id", "parameter", "when", "since", "until")
        ]
        given = [*single[:1], *(("state", str(one)) for one in self.state), *single[1:]]
        kept = [(name, value) for name, value in given if value and name not in self.faults]
        if self.zone and (self.when == "today" or self.since or self.until):
            kept.append(("zone", self.zone))
        return kept

    def href(self, path: str, **more: str) -> str:
        """This path with these conditions, and more parameters."""
        query = urlencode([*self.params(), *more.items()])
        return f"{path}?{query}" if query else path

    def query(self, now: datetime) -> CallQuery:
        since, until = self._times(now)
        return CallQuery(
            q=self.q or None,
            state=self.state,
            status=self.status or None,
            workspace_id=self.workspace_id or None,
            parameter=self._parameter(),
            since=since,
            until=until,
        )

    def _parameter(self) -> tuple[str, str] | None:
        if not self.parameter or "parameter" in self.faults:
            return None
        name, _, value = self.parameter.partition(":")
        return name.strip(), value.strip()

    def _times(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        zone = zone_of(self.zone)
        if self.when == "today":
            return _midnight(now.astimezone(zone).date(), zone), None
        if self.when in _SPANS:
            return now - _SPANS[self.when], None
        return (
            None if "since" in self.faults else read_time(self.since, zone),
            None if "until" in self.faults else read_time(self.until, zone, is_end=True),
        )

    def day(self, name: str) -> str:
        """`since` or `until` as the page's field for a date wants it."""
        given: str = getattr(self, name)
        if "T" not in given or name in self.faults:
            return given
        found = read_time(given, zone_of(self.zone))
        if found is None:
            return ""
        try:
            return found.astimezone(zone_of(self.zone)).date().isoformat()
        except OverflowError:
            # The zone's day is before the first or after the last of the calendar.
            return found.date().isoformat()


def read_filter(
    q: Text = "",
    state: Annotated[Sequence[Text] | None, Query()] = None,
    status: Text = "",
    workspace_id: Text = "",
    parameter: Text = "",
    when: Text = "",
    since: Text = "",
    until: Text = "",
    zone: Text = "",
) -> CallFilter:
    """What cannot be read is left out of the conditions, and named in `faults`."""
    faults = {}
    if parameter and not (parameter.partition(":")[0].strip() and ":" in parameter):
        faults["parameter"] = "Write it as name:value, for example interested:yes"
    for name, given in (("since", since), ("until", until)):
        try:
            read_time(given, zone_of(zone), is_end=name == "until")
        except ValueError:
            faults[name] = "Write it as a date like 2026-01-31"
    if when not in dict(TIMES) or (when == "dates" and not (since or until)):
        when = ""
    elif not when and (since or until):
        when = "dates"
    is_between = when == "dates"
    return CallFilter(
        q=q.strip()[:_MOST_Q],
        state=tuple(one for one in CallState if one in (state or ())),
        status=status.strip(),
        workspace_id=workspace_id.strip(),
        parameter=parameter.strip(),
        when=when,
        since=since if is_between else "",
        until=until if is_between else "",
        zone=zone if zone_of(zone) is not UTC else "",
        faults=faults,
    )


FilterOf = Annotated[CallFilter, Depends(read_filter)]


def zone_of(name: str) -> tzinfo:
    """UTC when there is no such zone here."""
    try:
        return ZoneInfo(name) if name else UTC
    except (OSError, ValueError, KeyError):
        return UTC


def read_time(given: str, zone: tzinfo, *, is_end: bool = False) -> datetime | None:
    """A date, which lasts to its end, or a moment. ValueError when it is neither."""
    if not given:
        return None
    try:
        if "T" in given or " " in given:
            moment = datetime.fromisoformat(given.replace(" ", "+"))
            return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
        day = date.fromisoformat(given)
        return _midnight(day + timedelta(days=1) if is_end else day, zone)
    except OverflowError:
        raise ValueError("It is beyond the calendar") from None


def _midnight(day: date, zone: tzinfo) -> datetime:
    # In UTC, which is where the database compares; the first and the last days have none there.
    return datetime.combine(day, time(), zone).astimezone(UTC)
