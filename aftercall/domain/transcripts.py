"""Reads a transcript's file as text for people. Pure.

Twenty2 documents no format: text stays as it is, JSON that lists who said
what becomes lines, and other JSON is shown as JSON.
"""

import codecs
import json
from typing import Any

#: Of the text that is kept for reading and searching; the file has all of it.
MAX_TEXT_BYTES = 1_000_000
_LISTS = ("transcript", "messages", "utterances", "segments", "turns", "results")
_SPEAKERS = ("speaker", "role", "name", "from")
_WORDS = ("text", "content", "message", "transcript", "utterance")
_MARKS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def as_utf8(body: bytes) -> bytes:
    """The same text as UTF-8, which is how we serve it."""
    return _decoded(body).encode()


def text_of(body: bytes) -> tuple[str, bool]:
    """For reading, without what PostgreSQL does not take; and whether the end is missing."""
    text = _decoded(body)
    try:
        found = _lines(json.loads(text)) if text.lstrip()[:1] in ("{", "[") else None
    except (ValueError, RecursionError):
        found = None
    whole = (found or text).replace("\x00", "\ufffd").strip().encode()
    return whole[:MAX_TEXT_BYTES].decode(errors="ignore"), len(whole) > MAX_TEXT_BYTES


def _decoded(body: bytes) -> str:
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return body.decode(encoding, "replace")
    return body.decode("utf-8-sig", "replace")


def _lines(value: Any) -> str | None:
    if isinstance(value, dict):
        value = next((value[name] for name in _LISTS if name in value), value)
    if isinstance(value, str):
        return _clean(value)
    if not isinstance(value, list):
        return None
    lines = [_line(one) for one in value]
    return "\n".join(line for line in lines if line) or None


def _line(said: Any) -> str:
    if isinstance(said, str):
        return _clean(said)
    if not isinstance(said, dict):
        return ""
    words = next((said[name] for name in _WORDS if isinstance(said.get(name), str)), "")
    speaker = next((said[name] for name in _SPEAKERS if isinstance(said.get(name), str)), "")
    return _clean(f"{speaker}: {words}" if speaker and words else words)


def _clean(text: str) -> str:
    # JSON may spell half of a surrogate pair.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
