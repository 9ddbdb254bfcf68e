"""A fake Zoho CRM, after its developer pages (version 8) "Insert Records", "Update Records", "Get
Records through COQL Query", "Query API - Limitations", "Fields Metadata", "Refresh Access Tokens",
and its community posts "Kaizen 36 - Tasks API", "Kaizen 38 - Calls API" and "Kaizen 81 - COQL API".

How soon a query shows what was made is written nowhere: this one does after `settle()`.
"""

import re
from typing import Any
from urllib.parse import parse_qs

from aftercall.simulator.crms.fake import (
    Asked,
    FakeCrmApi,
    JsonObject,
    Refused,
    Route,
    Trouble,
    route,
)
from aftercall.simulator.crms.queries import QueryError, fits, ordered, read_query
from aftercall.simulator.crms.zoho_records import (
    CHOICES,
    FIELDS,
    FIXED,
    LINKS,
    READ_ONLY,
    REQUIRED,
    bad_record,
    check_value,
    flat,
)


class FakeZoho(FakeCrmApi):
    """Its `records` by module and id; `scopes` of the refresh token."""

    kind = "zoho"

    def __init__(self, *, port: int = 0) -> None:
        self.client_id = "1000.MADEUPCLIENTID"
        self.client_secret = "made-up-client-secret-0f3a"  # noqa: S105 - made up
        self.refresh_token = "1000.made-up-refresh-token.77"  # noqa: S105 - made up
        self.records: dict[str, dict[str, JsonObject]] = {name: {} for name in FIELDS}
        self.scopes = {"leads", "contacts", "calls", "tasks", "coql", "settings.fields"}
        #: Fields of leads whose values are there once.
        self.unique: set[str] = set()
        #: As the documentation has it: 10 in 10 minutes.
        self.tokens_left = 10
        self._custom: dict[str, dict[str, str]] = {name: {} for name in FIELDS}
        self._unsettled: set[str] = set()
        self._token: str | None = None
        self._clock = 0
        super().__init__(port=port)

    @property
    def credentials(self) -> dict[str, str]:
        return {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "refresh_token": self.refresh_token,
        }

    def add_field(self, module: str, name: str, *, type_: str = "text") -> None:
        """A custom field."""
        self._custom[module][name] = type_

    def add(self, module: str, **fields: Any) -> str:
        """A record that is there already."""
        id_ = self._new_id()
        self.records[module][id_] = {"id": id_, **self._now(), **fields}
        return id_

    def settle(self) -> None:
        """Queries show all that is there."""
        self._unsettled.clear()

    def hide(self, id_: str) -> None:
        """No query shows it until `settle()`."""
        self._unsettled.add(id_)

    def expire(self) -> None:
        """The token that was given is not valid any more."""
        self._token = None

    def routes(self) -> list[Route]:
        return [
            route("POST", "/oauth/v2/token", "token", self._give_token),
            route("POST", "/crm/v8/coql", "find", self._query),
            route("GET", "/crm/v8/settings/fields", "fields", self._list_fields),
            route("POST", "/crm/v8/{module}", "make", self._make, status=201),
            route("PUT", "/crm/v8/{module}/{id}", "change", self._change),
        ]

    def step_of(self, asked: Asked) -> str:
        body = asked.body if isinstance(asked.body, dict) else {}
        module = asked.parts.get("module")
        if asked.step == "find":
            found = re.search(r"(?i)\bfrom (\w+)", str(body.get("select_query")))
            module = found[1] if found else None
        what = {"Calls": "call", "Tasks": "task"}.get(str(module))
        if what is None:
            return asked.step
        return what if asked.step == "make" else f"{asked.step}_{what}"

    def authorize(self, asked: Asked) -> None:
        if asked.step == "token":
            return
        said = asked.headers.get("authorization")
        if self._token is None or said != f"Zoho-oauthtoken {self._token}":
            raise self.trouble(Trouble.EXPIRED)

    def trouble(self, trouble: Trouble) -> Refused:
        match trouble:
            case Trouble.LIMIT:
                return _refused(429, "TOO_MANY_REQUESTS", "too many requests at once", limit=10)
            case Trouble.EXPIRED:
                return _refused(401, "INVALID_TOKEN", "invalid oauth token")
            case Trouble.FORBIDDEN:
                return _refused(403, "NO_PERMISSION", "permission denied", permissions=["Crm_API"])
            case _:
                return _refused(500, "INTERNAL_ERROR", "Internal Server Error")

    def not_found(self, asked: Asked) -> Refused:
        return _refused(
            404, "INVALID_URL_PATTERN", f"Please check whether the URL is right: {asked.path}"
        )

    # ---- the endpoints -----------------------------------------------------

    def _give_token(self, asked: Asked) -> JsonObject:
        form = {name: values[0] for name, values in parse_qs(asked.raw.decode()).items()}
        if form.pop("grant_type", None) != "refresh_token":
            return {"error": "unsupported_grant_type"}
        if form.get("client_id") != self.client_id:
            return {"error": "invalid_client"}
        if form.get("client_secret") != self.client_secret:
            return {"error": "invalid_client_secret"}
        if form != self.credentials:
            return {"error": "invalid_code"}
        if self.tokens_left < 1:
            raise Refused(
                400,
                {
                    "error_description": "You have made too many requests continuously."
                    " Please try again after some time.",
                    "error": "Access Denied",
                    "status": "failure",
                },
            )
        self.tokens_left -= 1
        self._token = f"1000.made-up-access-token.{self.tokens_left}"
        return {
            "access_token": self._token,
            "scope": "ZohoCRM.modules.leads.ALL",
            "api_domain": self.url,
            "token_type": "Bearer",
            "expires_in": 3600,
        }

    def _query(self, asked: Asked) -> JsonObject | None:
        self._need("coql")
        body = _object(asked.body)
        if body.keys() != {"select_query"}:
            raise _refused(400, "REQUIRED_PARAM_MISSING", "select_query is required")
        try:
            query = read_query(body["select_query"])
        except QueryError as error:
            raise _refused(400, "SYNTAX_ERROR", str(error)) from None
        if query.object not in FIELDS:
            raise _refused(400, "INVALID_QUERY", "invalid module", module=query.object)
        self._need(query.object.lower())
        known = self._fields_of(query.object)
        for name in (*query.fields, *query.fields_compared, *(one for one, _ in query.order)):
            if name not in known:
                raise _refused(
                    400, "INVALID_QUERY", "column given seems to be invalid", column_name=name
                )
        if any(known[name] == "textarea" for name in query.fields_compared):
            raise _refused(400, "INVALID_QUERY", "multi-line fields cannot be used in criteria")
        found = [
            one
            for id_, one in self.records[query.object].items()
            if id_ not in self._unsettled and fits(flat(one), query.where)
        ]
        found = ordered(found, query.order)[: query.limit]
        if not found:
            return None
        return {
            "data": [
                {**{name: one.get(name) for name in query.fields}, "id": one["id"]} for one in found
            ],
            "info": {"count": len(found), "more_records": False},
        }

    def _make(self, asked: Asked) -> JsonObject:
        module = self._module(asked)
        record = self._record(asked, module)
        for name in REQUIRED[module]:
            if record.get(name) in (None, ""):
                raise bad_record("MANDATORY_NOT_FOUND", "required field not found", api_name=name)
        self._check_unique(record, module)
        id_ = self._new_id()
        self.records[module][id_] = {"id": id_, **self._now(), **record}
        self._unsettled.add(id_)
        return _done("record added", id_)

    def _change(self, asked: Asked) -> JsonObject:
        module = self._module(asked)
        id_ = asked.parts["id"]
        record = self._record(asked, module)
        if id_ not in self.records[module]:
            raise bad_record("INVALID_DATA", "the id given seems to be invalid", id=id_)
        if module == "Calls" and (fixed := sorted(record.keys() & FIXED)):
            raise bad_record("INVALID_DATA", "invalid data", api_name=fixed[0])
        self.records[module][id_] |= {**record, **self._now()}
        return _done("record updated", id_)

    def _list_fields(self, asked: Asked) -> JsonObject:
        self._need("settings.fields")
        module = asked.query.get("module", "")
        if module not in FIELDS:
            raise _refused(400, "INVALID_MODULE", "the module name given seems to be invalid")
        return {
            "fields": [
                {
                    "api_name": name,
                    "field_label": name.replace("_", " "),
                    "data_type": type_,
                    "read_only": False,
                    "field_read_only": name in READ_ONLY,
                    "pick_list_values": [
                        {"display_value": value, "actual_value": value}
                        for value in sorted(CHOICES.get(name, ()))
                    ],
                }
                for name, type_ in self._fields_of(module).items()
            ]
        }

    # ---- what it refuses ---------------------------------------------------

    def _need(self, scope: str) -> None:
        if scope not in self.scopes:
            raise _refused(401, "OAUTH_SCOPE_MISMATCH", "invalid oauth scope to access this URL")

    def _module(self, asked: Asked) -> str:
        module = asked.parts["module"]
        if module not in FIELDS:
            raise _refused(400, "INVALID_MODULE", "the module name given seems to be invalid")
        self._need(module.lower())
        return module

    def _record(self, asked: Asked, module: str) -> JsonObject:
        body = _object(asked.body)
        if body.keys() != {"data"} or not isinstance(body["data"], list) or len(body["data"]) != 1:
            raise _refused(400, "INVALID_DATA", "this fake wants one record in data")
        (record,) = body["data"]
        known = self._fields_of(module)
        for name, value in record.items():
            # The real one leaves unknown fields out without a word: they are a fault here.
            if name not in known or name in READ_ONLY:
                raise bad_record("INVALID_DATA", "no such field, or read only", api_name=name)
            check_value(name, known[name], value)
        self._check_links(record)
        return dict(record)

    def _check_unique(self, record: JsonObject, module: str) -> None:
        for name in sorted(self.unique & record.keys()) if module == "Leads" else ():
            for id_, other in self.records[module].items():
                if other.get(name) == record[name]:
                    raise bad_record("DUPLICATE_DATA", "duplicate data", api_name=name, id=id_)

    def _check_links(self, record: JsonObject) -> None:
        links = [name for name in ("What_Id", "Who_Id") if name in record]
        if not links:
            return
        module = record.get("$se_module")
        if links != [LINKS.get(str(module))]:
            raise bad_record("INVALID_DATA", "invalid data", api_name="$se_module")
        if record[links[0]]["id"] not in self.records[str(module)]:
            raise bad_record(
                "INVALID_DATA",
                "the related id given seems to be invalid",
                api_name=links[0],
                json_path=f"$.data[0].{links[0]}",
            )

    def _fields_of(self, module: str) -> dict[str, str]:
        return {**FIELDS[module], **self._custom[module]}

    def _new_id(self) -> str:
        return f"4876876000000{self.new_id():0>6}"

    def _now(self) -> JsonObject:
        self._clock += 1
        at = f"2024-12-25T16:{self._clock // 60:02}:{self._clock % 60:02}+05:30"
        return {"Modified_Time": at, "Created_Time": at}


def _object(body: Any) -> JsonObject:
    if not isinstance(body, dict):
        raise _refused(400, "INVALID_DATA", "body")
    return body


def _done(message: str, id_: str) -> JsonObject:
    return {
        "data": [
            {"code": "SUCCESS", "details": {"id": id_}, "message": message, "status": "success"}
        ]
    }


def _refused(status: int, code: str, message: str, **details: Any) -> Refused:
    return Refused(
        status, {"code": code, "details": details, "message": message, "status": "error"}
    )
