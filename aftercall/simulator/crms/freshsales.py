"""A fake Freshsales, after Freshworks' page "Freshsales API" (sections Authentication, Contacts,
Filtered search, Tasks, Notes, Admin configuration, Errors).

`phone_calls` is documented nowhere in full: here it takes what people saw a live account take,
a form of these four fields, and ignores a JSON body's person as that account did. The answer
to it, and the lag of the search until `settle()`, are guesses on the careful side.
"""

import re
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

_BASE: Final = "/crm/sales/api"
#: Standard fields of contacts that matter here, by JSON type; ids of choices are numbers.
_STANDARD: Final[dict[str, type]] = {
    "first_name": str,
    "last_name": str,
    "job_title": str,
    "email": str,
    "mobile_number": str,
    "work_number": str,
    "city": str,
    "lead_source_id": int,
    "owner_id": int,
}
_READ_ONLY: Final = {"id", "last_contacted", "updated_at", "created_at", "display_name"}
_TASK: Final[dict[str, type | tuple[type, ...]]] = {
    "title": str,
    "description": str,
    "due_date": str,
    "owner_id": int,
    "targetable_type": str,
    "targetable_id": (str, int),
}
_PHONE_CALL: Final = {
    "phone_call[call_direction]",
    "phone_call[targetable_type]",
    "phone_call[targetable][id]",
    "phone_call[note][description]",
}
_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "text": str,
    "textarea": str,
    "dropdown": str,
    "checkbox": bool,
    "number": (int, float),
    "date": str,
}
_DUE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)")
_PAGE: Final = 25


