"""Hides what was sent where an answer repeats it: answers are kept, and shown."""

import json
from collections.abc import Iterable
from dataclasses import replace

from aftercall.domain.exchange import Exchange, NoAnswer


def without_secrets(said: Exchange, secrets: Iterable[str]) -> Exchange:
    """The same, with the secrets masked in its body.

    A secret of less than four characters hides in any text by itself.
    """
    if isinstance(said, NoAnswer):
        return said
    body = said.body
    for secret in secrets:
        for spelling in _spellings(secret):
            for encoding in ("utf-8", "latin-1"):
                body = body.replace(spelling.encode(encoding, "replace"), b"***")
    return said if body is said.body else replace(said, body=body)


def _spellings(secret: str) -> set[str]:
    """As it is, and as it comes back in JSON: some escape slashes, too."""
    if len(secret) < 4:
        return set()
    escaped = json.dumps(secret)[1:-1]
    return {secret, escaped, escaped.replace("/", "\\/"), secret.replace("/", "\\/")}
