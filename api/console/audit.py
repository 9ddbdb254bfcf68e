"""The audit log as a table: who changed or replayed what, newest first, as it happens."""

from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response

from aftercall.flows.audit import list_entries
from aftercall.flows.views import AuditView, Page
from api.access import ServiceOf
from api.console.gate import ConsoleRoute
from api.console.live import Event, live_response, prepend
from api.console.pages import render, render_text
from api.routes.parameters import Text

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)

#: The newest, of which an open page is told those that it has not.
_NEWEST = 20


@router.get("/audit")
def audit(request: Request, service: ServiceOf, subject: Text = "", cursor: Text = "") -> Response:
    page = list_entries(service, subject=subject or None, cursor=cursor or None)
    return render(request, "audit.html", page=page, subject=subject, cursor=cursor)


@router.get("/audit/live")
async def live(request: Request, service: ServiceOf) -> Response:
    def show(page: Page[AuditView]) -> Sequence[Event]:
        return [prepend(render_text(request, "audit_rows.html", page=page), into="audit-entries")]

    return live_response(
        request, "audit", read=lambda: list_entries(service, limit=_NEWEST), show=show
    )
