"""A call's recording and transcript, for those who look, and by hand: fetch again, revoke links."""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from aftercall.db import media as media_db
from aftercall.db.models import MediaFile
from aftercall.domain.media import MediaKind, MediaState
from aftercall.domain.retention import DataKind
from aftercall.flows.audit import Actor, record
from aftercall.flows.errors import Conflict
from aftercall.flows.look import pick_call, show_call
from aftercall.flows.retention import removed
from aftercall.flows.service import Service
from aftercall.flows.views import CallStory
from aftercall.link_signing import LinkSigner

#: bigint.
_MAX_ROW_ID = 2**63 - 1


def refetch_media(
    service: Service, call_id: str, *, workspace_id: str | None = None, by: Actor | None = None
) -> CallStory:
    """From the first attempt; what is kept already is served until the new one is there.

    Conflict when Twenty2 has named none, or nothing is kept here.
    """
    if not service.settings.keep_media:
        raise Conflict("Recordings and transcripts are not kept here: AFTERCALL_KEEP_MEDIA is off")
    with service.database.transaction() as session:
        call, payload = pick_call(session, call_id, workspace_id)
        if call.revision and payload is None:
            raise Conflict(
                f"The links of call {call_id} were "
                f"{removed(service.settings, DataKind.PAYLOADS)}: fetch the call again"
            )
        kinds = media_db.refetch_media(session, call.id, now=service.clock())
        if not kinds and not _is_under_way(session, call.id):
            raise Conflict(f"Twenty2 has named no recording and no transcript of call {call_id}")
        record(session, by, "media.refetched", call.call_id, workspace_id=call.workspace_id)
    service.doorbell.ring_media([call.id])
    return show_call(service, call_id, workspace_id=call.workspace_id)


def revoke_links(
    service: Service, call_id: str, *, workspace_id: str | None = None, by: Actor | None = None
) -> CallStory:
    """The links to its recording and transcript end; new ones are made. Conflict without any."""
    with service.database.transaction() as session:
        call, _ = pick_call(session, call_id, workspace_id)
        kinds = media_db.revoke_links(session, call.id)
        if not kinds:
            raise Conflict(f"Call {call_id} has no links: nothing of it is kept here")
        record(session, by, "media.links_revoked", call.call_id, workspace_id=call.workspace_id)
    return show_call(service, call_id, workspace_id=call.workspace_id)


def _is_under_way(session: Session, call_row_id: int) -> bool:
    return any(
        one.state is MediaState.FETCHING for one in media_db.media_of_call(session, call_row_id)
    )


# ---- behind a link -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """What is served."""

    path: str
    size_bytes: int
    content_type: str
    etag: str
    #: For people who save it.
    name: str


@dataclass(frozen=True, slots=True)
class MediaElsewhere:
    """Not here yet: Twenty2's own link, which still works."""

    url: str = field(repr=False)


def find_by_link(
    service: Service, call_row_id: int, kind: str, signature: str
) -> StoredMedia | MediaElsewhere | None:
    """None for a link that is wrong or revoked, as for one whose media nobody has."""
    signer = LinkSigner(service.settings.require("secret_key"))
    row = None
    if kind in set(MediaKind) and 0 < call_row_id <= _MAX_ROW_ID:
        with service.database.transaction() as session:
            row = media_db.get_media(session, call_row_id, MediaKind(kind))
    version = 0 if row is None else row.link_version
    if not signer.is_valid(signature, call_row_id, kind, version) or row is None:
        return None
    return _stored(row) or elsewhere(row, now=service.clock())


def elsewhere(row: MediaFile, *, now: datetime) -> MediaElsewhere | None:
    """Twenty2's link, when it is https and good for a while."""
    url, until = row.source_url, row.source_expires_at
    if url is None or not url.lower().startswith("https://") or (until and until <= now):
        return None
    return MediaElsewhere(url)


def _stored(row: MediaFile) -> StoredMedia | None:
    if row.stored_at is None or row.path is None or row.size_bytes is None or row.sha256 is None:
        return None
    return StoredMedia(
        path=row.path,
        size_bytes=row.size_bytes,
        content_type=row.content_type or "application/octet-stream",
        etag=f'"{row.sha256.hex()[:32]}"',
        name=f"call-{row.call_row_id}-{row.kind.value}{_ENDINGS.get(row.content_type or '', '')}",
    )


_ENDINGS = {
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/ogg": ".ogg",
    "audio/mp4": ".m4a",
    "audio/flac": ".flac",
    "text/plain": ".txt",
}
