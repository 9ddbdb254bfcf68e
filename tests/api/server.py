"""The real API as a process of its own, and a client that speaks to it like an operator."""

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from tests.cli.command import environment
from tests.conftest import ADMIN_TOKEN, SECRET_KEY, WEBHOOK_TOKEN, WORKSPACE

SETTINGS = {
    "AFTERCALL_SECRET_KEY": SECRET_KEY,
    "AFTERCALL_ADMIN_TOKEN": ADMIN_TOKEN,
    "AFTERCALL_WEBHOOK_TOKEN": WEBHOOK_TOKEN,
    "AFTERCALL_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
    "TWENTYTWO_WORKSPACE_ID": WORKSPACE.id,
    "TWENTYTWO_API_KEY": WORKSPACE.api_key,
    "TWENTYTWO_API_SECRET": WORKSPACE.api_secret,
    "TWENTYTWO_RATE_LIMIT": str(WORKSPACE.rate_limit),
}
Json = dict[str, Any]


class Api:
    """A client. Paths are below /api/v1; the admin token goes with each request."""

    def __init__(self, origin: str, log: Path) -> None:
        self.origin = origin
        self.log = log
        self.session = requests.Session()
        self.session.trust_env = False

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", **more.pop("headers", {})}
        url = f"{self.origin}/api/v1{path}"
        return self.session.request(method, url, headers=headers, timeout=20, **more)

    def get(self, path: str, **params: Any) -> Json:
        """The answer's JSON; the answer must be 200."""
        return self._json(self.call("GET", path, params=params), 200)

    def post(self, path: str, body: Any = None, *, status: int = 200) -> Json:
        return self._json(self.call("POST", path, json=body), status)

    def patch(self, path: str, body: Any) -> Json:
        return self._json(self.call("PATCH", path, json=body), 200)

    def put(self, path: str, body: Any) -> Json:
        return self._json(self.call("PUT", path, json=body), 200)

    def open(self, path: str, **more: Any) -> requests.Response:
        """A path outside /api/v1, without any token."""
        return self.session.get(f"{self.origin}{path}", **{"timeout": 20, **more})

    def webhook(
        self,
        body: Any = None,
        *,
        raw: bytes | None = None,
        token: str | None = WEBHOOK_TOKEN,
        headers: Mapping[str, str] | None = None,
        timeout: float = 20,
    ) -> requests.Response:
        """A POST to the receiver, as Twenty2 would send it."""
        return self.session.post(
            f"{self.origin}/webhooks/twentytwo",
            params={} if token is None else {"token": token},
            headers=dict(headers or {}),
            timeout=timeout,
            **({"json": body} if raw is None else {"data": raw}),
        )

    def pages(self, path: str, **params: Any) -> list[list[Json]]:
        """The items of every page, to the end."""
        pages: list[list[Json]] = []
        cursor = None
        while True:
            more = {} if cursor is None else {"cursor": cursor}
            page = self.get(path, **params, **more)
            pages.append(page["items"])
            assert len(pages) < 1_000, "the pages never end"
            if (cursor := page["next_cursor"]) is None:
                return pages

    def calls(self, **params: Any) -> list[Json]:
        """All calls, newest first."""
        return [call for page in self.pages("/calls", limit=500, **params) for call in page]

    def stores_at_once(self) -> bool:
        """Whether a webhook is in the database once it is answered, as are all before it."""
        call_id = f"call_{uuid.uuid4()}"
        return self.webhook({"call_id": call_id}).ok and len(self.calls(q=call_id)) == 1

    def _json(self, answer: requests.Response, status: int) -> Json:
        assert answer.status_code == status, answer.text
        found: Json = answer.json()
        return found


def assert_problem(
    answer: requests.Response, status: int, says: str = "", *, at: str | None = None
) -> Json:
    """An RFC 9457 document with this status, whose detail says so; `at`: one of its errors."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: Json = answer.json()
    assert problem["status"] == status
    assert problem["type"]
    assert problem["title"]
    assert says.lower() in problem["detail"].lower()
    if at is not None:
        assert at in [error["at"] for error in problem["errors"]], problem
        assert all(error["message"] for error in problem["errors"])
    return problem


@contextmanager
def running_api(folder: Path, **settings: str) -> Iterator[Api]:
    """`uvicorn api.app:app` with these settings, until the end of the block."""
    port = free_port()
    log = folder / f"api-{port}.log"
    arguments = ["uvicorn", "api.app:app", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments, "--no-access-log", "--log-level", "warning"],
            cwd=folder,
            env=environment(**{**SETTINGS, **settings}),
            stdout=output,
            stderr=output,
        )
    try:
        api = Api(f"http://127.0.0.1:{port}", log)
        _wait_until_alive(api, process)
        yield api
        assert process.poll() is None, f"the API died: {log.read_text()}"
    finally:
        api.session.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            raise


def _wait_until_alive(api: Api, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert process.poll() is None, api.log.read_text()
        try:
            if api.open("/healthz", timeout=1).ok:
                return
        except requests.RequestException:
            time.sleep(0.05)
    raise AssertionError(f"the API did not come up: {api.log.read_text()}")


#: Below those that a system gives to whoever asks for any: nobody else comes across one before
#: the server that is told to take it. Each is given once; runs beside each other hardly meet.
_PORTS = itertools.cycle(random.Random().sample(range(20_000, 32_000), 12_000))


def free_port() -> int:
    for port in itertools.islice(_PORTS, 1_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("a thousand ports are taken")
