"""Makes pages of templates, and leads from a form to the next page with a word of what was done.

Everything is escaped, always; a name that a template does not know is an error. A
message for the next page travels in a cookie that is signed with the session's
CSRF token, and is shown once.
"""

import base64
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from aftercall.domain.crm_words import say_step
from aftercall.flows.preview_destination import without_query
from api.console import charts, words
from api.console.assets import asset_path
from api.console.links import call_path

if TYPE_CHECKING:
    from api.console.gate import Viewer

Tone = Literal["good", "bad", "note"]
_FLASH = "aftercall_flash"
_MAX_FLASH = 500


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page. Beside the values, templates know `viewer`, `root`, `here`, `now` and `flash`."""
    viewer: Viewer | None = getattr(request.state, "viewer", None)
    flash = _read_flash(request, viewer)
    text = render_text(
        request,
        template,
        viewer=viewer,
        here=request.url.path,
        flash=flash,
        **values,
    )
    page = HTMLResponse(text, status)
    if _FLASH in request.cookies:
        page.delete_cookie(_FLASH)
    return page


def render_text(request: Request, template: str, **values: Any) -> str:
    """A fragment, for what is sent to a page that is open."""
    now = datetime.now(UTC)
    return _environment().get_template(template).render(root=root_of(request), now=now, **values)


def redirect(
    request: Request, path: str, *, says: str | None = None, tone: Tone = "good"
) -> RedirectResponse:
    """To one of our own pages, after a POST; `says` is shown there, once."""
    answer = RedirectResponse(f"{root_of(request)}{path}", 303)
    viewer: Viewer | None = request.state.viewer
    if says is not None and viewer is not None:
        _leave_flash(request, answer, viewer, tone, says)
    return answer


def root_of(request: Request) -> str:
    """What stands before every path when a proxy puts the console somewhere else."""
    return str(request.scope.get("root_path", "")).rstrip("/")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(asset=asset_path, call_path=call_path)
    filters: dict[str, Callable[..., Any]] = {
        **words.FILTERS,
        **charts.FILTERS,
        "without_query": without_query,
        "step_said": say_step,
    }
    environment.filters.update(filters)
    return environment


# ---- what was done -----------------------------------------------------------


def _leave_flash(
    request: Request, answer: RedirectResponse, viewer: "Viewer", tone: Tone, says: str
) -> None:
    text = json.dumps([tone, says[:_MAX_FLASH]]).encode()
    value = base64.urlsafe_b64encode(_signature(text, viewer) + text).decode()
    answer.set_cookie(
        _FLASH,
        value,
        max_age=60,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )


def _read_flash(request: Request, viewer: "Viewer | None") -> tuple[str, str] | None:
    value = request.cookies.get(_FLASH)
    if value is None or viewer is None:
        return None
    try:
        signed = base64.urlsafe_b64decode(value)
    except ValueError:
        return None
    signature, text = signed[:32], signed[32:]
    if not hmac.compare_digest(signature, _signature(text, viewer)):
        return None
    tone, says = json.loads(text)
    return tone, says


def _signature(text: bytes, viewer: "Viewer") -> bytes:
    return hmac.digest(viewer.csrf_token.encode(), text, "sha256")
