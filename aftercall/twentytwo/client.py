"""Asks Twenty2 for a call's detail, or a page of its log. What it means is decided elsewhere."""

import base64
from collections.abc import Callable, Mapping
from datetime import timedelta

from aftercall.domain.exchange import Exchange
from aftercall.domain.work import Credentials
from aftercall.http import HttpClient, Limits, Request, without_secrets

#: A call's detail is a few kilobytes; 5 MiB is far beyond any honest one.
MAX_DETAIL_BYTES = 5 * 1024 * 1024
#: Well inside the lease, so that what a request learned can still be recorded.
LIMITS = Limits(
    connect=timedelta(seconds=5),
    deadline=timedelta(seconds=20),
    max_body_bytes=MAX_DETAIL_BYTES,
)


class Twenty2:
    """Twenty2's API, through one client."""

    def __init__(self, base_url: str, *, keep: int = 1) -> None:
        """`base_url`: as in the documents, up to and with `/api`. `keep`: idle connections."""
        self._base_url = base_url.rstrip("/")
        # The operator set the address: it may be anywhere.
        self._client = HttpClient(guard=None, keep=keep)

    def ask_for_detail(
        self,
        call_id: str,
        *,
        workspace_id: str,
        credentials: Credentials,
        then: Callable[[Exchange], None],
        traceparent: str | None = None,
    ) -> None:
        """`GET /call/detail`: Basic authentication and the workspace's header."""
        self._client.send(self._detail(call_id, workspace_id, credentials, traceparent), then)

    def call_detail(self, call_id: str, *, workspace_id: str, credentials: Credentials) -> Exchange:
        """The same, waited for."""
        said = self._client.exchange(self._detail(call_id, workspace_id, credentials))
        return without_credentials(said, credentials)

    def ask_for_logs(
        self,
        params: Mapping[str, str],
        *,
        workspace_id: str,
        credentials: Credentials,
        then: Callable[[Exchange], None],
    ) -> None:
        """`GET /call/logs`: a page of the workspace's calls."""
        self._client.send(self._get("logs", params, workspace_id, credentials), then)

    def call_logs(
        self, params: Mapping[str, str], *, workspace_id: str, credentials: Credentials
    ) -> Exchange:
        """The same, waited for."""
        said = self._client.exchange(self._get("logs", params, workspace_id, credentials))
        return without_credentials(said, credentials)

    def close(self) -> None:
        self._client.close()

    def _detail(
        self,
        call_id: str,
        workspace_id: str,
        credentials: Credentials,
        traceparent: str | None = None,
    ) -> Request:
        return self._get("detail", {"call_id": call_id}, workspace_id, credentials, traceparent)

    def _get(
        self,
        what: str,
        params: Mapping[str, str],
        workspace_id: str,
        credentials: Credentials,
        traceparent: str | None = None,
    ) -> Request:
        return Request(
            method="GET",
            url=f"{self._base_url}/call/{what}",
            params=params,
            headers={
                "Authorization": f"Basic {_basic(credentials)}",
                "x-workspace-id": workspace_id,
                "Accept": "application/json",
                **({} if traceparent is None else {"traceparent": traceparent}),
            },
            limits=LIMITS,
        )


def without_credentials(said: Exchange, credentials: Credentials) -> Exchange:
    """An answer that repeats them does not show them."""
    return without_secrets(said, (_basic(credentials), credentials.api_secret))


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.api_key}:{credentials.api_secret}".encode()
    return base64.b64encode(pair).decode()
