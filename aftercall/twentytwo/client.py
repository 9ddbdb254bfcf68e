"""Asks Twenty2 for a call's detail. One request; what it means is decided elsewhere."""

import base64
from datetime import timedelta

import requests

from aftercall.domain.exchange import Exchange
from aftercall.domain.work import Credentials
from aftercall.http import Limits, exchange, new_session, without_secrets

#: A call's detail is a few kilobytes; 5 MiB is far beyond any honest one.
MAX_DETAIL_BYTES = 5 * 1024 * 1024
#: Well inside the lease, so that what a request learned can still be recorded.
LIMITS = Limits(
    connect=timedelta(seconds=5),
    read=timedelta(seconds=10),
    deadline=timedelta(seconds=20),
    max_body_bytes=MAX_DETAIL_BYTES,
)


class Twenty2:
    """Twenty2's API, through one pooled session."""

    def __init__(self, base_url: str, *, pool_size: int) -> None:
        """`base_url`: as in the documents, up to and with `/api`."""
        self._base_url = base_url.rstrip("/")
        # The operator set the address: it may be anywhere.
        self._session: requests.Session = new_session(guard=None, pool_size=pool_size)

    def call_detail(self, call_id: str, *, workspace_id: str, credentials: Credentials) -> Exchange:
        """`GET /call/detail`: Basic authentication and the workspace's header."""
        pair = f"{credentials.api_key}:{credentials.api_secret}".encode()
        basic = base64.b64encode(pair).decode()
        said = exchange(
            self._session,
            "GET",
            f"{self._base_url}/call/detail",
            params={"call_id": call_id},
            headers={
                "Authorization": f"Basic {basic}",
                "x-workspace-id": workspace_id,
                "Accept": "application/json",
            },
            limits=LIMITS,
        )
        return without_secrets(said, (basic, credentials.api_secret))

    def close(self) -> None:
        self._session.close()
