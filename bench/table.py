"""A table of text: for the terminal, and as markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Table:
    """What one scenario found: a title, rows, and what is to be known about them."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        lines = [self.title, *_aligned([self.columns, *self.rows], gap="  ")]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def markdown(self) -> str:
        # The first column names, the others count.
        dashes = ["---", *("---:" for _ in self.columns[1:])]
        rows = ["| " + " | ".join(row) + " |" for row in (self.columns, dashes, *self.rows)]
        return "\n".join([f"## {self.title}", "", *rows, "", *self.notes]).rstrip() + "\n"


def _aligned(rows: Sequence[Sequence[str]], *, gap: str) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(gap + gap.join([first, *rest]))
        if number == 0:
            lines.append(gap + gap.join("-" * width for width in widths))
    return lines


def rate(value: float) -> str:
    """1,234 above ten, 3.4 below."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def megabytes(count: float) -> str:
    return f"{count / 2**20:,.0f} MB"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1_000:,.1f} ms"


def percentile(values: Sequence[float], part: float) -> float:
    """The value that this part of them (0 to 1) does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
