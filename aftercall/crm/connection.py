"""A request to a CRM, with what only the connection knows: address, keys, token, encoding. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

from urllib3.filepost import encode_multipart_formdata

from aftercall.crm.description import Auth, Description, OAuth
from aftercall.crm.sync import CrmRequest
from aftercall.crm.templates import fill
from aftercall.domain.work import Parameters
from aftercall.http import Limits, Request

MAX_ANSWER_BYTES = 2 * 1024 * 1024
_CONNECT = timedelta(seconds=5)
#: Shorter ones stand in too many texts to be hidden there.
_SHORTEST_SECRET = 6


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a CRM is, and how we show who we are."""

    api: str
    credentials: Mapping[str, str] = field(repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What an answer that repeats the request must not show."""
        plain = [*self.credentials.values(), self.token or ""]
        long = [secret for secret in plain if len(secret) >= _SHORTEST_SECRET]
        return tuple(dict.fromkeys([*long, *(quote(secret, safe="") for secret in long)]))


def as_request(
    asked: CrmRequest, connection: Connection, auth: Auth, *, timeout: timedelta
) -> Request:
    """Ready to go."""
    known: Parameters = {"credentials": dict(connection.credentials), "token": connection.token}
    headers = {name: str(fill(value, known)) for name, value in auth.headers.items()}
    query = {name: str(fill(value, known)) for name, value in auth.query.items()}
    body, content_type = _encoded(asked.body, asked.encoding)
    headers["Accept"] = "application/json"
    if content_type is not None:
        headers["Content-Type"] = content_type
    return Request(
        method=asked.method,
        url=f"{connection.api.rstrip('/')}{asked.path}",
        headers=headers,
        params={**asked.query, **query},
        body=body,
        limits=_limits(timeout),
    )


def as_token_request(oauth: OAuth, connection: Connection, *, timeout: timedelta) -> Request:
    """Asks for an access token."""
    known: Parameters = {"credentials": dict(connection.credentials), "api": connection.api}
    form = {name: str(fill(value, known)) for name, value in oauth.form.items()}
    return Request(
        method="POST",
        url=str(fill(oauth.url, known)),
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        },
        body=urlencode(form).encode(),
        limits=_limits(timeout),
    )


def api_of(description: Description, url: str | None) -> str:
    """The company's own address, else the one that all share."""
    return (url or description.api or "").rstrip("/")


def _limits(timeout: timedelta) -> Limits:
    return Limits(connect=min(_CONNECT, timeout), deadline=timeout, max_body_bytes=MAX_ANSWER_BYTES)


def _encoded(body: Any, encoding: str) -> tuple[bytes | None, str | None]:
    if body is None:
        return None, None
    match encoding:
        case "form":
            return urlencode(body).encode(), "application/x-www-form-urlencoded"
        case "multipart":
            fields = [(name, _part(value)) for name, value in body.items()]
            return encode_multipart_formdata(fields)
        case _:
            return json.dumps(body, ensure_ascii=False).encode(), "application/json"


def _part(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
