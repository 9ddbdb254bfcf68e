"""Signs the links to recordings and transcripts, and checks the signatures.

HMAC-SHA256 under a key of its own, made of AFTERCALL_SECRET_KEY. Every key of
the list is accepted, so links live on while a key is replaced; the first signs.
"""

import base64
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class LinkSigner:
    """Signatures over a call's row, the kind, and the version of the link."""

    def __init__(self, keys: str) -> None:
        """`keys`: AFTERCALL_SECRET_KEY as it stands, comma-separated."""
        self._keys = [_derive(part.strip()) for part in keys.split(",") if part.strip()]

    def sign(self, call_row_id: int, kind: str, version: int) -> str:
        return _signature(self._keys[0], call_row_id, kind, version)

    def is_valid(self, signature: str, call_row_id: int, kind: str, version: int) -> bool:
        """Whether one of our keys made it. Takes as long when it is wrong."""
        given = signature.encode("utf-8", "replace")
        found = [
            hmac.compare_digest(given, _signature(key, call_row_id, kind, version).encode())
            for key in self._keys
        ]
        return any(found)


def _signature(key: bytes, call_row_id: int, kind: str, version: int) -> str:
    said = hmac.digest(key, f"{call_row_id}/{kind}/{version}".encode(), "sha256")
    return base64.urlsafe_b64encode(said).decode().rstrip("=")


def _derive(key: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"aftercall media links v1")
    return derived.derive(key.encode())
