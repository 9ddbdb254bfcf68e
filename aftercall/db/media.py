"""Recordings and transcripts: notes their links, claims them, records what came of them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from aftercall.db.models import MediaFile, Transcript
from aftercall.db.rows import IS_QUEUED, as_rows
from aftercall.db.session import Executor
from aftercall.domain.media import MediaKind, MediaStep
from aftercall.domain.plans import MAX_LAPSES


@dataclass(frozen=True, slots=True)
class NewMedia:
    """A link that Twenty2 gave."""

    call_row_id: int
    kind: MediaKind
    url: str = field(repr=False)
    expires_at: datetime | None


# What is stored stays; one that was given up, or waits for a new link, has it now.
_NOTE = text(
    """
    INSERT INTO media (call_row_id, kind, state, due_at, source_url, source_expires_at)
    SELECT call_row_id, kind, 'queued', :now, url, expires_at
    FROM json_to_recordset(CAST(:rows AS json)) AS n (
      call_row_id bigint, kind text, url text, expires_at timestamptz
    )
    ORDER BY call_row_id, kind
    ON CONFLICT (call_row_id, kind) DO UPDATE SET
      source_url = EXCLUDED.source_url, source_expires_at = EXCLUDED.source_expires_at,
      state = CASE media.state WHEN 'fetching' THEN media.state ELSE 'queued' END,
      due_at = CASE media.state WHEN 'fetching' THEN media.due_at ELSE EXCLUDED.due_at END,
      attempts = CASE media.state WHEN 'fetching' THEN media.attempts ELSE 0 END
    WHERE media.state <> 'stored' AND media.source_url IS DISTINCT FROM EXCLUDED.source_url
    """
)


def note_media(executor: Executor, new: Sequence[NewMedia], *, now: datetime) -> None:
    """Makes them due, those that are new and those whose link is new. One statement."""
    if not new:
        return
    rows = as_rows(
        {
            "call_row_id": one.call_row_id,
            "kind": one.kind,
            "url": one.url,
            "expires_at": one.expires_at,
        }
        for one in new
    )
    executor.execute(_NOTE, {"now": now, "rows": rows})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedMedia:
    """A recording or transcript that this process holds the lease of."""

    call_row_id: int
    kind: MediaKind
    call_id: str
    workspace_id: str
    lease_token: uuid.UUID
    attempts: int
    links_asked: int
    due_at: datetime
    source_url: str | None = field(repr=False)
    source_expires_at: datetime | None
    #: Of the file that is there already, and that this one will replace.
    path: str | None

    @property
    def key(self) -> tuple[int, str]:
        return self.call_row_id, self.kind.value


_DUE = text(
    "SELECT call_row_id FROM media WHERE state = 'queued' AND due_at <= :now "
    "ORDER BY due_at LIMIT :count"
)


def due_media(executor: Executor, *, now: datetime, count: int) -> list[int]:
    """The calls whose media are due, the longest due first."""
    rows = executor.execute(_DUE, {"now": now, "count": count}).scalars()
    return list(dict.fromkeys(rows))


_CLAIM = text(
    f"""
    UPDATE media m SET state = 'fetching', lease_token = :token, lease_until = :lease_until
    FROM (
      SELECT call_row_id, kind FROM media
      WHERE call_row_id = ANY(:ids) AND {IS_QUEUED} AND due_at <= :now
      ORDER BY due_at LIMIT :count FOR UPDATE SKIP LOCKED
    ) AS due, calls c
    WHERE m.call_row_id = due.call_row_id AND m.kind = due.kind AND c.id = m.call_row_id
    RETURNING m.call_row_id, m.kind, c.call_id, c.workspace_id, m.attempts, m.links_asked,
      m.due_at, m.source_url, m.source_expires_at, m.path
    """
)


def claim_media(
    executor: Executor,
    call_row_ids: Sequence[int],
    *,
    now: datetime,
    lease: timedelta,
    count: int,
) -> list[ClaimedMedia]:
    """Takes the lease of up to `count` of these calls' media that are due."""
    token = uuid.uuid4()
    rows = executor.execute(
        _CLAIM,
        {
            "ids": list(call_row_ids),
            "now": now,
            "token": token,
            "lease_until": now + lease,
            "count": count,
        },
    )
    return [
        ClaimedMedia(lease_token=token, **{**row, "kind": MediaKind(row["kind"])})
        for row in rows.mappings()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """What is kept, and where."""

    path: str
    size_bytes: int
    sha256: bytes
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRecord:
    """One finished try: the step of its row, the file, and a transcript's text."""

    claim: ClaimedMedia
    step: MediaStep
    file: StoredFile | None = None
    text: str | None = field(default=None, repr=False)
    text_is_cut: bool = False


# A link that came in the meantime is tried at once.
_RECORD = text(
    """
    UPDATE media m SET
      state = CASE WHEN r.state <> 'stored' AND m.source_url IS DISTINCT FROM r.source_url
        THEN 'queued' ELSE r.state END,
      due_at = CASE WHEN m.source_url IS DISTINCT FROM r.source_url THEN :now ELSE r.due_at END,
      attempts = r.attempts, links_asked = r.links_asked, last_error = r.last_error,
      lease_token = NULL, lease_until = NULL, lapses = 0,
      path = coalesce(r.path, m.path), size_bytes = coalesce(r.size_bytes, m.size_bytes),
      sha256 = coalesce(r.sha256, m.sha256),
      content_type = coalesce(r.content_type, m.content_type),
      stored_at = CASE WHEN r.state = 'stored' THEN CAST(:now AS timestamptz)
        ELSE m.stored_at END,
      source_url = CASE WHEN r.state = 'stored' THEN NULL ELSE m.source_url END,
      source_expires_at = CASE WHEN r.state = 'stored' THEN NULL ELSE m.source_expires_at END
    FROM json_to_recordset(CAST(:rows AS json)) AS r (
      call_row_id bigint, kind text, token uuid, state text, due_at timestamptz,
      attempts smallint, links_asked smallint, last_error text, path text, size_bytes bigint,
      sha256 bytea, content_type text, source_url text
    )
    WHERE m.call_row_id = r.call_row_id AND m.kind = r.kind AND m.lease_token = r.token
    RETURNING m.call_row_id, m.kind
    """
)
# Calls come before media in every transaction that writes both.
_ASK_FOR_LINKS = text(
    """
    UPDATE calls SET look_again_at = :now WHERE id = ANY (ARRAY (
      SELECT id FROM calls WHERE id = ANY(:ids) AND state = 'fetched' ORDER BY id FOR UPDATE
    ))
    """
)
_KEEP_TEXTS = text(
    """
    INSERT INTO transcripts (call_row_id, text, is_cut)
    SELECT call_row_id, text, is_cut
    FROM json_to_recordset(CAST(:rows AS json)) AS n (call_row_id bigint, text text, is_cut bool)
    ORDER BY call_row_id
    ON CONFLICT (call_row_id) DO UPDATE SET text = EXCLUDED.text, is_cut = EXCLUDED.is_cut
    """
)


def record_media(
    executor: Executor, records: Sequence[MediaRecord], *, now: datetime
) -> frozenset[tuple[int, str]]:
    """Writes steps and texts; answers what was still ours to write."""
    asking = sorted({one.claim.call_row_id for one in records if one.step.asks_for_link})
    if asking:
        executor.execute(_ASK_FOR_LINKS, {"now": now, "ids": asking})
    rows = as_rows(_row(one) for one in sorted(records, key=lambda one: one.claim.key))
    found = executor.execute(_RECORD, {"now": now, "rows": rows})
    ours = frozenset((row.call_row_id, row.kind) for row in found)
    texts = [
        {"call_row_id": one.claim.call_row_id, "text": one.text, "is_cut": one.text_is_cut}
        for one in records
        if one.text is not None and one.claim.key in ours
    ]
    if texts:
        executor.execute(_KEEP_TEXTS, {"rows": as_rows(texts)})
    return ours


def _row(record: MediaRecord) -> dict[str, object]:
    claim, step, file = record.claim, record.step, record.file
    return {
        "call_row_id": claim.call_row_id,
        "kind": claim.kind,
        "token": claim.lease_token,
        "state": step.state,
        "due_at": step.due_at,
        "attempts": step.attempts,
        "links_asked": step.links_asked,
        "last_error": step.error,
        "path": file and file.path,
        "size_bytes": file and file.size_bytes,
        "sha256": file and file.sha256,
        "content_type": file and file.content_type,
        "source_url": claim.source_url,
    }


# While it is locked nobody claims it, and so nobody writes that file anew.
_LOCK_REPLACED = text(
    """
    SELECT FROM media WHERE call_row_id = :id AND kind = :kind AND state <> 'fetching'
      AND path <> :old_path FOR UPDATE
    """
)


def lock_replaced(executor: Executor, claim: ClaimedMedia) -> bool:
    """Whether the file that was there at the claim can go, until the transaction's end."""
    asked = {"id": claim.call_row_id, "kind": claim.kind, "old_path": claim.path}
    return executor.execute(_LOCK_REPLACED, asked).first() is not None


_KNOWN_CALLS = text("SELECT id FROM calls WHERE id = ANY(:ids)")


def known_calls(executor: Executor, call_row_ids: Sequence[int]) -> frozenset[int]:
    """Those of these calls that are still there."""
    if not call_row_ids:
        return frozenset()
    return frozenset(executor.execute(_KNOWN_CALLS, {"ids": list(call_row_ids)}).scalars())


_TRANSCRIPT_FILES = text(
    """
    SELECT call_row_id, path FROM media
    WHERE kind = 'transcript' AND path IS NOT NULL AND call_row_id = ANY(:ids)
    """
)
_UNREAD_TRANSCRIPT_FILES = text(
    """
    SELECT m.call_row_id, m.path FROM media m LEFT JOIN transcripts t USING (call_row_id)
    WHERE m.kind = 'transcript' AND m.path IS NOT NULL AND (t.call_row_id IS NULL OR t.is_cut)
    """
)
_REPLACE_FILE = text(
    """
    UPDATE media SET path = :path, size_bytes = :size_bytes, sha256 = :sha256
    WHERE call_row_id = :id AND kind = 'transcript' AND path = :old_path RETURNING 1
    """
)


_IS_WANTED = text(
    """
    SELECT FROM media
    WHERE call_row_id = :id AND kind = 'transcript' AND (path = :path OR state = 'fetching')
    """
)


def is_wanted(executor: Executor, call_row_id: int, path: str) -> bool:
    """Whether a row names this transcript's file, or may be about to."""
    return executor.execute(_IS_WANTED, {"id": call_row_id, "path": path}).first() is not None


_PATHS = text(
    """
    SELECT call_row_id, path FROM media
    WHERE path IS NOT NULL AND call_row_id = ANY(:ids) ORDER BY call_row_id, kind
    """
)


def media_paths(executor: Executor, call_row_ids: Sequence[int]) -> list[tuple[int, str]]:
    """The files that rows of these calls name."""
    rows = executor.execute(_PATHS, {"ids": list(call_row_ids)})
    return [(row.call_row_id, row.path) for row in rows]


def transcript_files(
    executor: Executor, call_row_ids: Sequence[int] | None = None
) -> list[tuple[int, str]]:
    """Rows and paths: of these calls; else of all whose text is not, or not whole, in the table."""
    if call_row_ids is None:
        rows = executor.execute(_UNREAD_TRANSCRIPT_FILES)
    else:
        rows = executor.execute(_TRANSCRIPT_FILES, {"ids": list(call_row_ids)})
    return [(row.call_row_id, row.path) for row in rows]


def replace_transcript(
    executor: Executor, call_row_id: int, old_path: str, *, file: StoredFile
) -> bool:
    """Whether it was still the one that we know."""
    where = {
        "id": call_row_id,
        "old_path": old_path,
        "path": file.path,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
    }
    return executor.execute(_REPLACE_FILE, where).first() is not None


_RELEASE_LAPSED = text(
    f"""
    UPDATE media SET
      state = CASE WHEN lapses + 1 >= {MAX_LAPSES} THEN 'dead' ELSE 'queued' END,
      last_error = 'the worker was lost while it fetched this' || CASE
        WHEN lapses + 1 >= {MAX_LAPSES} THEN ', {MAX_LAPSES} times' ELSE '' END,
      lapses = lapses + 1, lease_token = NULL, lease_until = NULL
    WHERE (call_row_id, kind) IN (
      SELECT call_row_id, kind FROM media WHERE state = 'fetching' AND lease_until < :now
      ORDER BY lease_until LIMIT 1000 FOR UPDATE SKIP LOCKED
    )
    """
)


def release_lapsed_media(executor: Executor, *, now: datetime) -> int:
    """Makes those whose worker is gone due again, or dead at the third time."""
    return cast(int, executor.execute(_RELEASE_LAPSED, {"now": now}).rowcount)  # type: ignore[attr-defined]


# ---- by hand, and for those who look -----------------------------------------

# Also of calls that were saved before media were kept, or while they were not.
_REFETCH = text(
    """
    INSERT INTO media (call_row_id, kind, state, due_at, source_url, source_expires_at)
    SELECT c.id, k.kind, 'queued', :now, k.media->>'url',
      CAST(k.media->>'expires_at' AS timestamptz)
    FROM calls c
      JOIN call_payloads p ON p.call_row_id = c.id AND p.revision = c.revision
      CROSS JOIN LATERAL (
        VALUES ('recording', p.recording), ('transcript', p.transcript)
      ) AS k (kind, media)
    WHERE c.id = :id AND k.media->>'url' IS NOT NULL
    ORDER BY k.kind
    ON CONFLICT (call_row_id, kind) DO UPDATE SET
      state = 'queued', due_at = EXCLUDED.due_at, attempts = 0, lapses = 0, links_asked = 0,
      source_url = EXCLUDED.source_url, source_expires_at = EXCLUDED.source_expires_at
    WHERE media.state <> 'fetching'
    RETURNING kind
    """
)
_REVOKE = text(
    "UPDATE media SET link_version = link_version + 1 WHERE call_row_id = :id RETURNING kind"
)


def refetch_media(session: Session, call_row_id: int, *, now: datetime) -> list[str]:
    """Makes what the call has links to due, from the first attempt. Answers the kinds."""
    return list(session.execute(_REFETCH, {"id": call_row_id, "now": now}).scalars())


def revoke_links(session: Session, call_row_id: int) -> list[str]:
    """The links that were given away end. Answers the kinds."""
    return list(session.execute(_REVOKE, {"id": call_row_id}).scalars())


def media_of_call(session: Session, call_row_id: int) -> list[MediaFile]:
    """The recording before the transcript."""
    of_call = select(MediaFile).where(MediaFile.call_row_id == call_row_id)
    return list(session.scalars(of_call.order_by(MediaFile.kind)))


def get_media(session: Session, call_row_id: int, kind: MediaKind) -> MediaFile | None:
    return session.get(MediaFile, (call_row_id, kind))


def transcript_of_call(session: Session, call_row_id: int) -> Transcript | None:
    return session.get(Transcript, call_row_id)


@dataclass(frozen=True, slots=True)
class LinkVersion:
    """What a link is signed for."""

    call_row_id: int
    kind: MediaKind
    version: int


_VERSIONS = text("SELECT call_row_id, kind, link_version FROM media WHERE call_row_id = ANY(:ids)")


def link_versions(executor: Executor, call_row_ids: Sequence[int]) -> list[LinkVersion]:
    """Of all media of these calls, stored or still to come."""
    rows = executor.execute(_VERSIONS, {"ids": list(call_row_ids)})
    return [LinkVersion(row.call_row_id, MediaKind(row.kind), row.link_version) for row in rows]
