"""What the steps of a sync know about a call: numbers, times, durations, the answers, the task.

Pure. `known_of` makes the object that a description's templates look into;
docs/crm/adding-a-crm.md lists it.
"""

import hashlib
import html
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aftercall.crm.description import Description, Encodings
from aftercall.crm.phones import Number, cores, read_number, spellings
from aftercall.crm.spoken.due_times import DueTime, read_due_time
from aftercall.crm.sync_settings import FieldMap, FollowUp, SyncSettings
from aftercall.crm.templates import look
from aftercall.crm.values import Money, Unreadable, Value, ValueType, read_value
from aftercall.domain.work import Parameters

#: A summary is read by people; a CRM cuts longer ones.
_LONGEST_ANSWER = 2_000
#: Of all answers in a summary: Salesforce and Zoho CRM refuse texts over 32,000 characters.
_LONGEST_ANSWERS = 25_000
#: As Salesforce and Zoho CRM take them.
_LONGEST_FIRST_NAME, _LONGEST_LAST_NAME = 40, 80
_CONNECTED = frozenset({"completed", "connected"})


@dataclass(frozen=True, slots=True)
class FieldValue:
    """What one mapped field is to become. `value` None: it stays as it is, because of `why_not`."""

    field: str
    mode: str
    value: Any
    why_not: str | None = None


@dataclass(frozen=True, slots=True)
class FollowUpTask:
    """The task to make. `due` None: a person has to find the time out, because of `why_not`."""

    words: str
    due: datetime | None
    why_not: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A call as one CRM gets it."""

    number: Number | None
    fields: tuple[FieldValue, ...]
    follow_up: FollowUpTask | None
    #: What templates look into.
    known: Parameters


def facts_of(
    data: Parameters,
    *,
    description: Description,
    settings: SyncSettings,
    marker: str,
    region: str,
    time_zone: str,
    recording_link: str | None,
    fallback_time: datetime,
) -> Facts:
    """`fallback_time`: of a call that does not say when. MappingError when a source fails."""
    zone = zone_of(time_zone)
    call = data["call"]
    started = _moment_in(call.get("started_at")) or fallback_time
    number = read_number(_number_of_person(call), region=region)
    fields = tuple(
        _field(field, data, description.encodings, said_at=started, zone=zone)
        for field in settings.fields
    )
    task = _follow_up(settings.follow_up, data, said_at=started, zone=zone)
    known = _known(
        data,
        description=description,
        settings=settings,
        marker=marker,
        number=number,
        started=started,
        zone=zone,
        task=task,
        recording_link=recording_link,
    )
    return Facts(number=number, fields=fields, follow_up=task, known=known)


def marker_of(destination_id: uuid.UUID, call_row_id: int) -> str:
    """One word that finds a call again in a CRM."""
    name = f"{destination_id}/{call_row_id}".encode()
    return f"aftercall{hashlib.sha256(name).hexdigest()[:20]}"


def zone_of(name: str) -> ZoneInfo:
    """UTC when the system does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def moment(at: datetime, zone: ZoneInfo) -> Parameters:
    """A time in every spelling that a CRM may want."""
    utc, local = at.astimezone(UTC), at.astimezone(zone)
    return {
        "utc": utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "utc_space": utc.strftime("%Y-%m-%d %H:%M:%S"),
        "utc_date": utc.strftime("%Y-%m-%d"),
        "utc_time": utc.strftime("%H:%M"),
        "unix_ms": int(utc.timestamp() * 1000),
        "local": local.isoformat(timespec="seconds"),
        "local_space": local.strftime("%Y-%m-%d %H:%M:%S"),
        "date": local.strftime("%Y-%m-%d"),
        "time": local.strftime("%H:%M"),
        "readable": local.strftime("%a %d %b %Y, %H:%M"),
    }


# ---- fields ------------------------------------------------------------------


