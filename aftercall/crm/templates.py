"""Fills the requests of a CRM's description: text with {{ JMESPath }} in it, over what is known.

Pure. A text that is one `{{ … }}` and nothing else becomes the value itself, of
whichever type; null leaves its key or item out. Within other text it becomes
text. The key `...` spreads an object, or a list of {field, value}, into the one around it.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import jmespath
from jmespath.exceptions import JMESPathError

from aftercall.crm.mapping import MappingError, check_expression
from aftercall.domain.work import Parameters

SPREAD = "..."
_HOLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


def fill(template: Any, known: Parameters) -> Any:
    """The template with its holes filled. MappingError when an expression fails on this call."""
    match template:
        case str():
            return _fill_text(template, known)
        case Mapping():
            return _fill_object(template, known)
        case list():
            items = (fill(item, known) for item in template)
            return [item for item in items if item is not None]
        case _:
            return template


def fill_path(template: str, known: Parameters) -> str:
    """As text; each value percent-encoded, so that none of them leads elsewhere."""
    return _HOLE.sub(lambda hole: quote(_as_text(_search(hole[1], known)), safe=""), template)


def look(expression: str, known: Any) -> Any:
    """What the expression finds. MappingError when it fails."""
    return _search(expression, known)


def expressions_in(template: Any) -> Iterator[str]:
    """Every expression of a template, for checks."""
    match template:
        case str():
            yield from (hole[1] for hole in _HOLE.finditer(template))
        case Mapping():
            for value in template.values():
                yield from expressions_in(value)
        case list():
            for item in template:
                yield from expressions_in(item)


def check_template(template: Any) -> Any:
    """ValueError when one of its expressions is not JMESPath."""
    for expression in expressions_in(template):
        try:
            check_expression(expression)
        except MappingError as error:
            raise ValueError(f"{{{{{expression}}}}}: {error}") from None
    return template


def _fill_object(template: Mapping[str, Any], known: Parameters) -> Parameters:
    filled: Parameters = {}
    for key, value in template.items():
        found = fill(value, known)
        if key == SPREAD:
            filled |= _spread(found)
        elif found is not None:
            filled[key] = found
    return filled


def _spread(found: Any) -> Parameters:
    if isinstance(found, list):
        return {str(one["field"]): one["value"] for one in found}
    return found or {}


def _fill_text(template: str, known: Parameters) -> Any:
    whole = _HOLE.fullmatch(template.strip())
    if whole is not None and "{{" not in whole[1]:
        return _search(whole[1], known)
    return _HOLE.sub(lambda hole: _as_text(_search(hole[1], known)), template)


def _search(expression: str, known: Any) -> Any:
    try:
        return _compiled(expression).search(known)
    except (JMESPathError, RecursionError, ValueError, TypeError) as error:
        raise MappingError(f"{expression.strip()[:100]}: {error}") from None


@lru_cache(maxsize=1_000)
def _compiled(expression: str) -> Any:
    return jmespath.compile(expression)


def _as_text(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool() | list() | dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)
