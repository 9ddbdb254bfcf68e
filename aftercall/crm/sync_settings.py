"""What is written into a CRM: the `sync` part of a destination, as people write it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from aftercall.crm.description import Description
from aftercall.crm.mapping import MappingError, check_expression
from aftercall.crm.values import ValueType


def _check_source(expression: str) -> str:
    try:
        check_expression(expression)
    except MappingError as error:
        raise ValueError(str(error)) from None
    return expression


#: JMESPath over a delivery's `data`.
Source = Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(_check_source)]
_Text = Annotated[str, Field(min_length=1, max_length=200)]

#: Where agents usually keep a person's name.
NAME = "input_parameters.name || input_parameters.customer_name || input_parameters.lead_name"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class FieldMap(_Part):
    """One field of the person: where its value comes from, and when it is written."""

    source: Source
    field: _Text
    type: ValueType = ValueType.TEXT
    #: What is said, and the CRM's option for it.
    choices: dict[str, str] = {}
    #: Written when the call says nothing.
    default: str | None = None
    #: `overwrite`; `when_empty`; `append`: a new line below what is there.
    mode: Literal["overwrite", "when_empty", "append"] = "overwrite"


class FollowUp(_Part):
    """The task at the time that the person named."""

    time: Source = "output_parameters.callback_time"
    #: Only when this says yes; null: whenever a time was named.
    wanted: Source | None = None
    subject: _Text = "Call back"


class SyncSettings(_Part):
    """Whom a call is about, what is written, and what is not."""

    #: As the CRM calls people: contact, lead; null: its usual.
    object: str | None = None
    name: Source = NAME
    when_none: Literal["create", "skip"] = "create"
    #: `newest`: the one with the newest activity; `review`: a person decides.
    when_many: Literal["newest", "all", "review"] = "newest"
    fields: Annotated[list[FieldMap], Field(max_length=200)] = []
    log_call: bool = True
    follow_up: FollowUp | None = FollowUp()
    #: What this kind of CRM wants to know besides.
    options: dict[str, str] = {}

    @model_validator(mode="after")
    def _fields_once(self) -> "SyncSettings":
        names = [one.field for one in self.fields]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"fields: {twice[0]} is there twice")
        return self


def faults_in(settings: SyncSettings, description: Description) -> list[tuple[str, str]]:
    """What does not fit this CRM: (place, what is wrong)."""
    faults = []
    crm = description.name
    if settings.object is not None and settings.object not in description.objects:
        known = " or ".join(description.objects)
        faults.append(("sync.object", f"{crm} calls people {known}"))
    if description.person.finds_one and settings.when_many != "newest":
        faults.append(("sync.when_many", f"{crm} never tells of several: it can only be newest"))
    known_options = {need.key: need for need in description.options}
    faults += [
        (f"sync.options.{key}", f"{crm} has no such option")
        for key in sorted(settings.options.keys() - known_options.keys())
    ]
    for key, need in known_options.items():
        if need.required and need.default is None and not settings.options.get(key):
            faults.append(
                (f"sync.options.{key}", f"It is needed: {need.label}. {need.hint}".strip())
            )
    return faults
