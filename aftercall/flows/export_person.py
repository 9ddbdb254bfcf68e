"""All that is held of a person, as JSON, piece by piece; or a zip with the files beside it.

What is told of other people is not in it: where the number merely stands in somebody else's call,
the places are counted.
"""

import json
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import IO, Any
from uuid import UUID

from aftercall.db import people as people_db
from aftercall.db.media import media_paths
from aftercall.flows.audit import Actor, note
from aftercall.flows.look import show_call
from aftercall.flows.people import (
    OwnCall,
    Person,
    Tell,
    find_elsewhere,
    find_mentions,
    find_own_calls,
    holds,
    is_theirs,
    read_person,
    silent,
    spooled,
    store_answers,
)
from aftercall.flows.service import Service
from aftercall.flows.views import PlaceView
from aftercall.media_store import MediaStore, MediaStoreError, NoSuchFile

_PIECE = 256 * 1024


def export_person(
    service: Service,
    phone: str,
    *,
    region: str | None = None,
    by: Actor | None = None,
    tell: Tell = silent,
) -> Iterator[str]:
    """One JSON object, a call at a time. What is wrong with the number is told before the first."""
    person = read_person(service, phone, region=region)
    calls = find_own_calls(service, person)
    note(service, by, "person.exported", person.mark, calls=len(calls))
    return _pieces(service, person, calls, tell)


def export_zip(
    service: Service,
    phone: str,
    to: IO[bytes],
    *,
    region: str | None = None,
    by: Actor | None = None,
    tell: Tell = silent,
) -> None:
    """`person.json`, and the recordings and transcripts in `media/`."""
    person = read_person(service, phone, region=region)
    calls = find_own_calls(service, person)
    note(service, by, "person.exported", person.mark, calls=len(calls))
    store = MediaStore(service.settings.media_root)
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("person.json", "w", force_zip64=True) as entry:
            for piece in _pieces(service, person, calls, tell):
                entry.write(piece.encode())
        with service.database.statements() as connection:
            named = media_paths(connection, [call.id for call in calls])
        # Another file that begins with a call's row may be somebody else's: after a restore rows
        # are numbered again.
        for _, path in named:
            with store_answers():
                _add(archive, store, path)


def _add(archive: zipfile.ZipFile, store: MediaStore, path: str) -> None:
    try:
        source = store.open(path)
    except NoSuchFile:
        # Replaced by another one meanwhile.
        return
    name = f"media/{path.rpartition('/')[2]}"
    with source, archive.open(name, "w", force_zip64=True) as entry:
        while piece := _read(source):
            entry.write(piece)


def _read(source: IO[bytes]) -> bytes:
    try:
        return source.read(_PIECE)
    except Exception as error:
        # A remote store's own; its message may quote the URL.
        raise MediaStoreError(f"The media store cannot be read ({type(error).__name__})") from None


def _pieces(
    service: Service, person: Person, calls: Sequence[OwnCall], tell: Tell
) -> Iterator[str]:
    head = {
        "phone": person.number.e164,
        "exported_at": datetime.now(UTC),
        "about": "All that aftercall holds of the person with this number. Times are UTC.",
    }
    yield _dump(head)[:-2] + ',\n  "calls": ['
    for number, call in enumerate(calls):
        workspace_id, call_id = _asked_for(service, call)
        yield (",\n" if number else "\n") + _dump(_call(service, call.id, workspace_id, call_id))
        if number % 20 == 0:
            tell(f"{number} of {len(calls)} calls")
    ids = [call.id for call in calls]
    waiting = [body for body in spooled(service) if holds(person, body)]
    theirs = [body for body in waiting if is_theirs(person, body)]
    mentions = find_mentions(service, person, but_of_calls=ids, tell=tell)
    if others := len(waiting) - len(theirs):
        mentions.append(PlaceView(where="redis", column=None, count=others))
    tail = {
        "webhooks_waiting": [body.decode("utf-8", "replace") for body in theirs],
        "sent_to": [view.model_dump() for view in find_elsewhere(service, person, ids)],
        "mentioned_in": [place.model_dump() for place in mentions],
    }
    yield "\n  ],\n" + _dump(tail)[2:] + "\n"


def _asked_for(service: Service, call: OwnCall) -> tuple[str, str]:
    with service.database.engine.begin() as connection:
        return people_db.name_of(connection, call.id)


def _call(service: Service, row_id: int, workspace_id: str, call_id: str) -> dict[str, Any]:
    """Its story as the API tells it; every revision, and the webhooks as they came."""
    story = show_call(service, call_id, workspace_id=workspace_id).model_dump()
    with service.database.engine.begin() as connection:
        story["revisions"] = people_db.payloads_of(connection, row_id)
        story["webhooks"] = [
            {"received_at": at, "body": body.decode("utf-8", "replace")}
            for at, body in people_db.webhooks_of(connection, workspace_id, call_id)
        ]
    return story


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=_as_text)


def _as_text(value: object) -> str:
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case UUID():
            return str(value)
        case _:
            return str(value)
