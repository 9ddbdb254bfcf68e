"""What makes a destination: the fields people write, and the checks on them.

The same for the API, the CLI and `destinations apply -f`.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import requests
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.config import JsonDict

from aftercall.crm.description import Description, descriptions
from aftercall.crm.mapping import MappingError, check_expression, is_storable
from aftercall.crm.sending import RESERVED_HEADERS
from aftercall.crm.signing import SecretError, check_secret
from aftercall.crm.sync_settings import SyncSettings, faults_in
from aftercall.domain.unseen import CONTROLS, UNSEEN
from aftercall.domain.work import CALL_UPDATED, EVENT_TYPES, WEBHOOK
from aftercall.http import AddressGuard, refused_addresses

#: What a destination may be.
KINDS = [WEBHOOK, *descriptions()]
#: What a header's value reads as. Sent back unchanged, it keeps the value.
MASK = "********"
#: Nothing that moves a terminal's cursor or turns its text around.
_UNSEEN = CONTROLS + UNSEEN
_NAME = re.compile(rf"[^{_UNSEEN}]*[^{_UNSEEN}\s][^{_UNSEEN}]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
#: No C1 either: to some a header ends at U+0085.
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e\xa1-\xff][\x20-\x7e\xa0-\xff\t]{0,3999})?")
#: The same for the OpenAPI document, and what `_check_url` and `check_secret` look for first.
_NAME_SCHEMA: JsonDict = {"pattern": f"^{_NAME.pattern}$"}
_HEADERS_SCHEMA: JsonDict = {
    "propertyNames": {"pattern": f"^{_HEADER_NAME.pattern}$"},
    "additionalProperties": {"type": "string", "pattern": f"^{_HEADER_VALUE.pattern}$"},
}
_URL_SCHEMA: JsonDict = {"pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[\x21-\x7e]+$"}
_EVENTS_SCHEMA: JsonDict = {"contains": {"enum": ["call.completed", "call.failed"]}}
_BASE64 = r"[A-Za-z0-9+/]"
_SECRET_SCHEMA: JsonDict = {
    "pattern": rf"^whsec_(({_BASE64}{{4}}){{8,20}}({_BASE64}{{2}}==|{_BASE64}{{3}}=)?"
    rf"|({_BASE64}{{4}}){{21}}({_BASE64}{{2}}==)?)$"
}


EventType = Literal["call.completed", "call.failed", "call.updated"]


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"It is not a URL: {error}") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError("It must begin with https:// or http://")
    if not parts.hostname:
        raise ValueError("There is no host in it")
    if parts.username is not None or parts.password is not None:
        raise ValueError("Put the user and the password into headers, not into the URL")
    if parts.fragment:
        raise ValueError("A URL with a fragment (#…) cannot be posted to")
    if parts.port == 0:
        raise ValueError("No server listens on port 0")
    if "%" in parts.hostname:
        raise ValueError(
            "Its host has a % in it: a zone, or an escape that programs read differently"
        )
    if "\\" in url:
        raise ValueError("It has a backslash in it, which different programs read differently")
    try:
        requests.Request("POST", url).prepare()
        parts.hostname.encode("idna")
    except (requests.RequestException, UnicodeError):
        raise ValueError("No host can have a name like this") from None
    if not url.isascii() or re.search(r"[\s\x00-\x20\x7f]", url):
        raise ValueError("It has spaces or characters that must be percent-encoded")
    return url


def _check_expression(expression: str | None) -> str | None:
    if expression is None or not expression.strip():
        return None
    try:
        check_expression(expression)
    except MappingError as error:
        raise ValueError(str(error)) from None
    return expression


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name[:40]!r} is not a header's name")
        if name.lower() in RESERVED_HEADERS:
            raise ValueError(f"{name} is set by aftercall")
        if value == MASK:
            raise ValueError(f"The value of {name} is only the mask of one: give the value")
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(
                f"The value of {name} begins with a space or has characters that no header carries"
            )
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("A header is there twice, in different letters")
    return headers


def _check_secret(secret: str) -> str:
    try:
        check_secret(secret)
    except SecretError as error:
        raise ValueError(str(error)) from None
    return secret


def _check_kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"There is no such kind; there are {', '.join(KINDS)}")
    return kind


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name) or not is_storable(name):
        raise ValueError("It is empty or has control characters in it")
    return name.strip()


def _check_workspace_id(workspace_id: str) -> str:
    if not workspace_id.isprintable():
        raise ValueError("It has control characters in it")
    return workspace_id


def _check_events(events: list[str]) -> list[str]:
    if set(events) == {CALL_UPDATED}:
        raise ValueError("An update comes to who gets the call: add call.completed or call.failed")
    return sorted(set(events))


def _check_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("It is not a number")
    return value


#: As JSON Schema has it: 15.0 is whole, "15" is no number.
WHOLE = BeforeValidator(_check_number)
Expression = Annotated[str | None, AfterValidator(_check_expression)]
Kind = Annotated[str, Field(json_schema_extra={"enum": list(KINDS)}), AfterValidator(_check_kind)]


class DestinationSpec(BaseModel):
    """A destination as people write it. Anything that is not a field is a mistake."""

    # Strict: nobody means the text "no" by true.
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    name: Annotated[
        str, Field(max_length=100, json_schema_extra=_NAME_SCHEMA), AfterValidator(_check_name)
    ]
    url: Annotated[
        str, Field(max_length=2_000, json_schema_extra=_URL_SCHEMA), AfterValidator(_check_url)
    ]
    kind: Kind = WEBHOOK
    workspace_id: (
        Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_check_workspace_id)]
        | None
    ) = Field(None, description="Only this workspace's calls; null: every workspace's")
    enabled: bool = True
    events: Annotated[
        list[EventType],
        Field(min_length=1, json_schema_extra=_EVENTS_SCHEMA),
        AfterValidator(_check_events),
    ] = list(EVENT_TYPES)  # type: ignore[arg-type]
    filter: Expression = Field(
        None, description="JMESPath over `data`: false, null or empty means that it is not sent"
    )
    mapping: Expression = Field(
        None, description="JMESPath over `data` that makes the body; null: the default body"
    )
    headers: Annotated[
        dict[str, str],
        Field(max_length=30, repr=False, json_schema_extra=_HEADERS_SCHEMA),
        AfterValidator(_check_headers),
    ] = Field(default_factory=dict, description="Sent with each delivery; read back masked")
    secret: (
        Annotated[str, Field(json_schema_extra=_SECRET_SCHEMA), AfterValidator(_check_secret)]
        | None
    ) = Field(None, repr=False, description="whsec_…; made when it is not given; never read back")
    timeout_seconds: Annotated[int, Field(ge=1, le=30, strict=False), WHOLE] = 15
    max_in_flight: Annotated[int, Field(ge=1, le=1_000, strict=False), WHOLE] = 32
    rate_limit_per_second: Annotated[int, Field(ge=1, le=10_000, strict=False), WHOLE] | None = None
    sync: SyncSettings | None = Field(
        None, description="Of a CRM: whom a call is about, and what is written there"
    )
    credentials: Annotated[
        dict[str, Annotated[str, Field(max_length=4_000)]], Field(max_length=10, repr=False)
    ] = Field(default_factory=dict, description="Of a CRM; read back masked")

    @model_validator(mode="before")
    @classmethod
    def _usual_for_its_kind(cls, given: Any) -> Any:
        """A CRM has an address of its own, and takes less at once."""
        kind = given.get("kind") if isinstance(given, dict) else None
        crm = descriptions().get(kind) if isinstance(kind, str) else None
        if crm is None:
            return given
        usual: dict[str, Any] = {"max_in_flight": crm.max_in_flight}
        if crm.api is not None:
            usual["url"] = crm.api
        there = {key: value for key, value in given.items() if key != "url" or value}
        return {**usual, **there}

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == WEBHOOK:
            if self.sync is not None or self.credentials:
                raise _fault("sync" if self.sync else "credentials", "Only a CRM has that")
            return self
        crm = descriptions()[self.kind]
        if self.mapping is not None:
            raise _fault("mapping", f"{crm.name} gets fields: say them in sync.fields")
        if self.headers:
            raise _fault("headers", f"aftercall sets all headers for {crm.name}")
        for place, what in faults_in(self.sync or SyncSettings(), crm):
            raise _fault(place, what)
        for place, what in _credential_faults(self.credentials, crm):
            raise _fault(place, what)
        return self


def _credential_faults(given: dict[str, str], crm: Description) -> Iterator[tuple[str, str]]:
    known = {need.key: need for need in crm.credentials}
    for key in sorted(given.keys() - known.keys()):
        yield f"credentials.{key}", f"{crm.name} has no such credential"
    for key, value in given.items():
        if value == MASK:
            yield f"credentials.{key}", "This is only the mask of one: give the value"


def missing_credentials(spec: DestinationSpec) -> list[tuple[str, str]]:
    """Those that its kind needs: place, and what it is. Asked for when they are set; one whose
    credentials no key opens any more can be paused all the same."""
    crm = descriptions().get(spec.kind)
    return [
        (f"credentials.{need.key}", f"It is needed: {need.label}. {need.hint}".strip())
        for need in (crm.credentials if crm else [])
        if need.required and not spec.credentials.get(need.key)
    ]


def _fault(place: str, what: str) -> ValueError:
    """At its place, as pydantic's own faults are."""
    return ValueError(f"{place}: {what}")


def unreachable_reason(url: str, guard: AddressGuard) -> str | None:
    """Why deliveries to this URL would be refused; None when nothing is known against it.

    Resolves the name. One that does not resolve now may do so later.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        refused = refused_addresses(host, port, guard)
    except OSError:
        return None
    if not refused:
        return None
    what = refused[0] if _is_address(host) else f"{host} resolves to {refused[0]}"
    return (
        f"{what}, which is not a public address: if this network is meant, "
        "allow it with AFTERCALL_ALLOWED_PRIVATE_NETWORKS"
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def change_schema() -> dict[str, Any]:
    """JSON Schema of a PATCH: any of the fields, none of the defaults."""
    # Its parts stand in the OpenAPI document, beside the whole.
    whole = DestinationSpec.model_json_schema(ref_template="#/components/schemas/{model}")
    fields = {
        name: {key: says for key, says in field.items() if key != "default"}
        for name, field in whole["properties"].items()
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": fields,
    }


def changed_spec(current: dict[str, Any], change: dict[str, Any]) -> DestinationSpec:
    """The spec after a PATCH; pydantic's ValidationError when it is not a good one."""
    return DestinationSpec.model_validate({**current, **change})