def _field(
    field: FieldMap, data: Parameters, encodings: Encodings, *, said_at: datetime, zone: ZoneInfo
) -> FieldValue:
    raw = look(field.source, data)
    if raw is None or raw == "":
        raw = field.default
    value = read_value(raw, type=field.type, choices=field.choices, said_at=said_at, zone=zone)
    match value:
        case None:
            return FieldValue(field.field, field.mode, None, "the call says nothing about it")
        case Unreadable(why=why):
            return FieldValue(field.field, field.mode, None, why)
        case _:
            encoded = _encode(value, field.type, encodings, zone)
            return FieldValue(field.field, field.mode, encoded)


def _encode(value: Value, type_: ValueType, encodings: Encodings, zone: ZoneInfo) -> Any:
    match value:
        case bool():
            return encodings.is_yes if value else encodings.is_no
        case Money():
            amount = _number(value.amount, encodings)
            is_object = encodings.money == "object" and value.currency is not None
            return {"value": amount, "currency": value.currency} if is_object else amount
        case str() if type_ is ValueType.CHOICE and encodings.choice == "number":
            return int(value) if value.isascii() and value.isdigit() else value
        case Decimal():
            return _number(value, encodings)
        case datetime():
            name = encodings.date if type_ is ValueType.DATE else encodings.date_time
            return moment(value, zone)[name]
        case date():
            # A day has no zone: its midnight in UTC, which every spelling gives back as that day.
            at = datetime.combine(value, time(), UTC)
            return moment(at, ZoneInfo("UTC"))[encodings.date]
        case _:
            return value


def _number(value: Decimal, encodings: Encodings) -> Any:
    if encodings.number == "text":
        return f"{value:f}"
    return int(value) if value == value.to_integral_value() else float(value)


# ---- follow-up ---------------------------------------------------------------


def _follow_up(
    wanted: FollowUp | None, data: Parameters, *, said_at: datetime, zone: ZoneInfo
) -> FollowUpTask | None:
    if wanted is None or not _is_yes(wanted.wanted, data):
        return None
    words = look(wanted.time, data)
    if words is None or not str(words).strip():
        return None
    due: DueTime = read_due_time(str(words), said_at=said_at, zone=zone)
    return FollowUpTask(due.words, due.at, due.why_not)


def _is_yes(expression: str | None, data: Parameters) -> bool:
    if expression is None:
        return True
    said = look(expression, data)
    answer = read_value(
        said, type=ValueType.YES_NO, choices={}, said_at=datetime.now(UTC), zone=ZoneInfo("UTC")
    )
    return answer is True


# ---- what templates know -----------------------------------------------------


def _known(
    data: Parameters,
    *,
    description: Description,
    settings: SyncSettings,
    marker: str,
    number: Number | None,
    started: datetime,
    zone: ZoneInfo,
    task: FollowUpTask | None,
    recording_link: str | None,
) -> Parameters:
    call = data["call"]
    seconds = max(int(call.get("duration_seconds") or 0), 0)
    ended = _moment_in(call.get("ended_at")) or started + timedelta(seconds=seconds)
    is_inbound = str(call.get("direction") or "").lower() == "inbound"
    name = look(settings.name, data)
    summary = _summary(data, task, recording_link, zone)
    object_ = settings.object or description.default_object
    return {
        "data": data,
        "call_id": data["call_id"],
        "marker": marker,
        "status": call.get("status"),
        "is_connected": call.get("status") in _CONNECTED,
        "is_inbound": is_inbound,
        "started": moment(started, zone),
        "ended": moment(ended, zone),
        "duration": _duration(seconds),
        "number": _number_known(number),
        "callee": _e164(call.get("callee_phone"), number),
        "caller": _e164(call.get("caller_phone"), number),
        "name": str(name).strip() if name else (number.e164 if number else "Unknown"),
        "first_name": _names(name)[0],
        "last_name": _names(name)[1] or (number.e164 if number else "Unknown"),
        "mapped": [field.field for field in settings.fields],
        "object": {"key": object_, **description.objects[object_]},
        "options": options_of(description, settings),
        "title": f"AI call, {'incoming' if is_inbound else 'outgoing'}",
        "summary": summary,
        "summary_html": _html(summary),
        "recording_link": recording_link,
        "follow_up": _task_known(settings.follow_up, task, ended, zone),
    }


