"""A CRM's form as it was typed, and what it means as a destination. Pure.

Rows of the field table come as lists of equal length, one item a row. A row with
nothing in it is no row. Places of faults are those of the API: sync.fields.0.source.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from pydantic import BaseModel, Field

from aftercall.crm.description import Description
from aftercall.crm.destination_spec import MASK
from aftercall.crm.sync_settings import NAME, FollowUp, SyncSettings
from aftercall.domain.work import EVENT_TYPES
from aftercall.flows.errors import Invalid
from aftercall.flows.views import DestinationView
from api.console.destination_form import expression, number

#: As many as `SyncSettings` takes.
MAX_ROWS = 200
_TYPED_ROW = (
    "map_source",
    "map_field",
    "map_type",
    "map_mode",
    "map_default",
    "map_choices",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One field of the person. `choices`: a line each, said = option."""

    source: str = ""
    field: str = ""
    type: str = "text"
    mode: str = "overwrite"
    default: str = ""
    choices: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.source.strip() or self.field.strip() or self.default.strip())


class CrmTyped(BaseModel):
    """The form as it was typed."""

    destination_id: str = ""
    #: The state of the destination that was looked at.
    seen: str = ""
    name: str = ""
    url: str = ""
    workspace_id: str = ""
    events: list[str] = Field(default_factory=list)
    filter: str = ""
    credential_key: list[str] = Field(default_factory=list)
    credential: list[str] = Field(default_factory=list, repr=False)
    option_key: list[str] = Field(default_factory=list)
    option: list[str] = Field(default_factory=list)
    object: str = ""
    person_name: str = ""
    when_none: str = "create"
    when_many: str = "newest"
    log_call: str = ""
    follow_up: str = ""
    follow_time: str = ""
    follow_wanted: str = ""
    follow_subject: str = ""
    map_source: list[str] = Field(default_factory=list)
    map_field: list[str] = Field(default_factory=list)
    map_type: list[str] = Field(default_factory=list)
    map_mode: list[str] = Field(default_factory=list)
    map_default: list[str] = Field(default_factory=list)
    map_choices: list[str] = Field(default_factory=list)
    timeout_seconds: str = ""
    max_in_flight: str = ""
    rate_limit_per_second: str = ""
    preview_call_id: str = ""
    #: `shown`: the preview does not mask them.
    phones: str = ""
    #: Buttons: a row with this source comes in, or this row goes out.
    add: str | None = None
    remove: str | None = None
    #: Made, and nothing is sent yet.
    paused: str = ""

    @property
    def id(self) -> uuid.UUID | None:
        try:
            return uuid.UUID(self.destination_id)
        except ValueError:
            return None

    @property
    def rows(self) -> list[Row]:
        """In the order of the page, empty ones too."""
        lists = [getattr(self, name)[:MAX_ROWS] for name in _TYPED_ROW]
        return [Row(*one) for one in zip_longest(*lists, fillvalue="")]

    @property
    def credentials(self) -> dict[str, str]:
        return dict(zip(self.credential_key, self.credential, strict=False))

    @property
    def options(self) -> dict[str, str]:
        return dict(zip(self.option_key, self.option, strict=False))

    def tidied(self) -> "CrmTyped":
        """Without empty rows, and with what its buttons ask for."""
        rows = self.rows
        if self.remove is not None and self.remove.isdecimal():
            rows = [row for at, row in enumerate(rows) if at != int(self.remove)]
        rows = [row for row in rows if not row.is_empty]
        if self.add is not None:
            rows.append(Row(source=self.add[:2_000]))
        return self.model_copy(update={**_columns(rows), "add": None, "remove": None})


def blank(crm: Description) -> CrmTyped:
    """Of a destination that is to be made."""
    usual = SyncSettings()
    follow_up = usual.follow_up or FollowUp()
    return CrmTyped(
        events=list(EVENT_TYPES),
        object=crm.default_object,
        log_call="yes",
        follow_up="yes",
        follow_time=follow_up.time,
        follow_subject=follow_up.subject,
        timeout_seconds="15",
        max_in_flight=str(crm.max_in_flight),
    )


def as_typed(view: DestinationView, crm: Description) -> CrmTyped:
    """Of one that is there; its credentials stay empty."""
    sync = SyncSettings.model_validate(view.sync or {})
    follow_up = sync.follow_up or FollowUp()
    limit = view.rate_limit_per_second
    rows = [
        Row(
            " ".join(one.source.splitlines()),
            one.field,
            one.type.value,
            one.mode,
            one.default or "",
            "\n".join(f"{said} = {option}" for said, option in one.choices.items()),
        )
        for one in sync.fields
    ]
    typed = CrmTyped(
        destination_id=str(view.id),
        name=view.name,
        url="" if view.url == crm.api else view.url,
        workspace_id=view.workspace_id or "",
        events=view.events,
        filter=view.filter or "",
        option_key=list(sync.options),
        option=list(sync.options.values()),
        object=sync.object or crm.default_object,
        person_name="" if sync.name == NAME else sync.name,
        when_none=sync.when_none,
        when_many=sync.when_many,
        log_call="yes" if sync.log_call else "",
        follow_up="yes" if sync.follow_up else "",
        follow_time=follow_up.time,
        follow_wanted=follow_up.wanted or "",
        follow_subject=follow_up.subject,
        timeout_seconds=str(view.timeout_seconds),
        max_in_flight=str(view.max_in_flight),
        rate_limit_per_second="" if limit is None else str(limit),
    )
    return typed.model_copy(update=_columns(rows))


