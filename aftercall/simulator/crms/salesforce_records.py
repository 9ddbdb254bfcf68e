"""The records of the fake Salesforce: which fields there are, and what it refuses in them."""

import re
from collections.abc import Mapping
from typing import Any, Final

from aftercall.simulator.crms.fake import Refused

#: Of the fields that matter here, by object: their types. Custom ones: `add_field`.
_PERSON: Final = {
    "Id": "id",
    "FirstName": "string",
    "LastName": "string",
    "Phone": "phone",
    "MobilePhone": "phone",
    "Email": "email",
    "LeadSource": "picklist",
    "Description": "textarea",
    "OwnerId": "reference",
    "LastActivityDate": "date",
    "LastModifiedDate": "datetime",
}
FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "Lead": {**_PERSON, "Company": "string", "IsConverted": "boolean", "City": "string"},
    "Contact": {**_PERSON, "MailingCity": "string", "Birthdate": "date"},
    "Task": {
        "Id": "id",
        "WhoId": "reference",
        "OwnerId": "reference",
        "Subject": "combobox",
        "Description": "textarea",
        "Status": "picklist",
        "Priority": "picklist",
        "ActivityDate": "date",
        "IsReminderSet": "boolean",
        "ReminderDateTime": "datetime",
        "TaskSubtype": "picklist",
        "CallType": "picklist",
        "CallDurationInSeconds": "int",
        "CallDisposition": "string",
        "CallObject": "string",
    },
}
READ_ONLY: Final = {"Id", "LastActivityDate", "LastModifiedDate", "IsConverted"}
REQUIRED: Final = {"Lead": ("LastName", "Company"), "Contact": ("LastName",), "Task": ()}
PREFIXES: Final = {"Lead": "00Q", "Contact": "003", "Task": "00T"}
#: SOQL does not compare long texts.
NOT_FILTERABLE: Final = {"textarea"}
CHOICES: Final = {
    "Status": {"Not Started", "In Progress", "Completed", "Waiting on someone else", "Deferred"},
    "Priority": {"High", "Normal", "Low"},
    "CallType": {"Inbound", "Outbound", "Internal"},
    "TaskSubtype": {"Task", "Call", "Email"},
}
_LENGTHS: Final = {
    "FirstName": 40,
    "LastName": 80,
    "string": 255,
    "combobox": 255,
    "phone": 40,
    "textarea": 32_000,
}
_SHAPES: Final = {
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "datetime": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?(Z|[+-]\d\d:?\d\d)"),
}


def check_value(name: str, type_: str, value: Any) -> None:
    wanted: dict[str, type | tuple[type, ...]] = {
        "boolean": bool,
        "int": int,
        "double": (int, float),
        "currency": (int, float),
    }
    if not isinstance(value, wanted.get(type_, str)) or (
        isinstance(value, bool) and type_ != "boolean"
    ):
        raise refused(
            400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of {type_} from {value!r}"
        )
    shape = _SHAPES.get(type_)
    if shape is not None and not shape.fullmatch(str(value)):
        raise refused(
            400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of {type_} from {value!r}"
        )
    if isinstance(value, str) and len(value) > _LENGTHS.get(name, _LENGTHS.get(type_, 255)):
        raise refused(400, "STRING_TOO_LONG", f"{name}: data value too large", fields=[name])
    if name in CHOICES and value not in CHOICES[name]:
        raise refused(
            400,
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            f"{name}: bad value for restricted picklist field: {value}",
            fields=[name],
        )


def no_column(name: str, object_: str) -> Refused:
    return refused(
        400,
        "INVALID_FIELD",
        f"No such column '{name}' on sobject of type {object_}",
    )


def refused(status: int, code: str, message: str, **more: Any) -> Refused:
    return Refused(status, [{"message": message, "errorCode": code, **more}])
