"""Standard Webhooks 1.0: the three headers, made by its own library. Pure."""

import base64
import binascii
import secrets
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

_PREFIX = "whsec_"


class SecretError(Exception):
    """Not a Standard Webhooks secret. The message never shows it."""


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def check_secret(secret: str) -> None:
    """SecretError unless it is `whsec_` and 24 to 64 bytes in base64, as specified."""
    try:
        raw = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(raw) <= 64:
        raise SecretError("The secret must be whsec_ and 24 to 64 bytes in base64")


def signature_headers(
    body: bytes, *, delivery_id: str, secrets_: tuple[str, ...], now: datetime
) -> dict[str, str]:
    """The headers of one attempt; one signature for each secret, the current one first."""
    # The library signs whole seconds of UTC; any other zone gives a wrong signature.
    at = now.astimezone(UTC)
    text = body.decode()
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(
            Webhook(secret).sign(delivery_id, at, text) for secret in secrets_
        ),
        "Idempotency-Key": delivery_id,
    }
