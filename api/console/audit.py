"""The audit log as a table: who changed or replayed what, newest first."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from aftercall.flows.audit import list_entries
from api.access import ServiceOf
from api.console.gate import ConsoleRoute
from api.console.pages import render
from api.routes.parameters import Text

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


@router.get("/audit")
def audit(request: Request, service: ServiceOf, subject: Text = "", cursor: Text = "") -> Response:
    page = list_entries(service, subject=subject or None, cursor=cursor or None)
    return render(request, "audit.html", page=page, subject=subject, cursor=cursor)
