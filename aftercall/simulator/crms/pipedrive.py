"""A fake Pipedrive, after its API reference: "Persons", "Person fields" and "Activities" of
version 2, "CallLogs" and "Users" of version 1, and the pages "Pipedrive API v2 migration guide"
(numbers are numbers), "Custom fields" (keys of 40 characters) and "Rate limiting".

Its search shows a new person only after `settle()`; that it lags is supposed, no page says so.
"""

import re
from datetime import UTC, datetime, timedelta
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

_PERSON: Final = {
    "name": str,
    "owner_id": int,
    "org_id": int,
    "emails": list,
    "phones": list,
    "visible_to": int,
    "label_ids": list,
    "job_title": str,
    "custom_fields": dict,
}
_ACTIVITY: Final = {
    "subject": str,
    "type": str,
    "owner_id": int,
    "deal_id": int,
    "org_id": int,
    "due_date": str,
    "due_time": str,
    "duration": str,
    "busy": bool,
    "done": bool,
    "participants": list,
    "public_description": str,
    "note": str,
}
_CALL: Final = {
    "outcome": str,
    "to_phone_number": str,
    "start_time": str,
    "end_time": str,
    "user_id": int,
    "activity_id": int,
    "subject": str,
    "duration": str,
    "from_phone_number": str,
    "person_id": int,
    "org_id": int,
    "deal_id": int,
    "lead_id": str,
    "note": str,
}
_CALL_NEEDS: Final = ("outcome", "to_phone_number", "start_time", "end_time")
_OUTCOMES: Final = {
    "connected",
    "no_answer",
    "left_message",
    "left_voicemail",
    "wrong_number",
    "busy",
}
#: What a custom field of a type takes.
_TYPES: Final[dict[str, Any]] = {
    "varchar": str,
    "text": str,
    "double": (int, float),
    "enum": int,
    "date": str,
}
_STANDARD_FIELDS: Final = {"name": "varchar", "phones": "phone", "emails": "varchar"}
_BEGIN: Final = datetime(2024, 1, 1, tzinfo=UTC)


