"""A fake HubSpot, after its developer pages "Search the CRM", "Contacts", "Calls", "Tasks",
"Properties" and "Error handling" (version 2026-03 of the API).

Its search shows what is new or changed only after `settle()`, as the real one does after seconds.
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

_BASE: Final = "/crm/objects/2026-03"

#: Of the properties that matter here, by object. Custom ones: `add_property`.
_PROPERTIES: Final = {
    "contacts": {
        "firstname",
        "lastname",
        "email",
        "phone",
        "mobilephone",
        "hs_lead_status",
        "lifecyclestage",
        "notes_last_updated",
        "hs_searchable_calculated_phone_number",
        "hs_searchable_calculated_mobile_number",
    },
    "calls": {
        "hs_timestamp",
        "hs_call_title",
        "hs_call_body",
        "hs_call_direction",
        "hs_call_status",
        "hs_call_duration",
        "hs_call_from_number",
        "hs_call_to_number",
        "hs_call_recording_url",
        "hs_call_disposition",
        "hubspot_owner_id",
    },
    "tasks": {
        "hs_timestamp",
        "hs_task_subject",
        "hs_task_body",
        "hs_task_type",
        "hs_task_status",
        "hs_task_priority",
        "hubspot_owner_id",
    },
}
_READ_ONLY: Final = {
    "hs_searchable_calculated_phone_number",
    "hs_searchable_calculated_mobile_number",
    "notes_last_updated",
}
_OPTIONS: Final = {
    "hs_call_direction": {"INBOUND", "OUTBOUND"},
    "hs_call_status": {
        "BUSY",
        "CALLING_CRM_USER",
        "CANCELED",
        "COMPLETED",
        "CONNECTING",
        "FAILED",
        "IN_PROGRESS",
        "NO_ANSWER",
        "QUEUED",
        "RINGING",
    },
    "hs_task_type": {"CALL", "EMAIL", "TODO"},
    "hs_task_status": {"NOT_STARTED", "IN_PROGRESS", "WAITING", "DEFERRED", "COMPLETED"},
    "hs_task_priority": {"LOW", "MEDIUM", "HIGH"},
}
_ASSOCIATIONS: Final = {"calls": 194, "tasks": 204}
_OPERATORS: Final = {"EQ", "IN", "CONTAINS_TOKEN", "HAS_PROPERTY"}
_UTC: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class FakeHubSpot(FakeCrmApi):
    """Its `objects` by id, as their properties; `associations` of calls and tasks."""

    kind = "hubspot"

    def __init__(self, *, token: str = "pat-made-up-for-tests", port: int = 0) -> None:  # noqa: S107
        self.token = token
        self.objects: dict[str, dict[str, JsonObject]] = {name: {} for name in _PROPERTIES}
        self.associations: dict[str, str] = {}
        self._custom: dict[str, JsonObject] = {}
        self._unsettled: set[str] = set()
        #: As the search still shows those that were changed.
        self._before: dict[str, JsonObject] = {}
        super().__init__(port=port)

    @property
    def credentials(self) -> dict[str, str]:
        return {"token": self.token}

    def add_property(
        self, name: str, *, type_: str = "string", options: tuple[str, ...] = ()
    ) -> None:
        """A custom field of contacts."""
        self._custom[name] = {"type": type_, "options": options}

    def add_person(self, phone: str, **properties: str) -> str:
        """Somebody who is there already."""
        id_ = self.new_id()
        self.objects["contacts"][id_] = {"phone": phone, **properties}
        return id_

    def settle(self) -> None:
        """The search shows all that is there."""
        self._unsettled.clear()
        self._before.clear()

    def routes(self) -> list[Route]:
        found = [
            route("GET", "/crm/properties/2026-03/contacts", "fields", self._list_properties),
            route(
                "POST",
                "/crm/properties/2026-03/contacts",
                "add_field",
                self._make_property,
                status=201,
            ),
        ]
        for name, step in (("contacts", "person"), ("calls", "call"), ("tasks", "task")):
            find = "find" if name == "contacts" else f"find_{step}"
            make = "make" if name == "contacts" else step
            change = "change" if name == "contacts" else f"change_{step}"
            found += [
                route("POST", f"{_BASE}/{name}/search", find, self._search(name)),
                route("POST", f"{_BASE}/{name}", make, self._make(name), status=201),
                route("PATCH", f"{_BASE}/{name}/{{id}}", change, self._change(name)),
            ]
        return [*found, route("GET", f"{_BASE}/contacts/{{id}}", "read", self._read_contact)]

    def authorize(self, asked: Asked) -> None:
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            raise self.trouble(Trouble.EXPIRED)

    def trouble(self, trouble: Trouble) -> Refused:
        match trouble:
            case Trouble.LIMIT:
                return _refused(
                    429,
                    "RATE_LIMITS",
                    "You have reached your ten_secondly_rolling limit.",
                    policyName="TEN_SECONDLY_ROLLING",
                )
            case Trouble.EXPIRED:
                return _refused(401, "INVALID_AUTHENTICATION", "Authentication not found.")
            case Trouble.FORBIDDEN:
                return _refused(403, "MISSING_SCOPES", "This app hasn't been granted all scopes.")
            case _:
                return _refused(500, "INTERNAL_ERROR", "internal error")

    # ---- the endpoints -----------------------------------------------------

    def _search(self, name: str) -> Any:
        def search(asked: Asked) -> JsonObject:
            body = _object(asked.body)
            _only(body, {"filterGroups", "sorts", "properties", "limit", "after", "query"})
            groups = body.get("filterGroups", [])
            if len(groups) > 5 or sum(len(group["filters"]) for group in groups) > 18:
                raise _invalid("too many filters")
            found = [
                (id_, properties)
                for id_, now in self.objects[name].items()
                for properties in [self._before.get(id_, now)]
                if id_ not in self._unsettled
                and (not groups or any(self._fits(name, properties, group) for group in groups))
            ]
            for sort in body.get("sorts", []):
                found.sort(
                    key=lambda one: str(one[1].get(sort["propertyName"], "")),
                    reverse=sort.get("direction") == "DESCENDING",
                )
            asked_for = set(body.get("properties", []))
            found = found[: int(body.get("limit", 10))]
            return {
                "total": len(found),
                "results": [
                    {"id": id_, "properties": {key: p.get(key) for key in asked_for}}
                    for id_, p in found
                ],
            }

        return search

    def _fits(self, name: str, properties: JsonObject, group: JsonObject) -> bool:
        _only(group, {"filters"})
        return all(self._meets(name, properties, one) for one in group["filters"])

    def _meets(self, name: str, properties: JsonObject, one: JsonObject) -> bool:
        _only(one, {"propertyName", "operator", "value", "values"})
        key, operator = one["propertyName"], one["operator"]
        if key not in _PROPERTIES[name] | self._custom.keys():
            raise _invalid(f"There was a problem with the request: {key} is no property")
        if operator not in _OPERATORS:
            raise _invalid(f"{operator} is no operator that is known here")
        there = str(_calculated(key, properties) or "")
        if operator == "IN":
            if not isinstance(one.get("values"), list) or "value" in one:
                raise _invalid("IN takes values")
            return there in one["values"]
        if not isinstance(one.get("value"), str):
            raise _invalid(f"{operator} takes a value")
        if operator == "CONTAINS_TOKEN":
            return one["value"].lower() in re.findall(r"[a-z0-9]+", there.lower())
        return bool(there == one["value"])

    def _make(self, name: str) -> Any:
        def make(asked: Asked) -> JsonObject:
            body = _object(asked.body)
            _only(body, {"properties", "associations"})
            self._check(name, body["properties"])
            if name in _ASSOCIATIONS:
                person = self._associated(name, body.get("associations", []))
            elif not {"email", "firstname", "lastname"} & body["properties"].keys():
                raise _invalid("a contact needs a name or an email")
            id_ = self.new_id()
            self.objects[name][id_] = dict(body["properties"])
            self._unsettled.add(id_)
            if name in _ASSOCIATIONS:
                if "hs_timestamp" not in body["properties"]:
                    raise _invalid("hs_timestamp is required")
                self.associations[id_] = person
            return {"id": id_, "properties": body["properties"], "archived": False}

        return make

    def _associated(self, name: str, associations: list[JsonObject]) -> str:
        if len(associations) != 1:
            raise _invalid("this fake wants one association")
        (one,) = associations
        _only(one, {"to", "types"})
        wanted = {
            "associationCategory": "HUBSPOT_DEFINED",
            "associationTypeId": _ASSOCIATIONS[name],
        }
        if one["types"] != [wanted]:
            raise _invalid(f"{one['types']} is no association of {name} with contacts")
        if one["to"]["id"] not in self.objects["contacts"]:
            raise _refused(404, "OBJECT_NOT_FOUND", "The contact does not exist")
        return str(one["to"]["id"])

    def _change(self, name: str) -> Any:
        def change(asked: Asked) -> JsonObject:
            body = _object(asked.body)
            _only(body, {"properties"})
            if asked.parts["id"] not in self.objects[name]:
                raise _refused(404, "OBJECT_NOT_FOUND", "Object not found")
            self._check(name, body["properties"])
            there = self.objects[name][asked.parts["id"]]
            self._before.setdefault(asked.parts["id"], dict(there))
            there |= body["properties"]
            return {"id": asked.parts["id"], "properties": body["properties"]}

        return change

    def _read_contact(self, asked: Asked) -> JsonObject:
        id_ = asked.parts["id"]
        there = self.objects["contacts"].get(id_)
        if there is None:
            raise _refused(404, "OBJECT_NOT_FOUND", "Object not found")
        wanted = asked.query.get("properties", "").split(",")
        return {"id": id_, "properties": {key: there.get(key) for key in wanted if key}}

    def _check(self, name: str, properties: JsonObject) -> None:
        known = _PROPERTIES[name] | (self._custom.keys() if name == "contacts" else set())
        for key, value in properties.items():
            if key not in known:
                raise _invalid(f'Property "{key}" does not exist')
            if key in _READ_ONLY:
                raise _invalid(f"{key} is a read only property")
            if not isinstance(value, str):
                raise _invalid(f"{key}: properties are texts, not {type(value).__name__}")
            options = _OPTIONS.get(key) or self._custom.get(key, {}).get("options")
            if options and value not in options:
                raise _invalid(f"{value} was not one of the allowed options of {key}")
            if self._custom.get(key, {}).get("type") == "bool" and value not in {"true", "false"}:
                raise _invalid(f"{key} is true or false, not {value}")
            if key == "hs_timestamp" and not _UTC.fullmatch(value):
                raise _invalid(f"{value} was not a valid long or ISO date")
            if key == "hs_call_duration" and not value.isdigit():
                raise _invalid(f"{value} was not a valid number")
            if key == "hs_call_recording_url" and not value.startswith("https://"):
                raise _invalid("hs_call_recording_url must be HTTPS")

    def _make_property(self, asked: Asked) -> JsonObject:
        body = _object(asked.body)
        _only(body, {"name", "label", "type", "fieldType", "groupName", "options"})
        if missing := {"name", "label", "type", "fieldType", "groupName"} - body.keys():
            raise _invalid(f"{min(missing)} is required")
        if body["name"] in _PROPERTIES["contacts"] | self._custom.keys():
            raise _refused(409, "CONFLICT", f"A property named '{body['name']}' already exists.")
        options = tuple(option["value"] for option in body.get("options", []))
        self.add_property(body["name"], type_=body["type"], options=options)
        return body

    def _list_properties(self, _: Asked) -> JsonObject:
        names = sorted(_PROPERTIES["contacts"] | self._custom.keys())
        return {
            "results": [
                {
                    "name": name,
                    "label": name.replace("_", " ").capitalize(),
                    "type": self._custom.get(name, {}).get("type", "string"),
                    "options": [
                        {"label": one, "value": one}
                        for one in self._custom.get(name, {}).get("options", ())
                    ],
                    "modificationMetadata": {"readOnlyValue": name in _READ_ONLY},
                }
                for name in names
            ]
        }


def _calculated(key: str, properties: JsonObject) -> Any:
    """The national digits, whatever stands in the field."""
    of = {
        "hs_searchable_calculated_phone_number": "phone",
        "hs_searchable_calculated_mobile_number": "mobilephone",
    }.get(key)
    if of is None:
        return properties.get(key)
    return re.sub(r"\D", "", str(properties.get(of) or ""))[-10:]


def _object(body: Any) -> JsonObject:
    if not isinstance(body, dict):
        raise _refused(415, "VALIDATION_ERROR", "Invalid input JSON")
    return body


def _only(body: JsonObject, known: set[str]) -> None:
    if unknown := body.keys() - known:
        raise _invalid(f"Unrecognized field {min(unknown)!r}")


def _invalid(message: str) -> Refused:
    return _refused(400, "VALIDATION_ERROR", message)


def _refused(status: int, category: str, message: str, **more: str) -> Refused:
    return Refused(
        status,
        {
            "status": "error",
            "message": message,
            "correlationId": "00000000-0000-4000-8000-000000000000",
            "category": category,
            **more,
        },
    )
