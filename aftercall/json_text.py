"""JSON for what goes out and what is stored: compact, quickly written."""

import json
from typing import Any

import orjson


def dump_json(value: Any) -> bytes:
    """Plain values as UTF-8; whole numbers of any length stay what they are.

    For what came as JSON: an infinite number would be written as null. ValueError for text that is
    no Unicode, RecursionError for what is nested too deeply.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        # A number beyond 64 bits, or text or depths that are for the other to refuse.
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
