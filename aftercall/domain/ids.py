"""Ids of our own: UUID version 7 (RFC 9562, section 5.7), so that new rows sort last."""

import os
import time
import uuid


def new_id() -> uuid.UUID:
    """Milliseconds since the epoch, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = int.from_bytes(milliseconds.to_bytes(6, "big") + os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (7 << 76)
    value = (value & ~(0x3 << 62)) | (2 << 62)
    return uuid.UUID(int=value)