class FakeFreshsales(FakeCrmApi):
    """Its `contacts`, `phone_calls` and `tasks` by id. The only user has the id `owner_id`."""

    kind = "freshsales"

    def __init__(self, *, api_key: str = "key-made-up-for-tests", port: int = 0) -> None:
        self.api_key = api_key
        self.owner_id = 70001
        #: Whether two contacts may have one number, as a company decides it.
        self.numbers_are_unique = False
        self.contacts: dict[str, JsonObject] = {}
        self.phone_calls: dict[str, JsonObject] = {}
        self.tasks: dict[str, JsonObject] = {}
        self._custom: dict[str, JsonObject] = {}
        self._required: set[str] = set()
        self._unsettled: set[str] = set()
        super().__init__(port=port)

    @property
    def url(self) -> str:
        return f"{self.server.origin}{_BASE}"

    @property
    def credentials(self) -> dict[str, str]:
        return {"api_key": self.api_key}

    def add_field(self, name: str, *, type_: str = "text", choices: tuple[str, ...] = ()) -> None:
        """A company's own field of contacts."""
        if not name.startswith("cf_"):
            raise ValueError(f"{name}: Freshsales names a company's own fields cf_…")
        self._custom[name] = {"type": type_, "choices": choices}

    def require(self, name: str) -> None:
        """No contact is made without it, as a company may decide."""
        self._required.add(name)

    def add_contact(self, **fields: Any) -> str:
        """Somebody who is there already; a company's own fields by their names."""
        id_ = self.new_id()
        own = {name: fields.pop(name) for name in list(fields) if name.startswith("cf_")}
        self.contacts[id_] = {**fields, "custom_field": own}
        return id_

    def hide(self, id_: str) -> None:
        """The search does not show them until `settle()`."""
        self._unsettled.add(id_)

    def settle(self) -> None:
        """The search shows all that is there."""
        self._unsettled.clear()

    def routes(self) -> list[Route]:
        return [
            route("POST", f"{_BASE}/filtered_search/contact", "find", self._search),
            route("GET", f"{_BASE}/contacts/{{id}}", "read", self._show),
            route("POST", f"{_BASE}/contacts", "make", self._make_contact, status=201),
            route("PUT", f"{_BASE}/contacts/{{id}}", "change", self._change_contact),
            route("POST", f"{_BASE}/phone_calls", "call", self._log_call),
            route("GET", f"{_BASE}/contacts/{{id}}/activities", "find_call", self._activities),
            route("GET", f"{_BASE}/contacts/{{id}}/notes", "find_call", self._notes),
            route("POST", f"{_BASE}/tasks", "task", self._make_task, status=201),
            route("PUT", f"{_BASE}/tasks/{{id}}", "change_task", self._change_task),
            route("GET", f"{_BASE}/settings/contacts/fields", "fields", self._list_fields),
            route("GET", f"{_BASE}/selector/owners", "owners", self._list_owners),
        ]

    def step_of(self, asked: Asked) -> str:
        return "find_task" if asked.query.get("include") == "tasks" else asked.step

    def authorize(self, asked: Asked) -> None:
        if asked.headers.get("authorization") != f"Token token={self.api_key}":
            raise self.trouble(Trouble.EXPIRED)

    def trouble(self, trouble: Trouble) -> Refused:
        match trouble:
            case Trouble.LIMIT:
                return Refused(
                    429,
                    {"errors": {"code": 429, "message": "You have exceeded the limit"}},
                    {"Retry-After": "1800"},
                )
            case Trouble.EXPIRED:
                return Refused(401, {"login": "failed", "message": "Invalid credentials"})
            case Trouble.FORBIDDEN:
                return _refused(403, "Forbidden")
            case _:
                return _refused(500, "Something went wrong. Please try again later.")

    # ---- contacts ----------------------------------------------------------

    def _search(self, asked: Asked) -> JsonObject:
        body = _object(asked.body)
        _only(body, {"filter_rule", "page", "per_page"})
        rules = body.get("filter_rule")
        if not isinstance(rules, list) or not rules:
            raise _refused(400, "filter_rule is missing")
        # A part of their fields, as it may be.
        shown = ("id", "first_name", "last_name", "mobile_number", "last_contacted", "updated_at")
        found = [
            {key: one for key, one in self._shown(id_).items() if key in shown}
            for id_, contact in self.contacts.items()
            if id_ not in self._unsettled and all(self._fits(contact, rule) for rule in rules)
        ]
        found = found[: int(body.get("per_page", _PAGE))]
        return {"contacts": found, "meta": {"total": len(found), "total_pages": 1}}

    def _fits(self, contact: JsonObject, rule: JsonObject) -> bool:
        _only(rule, {"attribute", "operator", "value"})
        if rule["attribute"] not in _STANDARD.keys() | self._custom.keys():
            raise _refused(400, f"The attribute {rule['attribute']} is invalid")
        if rule["operator"] != "is_in":
            raise _refused(400, f"The operator {rule['operator']} is invalid")
        wanted = rule["value"] if isinstance(rule["value"], list) else [rule["value"]]
        there = {**contact, **contact["custom_field"]}.get(rule["attribute"])
        return there is not None and there in wanted

    def _show(self, asked: Asked) -> JsonObject:
        contact = self._there(self.contacts, asked.parts["id"])
        shown: JsonObject = {"contact": {**contact, "id": int(asked.parts["id"])}}
        match asked.query.get("include"):
            case None:
                return shown
            case "tasks":
                tasks = self._of(self.tasks, asked.parts["id"])
                return {**shown, "tasks": tasks}
            case other:
                raise _refused(400, f"include={other} is invalid")

    def _make_contact(self, asked: Asked) -> JsonObject:
        fields = self._checked(asked.body)
        if not fields.get("last_name") and not fields.get("email"):
            raise _refused(400, "Last name can't be empty")
        own = fields.get("custom_field", {})
        for name in sorted(self._required):
            if name not in fields and name not in own:
                raise _refused(400, f"{name.capitalize()} can't be empty")
        if self.numbers_are_unique and any(
            one.get("mobile_number") == fields.get("mobile_number")
            for one in self.contacts.values()
        ):
            raise _refused(400, "MobileNumber is not unique")
        id_ = self.new_id()
        self.contacts[id_] = {**fields, "custom_field": dict(own)}
        self._unsettled.add(id_)
        return {"contact": self._shown(id_)}

    def _change_contact(self, asked: Asked) -> JsonObject:
        id_ = asked.parts["id"]
        contact = self._there(self.contacts, id_)
        fields = self._checked(asked.body)
        own = {**contact["custom_field"], **fields.pop("custom_field", {})}
        self.contacts[id_] = {**contact, **fields, "custom_field": own}
        return {"contact": self._shown(id_)}

    def _checked(self, body: Any) -> JsonObject:
        _only(_object(body), {"contact"})
        fields = dict(_object(body.get("contact")))
        for name, value in fields.items():
            if name == "custom_field":
                continue
            if name in _READ_ONLY or name not in _STANDARD:
                raise _refused(400, f"Unpermitted field {name}")
            if not isinstance(value, _STANDARD[name]):
                raise _refused(400, f"The type for {name} is invalid.")
        for name, value in fields.get("custom_field", {}).items():
            self._check_own(name, value)
        return fields

    def _check_own(self, name: str, value: Any) -> None:
        field = self._custom.get(name)
        if field is None:
            raise _refused(400, f"Unpermitted field {name}")
        is_right = isinstance(value, _TYPES[field["type"]])
        if isinstance(value, bool) and field["type"] != "checkbox":
            is_right = False
        if not is_right or (field["choices"] and value not in field["choices"]):
            raise _refused(400, f"The type for {name} is invalid.")

    def _shown(self, id_: str) -> JsonObject:
        return {**self.contacts[id_], "id": int(id_)}

    # ---- calls and tasks ---------------------------------------------------

    def _log_call(self, asked: Asked) -> JsonObject:
        if not asked.headers.get("content-type", "").startswith("multipart/form-data"):
            raise _refused(400, "The type for targetable is invalid.")
        form = _object(asked.body)
        _only(form, _PHONE_CALL)
        if missing := _PHONE_CALL - form.keys():
            raise _refused(400, f"{min(missing)} is missing")
        if form["phone_call[call_direction]"] not in {"true", "false"}:
            raise _refused(400, "The type for call_direction is invalid.")
        if form["phone_call[targetable_type]"] != "contact":
            raise _refused(400, "The type for targetable_type is invalid.")
        contact_id = form["phone_call[targetable][id]"]
        self._there(self.contacts, contact_id)
        id_ = self.new_id()
        is_incoming = form["phone_call[call_direction]"] == "true"
        self.phone_calls[id_] = {
            "targetable_id": contact_id,
            "status": "incoming" if is_incoming else "outgoing",
            "note": {"description": form["phone_call[note][description]"]},
        }
        return {"phone_call": {"id": int(id_), **self.phone_calls[id_]}}

    def _activities(self, asked: Asked) -> JsonObject:
        self._there(self.contacts, asked.parts["id"])
        return {"activities": self._of(self.phone_calls, asked.parts["id"])}

    def _notes(self, asked: Asked) -> JsonObject:
        self._there(self.contacts, asked.parts["id"])
        return {"notes": []}

    def _make_task(self, asked: Asked) -> JsonObject:
        task = self._checked_task(asked.body)
        if missing := {"title", "due_date", "owner_id", "targetable_type", "targetable_id"} - (
            task.keys()
        ):
            raise _refused(400, f"{min(missing).capitalize()} can't be empty")
        id_ = self.new_id()
        self.tasks[id_] = task
        return {"task": {**task, "id": int(id_)}}

    def _change_task(self, asked: Asked) -> JsonObject:
        task = self._there(self.tasks, asked.parts["id"])
        task |= self._checked_task(asked.body)
        return {"task": {**task, "id": int(asked.parts["id"])}}

    def _checked_task(self, body: Any) -> JsonObject:
        _only(_object(body), {"task"})
        task = dict(_object(body.get("task")))
        _only(task, _TASK.keys())
        for name, value in task.items():
            if not isinstance(value, _TASK[name]):
                raise _refused(400, f"The type for {name} is invalid.")
        if not _DUE.fullmatch(task.get("due_date", "2024-01-01T00:00:00Z")):
            raise _refused(400, "The type for due_date is invalid.")
        if task.get("owner_id", self.owner_id) != self.owner_id:
            raise _refused(400, "Owner is invalid")
        if task.get("targetable_type", "Contact") != "Contact":
            raise _refused(400, "The type for targetable_type is invalid.")
        if "targetable_id" in task:
            self._there(self.contacts, str(task["targetable_id"]))
        return task

    # ---- what an administrator has set up ----------------------------------

    def _list_fields(self, _: Asked) -> JsonObject:
        standard = [
            {"name": name, "label": name.replace("_", " ").capitalize(), "type": "text"}
            for name in sorted(_STANDARD)
        ]
        own = [
            {
                "name": name,
                "label": name.removeprefix("cf_").replace("_", " ").capitalize(),
                "type": field["type"],
                "choices": [{"id": id_, "value": one} for id_, one in enumerate(field["choices"])],
            }
            for name, field in self._custom.items()
        ]
        return {"fields": [*standard, *own]}

    def _list_owners(self, _: Asked) -> JsonObject:
        return {"users": [{"id": self.owner_id, "display_name": "Sales", "is_active": True}]}

    def _there(self, things: dict[str, JsonObject], id_: str) -> JsonObject:
        if id_ not in things:
            raise _refused(404, "Not Found")
        return things[id_]

    def _of(self, things: dict[str, JsonObject], contact_id: str) -> list[JsonObject]:
        return [
            {**one, "id": int(id_)}
            for id_, one in things.items()
            if str(one["targetable_id"]) == contact_id
        ]


def _object(body: Any) -> JsonObject:
    if not isinstance(body, dict):
        raise _refused(400, "The request body is invalid")
    return body


def _only(body: JsonObject, known: Any) -> None:
    if unknown := body.keys() - known:
        raise _refused(400, f"Unpermitted field {min(unknown)}")


def _refused(status: int, message: str) -> Refused:
    return Refused(status, {"errors": {"code": status, "message": [message]}})
