"""A mark for a phone number: the same for the same number, and no way back without our key.

HMAC-SHA256 under a key of its own, made of the first key of AFTERCALL_SECRET_KEY. Two reports of
one person have one mark, until that key is replaced.
"""

import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_LENGTH = 16


def person_mark(keys: str, e164: str) -> str:
    """`keys`: AFTERCALL_SECRET_KEY as it stands, comma-separated."""
    first = next(part.strip() for part in keys.split(",") if part.strip())
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"aftercall person mark v1")
    return hmac.digest(derived.derive(first.encode()), e164.encode(), "sha256").hex()[:_LENGTH]