def options_of(description: Description, settings: SyncSettings) -> Parameters:
    """What a person said, else what is usual there."""
    defaults = {need.key: need.default for need in description.options}
    return {**defaults, **{key: value for key, value in settings.options.items() if value}}


def _duration(seconds: int) -> Parameters:
    minutes, rest = divmod(seconds, 60)
    return {
        "seconds": seconds,
        "milliseconds": seconds * 1000,
        "minutes": round(seconds / 60, 2),
        "mm_ss": f"{minutes:02}:{rest:02}",
        "readable": f"{minutes} min {rest} s" if minutes else f"{rest} s",
    }


def _number_known(number: Number | None) -> Parameters | None:
    if number is None:
        return None
    return {
        "e164": number.e164,
        "national": number.national,
        "digits": number.e164.removeprefix("+"),
        "country": number.e164.removeprefix("+").removesuffix(number.national),
        "cores": list(cores(number)),
        "spellings": list(spellings(number)),
    }


def _task_known(
    wanted: FollowUp | None, task: FollowUpTask | None, ended: datetime, zone: ZoneInfo
) -> Parameters | None:
    if wanted is None or task is None:
        return None
    is_certain = task.due is not None
    subject = wanted.subject if is_certain else f"{wanted.subject}: find out when"
    lines = [f"They said: {task.words[:500]}"]
    if task.why_not:
        lines.append(f"No time is set: {task.why_not}")
    return {
        "subject": subject,
        "words": task.words,
        "text": "\n".join(lines),
        "text_html": _html("\n".join(lines)),
        "is_certain": is_certain,
        "due": None if task.due is None else moment(task.due, zone),
        #: For CRMs whose tasks must have a time: the call's end stands for "now".
        "due_or_now": moment(task.due or ended, zone),
    }


def _summary(
    data: Parameters, task: FollowUpTask | None, recording_link: str | None, zone: ZoneInfo
) -> str:
    call = data["call"]
    lines = [f"Outcome: {call.get('status') or 'unknown'}"]
    seconds = call.get("duration_seconds")
    if seconds:
        lines[0] += f", {_duration(int(seconds))['readable']}"
    answers = [f"{name}: {_readable(value)}" for name, value in data["output_parameters"].items()]
    said = "\n".join(answers)
    if said:
        lines.append(f"{said[:_LONGEST_ANSWERS]}…" if len(said) > _LONGEST_ANSWERS else said)
    if task is not None and task.due is not None:
        lines.append(f"Follow-up: {moment(task.due, zone)['readable']}")
    elif task is not None:
        lines.append(f"Follow-up: no certain time in “{task.words[:200]}” ({task.why_not})")
    if recording_link:
        lines.append(f"Recording: {recording_link}")
    lines.append(f"Call {data['call_id']}")
    return "\n".join(lines)


def _readable(value: Any) -> str:
    said = read_value(
        value, type=ValueType.TEXT, choices={}, said_at=datetime.now(UTC), zone=ZoneInfo("UTC")
    )
    text = said if isinstance(said, str) else ""
    return text if len(text) <= _LONGEST_ANSWER else f"{text[:_LONGEST_ANSWER]}…"


def _html(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", "<br>")


def _names(name: object) -> tuple[str | None, str | None]:
    words = str(name).split() if name else []
    if not words:
        return None, None
    if len(words) == 1:
        return None, words[0][:_LONGEST_LAST_NAME]
    first, last = " ".join(words[:-1]), words[-1]
    return first[:_LONGEST_FIRST_NAME].strip(), last[:_LONGEST_LAST_NAME]


def _number_of_person(call: Mapping[str, Any]) -> str | None:
    is_inbound = str(call.get("direction") or "").lower() == "inbound"
    number = call.get("caller_phone" if is_inbound else "callee_phone")
    return None if number is None else str(number)


def _e164(raw: object, person: Number | None) -> str | None:
    number = read_number(
        None if raw is None else str(raw), region=person.region if person else "IN"
    )
    return number.e164 if number else None


def _moment_in(text: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