def spec_of(typed: CrmTyped, crm: Description, *, there: Mapping[str, str]) -> dict[str, Any]:
    """As the API takes it. `there`: credentials that are kept when nothing is typed.

    Invalid when the rows cannot be read.
    """
    faults = list(_row_faults(typed.rows, crm))
    if faults:
        raise Invalid(faults)
    given = {key: value.strip() for key, value in typed.credentials.items()}
    kept = {key: MASK for key in there if not given.get(key)}
    return {
        "name": typed.name,
        "kind": crm.kind,
        "url": typed.url.strip() or crm.api or "",
        "workspace_id": typed.workspace_id or None,
        "events": typed.events,
        "filter": expression(typed.filter),
        "credentials": {**{key: value for key, value in given.items() if value}, **kept},
        "sync": sync_of(typed, crm),
        "timeout_seconds": number(typed.timeout_seconds),
        "max_in_flight": number(typed.max_in_flight),
        "rate_limit_per_second": number(typed.rate_limit_per_second),
    }


def sync_of(typed: CrmTyped, crm: Description, *, only_whole: bool = False) -> dict[str, Any]:
    """`only_whole`: without rows that are still being typed."""
    rows = [row for row in typed.rows if not row.is_empty]
    if only_whole:
        rows = [row for row in rows if row.source.strip() and row.field.strip()]
    follow_up = {
        "time": typed.follow_time,
        "wanted": expression(typed.follow_wanted),
        "subject": typed.follow_subject.strip(),
    }
    return {
        "object": typed.object if typed.object in crm.objects else None,
        "name": expression(typed.person_name) or NAME,
        "when_none": typed.when_none,
        "when_many": typed.when_many,
        "fields": [_field(row) for row in rows],
        "log_call": bool(typed.log_call),
        "follow_up": follow_up if typed.follow_up else None,
        "options": {key: value.strip() for key, value in typed.options.items() if value.strip()},
    }


def expressions_of(typed: CrmTyped) -> dict[str, str]:
    """Every JMESPath expression of the form, by its place. Rows count as they are on the page."""
    found = {
        "filter": expression(typed.filter) or "",
        "sync.name": expression(typed.person_name) or "",
    }
    if typed.follow_up:
        found["sync.follow_up.time"] = expression(typed.follow_time) or ""
        found["sync.follow_up.wanted"] = expression(typed.follow_wanted) or ""
    for at, row in enumerate(typed.rows):
        found[f"sync.fields.{at}.source"] = expression(row.source) or ""
    return found


def _field(row: Row) -> dict[str, Any]:
    return {
        "source": (expression(row.source) or "").strip(),
        "field": row.field.strip(),
        "type": row.type or "text",
        "mode": row.mode or "overwrite",
        "default": row.default.strip() or None,
        "choices": dict(_choices(row.choices)),
    }


def _choices(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        said, _, option = line.partition("=")
        if said.strip() and option.strip():
            yield said.strip(), option.strip()


def _row_faults(rows: list[Row], crm: Description) -> Iterator[tuple[str, str]]:
    names: dict[str, int] = {}
    for at, row in enumerate(row for row in rows if not row.is_empty):
        place, name = f"sync.fields.{at}", row.field.strip()
        if not row.source.strip():
            yield f"{place}.source", "Say what of the call is written here"
        if not name:
            yield f"{place}.field", f"Say which field of {crm.name} it is"
        elif names.setdefault(name, at) != at:
            yield f"{place}.field", f"{name} is there already, in field {names[name] + 1}"
        for line in row.choices.splitlines():
            if line.strip() and not re.fullmatch(r"\s*[^=\s][^=]*=\s*\S.*", line):
                yield (
                    f"{place}.choices",
                    f"Write “{line.strip()[:60]}” as: what is said = the CRM's option",
                )
                break


def _columns(rows: list[Row]) -> dict[str, list[str]]:
    return {
        "map_source": [row.source for row in rows],
        "map_field": [row.field for row in rows],
        "map_type": [row.type for row in rows],
        "map_mode": [row.mode for row in rows],
        "map_default": [row.default for row in rows],
        "map_choices": [row.choices for row in rows],
    }
