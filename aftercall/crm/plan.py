"""What a sync would do to a call, field by field, with nothing sent or asked. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aftercall.crm.description import Description, RequestTemplate
from aftercall.crm.facts import Facts, FieldValue
from aftercall.crm.sync import fields_known
from aftercall.crm.sync_settings import SyncSettings
from aftercall.crm.templates import fill
from aftercall.domain.work import Parameters

#: Stands for the id of whoever will be found or made.
SOMEBODY = "(the person's id)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`person`: how somebody new would be made; None where new people are not made."""

    number: str | None
    fields: tuple[FieldValue, ...]
    person: Any
    change: Any
    call: Any
    task: Any
    #: Why the task has no time, or there is nobody to write to.
    notes: tuple[str, ...]
    #: For people: what is logged of the call, and the task's words and time.
    title: str | None
    summary: str | None
    subject: str | None
    words: str | None
    due: datetime | None


def plan_of(description: Description, settings: SyncSettings, facts: Facts) -> Plan:
    """The bodies that `Sync` would send. MappingError when a template fails on this call."""
    notes = []
    if facts.number is None:
        notes.append("There is no phone number in this call that could be somebody's")
    if facts.follow_up is not None and facts.follow_up.due is None:
        notes.append(f"The task would have no time: {facts.follow_up.why_not}")
    values = {field.field: field.value for field in facts.fields if field.value is not None}
    known = {**facts.known, **fields_known(values), "person": {"id": SOMEBODY, "values": {}}}
    has_task = facts.follow_up is not None
    return Plan(
        number=facts.number.e164 if facts.number else None,
        fields=facts.fields,
        person=_body(description.person.make, known) if settings.when_none == "create" else None,
        change=_body(description.person.change, known) if values else None,
        call=_body(description.call.make, known) if settings.log_call else None,
        task=_body(description.task.make, known) if has_task else None,
        notes=tuple(notes),
        title=facts.known["title"] if settings.log_call else None,
        summary=facts.known["summary"] if settings.log_call else None,
        subject=facts.known["follow_up"]["subject"] if has_task else None,
        words=facts.follow_up.words if facts.follow_up else None,
        due=facts.follow_up.due if facts.follow_up else None,
    )


def _body(template: RequestTemplate, known: Parameters) -> Any:
    return fill(template.body, known)
