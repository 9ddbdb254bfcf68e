"""Where a page begins, as one opaque word: which way, and beyond which row."""

import base64
import binascii
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from aftercall.db.call_search import CallPlace
from aftercall.db.delivery_search import DeliveryPlace
from aftercall.flows.errors import Invalid

T = TypeVar("T")

MAX_LIMIT = 500

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def check_limit(limit: int) -> int:
    """Invalid when a page is to be larger than anybody reads."""
    if not 1 <= limit <= MAX_LIMIT:
        raise Invalid([("limit", f"It must be 1 to {MAX_LIMIT}")])
    return limit


def entry_cursor(id_: int) -> str:
    return _encode(_way(newer=False), str(id_))


def entry_place(cursor: str | None) -> int | None:
    """The id below which the page begins; Invalid when no list has answered it."""
    if cursor is None:
        return None
    _, *rest = _decode(cursor)
    if len(rest) != 1 or not _is_number(rest[0]):
        raise _bad_cursor()
    return int(rest[0])


def call_cursor(received_at: datetime, id_: int, *, newer: bool) -> str:
    return _encode(_way(newer), str((received_at - _EPOCH) // _MICROSECOND), str(id_))


def call_place(cursor: str | None) -> CallPlace | None:
    """Invalid when no list has answered it."""
    if cursor is None:
        return None
    way, *rest = _decode(cursor)
    if len(rest) != 2 or not all(_is_number(part) for part in rest):
        raise _bad_cursor()
    try:
        at = _EPOCH + int(rest[0]) * _MICROSECOND
    except OverflowError:
        raise _bad_cursor() from None
    return CallPlace(at, int(rest[1]), newer=way == "newer")


def delivery_cursor(id_: uuid.UUID, *, newer: bool) -> str:
    return _encode(_way(newer), str(id_))


def delivery_place(cursor: str | None) -> DeliveryPlace | None:
    """Invalid when no list has answered it."""
    if cursor is None:
        return None
    way, *rest = _decode(cursor)
    try:
        return DeliveryPlace(uuid.UUID(".".join(rest)), newer=way == "newer")
    except ValueError:
        raise _bad_cursor() from None


def row_cursor(id_: uuid.UUID) -> str:
    return _encode(_way(newer=False), str(id_))


def row_place(cursor: str | None) -> uuid.UUID | None:
    """The id below which the page begins; Invalid when no list has answered it."""
    place = delivery_place(cursor)
    return None if place is None else place.id


def split_page(
    rows: Sequence[T], *, limit: int, came: bool, newer: bool
) -> tuple[Sequence[T], bool, bool]:
    """The page of up to `limit + 1` rows, and whether there are older and newer ones beyond.

    `came`: from another page; `newer`: from an older one.
    """
    more = len(rows) > limit
    if newer:
        return (rows[1:] if more else rows), True, more
    return rows[:limit], more, came


def _way(newer: bool) -> str:
    return "newer" if newer else "older"


def _encode(*parts: str) -> str:
    return base64.urlsafe_b64encode(".".join(parts).encode()).decode().rstrip("=")


def _decode(cursor: str) -> list[str]:
    try:
        # Strictly: by default what is no base64 is passed over.
        padded = cursor + "=" * (-len(cursor) % 4)
        parts = base64.b64decode(padded, altchars=b"-_", validate=True).decode().split(".")
    except (binascii.Error, ValueError):
        raise _bad_cursor() from None
    if parts[0] not in ("older", "newer"):
        raise _bad_cursor()
    return parts


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _bad_cursor() -> Invalid:
    return Invalid(
        [("cursor", "It is not a next_cursor or previous_cursor that this list has answered")]
    )
