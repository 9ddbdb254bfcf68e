"""The table of docs/settings.md: forms and defaults from Settings, words from .env.example."""

import re
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from aftercall.settings import Settings
from tools.reference_markdown import table

BEGIN = "<!-- Made by `make reference`, from the settings and .env.example: change it there. -->"
END = "<!-- End of what `make reference` makes. -->"
_HEAD = ["name", "meaning", "form", "default", "how to make one"]


@dataclass(frozen=True, slots=True)
class Words:
    """What .env.example says of a setting."""

    meaning: str
    default: str
    recipe: str


def with_settings_table(page: str, example: str) -> str:
    """The page with its table made anew."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/settings.md has lost the comments between which its table stands")
    return f"{before}{BEGIN}\n\n{settings_table(example)}\n\n{END}{after}"


def settings_table(example: str) -> str:
    """A row for each setting, in the order of the code."""
    words = words_of(example)
    rows = [_row(field, words) for field in Settings.model_fields.values()]
    return table(_HEAD, rows)


def words_of(example: str) -> dict[str, Words]:
    """Each name in .env.example with the comment above it, or above its group."""
    found: dict[str, Words] = {}
    for block in re.split(r"\n\s*\n", example):
        names = re.findall(r"^# ([A-Z][A-Z0-9_]+)=", block, re.MULTILINE)
        lines = [line.removeprefix("#").strip() for line in block.splitlines()]
        text = " ".join(line for line in lines if not re.match(r"[A-Z][A-Z0-9_]+=|----", line))
        found |= {name: _read(text) for name in names[:1]}
        found |= {
            name: Words(f"See {names[0]}.", found[names[0]].default, "") for name in names[1:]
        }
    return found


def _read(text: str) -> Words:
    recipe = re.search(r"\s*Make (?:one|each): (.+)$", text)
    text = text[: recipe.start()] if recipe else text
    default = re.search(r"\s*Default: (.+?)\.(?=\s|$)", text)
    if default:
        text = text[: default.start()] + text[default.end() :]
    return Words(
        meaning=text.strip(),
        default=default[1] if default else "",
        recipe=f"`{recipe[1]}`" if recipe else "",
    )


def _row(field: FieldInfo, words: dict[str, Words]) -> list[str]:
    name = str(field.alias)
    said = words[name]
    default = said.default or "unset"
    if field.default not in (None, ()):
        default = f"`{field.default}`"
    return [name, said.meaning, _form(field), default, said.recipe]


def _form(field: FieldInfo) -> str:
    kinds = _kinds(field.annotation)
    if bool in kinds:
        return "true or false"
    if int in kinds or float in kinds:
        low, high = _limit(field, "ge"), _limit(field, "le")
        return f"number, {low:,} to {high:,}" if low is not None and high is not None else "number"
    if Path in kinds:
        return "path"
    if tuple in kinds:
        return "comma-separated list"
    if SecretStr in kinds:
        return "text, secret"
    return "text"


def _limit(field: FieldInfo, name: str) -> Any:
    return next((getattr(one, name) for one in field.metadata if hasattr(one, name)), None)


def _kinds(annotation: Any) -> set[Any]:
    """The plain types in an annotation."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return set().union(*(_kinds(one) for one in get_args(annotation)))
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _kinds(get_args(annotation)[0])
    return {origin or annotation}
