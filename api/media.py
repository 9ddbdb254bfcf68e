"""GET /media/…: a recording or a transcript, behind a link that is signed and can be revoked.

Who has the link needs nothing else: people open it from their CRM. A link that
is wrong or revoked is answered as one that never was. What is served is
labelled by our own list, whatever a storage once called it, and runs nothing.
"""

import re
from collections.abc import Iterator
from typing import IO, Annotated

import structlog
from fastapi import APIRouter, Path, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from aftercall.domain.media_types import SERVED_TYPES
from aftercall.flows.media import MediaElsewhere, StoredMedia, find_by_link
from aftercall.media_store import MediaStore, MediaStoreError
from api.access import ServiceOf
from api.problems import Problem

log = structlog.get_logger(__name__)

router = APIRouter(include_in_schema=False)

_PIECE = 256 * 1024
_UNKNOWN = (
    "There is nothing behind this link: it is wrong, it was revoked, "
    "or the recording is not there yet"
)
#: RFC 9110, section 14.1.2: one range; whoever asks for several gets all of it.
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@router.api_route("/media/{call_row_id:int}/{kind}/{signature}", methods=["GET", "HEAD"])
def media(
    request: Request,
    service: ServiceOf,
    call_row_id: int,
    kind: Annotated[str, Path(max_length=20)],
    signature: Annotated[str, Path(max_length=100)],
) -> Response:
    match find_by_link(service, call_row_id, kind, signature):
        case StoredMedia() as stored:
            return _serve(request, stored, request.app.state.media_store)
        case MediaElsewhere(url=url):
            return RedirectResponse(url, 302, {"Cache-Control": "no-store", **_NO_REFERRER})
        case None:
            raise Problem(404, _UNKNOWN)


def _serve(request: Request, stored: StoredMedia, store: MediaStore) -> Response:
    headers = _headers(stored)
    if request.headers.get("if-none-match") == stored.etag:
        return Response(None, 304, headers)
    start, end, status = 0, stored.size_bytes, 200
    asked = request.headers.get("range")
    if asked is not None and request.headers.get("if-range", stored.etag) == stored.etag:
        found = read_range(asked, stored.size_bytes)
        if found is None:
            whole = {**headers, "Content-Range": f"bytes */{stored.size_bytes}"}
            return Response(None, 416, whole)
        if found != (start, end):
            (start, end), status = found, 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size_bytes}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(None, status, headers)
    try:
        file = store.open(stored.path)
    except MediaStoreError as error:
        log.error("media.unreadable", path=stored.path, why=str(error))
        raise Problem(404, "What is behind this link cannot be read at the moment") from None
    return StreamingResponse(_pieces(file, start, end - start), status, headers)


def read_range(asked: str, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; all of it when it is no range; None: there is no
    such part."""
    found = _RANGE.fullmatch(asked.strip())
    if found is None or found[0] == "bytes=-":
        return 0, size
    if not found[1]:
        last = min(int(found[2]), size)
        return (size - last, size) if last else None
    start = int(found[1])
    end = min(int(found[2]) + 1, size) if found[2] else size
    if found[2] and int(found[2]) < start:
        return 0, size
    return (start, end) if start < size else None


def _pieces(file: IO[bytes], start: int, length: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while length > 0 and (piece := file.read(min(_PIECE, length))):
            length -= len(piece)
            yield piece


_NO_REFERRER = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


def _headers(stored: StoredMedia) -> dict[str, str]:
    type_ = stored.content_type if stored.content_type in SERVED_TYPES else _UNTYPED
    if type_ == "text/plain":
        type_ = "text/plain; charset=utf-8"
    shown = "attachment" if type_ == _UNTYPED else "inline"
    return {
        "Content-Type": type_,
        "Content-Disposition": f'{shown}; filename="{stored.name}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; media-src 'self'; sandbox",
        # Kept by a browser, not by what stands between; asked for again, should it be revoked.
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "bytes",
        "ETag": stored.etag,
        **_NO_REFERRER,
    }


_UNTYPED = "application/octet-stream"
