"""The pages that the code writes are as it would write them now, and have everything in them."""

import re
from pathlib import Path

import pytest

from aftercall.settings import Settings
from api.app import app
from tests.test_docs import ROOT, commands, named
from tools.reference import pages
from tools.reference_settings import with_settings_table, words_of


@pytest.mark.parametrize("page", pages(), ids=named)
def test_a_page_is_as_the_code_says_now(page: Path) -> None:
    assert page.read_text() == pages()[page], f"{named(page)} is old: run make reference"


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_has_its_section_with_every_option(name: str, command: object) -> None:
    text = (ROOT / "docs" / "reference" / "cli.md").read_text()
    section = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section
    rows = re.findall(r"^\| `(--?[\w-]+)`", section[1], re.MULTILINE)
    assert rows == [one.opts[0] for one in command.params if one.opts[0].startswith("-")]  # type: ignore[attr-defined]


def test_every_route_and_every_body_has_its_section() -> None:
    text = (ROOT / "docs" / "reference" / "api.md").read_text()
    document = app.openapi()
    headings = [
        f"### {method.upper()} `{path}`"
        for path in document["paths"]
        for method in document["paths"][path]
    ]
    headings += [f"### {name}" for name in document["components"]["schemas"]]
    lines = set(text.splitlines())
    assert [heading for heading in headings if heading not in lines] == []


def test_a_setting_without_words_is_noticed() -> None:
    with pytest.raises(KeyError):
        with_settings_table((ROOT / "docs" / "settings.md").read_text(), "# NOTHING=\n")


def test_the_words_of_a_setting_are_told_apart() -> None:
    example = (
        "# Opens a door.\n# Default: unset, no door. Make one: openssl rand -hex 32\n# DOOR=\n"
    )
    words = words_of(example)["DOOR"]
    assert (words.meaning, words.default, words.recipe) == (
        "Opens a door.",
        "unset, no door",
        "`openssl rand -hex 32`",
    )


def test_settings_that_share_their_words_say_so_once() -> None:
    words = words_of("# The first workspace.\n# ID=\n# KEY=\n")
    assert (words["ID"].meaning, words["KEY"].meaning) == ("The first workspace.", "See ID.")


def test_every_setting_of_the_code_stands_in_the_table_once() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    names = re.findall(r"^\| ([A-Z][A-Z0-9_]+) \|", text, re.MULTILINE)
    assert names == [field.alias for field in Settings.model_fields.values()]
