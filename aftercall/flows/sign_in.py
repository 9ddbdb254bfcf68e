"""Opens the console to whoever has a token, keeps who is in, lets them out.

A session is a row; the cookie holds its random id and the row only the hash. The
row also holds the HMAC of the token that opened it, keyed with that id: when the
token in the settings is another one, the session is over.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from aftercall.db.models import Role, SignIn
from aftercall.db.sign_ins import delete_expired, delete_sign_in, find_sign_in
from aftercall.flows.audit import Actor, record
from aftercall.flows.service import Service
from aftercall.settings import Settings
from aftercall.twentytwo.inbound import is_right_token

LIFETIME = timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """Somebody who is signed in."""

    role: Role
    id_hash: bytes
    csrf_token: str
    expires_at: datetime


def role_of(settings: Settings, given: str | None) -> Role | None:
    """Whose token this is; None when it is nobody's. Compares in constant time."""
    for role in Role:
        token = _token(settings, role)
        if token is not None and is_right_token(given, token=token):
            return role
    return None


def open_sign_in(service: Service, token: str, *, role: Role, by: Actor) -> str:
    """A new session of whoever gave this token; returns what the cookie holds."""
    now = service.clock()
    id_ = secrets.token_urlsafe(32)
    with service.database.transaction() as session:
        delete_expired(session, now=now)
        session.add(
            SignIn(
                id_hash=_hash(id_),
                role=role,
                csrf_token=secrets.token_urlsafe(32),
                token_fingerprint=_fingerprint(token, id_=id_),
                created_at=now,
                expires_at=now + LIFETIME,
            )
        )
        record(session, by, "session.opened")
    return id_


def find_signed_in(service: Service, id_: str) -> SignedIn | None:
    """None when the session is over: signed out, expired, or opened with another token."""
    with service.database.transaction() as session:
        row = find_sign_in(session, _hash(id_), now=service.clock())
    if row is None:
        return None
    token = _token(service.settings, row.role)
    if token is None or not hmac.compare_digest(
        row.token_fingerprint, _fingerprint(token, id_=id_)
    ):
        return None
    return SignedIn(
        role=row.role,
        id_hash=row.id_hash,
        csrf_token=row.csrf_token,
        expires_at=row.expires_at,
    )


def close_sign_in(service: Service, signed_in: SignedIn, *, by: Actor) -> None:
    """For real: the row is gone, whoever still has the cookie."""
    with service.database.transaction() as session:
        delete_sign_in(session, signed_in.id_hash)
        record(session, by, "session.closed")


def _token(settings: Settings, role: Role) -> str | None:
    given = settings.admin_token if role is Role.ADMIN else settings.readonly_token
    return None if given is None else given.get_secret_value()


def _hash(id_: str) -> bytes:
    return hashlib.sha256(id_.encode()).digest()


def _fingerprint(token: str, *, id_: str) -> bytes:
    return hmac.digest(id_.encode(), token.encode(), "sha256")
