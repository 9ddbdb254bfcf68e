"""The fake Twenty2: /call/detail, /call/logs and files, with credentials, rate limits and faults.

A request is checked in this order: credentials, workspace, rate limit,
parameters. Every request with valid credentials for the workspace uses its
limit up, whatever it is answered, a 429 excepted. The paging of /call/logs
(`page`, `limit`) is a guess: the provider documents none.
"""

import base64
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil
from random import Random
from typing import Final

from aftercall.simulator.call_book import CallBook
from aftercall.simulator.calls import SimulatedCall
from aftercall.simulator.envelopes import fault_envelope, first_envelope, second_envelope
from aftercall.simulator.exchange import App, HttpRequest, Reply
from aftercall.simulator.fault_replies import REDIRECT_TARGET, faulty_reply
from aftercall.simulator.faults import TWENTYTWO_FAULTS, Fault, FaultPlan, PlannedFault
from aftercall.simulator.payloads import detail, encode, log_line, spoil
from aftercall.simulator.rate_window import SlidingWindow
from aftercall.simulator.server import LocalServer
from aftercall.simulator.storage import PATH as STORAGE_PATH
from aftercall.simulator.storage import FakeStorage
from aftercall.simulator.webhooks import WebhookSender

DETAIL_PATH: Final = "/api/call/detail"
LOGS_PATH: Final = "/api/call/logs"
LARGEST_PAGE: Final = 100
_USUAL_PAGE: Final = 20
_LOGS_KEY: Final = " /call/logs"
"""The logs' key in the fault plan: no call id begins with a space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedWorkspace:
    """A workspace, the credentials that open it, and its rate limit."""

    id: str
    api_key: str
    api_secret: str
    #: Requests in any window (60 s, unless the simulator is told otherwise).
    rate_limit: int = 60
    #: Whether its 429 says when to come back; the provider documents no Retry-After.
    says_retry_after: bool = False

    @property
    def basic_token(self) -> str:
        return base64.b64encode(f"{self.api_key}:{self.api_secret}".encode()).decode()


class FakeTwentyTwo:
    """Answers for the provider, and sends its webhooks. Thread-safe."""

    def __init__(
        self,
        *,
        seed: int,
        workspaces: Iterable[SimulatedWorkspace],
        rate_window_seconds: float,
        port: int,
        control: App,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`control` answers whatever lies under `/_simulator/`."""
        self._rate_window_seconds = rate_window_seconds
        self._control = control
        self._clock = clock
        self._lock = threading.Lock()
        self._workspaces: dict[str, tuple[SimulatedWorkspace, str]] = {}
        self._windows: dict[str, SlidingWindow] = {}
        self._book = CallBook(rng=Random(f"{seed}/calls"), clock=clock)
        self._faults = FaultPlan(seed=f"{seed}/twentytwo", allowed=TWENTYTWO_FAULTS)
        self.server = LocalServer(self._answer, port=port)
        self.storage = FakeStorage(seed=seed, origin=lambda: self.server.origin, call=self.call)
        self.webhooks = WebhookSender(self.call, seed=seed)
        for workspace in workspaces:
            self.set_workspace(workspace)

    @property
    def base_url(self) -> str:
        """What TWENTYTWO_BASE_URL is set to."""
        return f"{self.server.origin}/api"

    @property
    def workspaces(self) -> list[SimulatedWorkspace]:
        with self._lock:
            return [workspace for workspace, _ in self._workspaces.values()]

    def set_workspace(self, workspace: SimulatedWorkspace) -> None:
        """Add a workspace, or give it other credentials or another limit; its window goes on."""
        with self._lock:
            self._workspaces[workspace.id] = (workspace, workspace.basic_token)
            window = self._windows.get(workspace.id)
            if window is None:
                self._windows[workspace.id] = SlidingWindow(
                    limit=workspace.rate_limit, window_seconds=self._rate_window_seconds
                )
            else:
                window.limit = workspace.rate_limit

    def add_call(self, call: SimulatedCall) -> str:
        """Make a call known, and give back its id. A call with the same id is replaced."""
        self._check_workspace(call.workspace_id)
        self._book.add(call)
        return call.call_id

    def make_calls(
        self,
        count: int,
        *,
        workspace_id: str | None = None,
        status: str | None = None,
        ready_after_seconds: float = 0.0,
        ready_after_looks: int = 0,
        quirks: tuple[Fault, ...] = (),
    ) -> list[str]:
        """Make up calls from the seed; their ids, oldest first.

        `workspace_id` None is the first workspace; `status` None a mix, four in
        five completed. The rest is as in `SimulatedCall`, the same for each.
        """
        workspace_id = workspace_id or self.workspaces[0].id
        self._check_workspace(workspace_id)
        return self._book.make(
            count,
            workspace_id=workspace_id,
            status=status,
            ready_after_seconds=ready_after_seconds,
            ready_after_looks=ready_after_looks,
            quirks=quirks,
        )

    def call(self, call_id: str) -> SimulatedCall:
        """The facts of a call; KeyError when it is not known."""
        return self._book.call(call_id)

    def looks(self, call_id: str) -> int:
        """How often this call's detail was answered; an answer that a fault replaced is none."""
        return self._book.looks(call_id)

    def fail_next(self, call_id: str, *faults: Fault | PlannedFault) -> None:
        """The next requests for this call's detail meet these, one each; then comes the truth."""
        self._faults.fail_next_for(call_id, *faults)

    def fail_next_logs(self, *faults: Fault | PlannedFault) -> None:
        """The same for /call/logs. Faults of content change nothing there."""
        self._faults.fail_next_for(_LOGS_KEY, *faults)

    def fail_next_requests(self, *faults: Fault | PlannedFault) -> None:
        """The same for the next requests, whatever they ask."""
        self._faults.fail_next(*faults)

    def fail_at_rate(self, rate: float, kinds: Iterable[Fault | PlannedFault]) -> None:
        """From now on this share of the requests (0 to 1) meets one of `kinds`."""
        self._faults.fail_at_rate(rate, kinds)

    def breaches(self) -> tuple[int, int]:
        """How many requests came over a rate limit, and the most that a window held over it."""
        with self._lock:
            windows = list(self._windows.values())
            return (
                sum(window.breaches for window in windows),
                max((window.largest_overrun for window in windows), default=0),
            )

    def _check_workspace(self, workspace_id: str) -> None:
        if workspace_id not in {workspace.id for workspace in self.workspaces}:
            raise ValueError(f"no workspace {workspace_id!r} here: set_workspace() first")

    def _answer(self, request: HttpRequest) -> Reply:
        if request.path.startswith("/_simulator/"):
            return self._control(request)
        if request.path == REDIRECT_TARGET:
            return Reply(body=b'{"success": true, "redirected": true}')
        if request.path.startswith(STORAGE_PATH):
            return self.storage.answer(request)
        if request.path not in (DETAIL_PATH, LOGS_PATH) or request.method != "GET":
            return first_envelope(404, "No such route.")
        admitted = self._admit(request)
        if isinstance(admitted, Reply):
            return admitted
        if request.path == LOGS_PATH:
            return self._logs_reply(request, admitted)
        return self._detail_reply(request, admitted)

    def _admit(self, request: HttpRequest) -> SimulatedWorkspace | Reply:
        """The workspace that the request may read, or what it is answered instead."""
        token = _basic_token(request.headers.get("authorization", ""))
        asked_for = request.headers.get("x-workspace-id", "")
        with self._lock:
            workspace, its_token = self._workspaces.get(asked_for, (None, ""))
            if workspace is None or token != its_token:
                known = any(token == opens for _, opens in self._workspaces.values())
                return _NO_ACCESS if known else _NO_CREDENTIALS
            # The clock is read inside the lock: arrivals enter the window in order.
            admission = self._windows[workspace.id].arrive(self._clock())
        if admission.allowed:
            return workspace
        wait = str(max(1, ceil(admission.wait_seconds)))
        headers = {"Retry-After": wait} if workspace.says_retry_after else {}
        return first_envelope(429, "Too many requests, wait and retry.", headers=headers)

    def _detail_reply(self, request: HttpRequest, workspace: SimulatedWorkspace) -> Reply:
        call_id = request.query.get("call_id", "")
        if not call_id:
            return _invalid("call_id", "call_id is required")
        fault = self._faults.draw(call_id)
        if fault is None:
            return self._true_detail(call_id, workspace)
        return faulty_reply(
            fault,
            truth=lambda: self._true_detail(call_id, workspace, fault.kind),
            error_reply=fault_envelope,
        )

    def _true_detail(self, call_id: str, workspace: SimulatedWorkspace, *faults: Fault) -> Reply:
        look = self._book.look(call_id, workspace_id=workspace.id)
        if look is None:
            return first_envelope(404, "No call found for the given call_id.")
        answer = self.storage.with_links(detail(look.call, status=look.status_under_way), look.call)
        if self._book.looks(call_id) <= look.call.media_after_looks:
            answer = {**answer, "recording": None, "transcript": None}
        return Reply(body=encode(spoil(answer, (*look.call.quirks, *faults))))

    def _logs_reply(self, request: HttpRequest, workspace: SimulatedWorkspace) -> Reply:
        page = _positive(request.query.get("page", "1"))
        limit = _positive(request.query.get("limit", str(_USUAL_PAGE)))
        if page is None:
            return _invalid("page", "page must be a positive integer")
        if limit is None or limit > LARGEST_PAGE:
            return _invalid("limit", f"limit must be between 1 and {LARGEST_PAGE}")
        fault = self._faults.draw(_LOGS_KEY)
        if fault is None:
            return self._true_logs(workspace, page, limit)
        return faulty_reply(
            fault,
            truth=lambda: self._true_logs(workspace, page, limit),
            error_reply=fault_envelope,
        )

    def _true_logs(self, workspace: SimulatedWorkspace, page: int, limit: int) -> Reply:
        looks = self._book.page(workspace_id=workspace.id, page=page, limit=limit)
        lines = [log_line(look.call, status=look.status_under_way) for look in looks]
        return Reply(body=encode({"success": True, "calls": lines}))


_NO_CREDENTIALS: Final = first_envelope(401, "Invalid or missing credentials.")
_NO_ACCESS: Final = first_envelope(403, "This key has no access to this resource.")


def _invalid(field: str, problem: str) -> Reply:
    return second_envelope(422, "Validation failed", problems={field: [problem]})


def _basic_token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "basic" else ""


def _positive(text: str) -> int | None:
    return int(text) if text.isdecimal() and int(text) > 0 else None
