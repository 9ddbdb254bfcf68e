"""Our own styles, script and pictures. The hash of the content is in the URL, so that a browser
keeps a file for ever and never has an old one.

Every file in `static/` is served; a page's own style or script needs no registration.
"""

import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from api.problems import Problem

router = APIRouter()

_FOLDER = Path(__file__).parent / "static"
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Asset:
    hashed_name: str
    content: bytes
    media_type: str


@router.get("/static/{hashed_name}", include_in_schema=False)
async def asset(hashed_name: str) -> Response:
    found = {one.hashed_name: one for one in _assets().values()}.get(hashed_name)
    if found is None:
        raise Problem(404, "There is no such file; load the page again")
    return Response(
        found.content,
        media_type=found.media_type,
        headers={"Cache-Control": _FOR_EVER, "X-Content-Type-Options": "nosniff"},
    )


def asset_path(name: str) -> str:
    """Where a file of `static/` is served. KeyError when there is no such file."""
    return f"/static/{_assets()[name].hashed_name}"


@cache
def _assets() -> dict[str, _Asset]:
    return {path.name: _read(path) for path in sorted(_FOLDER.iterdir()) if path.is_file()}


def _read(path: Path) -> _Asset:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return _Asset(f"{path.stem}.{digest}{path.suffix}", content, media_type)
