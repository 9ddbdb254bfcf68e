"""Ids of our own: UUID version 7 (RFC 9562, section 5.7), so that new rows sort last."""

import os
import time
import uuid
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id() -> uuid.UUID:
    """Milliseconds since the epoch, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = int.from_bytes(milliseconds.to_bytes(6, "big") + os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (7 << 76)
    value = (value & ~(0x3 << 62)) | (2 << 62)
    return uuid.UUID(int=value)


def first_id(at: datetime) -> uuid.UUID:
    """Not above any id that is made from then on, not below any that was made before."""
    milliseconds = min(max((at - _EPOCH) // timedelta(milliseconds=1), 0), 2**48 - 1)
    return uuid.UUID(int=milliseconds << 80)
