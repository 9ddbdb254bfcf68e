"""What a CRM's description may say: `aftercall/crm/kinds/*.yaml`, one file a CRM.

A description is data: which requests find a person, make or change them, log a
call and make a task; how their answers are read; what counts as failure.
docs/crm/adding-a-crm.md explains it line by line.
"""

from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from aftercall.crm.mapping import MappingError, check_expression
from aftercall.crm.templates import check_template


def _check_path(expression: str) -> str:
    try:
        check_expression(expression)
    except MappingError as error:
        raise ValueError(str(error)) from None
    return expression


#: JMESPath over an answer's JSON.
Path = Annotated[str, AfterValidator(_check_path)]
#: Any JSON, with {{ JMESPath }} over what is known in its texts.
Template = Annotated[Any, AfterValidator(check_template)]
TextTemplate = Annotated[str, AfterValidator(check_template)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RequestTemplate(_Part):
    """One request. `path` is put behind the API's address."""

    method: Literal["GET", "POST", "PUT", "PATCH"]
    path: TextTemplate
    query: dict[str, TextTemplate] = {}
    body: Template = None
    encoding: Literal["json", "form", "multipart"] = "json"


class Find(RequestTemplate):
    """A request that looks for something, and changes nothing."""

    #: Gives a list of objects with an `id`; null is none. Where they bring `numbers`, one of
    #: these must be the call's: a search for a part of a number finds others as well. Holes in
    #: its texts are filled first: inside a filter JMESPath sees the item only.
    found: Path
    #: Asked once for each item of this list, known as `each`, until something is found.
    for_each: Path | None = None
    #: Asked for all of them: each may find others.
    every: bool = False
    #: Only those that have the marker in them, where the CRM cannot be asked for it.
    marked: bool = False


class Make(RequestTemplate):
    """A request that makes something."""

    #: Gives the id of what was made.
    id: Path


class Person(_Part):
    """How people are found, made and changed."""

    find: Find
    #: Brings several, known as `people`, in order: the newest activity first. Where `find` cannot.
    order: Find | None = None
    #: It never finds more than one: rules for several would never apply.
    finds_one: bool = False
    #: Reads the fields of one, where `find` does not bring them.
    read: Find | None = None
    make: Make
    change: RequestTemplate


class Effect(_Part):
    """Something that must be made once: a call on the timeline, a task."""

    make: Make
    #: Whether it was made already, when its answer never came.
    find: Find
    #: Makes what is there say something new; without it, it stays as it was made.
    change: RequestTemplate | None = None


class OAuth(_Part):
    """How an access token is got. It is kept, encrypted, and shared by all workers."""

    url: TextTemplate
    form: dict[str, TextTemplate]
    #: Over the answer.
    token: Path = "access_token"  # noqa: S105 - where it stands
    expires_in: Path = "expires_in"
    #: The API's address, where the answer tells it.
    api: Path | None = None
    #: Seconds that a token lives, where the answer does not say.
    lives_for: int = 3600


class Auth(_Part):
    """What every request carries. Templates know `credentials`, and `token` with OAuth."""

    headers: dict[str, TextTemplate] = {}
    query: dict[str, TextTemplate] = {}
    oauth: OAuth | None = None


class Need(_Part):
    """A credential or an option that a person gives."""

    key: str
    label: str
    hint: str = ""
    required: bool = True
    default: str | None = None


class Limit(_Part):
    """At most so many requests in any so many seconds."""

    requests: int
    seconds: int


class FailureRule(_Part):
    """What an answer means, where its status alone does not tell. The first that fits decides."""

    status: list[int] = []
    #: Over the answer's JSON; null, false and empty are no.
    when: Path | None = None
    #: wait: nothing goes there for a while. credentials: a new token, or a person, is needed.
    #: missing: what was to be changed is not there any more. done: it is there already.
    means: Literal["wait", "retry", "dead", "credentials", "missing", "done"]
    seconds: int = 60
    says: str = ""


class Encodings(_Part):
    """How this CRM wants values: names of `aftercall.crm.facts.moment`, and JSON types."""

    number: Literal["number", "text"] = "number"
    is_yes: Any = True
    is_no: Any = False
    #: An option is named by its number.
    choice: Literal["text", "number"] = "text"
    #: {value, currency} where it was said in which.
    money: Literal["number", "object"] = "number"
    date: str = "date"
    date_time: str = "utc"


class Check(RequestTemplate):
    """One question to a new connection. Asked of nobody's data, changes nothing."""

    what: str
    #: Over the answer; null, false and empty mean that something is missing.
    expect: Path | None = None
    #: What to tell an administrator: by status, or `otherwise`.
    advice: dict[int | Literal["otherwise"], str] = {}


class Description(_Part):
    """A kind of CRM."""

    kind: str
    name: str
    #: The API's address; null: each company has its own.
    api: str | None
    #: How one knows it, where each company has its own.
    api_hint: str = ""
    credentials: list[Need]
    options: list[Need] = []
    auth: Auth
    limits: list[Limit] = []
    max_in_flight: int = 4
    #: Seconds until a search shows what was just made.
    settles_in: int = 30
    #: What people are called there; the first by default. Templates know the chosen as `object`.
    #: `is_mixed`: it covers several sorts, and whoever is found has an `object` of their own.
    objects: dict[str, dict[str, Any]]
    encodings: Encodings = Encodings()
    person: Person
    call: Effect
    task: Effect
    #: Every field that may be mapped: {field, label, type, read_only}.
    fields: Find | None = None
    checks: list[Check]
    failures: list[FailureRule] = []
    #: Where an answer says what went wrong: the first that gives a text.
    messages: list[Path] = []

    @model_validator(mode="after")
    def _has_objects(self) -> Self:
        if not self.objects:
            raise ValueError("objects: name at least one")
        return self

    @property
    def default_object(self) -> str:
        return next(iter(self.objects))


@cache
def descriptions() -> dict[str, Description]:
    """Every CRM by its kind."""
    found = {}
    for file in sorted(files("aftercall.crm.kinds").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            description = Description.model_validate(yaml.safe_load(file.read_text("utf-8")))
            found[description.kind] = description
    return found
