"""A fake LeadSquared, after its developer pages "Authentication" (keys as headers, which it
recommends), "Error Handling" (500 with Status and ExceptionType), "Get a Lead by Phone Number",
"Capture Leads", "Update a Lead", "Get Metadata", "Post an Activity on a Lead", "Update an
Activity", "Get Activities of a Lead", "Create a To-Do", "Update a Task" and "Get Tasks by Lead Id".

Keys in the query, which the real one takes as well, are refused here. Its types of exceptions
are those that people have met; that of a lead that is gone is made up. The search shows a new
lead only after `settle()`; no page says so.
"""

import re
import uuid
from typing import Any, Final

from aftercall.simulator.crms.fake import (
    Asked,
    FakeCrmApi,
    JsonObject,
    Refused,
    Route,
    Trouble,
    route,
)

_FIELDS: Final = {
    "FirstName": "Text",
    "LastName": "Text",
    "EmailAddress": "Email",
    "Phone": "Phone",
    "Mobile": "Phone",
    "Source": "Text",
    "ProspectStage": "Text",
    "ProspectID": "Text",
}
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
#: By data type, what a value must look like.
_FORMATS: Final = {
    "Phone": re.compile(r"(\+\d{1,4}-?)?\d{4,15}"),
    "Boolean": re.compile(r"[01]"),
    "Number": re.compile(r"-?\d+(\.\d+)?"),
    "Date": re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?"),
}
_ACTIVITY: Final = {
    "RelatedProspectId": str,
    "ActivityEvent": int,
    "ActivityNote": str,
    "ActivityDateTime": str,
    "ProcessFilesAsync": bool,
    "Fields": list,
}
_ACTIVITY_CHANGE: Final = {
    "ProspectActivityId": str,
    "ActivityEvent": int,
    "ActivityNote": str,
    "ProcessFilesAsync": bool,
    "Fields": list,
}
_TASK: Final = {
    "Name": str,
    "Description": str,
    "RelatedEntity": int,
    "RelatedEntityId": str,
    "DueDate": str,
    "EndDate": str,
    "ReminderBeforeDays": str,
    "ReminderTime": str,
    "NotifyBy": str,
    "OwnerId": str,
    "OwnerEmailAddress": str,
    "TaskType": dict,
}
_TASK_CHANGE: Final = {
    "UserTaskId": str,
    "Reminder": int,
    **{
        name: _TASK[name]
        for name in (
            "Name",
            "Description",
            "RelatedEntity",
            "RelatedEntityId",
            "DueDate",
            "NotifyBy",
            "OwnerId",
            "OwnerEmailAddress",
        )
    },
}
_BEHAVIOURS: Final = {"DoNotUpdate", "UpdateOnlyEmptyFields", "DoNotUpdateUniqueFields"}


