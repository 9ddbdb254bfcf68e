"""Tables and cells as the reference pages have them."""

from collections.abc import Iterable, Sequence

MADE = "<!-- Made by `make reference`. What is changed here is lost. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, or nothing when it has no row."""
    lines = [row_of(row) for row in rows]
    if not lines:
        return ""
    return "\n".join([row_of(head), "|" + "---|" * len(head), *lines])


def row_of(cells: Sequence[str]) -> str:
    texts = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(texts) + " |"


def joined(*parts: str) -> str:
    """Paragraphs with a blank line between them; what is empty is left out."""
    return "\n\n".join(part for part in parts if part) + "\n"
