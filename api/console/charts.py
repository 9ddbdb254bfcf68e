"""Where the bars and lines of a chart lie. The drawing is `templates/components/charts.html`.

A chart is an SVG that stretches with the page; its words are HTML beside it, so that
they stay legible on a phone. The same numbers stand in a table.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 600.0
HEIGHT = 160.0
#: Of a bucket's width, between two bars.
_GAP = 0.2


@dataclass(frozen=True, slots=True)
class Series:
    """One line of numbers, one a bucket. `tone`: good, bad, busy, wait, warn or quiet."""

    name: str
    tone: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Chart:
    """`labels`: one a bucket, oldest first."""

    title: str
    labels: Sequence[str]
    series: Sequence[Series]

    @property
    def summary(self) -> str:
        """The sums, for those who do not see the picture."""
        sums = ", ".join(f"{one.name} {_number(sum(one.values))}" for one in self.series)
        if not self.labels:
            return f"{self.title}: nothing yet"
        return f"{self.title}, {self.labels[0]} to {self.labels[-1]}: {sums}"

    @property
    def is_empty(self) -> bool:
        return not any(any(one.values) for one in self.series)


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    tone: str
    says: str


def bars(chart: Chart) -> list[Bar]:
    """The series on top of each other, one stack a bucket."""
    step = WIDTH / max(len(chart.labels), 1)
    scale = HEIGHT / ceiling(chart)
    found = []
    for index, label in enumerate(chart.labels):
        top = HEIGHT
        for one in chart.series:
            height = one.values[index] * scale
            if not height:
                continue
            top -= height
            found.append(
                Bar(
                    x=round(index * step + step * _GAP / 2, 2),
                    y=round(top, 2),
                    width=round(step * (1 - _GAP), 2),
                    height=round(height, 2),
                    tone=one.tone,
                    says=f"{label}: {one.name} {_number(one.values[index])}",
                )
            )
    return found


def line(chart: Chart, series: Series, *, is_closed: bool = False) -> str:
    """An SVG path; closed along the bottom it is an area."""
    scale = HEIGHT / ceiling(chart, is_stacked=False)
    step = WIDTH / max(len(series.values) - 1, 1)
    points = [
        f"{round(index * step, 2)} {round(HEIGHT - value * scale, 2)}"
        for index, value in enumerate(series.values)
    ]
    if not points:
        return ""
    path = "M" + " L".join(points)
    return f"{path} L{WIDTH} {HEIGHT} L0 {HEIGHT} Z" if is_closed else path


def ceiling(chart: Chart, *, is_stacked: bool = True) -> float:
    """A round number that nothing is above."""
    combine: Callable[[Sequence[float]], float] = sum if is_stacked else max
    columns = zip(*(one.values for one in chart.series), strict=True)
    highest = max((combine(column) for column in columns), default=0)
    if highest <= 1:
        return 1
    power = 10 ** math.floor(math.log10(highest))
    return float(
        next(power * step for step in (1, 2, 3, 4, 5, 6, 8, 10) if power * step >= highest)
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


FILTERS: dict[str, Callable[..., Any]] = {
    "bars": bars,
    "line": line,
    "ceiling": ceiling,
    "number": _number,
}
