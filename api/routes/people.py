"""/api/v1/people: one person's data, by their number: find, hand out, forget.

All are POST: a number in a URL would stand in every log on the way.
"""

from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from aftercall.flows import people
from aftercall.flows.export_person import export_person
from aftercall.flows.forget_person import forget_person
from aftercall.flows.views import ForgottenView, PersonView
from api.access import ActorOf, ServiceOf

router = APIRouter(prefix="/people", tags=["people"])

Phone = Annotated[
    str,
    Field(
        min_length=7,
        max_length=64,
        pattern=r"^[^\x00]*$",
        description="In any spelling; without a country's code, of the workspaces' country",
    ),
]
Region = Annotated[
    str | None,
    Field(pattern="^[A-Za-z]{2}$", description="Country of a number without a code: IN, AE"),
]


class PersonGiven(BaseModel):
    model_config = ConfigDict(extra="forbid")

    phone: Phone
    region: Region = None


class ForgetGiven(PersonGiven):
    confirm: Annotated[Literal[True], Field(description="It cannot be undone")]


@router.post("/find")
def find(service: ServiceOf, given: PersonGiven) -> PersonView:
    """What is held of a person, counted; where their number stands besides; who got it.

    Looks through the whole database. 409 when the number is a line of the company's own.
    """
    return people.show_person(service, given.phone, region=given.region)


@router.post(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"description": "A JSON object", "content": {"application/json": {}}}},
)
def export(service: ServiceOf, by: ActorOf, given: PersonGiven) -> StreamingResponse:
    """All that is held of a person, streamed; without the files. 409 as above."""
    pieces = export_person(service, given.phone, region=given.region, by=by)
    return StreamingResponse(pieces, media_type="application/json")


@router.post("/forget")
def forget(service: ServiceOf, by: ActorOf, given: ForgetGiven) -> ForgottenView:
    """Erases all of it, and proves it: `left` is empty when nothing is left.

    Answers when it is done, which may take minutes in a large database; it goes on when the
    connection is cut. 409 as above, and when a store does not answer.
    """
    return forget_person(service, given.phone, region=given.region, by=by)
