"""Where the next page of a list begins: the last id of this one, as a word nobody should read."""

import base64
import binascii
import uuid

from aftercall.flows.errors import Invalid

MAX_LIMIT = 500


def check_limit(limit: int) -> int:
    """Invalid when a page is to be larger than anybody reads."""
    if not 1 <= limit <= MAX_LIMIT:
        raise Invalid([("limit", f"It must be 1 to {MAX_LIMIT}")])
    return limit


def encode_cursor(last: object) -> str:
    return base64.urlsafe_b64encode(str(last).encode()).decode().rstrip("=")


def decode_number(cursor: str) -> int:
    """The row id that was encoded; Invalid when it is none."""
    text = _decode(cursor)
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _bad_cursor()
    return int(text)


def decode_uuid(cursor: str) -> uuid.UUID:
    try:
        return uuid.UUID(_decode(cursor))
    except ValueError:
        raise _bad_cursor() from None


def _decode(cursor: str) -> str:
    try:
        # Strictly: by default what is no base64 is passed over.
        padded = cursor + "=" * (-len(cursor) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise _bad_cursor() from None


def _bad_cursor() -> Invalid:
    return Invalid([("cursor", "It is not a next_cursor that this list has answered")])
