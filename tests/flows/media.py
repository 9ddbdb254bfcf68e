"""Fetches media once, to the end, as a worker process would; and looks at what came of it."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select, text

from aftercall.db.media import due_media, media_of_call
from aftercall.db.models import MediaFile
from aftercall.flows.fetch_media import MediaFetcher
from aftercall.flows.service import Service
from aftercall.media_store import MediaStore
from aftercall.simulator import SimulatedCall, Simulator
from aftercall.simulator.calls import STORAGE
from tests.conftest import WORKSPACE
from tests.flows.work import accept_rows, fetch


def call_with_media(simulator: Simulator, call_id: str = "call_1", **fields: object) -> str:
    """A completed call that the simulator has a recording and a transcript of."""
    expires = {"expires_at": "2999-01-01T00:00:00Z"}
    given: dict[str, object] = {
        "recording": {"url": f"{STORAGE}recordings/{call_id}.wav", **expires},
        "transcript": {"url": f"{STORAGE}transcripts/{call_id}.txt", **expires},
        "output_parameters": {"interested": "yes", "notes": "Wants a quiet balcony."},
        **fields,
    }
    return simulator.twentytwo.add_call(
        SimulatedCall(call_id=call_id, workspace_id=WORKSPACE.id, **given)  # type: ignore[arg-type]
    )


def saved(service: Service, simulator: Simulator, call_id: str = "call_1", **fields: object) -> int:
    """A call with media that is fetched and saved; its row."""
    rows = accept_rows(service, [call_with_media(simulator, call_id, **fields)])
    fetch(service, rows)
    return rows[0]


def fetch_media(service: Service, folder: Path, *, size: int = 4) -> None:
    """All that is due now, to the end."""
    fetcher = MediaFetcher(service, MediaStore(str(folder)), size=size)
    with service.database.transaction() as session:
        ids = due_media(session, now=service.clock(), count=1_000)
    fetcher.fetch(ids)
    assert fetcher.close(60)


def media(service: Service, row_id: int = 1) -> dict[str, MediaFile]:
    with service.database.transaction() as session:
        return {row.kind.value: row for row in media_of_call(session, row_id)}


def states(service: Service, row_id: int = 1) -> dict[str, str]:
    return {kind: row.state.value for kind, row in media(service, row_id).items()}


def all_media(service: Service) -> Sequence[MediaFile]:
    with service.database.transaction() as session:
        return session.scalars(select(MediaFile)).all()


def due_calls(service: Service) -> list[int]:
    query = "SELECT id FROM calls WHERE state = 'queued' AND due_at <= :now ORDER BY id"
    with service.database.transaction() as session:
        return list(session.execute(text(query), {"now": service.clock()}).scalars())