class FakeLeadSquared(FakeCrmApi):
    """`leads`, `activities` and `tasks` by id. `limit_in_200`: so it says that its limit is met."""

    kind = "leadsquared"

    def __init__(self, *, port: int = 0) -> None:
        self.keys = {"access_key": "u$r-made-up-access", "secret_key": "made-up-secret-for-tests"}
        self.activity_event = 208
        self.activity_fields = {"mx_Custom_1", "mx_Custom_2", "mx_Custom_3", "mx_Custom_4"}
        self.task_types = {"AI follow-up"}
        self.users = {"owner@example.com"}
        self.leads: dict[str, JsonObject] = {}
        self.activities: dict[str, JsonObject] = {}
        self.tasks: dict[str, JsonObject] = {}
        self.limit_in_200 = False
        self.gone_says = "Lead with Id {} does not exist"
        self._newest: dict[str, int] = {}
        self._custom: dict[str, str] = {}
        self._options: dict[str, tuple[str, ...]] = {}
        self._unsettled: set[str] = set()
        super().__init__(port=port)

    @property
    def credentials(self) -> dict[str, str]:
        return dict(self.keys)

    def add_field(self, name: str, *, type_: str = "Text", options: tuple[str, ...] = ()) -> None:
        """A custom field of leads: mx_…"""
        self._custom[name] = type_
        self._options[name] = options

    def add_lead(self, phone: str, **fields: str) -> str:
        """Somebody who is there already. The later, the newer is their activity."""
        id_ = self.new_id()
        self.leads[id_] = {"Phone": phone, "LastName": "Known", **fields}
        self._touch(id_)
        return id_

    def new_id(self) -> str:
        return str(uuid.UUID(int=int(super().new_id())))

    def settle(self) -> None:
        """The search shows all that is there."""
        self._unsettled.clear()

    def routes(self) -> list[Route]:
        leads, activities, tasks = (
            "/v2/LeadManagement.svc",
            "/v2/ProspectActivity.svc",
            "/v2/Task.svc",
        )
        return [
            route("GET", f"{leads}/RetrieveLeadByPhoneNumber", "find", self._find),
            route("POST", f"{leads}/Lead.Capture", "make", self._capture),
            route("POST", f"{leads}/Lead.Update", "change", self._update),
            route("GET", f"{leads}/LeadsMetaData.Get", "fields", self._metadata),
            route("GET", f"{leads}/RetrieveTaskByLeadId", "find_task", self._tasks_of),
            route("POST", f"{activities}/Create", "call", self._make_activity),
            route("POST", f"{activities}/Retrieve", "find_call", self._activities_of),
            route(
                "POST", f"{activities}/CustomActivity/Update", "change_call", self._change_activity
            ),
            route("GET", f"{activities}/CustomActivity/GetActivitySetting", "type", self._type),
            route("POST", f"{tasks}/Create", "task", self._make_task),
            route("POST", f"{tasks}/Update", "change_task", self._change_task),
        ]

    def authorize(self, asked: Asked) -> None:
        names = {name.lower() for name in asked.query}
        if names & {"accesskey", "secretkey"}:
            raise _fault("MXInvalidInputException", "this fake takes keys in headers only")
        given = (asked.headers.get("x-lsq-accesskey"), asked.headers.get("x-lsq-secretkey"))
        if given != (self.keys["access_key"], self.keys["secret_key"]):
            raise self.trouble(Trouble.EXPIRED)

    def trouble(self, trouble: Trouble) -> Refused:
        match trouble:
            case Trouble.LIMIT:
                return _fault(
                    "MXAPIRateLimitExceededException",
                    "API calls exceeded the limit of 25 in 5 second(s)",
                    status=200 if self.limit_in_200 else 429,
                )
            case Trouble.EXPIRED:
                # It repeats what it was given, as the worst that may be.
                return _fault(
                    "MXAuthenticationFailedException",
                    f"Invalid keys: {self.keys['access_key']} {self.keys['secret_key']}",
                    status=401,
                )
            case Trouble.FORBIDDEN:
                return _fault("MXAccessDeniedException", "You have no access to this", status=403)
            case _:
                return Refused(500, {"Status": "Error", "ExceptionMessage": "Unable to connect"})

    # ---- leads -------------------------------------------------------------

    def _find(self, asked: Asked) -> list[JsonObject]:
        _known_query(asked, {"phone"})
        wanted = asked.query["phone"]
        if not wanted.isdigit():
            raise _fault("MXInvalidInputException", "phone: only digits")
        found = [
            id_
            for id_, lead in self.leads.items()
            if id_ not in self._unsettled
            and any(_is_alike(wanted, lead.get(name)) for name in ("Phone", "Mobile"))
        ]
        if not found:
            return []
        newest = max(found, key=lambda id_: self._newest[id_])
        empty: JsonObject = dict.fromkeys([*_FIELDS, *self._custom])
        return [{**empty, **self.leads[newest], "ProspectID": newest}]

    def _capture(self, asked: Asked) -> JsonObject:
        _known_query(asked, {"LeadUpdateBehavior"})
        behaviour = asked.query.get("LeadUpdateBehavior")
        if behaviour is not None and behaviour not in _BEHAVIOURS:
            raise _fault("MXInvalidInputException", f"LeadUpdateBehavior: {behaviour}")
        values = self._values(asked.body)
        if values.pop("SearchBy", "Phone") != "Phone":
            raise _fault("MXInvalidInputException", "this fake searches by Phone only")
        same = [id_ for id_, lead in self.leads.items() if lead["Phone"] == values.get("Phone")]
        if not same:
            id_ = self.new_id()
            self.leads[id_] = values
            self._unsettled.add(id_)
        else:
            id_ = same[0]
            only_empty = behaviour == "UpdateOnlyEmptyFields"
            there = self.leads[id_] if only_empty else {}
            self.leads[id_] |= {key: one for key, one in values.items() if not there.get(key)}
        self._touch(id_)
        return _done(Id=id_, RelatedId=None, IsCreated=not same)

    def _update(self, asked: Asked) -> JsonObject:
        _known_query(asked, {"leadId", "postUpdatedLead"})
        if asked.query.get("postUpdatedLead", "false") not in {"true", "false"}:
            raise _fault("MXInvalidInputException", "postUpdatedLead: true or false")
        id_ = self._lead(asked.query.get("leadId"))
        self.leads[id_] |= self._values(asked.body)
        return _done(AffectedRows=1)

    def _values(self, body: Any) -> JsonObject:
        if not isinstance(body, list):
            raise Refused(400, {"Status": "Error", "ExceptionMessage": "an array is expected"})
        types = _FIELDS | self._custom | {"SearchBy": "Text"}
        values = {}
        for one in body:
            if one.keys() != {"Attribute", "Value"} or not isinstance(one["Value"], str):
                raise _fault("MXInvalidInputException", f"not an attribute and a text: {one}")
            name, value = one["Attribute"], one["Value"]
            if name not in types or name == "ProspectID":
                raise _fault("MXInvalidInputException", f"Attribute {name} does not exist")
            wanted, options = _FORMATS.get(types[name]), self._options.get(name)
            if (wanted and not wanted.fullmatch(value)) or (options and value not in options):
                raise _fault("MXInvalidInputException", f"{name}: {value!r} is no {types[name]}")
            values[name] = value
        return values

    def _lead(self, id_: Any) -> str:
        if id_ not in self.leads:
            raise _fault("MXRecordNotFoundException", self.gone_says.format(id_))
        return str(id_)

    def _metadata(self, asked: Asked) -> list[JsonObject]:
        _known_query(asked, {"schemaName", "excludeOptionSets"})
        wanted = asked.query.get("schemaName")
        return [
            {
                "SchemaName": name,
                "DisplayName": name.removeprefix("mx_").replace("_", " "),
                "DataType": type_,
                "IsMandatory": False,
                "Options": [{"Value": one} for one in self._options.get(name, ())] or None,
            }
            for name, type_ in (_FIELDS | self._custom).items()
            if wanted in (None, name)
        ]

    # ---- activities --------------------------------------------------------

    def _make_activity(self, asked: Asked) -> JsonObject:
        body = _checked(asked.body, _ACTIVITY)
        id_, lead = self.new_id(), self._lead(body.get("RelatedProspectId"))
        self._check_activity(body)
        if not _TIME.fullmatch(body["ActivityDateTime"]):
            raise _fault("MXInvalidInputException", "ActivityDateTime: yyyy-mm-dd hh:mm:ss")
        self.activities[id_] = dict(body)
        self._touch(lead)
        return _done(Id=id_)

    def _check_activity(self, body: JsonObject) -> None:
        if body.get("ActivityEvent") != self.activity_event:
            raise _fault("MXInvalidInputException", "ActivityEvent is not valid")
        for one in body.get("Fields", []):
            _checked(one, {"SchemaName": str, "Value": str})
            if one["SchemaName"] not in self.activity_fields:
                raise _fault("MXInvalidInputException", f"{one['SchemaName']} is not there")

    def _activities_of(self, asked: Asked) -> JsonObject:
        _known_query(asked, {"leadId"})
        body = _checked(asked.body, {"Parameter": dict, "Paging": dict})
        _checked(body["Paging"], {"Offset": str, "RowCount": str})
        found = [
            {
                "Id": id_,
                "EventCode": one["ActivityEvent"],
                "CreatedOn": one["ActivityDateTime"],
                "Data": [{"Key": "NotableEventDescription", "Value": one["ActivityNote"]}],
            }
            for id_, one in self.activities.items()
            if one["RelatedProspectId"] == asked.query["leadId"]
            and one["ActivityEvent"] == body["Parameter"].get("ActivityEvent")
        ]
        return {"RecordCount": len(found), "ProspectActivities": found}

    def _change_activity(self, asked: Asked) -> JsonObject:
        body = _checked(asked.body, _ACTIVITY_CHANGE)
        self._check_activity(body)
        if body["ProspectActivityId"] not in self.activities:
            raise _fault("MXRecordNotFoundException", "Activity is not there")
        self.activities[body["ProspectActivityId"]] |= body
        return _done(AffectedRows=1)

    def _type(self, asked: Asked) -> JsonObject:
        _known_query(asked, {"code"})
        if asked.query.get("code") != str(self.activity_event):
            raise _fault("MXInvalidInputException", "code is not valid")
        return {"ID": self.new_id(), "Name": "AI call", "DisplayName": "AI call", "Fields": []}

    # ---- tasks -------------------------------------------------------------

    def _make_task(self, asked: Asked) -> JsonObject:
        body = _checked(asked.body, _TASK)
        self._check_task(body)
        if body.get("TaskType", {}).get("Name") not in self.task_types:
            raise _fault("MXInvalidInputException", "TaskType is not valid")
        id_ = self.new_id()
        self.tasks[id_] = dict(body)
        return _done(Id=id_)

    def _check_task(self, body: JsonObject) -> None:
        if body.get("RelatedEntity") != 1:
            raise _fault("MXInvalidInputException", "this fake's tasks are of leads")
        self._lead(body.get("RelatedEntityId"))
        if body.get("OwnerEmailAddress") not in self.users:
            raise _fault("MXInvalidInputException", "OwnerEmailAddress is no user's")
        if not _TIME.fullmatch(body.get("DueDate", "2024-01-01 00:00:00")):
            raise _fault("MXInvalidInputException", "DueDate: yyyy-mm-dd hh:mm:ss")

    def _change_task(self, asked: Asked) -> JsonObject:
        body = _checked(asked.body, _TASK_CHANGE)
        self._check_task(body)
        if body["UserTaskId"] not in self.tasks:
            raise _fault("MXRecordNotFoundException", "Task is not there")
        self.tasks[body["UserTaskId"]] |= body
        return _done(AffectedRows=1, AutoId=325)

    def _tasks_of(self, asked: Asked) -> JsonObject:
        _known_query(asked, {"leadId"})
        found = [
            {"TaskID": id_, "Name": one["Name"], "Description": one.get("Description")}
            for id_, one in self.tasks.items()
            if one["RelatedEntityId"] == asked.query["leadId"]
        ]
        return {"RecordCount": len(found), "TaskList": found}

    def _touch(self, id_: str) -> None:
        self._newest[id_] = len(self.asked()) + sum(self._newest.values()) + 1


def _is_alike(wanted: str, stored: str | None) -> bool:
    """With or without the country's code, on either side."""
    there = re.sub(r"\D", "", stored or "").lstrip("0")
    return len(there) >= 7 and (there.endswith(wanted) or wanted.endswith(there))


def _checked(body: Any, known: Any) -> JsonObject:
    if not isinstance(body, dict):
        raise Refused(400, {"Status": "Error", "ExceptionMessage": "an object is expected"})
    for name, value in body.items():
        if name not in known:
            raise _fault("MXInvalidInputException", f"{name} is not known")
        if not isinstance(value, known[name]):
            raise _fault("MXInvalidInputException", f"{name} has the wrong type")
    return body


def _known_query(asked: Asked, known: set[str]) -> None:
    if unknown := asked.query.keys() - known:
        raise _fault("MXInvalidInputException", f"{min(unknown)} is not known")


def _done(**message: Any) -> JsonObject:
    return {"Status": "Success", "Message": message}


def _fault(type_: str, message: str, *, status: int = 500) -> Refused:
    return Refused(status, {"Status": "Error", "ExceptionType": type_, "ExceptionMessage": message})
