"""The little of SOQL and COQL that fake CRMs answer: one SELECT of one object.

Conditions are =, !=, IN and LIKE over texts and yes/no, with AND, OR and brackets.
What it cannot read is a syntax error, as it is at the vendors.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(r"\s*(?:'((?:[^'\\]|\\.)*)'|([\w.$]+)|(!=|[=(),]))")


class QueryError(Exception):
    """It is not a query, or asks for more than is understood here."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A field and what it is compared with."""

    field: str
    operator: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """Two conditions. `word`: and, or."""

    word: str
    left: "Condition"
    right: "Condition"


Condition = Compared | Joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """`order`: (field, whether the greatest comes first)."""

    fields: tuple[str, ...]
    object: str
    where: Condition
    order: tuple[tuple[str, bool], ...]
    limit: int

    @property
    def fields_compared(self) -> set[str]:
        return {one.field for one in _compared(self.where)}


def read_query(text: str) -> Query:
    """QueryError for what is not understood."""
    return _Reader(text).query()


def fits(record: Mapping[str, Any], where: Condition) -> bool:
    """Texts are compared without regard to case, as both vendors do."""
    match where:
        case Joined(word="and"):
            return fits(record, where.left) and fits(record, where.right)
        case Joined():
            return fits(record, where.left) or fits(record, where.right)
        case Compared(operator="like"):
            there, (pattern,) = record.get(where.field), where.values
            parts = (re.escape(part) for part in str(pattern).lower().split("%"))
            return re.fullmatch(".*".join(parts), str(there or "").lower(), re.DOTALL) is not None
        case Compared():
            is_there = _folded(record.get(where.field)) in map(_folded, where.values)
            return is_there != (where.operator == "!=")


def ordered(
    records: list[dict[str, Any]], order: tuple[tuple[str, bool], ...]
) -> list[dict[str, Any]]:
    """Those without a value last."""
    found = list(records)
    for field, is_descending in reversed(order):
        found.sort(key=lambda one: str(one.get(field) or ""), reverse=is_descending)
    return found


def _compared(where: Condition) -> Iterator[Compared]:
    if isinstance(where, Compared):
        yield where
        return
    yield from _compared(where.left)
    yield from _compared(where.right)


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at, text = 0, text.strip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise QueryError(f"unexpected token: {text[at : at + 20]!r}")
            quoted, word, sign = match.groups()
            kind = "text" if quoted is not None else "word" if word is not None else "sign"
            self._tokens.append((kind, quoted if quoted is not None else word or sign))
            at = match.end()

    def query(self) -> Query:
        self._word("select")
        fields = tuple(self._list(self._name))
        self._word("from")
        object_ = self._name()
        self._word("where")
        where = self._joined()
        order = self._order()
        limit = int(self._name()) if self._is_word("limit") else 200
        if self._tokens:
            raise QueryError(f"unexpected token: {self._tokens[0][1]!r}")
        if len(set(fields)) < len(fields):
            raise QueryError("duplicate field selected")
        return Query(fields=fields, object=object_, where=where, order=order, limit=limit)

    def _joined(self) -> Condition:
        left = self._one()
        for word in ("and", "or"):
            if self._is_word(word):
                right = self._one()
                if self._peek() in {("word", "and"), ("word", "or")}:
                    raise QueryError("more than two conditions want brackets")
                return Joined(word, left, right)
        return left

    def _one(self) -> Condition:
        if self._is_sign("("):
            inner = self._joined()
            self._sign(")")
            return inner
        field = self._name()
        if self._is_word("in"):
            self._sign("(")
            values = tuple(self._list(self._value))
            self._sign(")")
            return Compared(field, "in", values)
        if self._is_word("like"):
            return Compared(field, "like", (self._value(),))
        operator = "!=" if self._is_sign("!=") else "="
        if operator == "=":
            self._sign("=")
        return Compared(field, operator, (self._value(),))

    def _order(self) -> tuple[tuple[str, bool], ...]:
        if not self._is_word("order"):
            return ()
        self._word("by")
        return tuple(self._list(self._direction))

    def _direction(self) -> tuple[str, bool]:
        field = self._name()
        is_descending = self._is_word("desc") or (self._is_word("asc") and False)
        if self._is_word("nulls"):
            self._word("last")
        return field, is_descending

    def _list(self, item: Any) -> Iterator[Any]:
        yield item()
        while self._is_sign(","):
            yield item()

    def _value(self) -> Any:
        kind, value = self._next()
        if kind == "text":
            return re.sub(r"\\(.)", r"\1", value)
        if kind == "word" and value.lower() in {"true", "false"}:
            return value.lower() == "true"
        raise QueryError(f"unexpected token: {value!r}")

    def _name(self) -> str:
        kind, value = self._next()
        if kind != "word":
            raise QueryError(f"unexpected token: {value!r}")
        return value

    def _peek(self) -> tuple[str, str] | None:
        return (self._tokens[0][0], self._tokens[0][1].lower()) if self._tokens else None

    def _next(self) -> tuple[str, str]:
        if not self._tokens:
            raise QueryError("unexpected token: '<EOF>'")
        return self._tokens.pop(0)

    def _is_word(self, word: str) -> bool:
        return self._is("word", word)

    def _is_sign(self, sign: str) -> bool:
        return self._is("sign", sign)

    def _is(self, kind: str, what: str) -> bool:
        if self._peek() == (kind, what):
            self._tokens.pop(0)
            return True
        return False

    def _word(self, word: str) -> None:
        if not self._is_word(word):
            raise QueryError(f"expecting {word!r}")

    def _sign(self, sign: str) -> None:
        if not self._is_sign(sign):
            raise QueryError(f"expecting {sign!r}")
