"""Clients that hide nothing: what came over the socket, and how it ended."""

import json
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests
from standardwebhooks.webhooks import Webhook

from aftercall.simulator import DEFAULT_WORKSPACE, SimulatedWorkspace, Simulator

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLjSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@dataclass(frozen=True)
class RawAnswer:
    """Every byte that came, and how it ended: "closed", "reset" or "silence"."""

    received: bytes
    end: str

    @property
    def status(self) -> int:
        return int(self.received.split(b" ", 2)[1])

    @property
    def body(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[2]


def raw_exchange(port: int, request: bytes, *, patience_seconds: float = 5.0) -> RawAnswer:
    """Send these bytes and read to the end; "silence" when nothing comes for so long."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=patience_seconds) as connection:
        connection.sendall(request)
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            return RawAnswer(received, "reset")
        except TimeoutError:
            return RawAnswer(received, "silence")
    return RawAnswer(received, "closed")


def raw_detail(
    simulator: Simulator, call_id: str, *, patience_seconds: float = 5.0, connection: str = "close"
) -> RawAnswer:
    """Ask for a call's detail with bare hands."""
    request = (
        f"GET /api/call/detail?call_id={call_id} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Basic {DEFAULT_WORKSPACE.basic_token}\r\n"
        f"x-workspace-id: {DEFAULT_WORKSPACE.id}\r\nConnection: {connection}\r\n\r\n"
    )
    port = simulator.twentytwo.server.port
    return raw_exchange(port, request.encode(), patience_seconds=patience_seconds)


def raw_delivery(
    simulator: Simulator, hook: str, body: object, *, patience_seconds: float = 5.0
) -> RawAnswer:
    """Deliver to a hook with bare hands."""
    content = json.dumps(body).encode()
    headers = signed_headers(content, webhook_id=fresh_id())
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST /hooks/{hook} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Length: {len(content)}\r\n{lines}\r\n"
    )
    port = simulator.crm.server.port
    return raw_exchange(port, head.encode() + content, patience_seconds=patience_seconds)


def get(
    simulator: Simulator,
    path: str,
    *,
    workspace: SimulatedWorkspace = DEFAULT_WORKSPACE,
    workspace_id: str | None = None,
    **query: str,
) -> requests.Response:
    """GET from the fake Twenty2 with a workspace's credentials."""
    return requests.get(
        simulator.twentytwo.base_url + path,
        params=query,
        auth=(workspace.api_key, workspace.api_secret),
        headers={"x-workspace-id": workspace.id if workspace_id is None else workspace_id},
        timeout=5,
        allow_redirects=False,
    )


def detail(simulator: Simulator, call_id: str) -> requests.Response:
    return get(simulator, "/call/detail", call_id=call_id)


def payload(call_id: str, **outputs: Any) -> dict[str, Any]:
    """What aftercall delivers by default, in short."""
    return {
        "type": "call.completed",
        "timestamp": "2026-01-01T00:00:00Z",
        "data": {"call_id": call_id, "output_parameters": outputs},
    }


def deliver(
    simulator: Simulator,
    hook: str,
    body: object,
    *,
    webhook_id: str | None = None,
    secret: str = SECRET,
    **changed_headers: str,
) -> requests.Response:
    """POST a signed body to a hook; `webhook_signature="…"` and the like change a header."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = signed_headers(content, webhook_id=webhook_id or fresh_id(), secret=secret)
    headers |= {name.replace("_", "-"): value for name, value in changed_headers.items()}
    return requests.post(
        simulator.crm.hook_url(hook),
        data=content,
        headers=headers,
        timeout=5,
        allow_redirects=False,
    )


def signed_headers(content: bytes, *, webhook_id: str, secret: str = SECRET) -> dict[str, str]:
    now = datetime.now(UTC)
    return {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "idempotency-key": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, now, content.decode()),
    }


def fresh_id() -> str:
    return f"msg_{uuid.uuid4().hex}"
