"""The table of due_times.yaml as rows, and as a page: python -m tests.crm.phrases writes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

TABLE = Path(__file__).with_name("due_times.yaml")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "crm" / "phrases.md"


@dataclass(frozen=True, slots=True)
class Phrase:
    """`meaning`: "2024-12-26 11:00" in the zone, or why a person has to look."""

    words: str
    said_at: datetime
    zone: ZoneInfo
    meaning: str


@dataclass(frozen=True, slots=True)
class Group:
    """Phrases said at one moment."""

    about: str
    said_at: datetime
    zone: ZoneInfo
    phrases: tuple[Phrase, ...]


def groups() -> Iterator[Group]:
    # Every value as it is written: YAML would make times of some.
    read: list[dict[str, Any]] = yaml.load(TABLE.read_text(), Loader=yaml.BaseLoader)  # noqa: S506
    for group in read:
        said_at, zone = datetime.fromisoformat(group["said_at"]), ZoneInfo(group["zone"])
        phrases = tuple(
            Phrase(words, said_at=said_at, zone=zone, meaning=meaning)
            for words, meaning in group["phrases"].items()
        )
        yield Group(group["about"], said_at, zone, phrases)


def page() -> str:
    """docs/crm/phrases.md."""
    lines = [
        "# When to call again: what is understood",
        "",
        "A follow-up task gets a time only when the words leave no doubt. Otherwise the task keeps",
        "the words, has no time, and says why a person has to look. This table is the",
        "specification; the tests read it (`tests/crm/due_times.yaml`), and this page is made from",
        "it: `python -m tests.crm.phrases`.",
        "",
        "Call-backs are between 08:00 and 21:00, after the call, and less than 30 days ahead.",
        "A bare hour (“at 4”) means the half of the day that those hours leave; where they leave",
        "both (“at 8”), a person has to look. A window means its beginning, “after 6 pm” is 18:00.",
        "“kal” is tomorrow. A word that is not known makes the whole doubtful.",
    ]
    for group in groups():
        said = f"{group.said_at.astimezone(group.zone):%A %Y-%m-%d %H:%M}"
        lines += ["", f"## {group.about}", "", f"Said on {said}, {group.zone.key}.", ""]
        lines += ["| words | meaning |", "| --- | --- |"]
        lines += [_line(phrase) for phrase in group.phrases]
    return "\n".join(lines) + "\n"


def _line(phrase: Phrase) -> str:
    words = phrase.words.strip() or "(nothing)"
    meaning = phrase.meaning
    if meaning[0].isdigit() and ":" in meaning and not meaning.startswith("30 "):
        meaning = f"**{datetime.fromisoformat(meaning):%a %Y-%m-%d %H:%M}**"
    return f"| {words} | {meaning} |"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page())
