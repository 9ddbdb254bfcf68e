"""A person's data: found by their number, handed out, forgotten after the end of it was typed.

The number is sent in forms alone, so that it stands in no address, history or log.
"""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response, StreamingResponse

from aftercall.flows import people
from aftercall.flows.errors import Conflict, Invalid
from aftercall.flows.export_person import export_person
from aftercall.flows.forget_person import forget_person
from aftercall.flows.service import Service
from aftercall.flows.views import PersonView
from api.access import ServiceOf
from api.console.gate import FOR_READERS, ConsoleRoute, ViewerOf
from api.console.pages import render

router = APIRouter(route_class=ConsoleRoute, include_in_schema=False)

Phone = Annotated[str, Form(max_length=64)]


@router.get("/people")
def page(request: Request) -> Response:
    return _page(request)


@router.post("/people", dependencies=[FOR_READERS])
def find(request: Request, service: ServiceOf, phone: Phone = "") -> Response:
    """Changes nothing: a POST, because of the number."""
    found, fault = _find(service, phone)
    return _page(request, phone=phone, found=found, fault=fault)


@router.post("/people/export")
def export(service: ServiceOf, viewer: ViewerOf, phone: Phone = "") -> Response:
    return StreamingResponse(
        export_person(service, phone, by=viewer.actor),
        media_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="person.json"'},
    )


@router.post("/people/forget")
def forget(
    request: Request,
    service: ServiceOf,
    viewer: ViewerOf,
    phone: Phone = "",
    ending: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    found, fault = _find(service, phone)
    if found is None:
        return _page(request, phone=phone, fault=fault)
    if ending.strip() != found.ending:
        says = f"Type {found.ending}, the last four digits of this number, to erase it"
        return _page(request, phone=phone, found=found, ending_fault=says)
    done = forget_person(service, phone, by=viewer.actor)
    return render(request, "person_forgotten.html", done=done)


def _find(service: Service, phone: str) -> tuple[PersonView | None, str | None]:
    try:
        return people.show_person(service, phone), None
    except Invalid as error:
        return None, "; ".join(message for _, message in error.errors)
    except Conflict as error:
        return None, str(error)


def _page(
    request: Request,
    *,
    phone: str = "",
    found: PersonView | None = None,
    fault: str | None = None,
    ending_fault: str | None = None,
) -> Response:
    return render(
        request,
        "people.html",
        status=422 if fault or ending_fault else 200,
        phone=phone,
        found=found,
        fault=fault,
        ending_fault=ending_fault,
    )
