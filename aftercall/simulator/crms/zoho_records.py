"""The records of the fake Zoho CRM: which fields there are, and what it refuses in them."""

import re
from collections.abc import Mapping
from typing import Any, Final

from aftercall.simulator.crms.fake import JsonObject, Refused

_PERSON: Final = {
    "id": "bigint",
    "First_Name": "text",
    "Last_Name": "text",
    "Phone": "phone",
    "Mobile": "phone",
    "Email": "email",
    "Lead_Source": "picklist",
    "Description": "textarea",
    "Owner": "ownerlookup",
    "Last_Activity_Time": "datetime",
    "Modified_Time": "datetime",
}
_ACTIVITY: Final = {
    "id": "bigint",
    "Subject": "text",
    "Description": "textarea",
    "What_Id": "lookup",
    "Who_Id": "lookup",
    "$se_module": "text",
    "Owner": "ownerlookup",
    "Created_Time": "datetime",
}
#: Of the fields that matter here, by module: their types. Custom ones: `add_field`.
FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "Leads": {**_PERSON, "Company": "text", "City": "text"},
    "Contacts": {**_PERSON, "Mailing_City": "text"},
    "Calls": {
        **_ACTIVITY,
        "Call_Type": "picklist",
        "Call_Start_Time": "datetime",
        "Call_Duration": "text",
    },
    "Tasks": {
        **_ACTIVITY,
        "Status": "picklist",
        "Priority": "picklist",
        "Due_Date": "date",
        "Remind_At": "ALARM",
    },
}
READ_ONLY: Final = {"id", "Last_Activity_Time", "Modified_Time", "Created_Time"}
REQUIRED: Final = {
    "Leads": ("Last_Name",),
    "Contacts": ("Last_Name",),
    "Calls": ("Subject", "Call_Type", "Call_Start_Time", "Call_Duration"),
    "Tasks": ("Subject",),
}
CHOICES: Final = {
    "Call_Type": {"Inbound", "Outbound", "Missed"},
    "Status": {"Not Started", "Deferred", "In Progress", "Completed", "Waiting for input"},
    "Priority": {"High", "Highest", "Low", "Lowest", "Normal"},
}
#: Of a call that took place.
FIXED: Final = {"Call_Type", "Call_Start_Time", "Owner"}
_LENGTHS: Final = {
    "First_Name": 40,
    "Last_Name": 80,
    "text": 255,
    "phone": 30,
    "textarea": 32_000,
}
_AT: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
_SHAPES: Final = {
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "datetime": re.compile(_AT),
}
_ALARM: Final = re.compile(rf"FREQ=NONE;ACTION=(EMAIL|POPUP|EMAILANDPOPUP);TRIGGER=DATE-TIME:{_AT}")
#: The one field that has a related record, by its module.
LINKS: Final = {"Leads": "What_Id", "Contacts": "Who_Id"}


def check_value(name: str, type_: str, value: Any) -> None:
    if not _is_of(name, type_, value):
        raise bad_record("INVALID_DATA", "invalid data", api_name=name, expected_data_type=type_)
    if isinstance(value, str) and len(value) > _LENGTHS.get(name, _LENGTHS.get(type_, 255)):
        raise bad_record("INVALID_DATA", "invalid data", api_name=name, maximum_length=255)


def _is_of(name: str, type_: str, value: Any) -> bool:
    match type_:
        case "boolean":
            return isinstance(value, bool)
        case "integer" | "double" | "currency":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "lookup" | "ownerlookup":
            return isinstance(value, dict) and value.keys() == {"id"} and bool(value["id"])
        case "ALARM":
            return (
                isinstance(value, dict)
                and value.keys() == {"ALARM"}
                and _ALARM.fullmatch(value["ALARM"]) is not None
            )
        case "date" | "datetime":
            return isinstance(value, str) and _SHAPES[type_].fullmatch(value) is not None
        case _ if name == "Call_Duration":
            return isinstance(value, str) and re.fullmatch(r"\d{2,}:[0-5]\d", value) is not None
        case _:
            return isinstance(value, str) and value in CHOICES.get(name, {value})


def flat(record: JsonObject) -> JsonObject:
    """Lookups are compared by their ids."""
    return {
        name: value.get("id") if isinstance(value, dict) else value
        for name, value in record.items()
    }


def bad_record(code: str, message: str, **details: Any) -> Refused:
    """Accepted as a request, and refused as a record."""
    return Refused(
        202, {"data": [{"code": code, "details": details, "message": message, "status": "error"}]}
    )
