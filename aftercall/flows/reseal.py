"""Brings stored secrets under the first key of AFTERCALL_SECRET_KEY, so that an old one can go."""

from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from aftercall.db.models import Destination, Workspace
from aftercall.db.session import Database
from aftercall.sealing import Sealer, SealError

Row = TypeVar("Row", Workspace, Destination)


def reseal_secrets(database: Database, sealer: Sealer) -> tuple[int, int]:
    """How many secrets are under the first key now, and how many no key opens."""
    resealed = lost = 0

    def again(sealed: str | None) -> str | None:
        nonlocal resealed, lost
        if sealed is None:
            return None
        try:
            fresh = sealer.reseal(sealed)
        except SealError:
            lost += 1
            return sealed
        resealed += 1
        return fresh

    with database.transaction() as session:
        for workspace in _locked(session, Workspace):
            workspace.api_key_sealed = again(workspace.api_key_sealed)
            workspace.api_secret_sealed = again(workspace.api_secret_sealed)
        for destination in _locked(session, Destination):
            destination.secret_sealed = again(destination.secret_sealed) or ""
            destination.old_secret_sealed = again(destination.old_secret_sealed)
            destination.headers_sealed = again(destination.headers_sealed)
    return resealed, lost


def _locked(session: Session, table: type[Row]) -> list[Row]:
    return list(session.scalars(select(table).order_by(table.id).with_for_update(key_share=True)))
