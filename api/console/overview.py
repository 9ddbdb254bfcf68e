"""The first page: is all well, and what is not."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.console.gate import ConsoleRoute
from api.console.pages import render

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)


@router.get("/")
def overview(request: Request) -> Response:
    return render(request, "overview.html")
