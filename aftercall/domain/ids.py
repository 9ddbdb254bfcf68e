"""Ids of our own: UUID version 7 (RFC 9562, section 5.7), so that new rows sort last."""

import os
import time
import uuid
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id() -> uuid.UUID:
    """The time since the epoch in 4096ths of a millisecond, then 62 random bits.

    The fraction (section 6.2, method 3) lets what is made one after the other sort so: notices
    made within one millisecond are told in their order.
    """
    milliseconds, fraction = divmod(time.time_ns() * 4096 // 1_000_000, 4096)
    random = int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | random)


def first_id(at: datetime) -> uuid.UUID:
    """Not above any id that is made from then on, not below any that was made before."""
    milliseconds = min(max((at - _EPOCH) // timedelta(milliseconds=1), 0), 2**48 - 1)
    return uuid.UUID(int=milliseconds << 80)
