"""Secrets at rest: Fernet (AES-128-CBC with HMAC-SHA256) from `cryptography`.

AFTERCALL_SECRET_KEY may list several keys: the first seals, all open, so a
key can be replaced without a moment in which something cannot be read.
"""

import base64
import functools

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SHORTEST_KEY = 16
#: Texts that stay open in memory, where the keys are as well: each request needs one or two.
_KEPT_OPEN = 1_024


class SealError(Exception):
    """A secret cannot be sealed or opened with the keys at hand. Names no secret."""


class Sealer:
    """Seals and opens short texts."""

    def __init__(self, keys: str) -> None:
        """`keys`: AFTERCALL_SECRET_KEY as it stands, comma-separated."""
        parts = [part.strip() for part in keys.split(",") if part.strip()]
        if not parts or any(len(part) < SHORTEST_KEY for part in parts):
            raise SealError(
                f"AFTERCALL_SECRET_KEY needs at least {SHORTEST_KEY} characters a key: "
                "make one with `openssl rand -base64 32`"
            )
        self._fernet = MultiFernet([Fernet(_derive(part)) for part in parts])
        self._decrypt = functools.lru_cache(_KEPT_OPEN)(self._fernet.decrypt)

    def seal(self, secret: str) -> str:
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """SealError when none of the keys fits."""
        try:
            return self._decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise SealError(
                "A stored secret does not open with AFTERCALL_SECRET_KEY: "
                "put the key that sealed it back into the list, or set the secret anew"
            ) from None

    def reseal(self, sealed: str) -> str:
        """The same secret under the first key."""
        return self.seal(self.open(sealed))


def _derive(key: str) -> bytes:
    # Any text makes a key of the right length; the salt would have to be kept beside it.
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"aftercall sealing v1")
    return base64.urlsafe_b64encode(derived.derive(key.encode()))
