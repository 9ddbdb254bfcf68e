"""Where a phone number stands in a text, whichever way it was written; and the text without it.

Found are ASCII digits and those of the scripts of India, with the country's code, its prefix or
neither, in one piece or several. The same digits behind another country's code are another
number. PostgreSQL looks first, with patterns that find a little too much; what is found is the
number only if `Traces` says so.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

#: What stands where the number was.
GONE = "***"
#: Fewer digits than that stand in too many texts by chance.
LEAST_DIGITS = 7

#: Where the digits begin: Arabic, Persian, Devanagari, Bengali, Gurmukhi, Gujarati, Odia, Tamil,
#: Telugu, Kannada, Malayalam, full width.
_ZEROS = (
    *(0x0660, 0x06F0, 0x0966, 0x09E6, 0x0A66, 0x0AE6),
    *(0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0xFF10),
)
_DIGITS = "0-9" + "".join(f"{chr(zero)}-{chr(zero + 9)}" for zero in _ZEROS)
#: Between two digits.
_SPACE = r"\s().,/_\u00a0\u200b-\u200f\u2010-\u2015\u202f-"
_BETWEEN = f"[{_SPACE}]{{0,3}}"
#: The same where bytes are written as PostgreSQL's `escape` does, with JSON's own escapes in them.
_RAW_BETWEEN = r"(?:[\s().,/_-]|(?:\\[0-7][0-7][0-7]){2,3}|\\\\u[0-9a-fA-F]{4}|\\\\[ntr/]){0,3}"
#: Right before a number: another country's code.
_OTHER_CODE = re.compile(rf"(?:\+|(?<![{_DIGITS}])00)\s?\(?[{_DIGITS}]{{1,3}}\)?{_BETWEEN}$")
#: Strings and numbers of a JSON text; what is between them is left as it is.
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Traces:
    """Of one number: "91" and "9871532305"."""

    code: str
    national: str

    @property
    def pattern(self) -> str:
        """For PostgreSQL: whatever may hold it."""
        return _BETWEEN.join(_any_script(digit) for digit in self.national)

    @property
    def raw_pattern(self) -> str:
        """For PostgreSQL: the same of bytes, as `encode(…, 'escape')` writes them."""
        return _RAW_BETWEEN.join(_any_bytes(digit) for digit in self.national)

    @property
    def backwards(self) -> str:
        """As an index of number ends has it."""
        return self.national[::-1]

    def holds(self, text: str) -> bool:
        """Whether the number stands in it."""
        return any(True for _ in self.spans(text))

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where it begins and ends, each time."""
        for found in _found(self.code, self.national).finditer(text):
            if not _is_of_another_country(text, found):
                yield found.span()

    def without(self, text: str) -> str:
        """The text, with *** for each number."""

        def replaced(found: "re.Match[str]") -> str:
            return found[0] if _is_of_another_country(text, found) else GONE

        return _found(self.code, self.national).sub(replaced, text)

    def json_without(self, text: str) -> str:
        """A JSON text; a number in it becomes a string. All else stays as it was written."""

        def replaced(found: "re.Match[str]") -> str:
            token = found[0]
            if not token.startswith('"'):
                return f'"{GONE}"' if self.holds(token) else token
            try:
                said = json.loads(token, strict=False)
            except ValueError:
                return self.without(token)
            left = self.without(said)
            return token if left == said else json.dumps(left, ensure_ascii=False)

        return _TOKENS.sub(replaced, text)

    def text_without(self, text: str) -> str:
        """Any text; one that looks like JSON may be the beginning of one."""
        return self.without(self.json_without(text) if _looks_like_json(text) else text)

    def bytes_without(self, body: bytes) -> bytes:
        """A request's body or a file: JSON or any text."""
        text = body.decode("utf-8", "surrogateescape")
        left = self.json_without(text) if _looks_like_json(text) else self.without(text)
        return left.encode("utf-8", "surrogateescape")


def _looks_like_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")


def _is_of_another_country(text: str, found: "re.Match[str]") -> bool:
    return _OTHER_CODE.search(text[max(found.start() - 12, 0) : found.start()]) is not None


@cache
def _found(code: str, national: str) -> "re.Pattern[str]":
    zero = _any_script("0")
    own_code = _BETWEEN.join(_any_script(digit) for digit in code)
    core = _BETWEEN.join(_any_script(digit) for digit in national)
    return re.compile(
        rf"(?<![{_DIGITS}])[+(]{{0,3}}"
        rf"(?:(?:{zero}{zero})?{own_code}{_BETWEEN})?(?:{zero}{_BETWEEN})?{core}(?![{_DIGITS}])"
    )


def _any_script(digit: str) -> str:
    return "[" + digit + "".join(chr(zero + int(digit)) for zero in _ZEROS) + "]"


def _any_bytes(digit: str) -> str:
    others = [chr(zero + int(digit)) for zero in _ZEROS]
    as_bytes = ["".join(rf"\\{byte:03o}" for byte in other.encode()) for other in others]
    # PostgreSQL has no flags inside a pattern: each letter in both cases.
    as_json = ["\\" * 4 + f"u{_both_cases(f'{ord(other):04x}')}" for other in others]
    return "(?:" + "|".join((digit, *as_bytes, *as_json)) + ")"


def _both_cases(letters: str) -> str:
    return "".join(f"[{one}{one.upper()}]" if one.isalpha() else one for one in letters)
