"""Who is signed in to the console: one row a session, gone when it is over."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from aftercall.db.models import SignIn


def find_sign_in(session: Session, id_hash: bytes, *, now: datetime) -> SignIn | None:
    """None when there is none, or when its time is over."""
    return session.scalar(select(SignIn).where(SignIn.id_hash == id_hash, SignIn.expires_at > now))


def delete_sign_in(session: Session, id_hash: bytes) -> None:
    session.execute(delete(SignIn).where(SignIn.id_hash == id_hash))


def delete_expired(session: Session, *, now: datetime) -> None:
    session.execute(delete(SignIn).where(SignIn.expires_at <= now))