class FakePipedrive(FakeCrmApi):
    """`persons`, `activities` and `calls` by id. `calls` name the activity that each is."""

    kind = "pipedrive"

    def __init__(self, *, token: str = "token-made-up-for-tests", port: int = 0) -> None:  # noqa: S107
        self.token = token
        self.persons: dict[str, JsonObject] = {}
        self.activities: dict[str, JsonObject] = {}
        self.calls: dict[str, JsonObject] = {}
        self._custom: dict[str, JsonObject] = {}
        self._unsettled: set[str] = set()
        self._updates = 0
        super().__init__(port=port)

    @property
    def credentials(self) -> dict[str, str]:
        return {"api_token": self.token}

    def add_field(self, name: str, *, type_: str = "varchar", options: tuple[str, ...] = ()) -> str:
        """A custom field of people; gives its key. Options are numbered from 1."""
        key = f"{len(self._custom) + 1:040x}"
        labels = [{"id": number, "label": label} for number, label in enumerate(options, 1)]
        self._custom[key] = {"name": name, "type": type_, "options": labels}
        return key

    def add_person(self, phone: str, **custom: Any) -> str:
        """Somebody who is there already. The later, the newer."""
        id_ = self.new_id()
        self.persons[id_] = {
            "name": "Known before",
            "phones": [{"value": phone, "primary": True, "label": "work"}],
            "custom_fields": dict(custom),
            "update_time": self._touch(),
        }
        return id_

    def settle(self) -> None:
        """The search shows all that is there."""
        self._unsettled.clear()

    def routes(self) -> list[Route]:
        return [
            route("GET", "/api/v2/persons/search", "find", self._search),
            route("GET", "/api/v2/persons", "read", self._list),
            route("POST", "/api/v2/persons", "make", self._make_person, status=201),
            route("PATCH", "/api/v2/persons/{id}", "change", self._change_person),
            route("POST", "/api/v1/callLogs", "call", self._make_call),
            route("GET", "/api/v1/callLogs", "calls", lambda _: _page([])),
            route("GET", "/api/v2/activities", "find_task", self._list_activities),
            route("POST", "/api/v2/activities", "task", self._make_activity, status=201),
            route("PATCH", "/api/v2/activities/{id}", "change_task", self._change_activity),
            route("GET", "/api/v2/personFields", "fields", self._list_fields),
            route("GET", "/api/v1/users/me", "me", lambda _: {"success": True, "data": {"id": 1}}),
        ]

    def authorize(self, asked: Asked) -> None:
        if "api_token" in asked.query:
            raise _invalid("The token goes into the header x-api-token")
        if asked.headers.get("x-api-token") != self.token:
            raise self.trouble(Trouble.EXPIRED)

    def trouble(self, trouble: Trouble) -> Refused:
        match trouble:
            case Trouble.LIMIT:
                return Refused(
                    429,
                    {"success": False, "error": "Too Many Requests", "errorCode": 429},
                    headers={"Retry-After": "2", "x-ratelimit-remaining": "0"},
                )
            case Trouble.EXPIRED:
                return _refused(401, "Unauthorized access", errorCode=401)
            case Trouble.FORBIDDEN:
                return _refused(403, "Scope and URL mismatch", errorCode=403)
            case _:
                return _refused(500, "Server error.", errorCode=500)

    # ---- people ------------------------------------------------------------

    def _search(self, asked: Asked) -> JsonObject:
        _known_query(asked, {"term", "fields", "exact_match", "limit", "cursor", "organization_id"})
        term, is_exact = asked.query["term"], asked.query.get("exact_match") == "true"
        if len(term) < 2:
            raise _invalid("term is too short")
        found = []
        for id_, person in self.persons.items():
            phones = [phone["value"] for phone in person["phones"]]
            fits = term in phones if is_exact else any(term in phone for phone in phones)
            if fits and id_ not in self._unsettled:
                item = {
                    "id": int(id_),
                    "type": "person",
                    "name": person["name"],
                    "phones": phones,
                    "emails": [],
                    "custom_fields": [],
                    "notes": [],
                }
                found.append({"result_score": 0.5, "item": item})
        return {"success": True, "data": {"items": found[: _limit(asked)]}}

    def _list(self, asked: Asked) -> JsonObject:
        _known_query(asked, {"ids", "sort_by", "sort_direction", "limit", "cursor"})
        ids = asked.query["ids"].split(",")
        found = [(id_, self.persons[id_]) for id_ in ids if id_ in self.persons]
        match asked.query.get("sort_by", "id"):
            case "update_time":
                found.sort(key=lambda one: one[1]["update_time"])
            case "id":
                found.sort(key=lambda one: int(one[0]))
            case other:
                raise _invalid(f"sort_by: {other}")
        if asked.query.get("sort_direction") == "desc":
            found.reverse()
        return _page([self._person(id_) for id_, _ in found][: _limit(asked)])

    def _make_person(self, asked: Asked) -> JsonObject:
        body = self._checked_person(asked)
        if not body.get("name"):
            raise _invalid("name: is required")
        id_ = self.new_id()
        self.persons[id_] = {
            "phones": [],
            "custom_fields": {},
            **body,
            "update_time": self._touch(),
        }
        self._unsettled.add(id_)
        return {"success": True, "data": self._person(id_)}

    def _change_person(self, asked: Asked) -> JsonObject:
        id_ = asked.parts["id"]
        if id_ not in self.persons:
            raise _refused(404, "Person not found.")
        body = self._checked_person(asked)
        custom = self.persons[id_]["custom_fields"] | body.get("custom_fields", {})
        self.persons[id_] |= body | {"custom_fields": custom, "update_time": self._touch()}
        return {"success": True, "data": self._person(id_)}

    def _person(self, id_: str) -> JsonObject:
        person = self.persons[id_]
        empty = dict.fromkeys(self._custom)
        return {**person, "id": int(id_), "custom_fields": empty | person["custom_fields"]}

    def _checked_person(self, asked: Asked) -> JsonObject:
        body = _checked(asked.body, _PERSON)
        for place in ("phones", "emails"):
            for one in body.get(place, []):
                _checked(one, {"value": str, "primary": bool, "label": str}, at=place)
        for key, value in body.get("custom_fields", {}).items():
            if key not in self._custom:
                raise _invalid(f"custom_fields.{key} is not allowed")
            self._check_custom(key, value)
        return body

    def _check_custom(self, key: str, value: Any) -> None:
        field = self._custom[key]
        match field["type"]:
            case "monetary":
                money = _checked(value, {"value": (int, float), "currency": str}, at=key)
                if money.keys() != {"value", "currency"}:
                    raise _invalid(f"custom_fields.{key}: value and currency")
            case "enum" if value not in [one["id"] for one in field["options"]]:
                raise _invalid(f"custom_fields.{key}: {value!r} is no option's id")
            case "date" if not re.fullmatch(r"\d{4}-\d\d-\d\d", str(value)):
                raise _invalid(f"custom_fields.{key} must be a date")
            case type_ if isinstance(value, bool) or not isinstance(value, _TYPES[type_]):
                raise _invalid(f"custom_fields.{key} must be a {type_}")

    def _list_fields(self, asked: Asked) -> JsonObject:
        _known_query(asked, {"limit", "cursor", "include_fields"})
        found: list[JsonObject] = [
            _field(code, code, type_, is_custom=False) for code, type_ in _STANDARD_FIELDS.items()
        ]
        for code, one in self._custom.items():
            found.append(_field(code, one["name"], one["type"], options=one["options"] or None))
        return _page(found[: _limit(asked)])

    # ---- calls and activities ----------------------------------------------

    def _make_call(self, asked: Asked) -> JsonObject:
        body = _checked(asked.body, _CALL)
        for name in _CALL_NEEDS:
            if name not in body:
                raise _invalid(f'"{name}" is required')
        if body["outcome"] not in _OUTCOMES:
            raise _invalid(f"outcome must be one of {sorted(_OUTCOMES)}")
        for name in ("start_time", "end_time"):
            if not re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", body[name]):
                raise _invalid(f"{name}: YYYY-MM-DD HH:MM:SS")
        if not body.get("duration", "0").isdigit():
            raise _invalid("duration: seconds")
        person_id = body.get("person_id")
        if person_id is not None and str(person_id) not in self.persons:
            raise _refused(404, "A resource required to process the request was not found.")
        activity_id, call_id = self.new_id(), f"CA{self.new_id():0>30}"
        self.activities[activity_id] = {
            "subject": body.get("subject", "Call"),
            "type": "call",
            "person_id": person_id,
            "note": body.get("note", ""),
            "done": True,
        }
        self.calls[call_id] = {**body, "activity_id": int(activity_id)}
        return {"success": True, "data": {**self.calls[call_id], "id": call_id, "company_id": 1}}

    def _list_activities(self, asked: Asked) -> JsonObject:
        _known_query(asked, {"person_id", "sort_by", "sort_direction", "limit", "cursor", "done"})
        found = [
            {**one, "id": int(id_)}
            for id_, one in self.activities.items()
            if str(one["person_id"]) == asked.query.get("person_id", str(one["person_id"]))
        ]
        if asked.query.get("sort_direction") == "desc":
            found.reverse()
        return _page(found[: _limit(asked)])

    def _make_activity(self, asked: Asked) -> JsonObject:
        body = self._checked_activity(asked)
        id_ = self.new_id()
        self.activities[id_] = {"done": False, "note": "", "person_id": None, **body}
        return {"success": True, "data": {**self.activities[id_], "id": int(id_)}}

    def _change_activity(self, asked: Asked) -> JsonObject:
        id_ = asked.parts["id"]
        if id_ not in self.activities:
            raise _refused(404, "Activity not found.")
        self.activities[id_] |= self._checked_activity(asked)
        return {"success": True, "data": {**self.activities[id_], "id": int(id_)}}

    def _checked_activity(self, asked: Asked) -> JsonObject:
        body = dict(_checked(asked.body, _ACTIVITY))
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", body.get("due_date", "2024-01-01")):
            raise _invalid("due_date must be a date")
        if not re.fullmatch(r"\d\d:\d\d(:\d\d)?", body.get("due_time", "00:00")):
            raise _invalid("due_time: HH:MM")
        for one in body.get("participants", []):
            _checked(one, {"person_id": int, "primary": bool}, at="participants")
            if str(one["person_id"]) not in self.persons:
                raise _refused(404, "Person not found.")
            if one.get("primary"):
                body["person_id"] = one["person_id"]
        return body

    def _touch(self) -> str:
        self._updates += 1
        return (_BEGIN + timedelta(minutes=self._updates)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _field(
    code: str, name: str, type_: str, *, options: Any = None, is_custom: bool = True
) -> JsonObject:
    return {
        "field_code": code,
        "field_name": name,
        "field_type": type_,
        "is_custom_field": is_custom,
        "options": options,
    }


def _checked(body: Any, known: Any, *, at: str = "body") -> JsonObject:
    """Strict, as version 2 is: no unknown names, and no text for a number."""
    if not isinstance(body, dict):
        raise _invalid(f"{at} must be an object")
    for name, value in body.items():
        if name not in known:
            raise _invalid(f'{at}: "{name}" is not allowed')
        is_bool_for_number = isinstance(value, bool) and known[name] is not bool
        if is_bool_for_number or not isinstance(value, known[name]):
            raise _invalid(f"{at}: {name} has the wrong type")
    return body


def _known_query(asked: Asked, known: set[str]) -> None:
    if unknown := asked.query.keys() - known:
        raise _invalid(f'query: "{min(unknown)}" is not allowed')


def _limit(asked: Asked) -> int:
    limit = int(asked.query.get("limit", "100"))
    if not 0 < limit <= 500:
        raise _invalid("limit: at most 500")
    return limit


def _page(found: list[JsonObject]) -> JsonObject:
    return {"success": True, "data": found, "additional_data": {"next_cursor": None}}


def _invalid(message: str) -> Refused:
    return _refused(400, f"Parameter validation failed: {message}", code="ERR_SCHEMA_VALIDATION")


def _refused(status: int, error: str, **more: Any) -> Refused:
    return Refused(
        status,
        {
            "success": False,
            "error": error,
            "error_info": "Please check developers.pipedrive.com for more information.",
            "data": None,
            **more,
        },
    )
