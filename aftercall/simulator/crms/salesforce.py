"""A fake Salesforce, after its REST API Developer Guide ("Query", "sObject Basic Information",
"sObject Describe", "Status Codes and Error Responses"), its Object Reference ("Task", "Lead",
"Contact") and its Help page on the client credentials flow. Version 62.0 of the API.

A query shows what was saved at once, as the real one does.
"""

from typing import Any, Final
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
from aftercall.simulator.crms.salesforce_records import (
    CHOICES,
    FIELDS,
    NOT_FILTERABLE,
    PREFIXES,
    READ_ONLY,
    REQUIRED,
    check_value,
    no_column,
    refused,
)

_BASE: Final = "/services/data/v62.0"


class FakeSalesforce(FakeCrmApi):
    """Its `records` by object and id."""

    kind = "salesforce"

    def __init__(self, *, port: int = 0) -> None:
        self.client_id = "3MVG9-made-up-consumer-key"
        self.client_secret = "C0FFEE-made-up-consumer-secret"  # noqa: S105 - made up
        self.records: dict[str, dict[str, JsonObject]] = {name: {} for name in FIELDS}
        #: Objects that the app's user may only read.
        self.read_only_objects: set[str] = set()
        #: A duplicate rule of the company that blocks whoever is new.
        self.blocks_duplicates = False
        self._custom: dict[str, dict[str, str]] = {name: {} for name in FIELDS}
        self._tokens_made = 0
        self._token: str | None = None
        self._clock = 0
        super().__init__(port=port)

    @property
    def credentials(self) -> dict[str, str]:
        return {"client_id": self.client_id, "client_secret": self.client_secret}

    def add_field(self, object_: str, name: str, *, type_: str = "string") -> None:
        """A custom field: its name ends in __c."""
        self._custom[object_][name] = type_

    def add(self, object_: str, **fields: Any) -> str:
        """A record that is there already."""
        id_ = self._new_id(object_)
        self.records[object_][id_] = {"Id": id_, "IsConverted": False, **self._now(), **fields}
        return id_

    def expire(self) -> None:
        """The token that was given is not valid any more."""
        self._token = None

    def routes(self) -> list[Route]:
        return [
            route("POST", "/services/oauth2/token", "token", self._give_token),
            route("GET", f"{_BASE}/query", "find", self._query),
            route("GET", f"{_BASE}/sobjects/{{object}}/describe", "fields", self._describe),
            route("POST", f"{_BASE}/sobjects/{{object}}", "make", self._make, status=201),
            route(
                "PATCH", f"{_BASE}/sobjects/{{object}}/{{id}}", "change", self._change, status=204
            ),
        ]

    def step_of(self, asked: Asked) -> str:
        if asked.step == "find":
            is_task = "FROM Task" in asked.query.get("q", "")
            is_follow_up = "task'" in asked.query.get("q", "")
            return ("find_task" if is_follow_up else "find_call") if is_task else "find"
        if asked.parts.get("object") != "Task" or asked.step == "fields":
            return asked.step
        body = asked.body if isinstance(asked.body, dict) else {}
        what = "task" if str(body.get("CallObject", "")).endswith("task") else "call"
        return what if asked.step == "make" else f"change_{what}"

    def authorize(self, asked: Asked) -> None:
        if asked.step == "token":
            return
        if self._token is None or asked.headers.get("authorization") != f"Bearer {self._token}":
            raise self.trouble(Trouble.EXPIRED)

    def trouble(self, trouble: Trouble) -> Refused:
        match trouble:
            case Trouble.LIMIT:
                return refused(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
            case Trouble.EXPIRED:
                return refused(401, "INVALID_SESSION_ID", "Session expired or invalid")
            case Trouble.FORBIDDEN:
                return refused(
                    403,
                    "API_DISABLED_FOR_ORG",
                    "The REST API is not enabled for this Organization.",
                )
            case _:
                return refused(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred.")

    def not_found(self, asked: Asked) -> Refused:
        return refused(404, "NOT_FOUND", f"The requested resource does not exist: {asked.path}")

    # ---- the endpoints -----------------------------------------------------

    def _give_token(self, asked: Asked) -> JsonObject:
        if asked.headers.get("content-type") != "application/x-www-form-urlencoded":
            raise _no_token("unsupported_grant_type", "grant type not supported")
        form = {name: values[0] for name, values in parse_qs(asked.raw.decode()).items()}
        if form.keys() != {"grant_type", "client_id", "client_secret"}:
            raise _no_token("invalid_request", "missing or unknown parameters")
        if form["grant_type"] != "client_credentials":
            raise _no_token("unsupported_grant_type", "grant type not supported")
        if form["client_id"] != self.client_id:
            raise _no_token("invalid_client_id", "client identifier invalid")
        if form["client_secret"] != self.client_secret:
            raise _no_token("invalid_client", "invalid client credentials")
        self._tokens_made += 1
        self._token = f"00Dxx0000001gPL!made-up-token-{self._tokens_made}"
        return {
            "access_token": self._token,
            "signature": "made-up-signature",
            "scope": "api",
            "instance_url": self.url,
            "id": f"{self.url}/id/00Dxx0000001gPLEAY/005xx000001SwiUAAS",
            "token_type": "Bearer",
            "issued_at": "1735120200000",
        }

    def _query(self, asked: Asked) -> JsonObject:
        if asked.query.keys() != {"q"}:
            raise refused(400, "MALFORMED_QUERY", "q is required, and nothing else is known")
        try:
            query = read_query(asked.query["q"])
        except QueryError as error:
            raise refused(400, "MALFORMED_QUERY", str(error)) from None
        if query.object not in FIELDS:
            raise refused(400, "INVALID_TYPE", f"sObject type '{query.object}' is not supported.")
        known = self._fields_of(query.object)
        for name in (*query.fields, *query.fields_compared, *(one for one, _ in query.order)):
            if name not in known:
                raise no_column(name, query.object)
        for name in query.fields_compared:
            if known[name] in NOT_FILTERABLE:
                raise refused(
                    400, "INVALID_FIELD", f"field '{name}' can not be filtered in a query call"
                )
        found = [one for one in self.records[query.object].values() if fits(one, query.where)]
        found = ordered(found, query.order)[: query.limit]
        records = [
            {
                "attributes": {
                    "type": query.object,
                    "url": f"{_BASE}/sobjects/{query.object}/{one['Id']}",
                },
                **{name: one.get(name) for name in query.fields},
            }
            for one in found
        ]
        return {"totalSize": len(records), "done": True, "records": records}

    def _make(self, asked: Asked) -> JsonObject:
        object_ = self._object(asked)
        body = self._body(asked, object_)
        if missing := [name for name in REQUIRED[object_] if not body.get(name)]:
            raise refused(
                400,
                "REQUIRED_FIELD_MISSING",
                f"Required fields are missing: [{', '.join(missing)}]",
                fields=missing,
            )
        if self.blocks_duplicates and object_ != "Task":
            raise refused(400, "DUPLICATES_DETECTED", "Use one of these records?")
        id_ = self._new_id(object_)
        self.records[object_][id_] = {"Id": id_, "IsConverted": False, **self._now(), **body}
        return {"id": id_, "success": True, "errors": []}

    def _change(self, asked: Asked) -> None:
        object_ = self._object(asked)
        record = self.records[object_].get(asked.parts["id"])
        if record is None:
            raise refused(
                404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible"
            )
        if record.get("IsConverted"):
            raise refused(
                400, "CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead", fields=[]
            )
        body = self._body(asked, object_)
        if "TaskSubtype" in body:
            raise refused(
                400,
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                "Unable to create/update fields: TaskSubtype.",
                fields=["TaskSubtype"],
            )
        record |= {**body, **self._now()}

    def _describe(self, asked: Asked) -> JsonObject:
        name = asked.parts["object"]
        if name not in FIELDS:
            raise self.not_found(asked)
        is_writable = name not in self.read_only_objects
        return {
            "name": name,
            "createable": is_writable,
            "updateable": is_writable,
            "fields": [
                {
                    "name": field,
                    "label": field.removesuffix("__c").replace("_", " "),
                    "type": type_,
                    "createable": field not in READ_ONLY,
                    "updateable": field not in READ_ONLY,
                    "picklistValues": [
                        {"active": True, "label": value, "value": value}
                        for value in sorted(CHOICES.get(field, ()))
                    ],
                }
                for field, type_ in self._fields_of(name).items()
            ],
        }

    # ---- what it refuses ---------------------------------------------------

    def _object(self, asked: Asked) -> str:
        name = asked.parts["object"]
        if name not in FIELDS:
            raise self.not_found(asked)
        if name in self.read_only_objects:
            raise refused(
                403, "INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on entity"
            )
        if asked.headers.get("sforce-duplicate-rule-header") != "allowSave=true":
            raise refused(400, "DUPLICATES_DETECTED", "Use one of these records?")
        return name

    def _body(self, asked: Asked, object_: str) -> JsonObject:
        if not isinstance(asked.body, dict):
            raise refused(400, "JSON_PARSER_ERROR", "Unexpected end of input")
        known = self._fields_of(object_)
        for name, value in asked.body.items():
            if name not in known:
                raise no_column(name, object_)
            if name in READ_ONLY:
                raise refused(
                    400,
                    "INVALID_FIELD_FOR_INSERT_UPDATE",
                    f"Unable to create/update fields: {name}.",
                    fields=[name],
                )
            check_value(name, known[name], value)
        self._check_who(asked.body.get("WhoId"))
        return dict(asked.body)

    def _check_who(self, who: Any) -> None:
        if who is None:
            return
        if not any(who in self.records[name] for name in ("Lead", "Contact")):
            raise refused(
                400, "INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", fields=[]
            )

    def _fields_of(self, object_: str) -> dict[str, str]:
        return {**FIELDS[object_], **self._custom[object_]}

    def _new_id(self, object_: str) -> str:
        return f"{PREFIXES[object_]}5g00000{self.new_id():0>5}AAA"

    def _now(self) -> JsonObject:
        self._clock += 1
        minutes, seconds = divmod(self._clock, 60)
        return {"LastModifiedDate": f"2024-12-25T10:{minutes:02}:{seconds:02}.000+0000"}


def _no_token(error: str, description: str) -> Refused:
    return Refused(400, {"error": error, "error_description": description})
