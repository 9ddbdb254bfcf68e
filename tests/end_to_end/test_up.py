"""`aftercall up` as people start it: a process, a fresh data directory, no URLs set.

Twenty2 and the CRM are the simulator, which breaks in every way that the two tables of the design
name. What is not under way any more is waited for with a deadline; nothing here sleeps blindly.
"""

import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import pytest
import requests

from aftercall.simulator import (
    CRM_FAULTS,
    TWENTYTWO_FAULTS,
    Fault,
    PlannedFault,
    Receipt,
    SimulatedCall,
    SimulatedWorkspace,
    Simulator,
    other_id,
)
from tests.api.server import free_port
from tests.cli.command import environment
from tests.conftest import WORKSPACE

Json = dict[str, Any]

#: From the order to stop to the end of the last process.
STOPS_WITHIN = 60.0


# ---- the process ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Process:
    """One that `up` started, recognised even when its number is used again."""

    pid: int
    started_at: float
    command: str

    def is_alive(self) -> bool:
        try:
            found = psutil.Process(self.pid)
            return bool(
                found.create_time() == self.started_at and found.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False


class Up:
    """`aftercall up` on a data directory."""

    def __init__(
        self, folder: Path, simulator: Simulator, *, port: int | None = None, **settings: str
    ) -> None:
        workspace = simulator.twentytwo.workspaces[0]
        self.settings = {
            "AFTERCALL_DATA_DIR": str(folder / "data"),
            "AFTERCALL_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
            "TWENTYTWO_BASE_URL": simulator.twentytwo.base_url,
            "TWENTYTWO_WORKSPACE_ID": workspace.id,
            "TWENTYTWO_API_KEY": workspace.api_key,
            "TWENTYTWO_API_SECRET": workspace.api_secret,
            "TWENTYTWO_RATE_LIMIT": str(workspace.rate_limit),
            **settings,
        }
        self.folder = folder
        self.port = port or free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"up-{self.port}.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*_COMMAND, "up", "--port", str(self.port), "--concurrency", "2"],
                cwd=folder,
                env=environment(**self.settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.admin_token = self.webhook_url = ""
        #: Of its destinations.
        self.secrets: list[str] = []

    def wait_until_ready(self) -> None:
        until(self._is_ready, "up is ready", seconds=60, log=self.log)
        until(lambda: "Paste it" in self.log.read_text(), "it says what to paste", log=self.log)
        said = self.log.read_text()
        self.admin_token = re.findall(r"^ *Admin token +(\S+)$", said, re.MULTILINE)[-1]
        self.webhook_url = re.findall(r"^ *Webhook URL +(\S+)$", said, re.MULTILINE)[-1]
        # Workers take longer to come up than the API.
        until(lambda: "ready." in self.log.read_text(), "its worker is ready", log=self.log)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return requests.get(f"{self.origin}/readyz", timeout=5).ok
        except requests.RequestException:
            return False

    # ---- its API ----

    def call(self, method: str, path: str, body: Any = None, **params: Any) -> Json:
        answer = requests.request(
            method,
            f"{self.origin}/api/v1{path}",
            json=body,
            params=params,
            headers={"Authorization": f"Bearer {self.admin_token}"},
            timeout=30,
        )
        assert answer.ok, answer.text
        found: Json = answer.json()
        return found

    def all(self, path: str, **params: Any) -> list[Json]:
        """The items of all pages."""
        items: list[Json] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.call("GET", path, limit=500, **params, **cursor)
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            cursor = {"cursor": page["next_cursor"]}

    def add_destination(self, simulator: Simulator, name: str, **fields: Any) -> str:
        """With its hook at the simulated CRM; its id."""
        body = {"name": name, "url": simulator.crm.hook_url(name), **fields}
        made = self.call("POST", "/destinations", body)
        simulator.crm.add_hook(name, made["secret"])
        self.secrets.append(made["secret"])
        return str(made["id"])

    def wait_until_quiet(self, *, seconds: float) -> None:
        """Until nothing is under way, and nothing waits."""
        deadline = time.monotonic() + seconds
        while waiting := self._waiting():
            assert time.monotonic() < deadline, f"not done within {seconds} s: {waiting}"
            time.sleep(0.1)

    def _waiting(self) -> list[Json]:
        stats = self.call("GET", "/stats")
        waits = {
            "calls": stats["calls"]["queued"] + stats["calls"]["fetching"],
            "deliveries": stats["deliveries"]["queued"] + stats["deliveries"]["sending"],
        }
        if not any(waits.values()):
            return []
        examples = [
            self.call("GET", f"/{kind}", state=state, limit=2)["items"]
            for kind, state in (("calls", "queued"), ("deliveries", "queued"))
        ]
        return [waits, *(one for its in examples for one in its)]

    # ---- its processes ----

    def processes(self) -> list[Process]:
        """All that it started, directly or not."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                command = " ".join(child.cmdline())
                found.append(Process(child.pid, child.create_time(), command))
            except psutil.NoSuchProcess:
                continue
        return found

    def workers(self) -> list[psutil.Process]:
        """The worker's main process; none while it is away."""
        return [
            child
            for child in psutil.Process(self.process.pid).children()
            if _runs_as(child, "worker.app worker")
        ]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Asks it to stop as a terminal or a supervisor does; its exit code."""
        processes = self.processes()
        os.killpg(self.process.pid, number)
        code = self.process.wait(STOPS_WITHIN)
        left = [process for process in processes if process.is_alive()]
        assert left == []
        return code

    def kill_all(self) -> None:
        """For tests that failed: leaves nothing behind."""
        processes = self.processes() if self.process.poll() is None else []
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOPS_WITHIN)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)


_COMMAND = [sys.executable, "-m", "aftercall.cli.main"]


def _runs_as(process: psutil.Process, command: str) -> bool:
    """Not one that is ending: a zombie has no command line, and may go while it is asked."""
    try:
        return command in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def until(
    happens: Callable[[], bool], what: str, *, seconds: float = 30, log: Path | None = None
) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > deadline:
            tail = log.read_text()[-6_000:] if log else ""
            raise AssertionError(f"not within {seconds} s: {what}\n{tail}")
        time.sleep(0.05)


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own folder: its long name would not leave room for a socket's.
    with tempfile.TemporaryDirectory(prefix="aftercall-up-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def running(folder: Path, simulator: Simulator, *, port: int | None = None) -> Iterator[Up]:
    up = Up(folder, simulator, port=port)
    try:
        up.wait_until_ready()
        yield up
    finally:
        up.kill_all()


# ---- a thousand webhooks, and everything fails once ----------------------------


#: Twenty2's faults after which the next fetch, seconds later, succeeds; an attempt is spent.
FETCH_RETRIES = (
    Fault.FORBIDDEN,
    Fault.REQUEST_TIMEOUT,
    Fault.SERVER_ERROR,
    Fault.BAD_GATEWAY,
    PlannedFault(Fault.UNAVAILABLE, retry_after="2"),
    Fault.GATEWAY_TIMEOUT,
    Fault.MOVED,
    Fault.FOUND,
    Fault.DRIP,
    Fault.HANG,
    Fault.RESET,
    Fault.LOST_ANSWER,
    Fault.TRUNCATED,
    Fault.NOT_JSON,
    Fault.EMPTY,
    Fault.JSON_LIST,
    Fault.JSON_NULL,
    Fault.HUGE,
    Fault.DEEP_JSON,
    Fault.SUCCESS_FALSE,
    PlannedFault(Fault.SUCCESS_FALSE, status_inside=503, second_envelope=True),
)
#: After which it is looked at again in 15 s, or when the block is over; no attempt is spent.
FETCH_WAITS = (
    Fault.NOT_FOUND,
    PlannedFault(Fault.NOT_FOUND, second_envelope=True),
    PlannedFault(Fault.SUCCESS_FALSE, status_inside=404),
    Fault.UNKNOWN_STATUS,
    Fault.RATE_LIMITED,
    PlannedFault(Fault.RATE_LIMITED, second_envelope=True),
)
#: After which the call is dead; the reason names the status.
FETCH_DEATHS = {
    Fault.BAD_REQUEST: "400",
    Fault.METHOD_NOT_ALLOWED: "405",
    Fault.CONFLICT: "409",
    Fault.GONE: "410",
    Fault.CONTENT_TOO_LARGE: "413",
    Fault.UNSUPPORTED_MEDIA_TYPE: "415",
    Fault.UNPROCESSABLE: "422",
    Fault.TOO_EARLY: "425",
}
#: Saved at the first fetch, whatever is odd about it.
ODD_ANSWERS = (
    Fault.SLOW,
    Fault.MISSING_FIELDS,
    Fault.NULL_FIELDS,
    Fault.OTHER_ID,
    Fault.OTHER_SPELLING,
    Fault.UNKNOWN_STATUS_ENDED,
    Fault.UNKNOWN_FIELDS,
    Fault.NUL_IN_TEXT,
)
#: The hooks' faults after which the delivery succeeds 5 s later.
HOOK_RETRIES = (
    Fault.UNAUTHORIZED,
    Fault.FORBIDDEN,
    Fault.NOT_FOUND,
    Fault.REQUEST_TIMEOUT,
    Fault.CONFLICT,
    Fault.TOO_EARLY,
    Fault.RATE_LIMITED,
    Fault.RATE_LIMITED_WITHOUT_RETRY_AFTER,
    Fault.SERVER_ERROR,
    Fault.BAD_GATEWAY,
    Fault.UNAVAILABLE,
    Fault.GATEWAY_TIMEOUT,
    Fault.HANG,
    Fault.DRIP,
    Fault.RESET,
    Fault.LOST_ANSWER,
    Fault.TRUNCATED,
)
HOOK_DEATHS = {
    Fault.BAD_REQUEST: "400",
    Fault.METHOD_NOT_ALLOWED: "405",
    Fault.CONTENT_TOO_LARGE: "413",
    Fault.UNSUPPORTED_MEDIA_TYPE: "415",
    Fault.UNPROCESSABLE: "422",
    Fault.MOVED: "301",
    Fault.FOUND: "302",
}
ODD_HOOKS = (
    Fault.SLOW,
    Fault.NOT_JSON,
    Fault.EMPTY,
    Fault.JSON_LIST,
    Fault.JSON_NULL,
    Fault.HUGE,
)
#: The CRM has taken these already when it fails: the next attempt is a repeat under the same id.
HOOK_REPEATS = {Fault.DRIP, Fault.LOST_ANSWER, Fault.TRUNCATED}
#: 429 without Retry-After blocks for a minute, 401 until somebody acts: in other workspaces.
BLOCKED_ELSEWHERE = {Fault.RATE_LIMITED_WITHOUT_RETRY_AFTER, Fault.UNAUTHORIZED}

ROUNDS = 2
CLEAN = 680
MAIN = SimulatedWorkspace(
    id=WORKSPACE.id, api_key="main-key", api_secret="main-secret", rate_limit=3_000
)
#: More calls than its minute allows.
TIGHT = SimulatedWorkspace(id="ws_tight", api_key="tight-key", api_secret="tight-secret")
IN_TIGHT = 80
THROTTLED = SimulatedWorkspace(
    id="ws_throttled", api_key="throttled-key", api_secret="throttled-secret"
)
LOCKED = SimulatedWorkspace(id="ws_locked", api_key="locked-key", api_secret="locked-secret")
MAPPING = "{data: {call_id: call_id}, phone: call.callee_phone, when: output_parameters.when}"


def kind(fault: Fault | PlannedFault) -> Fault:
    return fault.kind if isinstance(fault, PlannedFault) else fault


def test_the_tables_above_leave_no_fault_out() -> None:
    fetch = {kind(one) for one in (*FETCH_RETRIES, *FETCH_WAITS, *FETCH_DEATHS, *ODD_ANSWERS)}
    assert fetch | BLOCKED_ELSEWHERE == TWENTYTWO_FAULTS
    hooks = {kind(one) for one in (*HOOK_RETRIES, *HOOK_DEATHS, *ODD_HOOKS)}
    assert hooks | {Fault.GONE} == CRM_FAULTS


@dataclass(slots=True)
class Plan:
    """Which call meets what."""

    fetch: dict[str, Fault | PlannedFault]
    hook: dict[str, Fault]
    under_way: list[str]
    clean: list[str]
    #: In the workspace of this name.
    tight: list[str]
    throttled: list[str]
    locked: list[str]

    @property
    def all(self) -> list[str]:
        return [
            *self.fetch,
            *self.hook,
            *self.under_way,
            *self.clean,
            *self.tight,
            *self.throttled,
            *self.locked,
        ]


def plan_faults(simulator: Simulator) -> Plan:
    twentytwo = simulator.twentytwo

    def new(count: int = 1, workspace: SimulatedWorkspace = MAIN, **more: Any) -> list[str]:
        return twentytwo.make_calls(count, workspace_id=workspace.id, **more)

    plan = Plan(
        fetch={},
        hook={},
        under_way=new(4, ready_after_looks=1),
        clean=new(CLEAN),
        tight=new(IN_TIGHT, TIGHT),
        throttled=new(3, THROTTLED),
        locked=new(3, LOCKED),
    )
    # Its block lasts a minute: a second one would not fit into the test.
    twentytwo.fail_next(plan.throttled[0], Fault.RATE_LIMITED_WITHOUT_RETRY_AFTER)
    for call_id in plan.locked:
        twentytwo.fail_next(call_id, Fault.UNAUTHORIZED)
    for fault in ROUNDS * (*FETCH_RETRIES, *FETCH_WAITS, *FETCH_DEATHS, *ODD_ANSWERS):
        [call_id] = new(status="completed")
        twentytwo.fail_next(call_id, fault)
        plan.fetch[call_id] = fault
    leads = simulator.crm.hook("leads")
    for fault in ROUNDS * (*HOOK_RETRIES, *HOOK_DEATHS, *ODD_HOOKS):
        [call_id] = new(status="completed")
        leads.fail_next_for_call(call_id, fault)
        plan.hook[call_id] = fault
    return plan


def test_a_thousand_calls_arrive_once_and_right_although_everything_fails_once(
    folder: Path,
) -> None:
    began = time.monotonic()
    with Simulator(seed=22, workspaces=[MAIN, TIGHT, THROTTLED, LOCKED]) as simulator:
        with running(folder, simulator) as up:
            for workspace in (TIGHT, THROTTLED, LOCKED):
                up.call("PUT", f"/workspaces/{workspace.id}", credentials(workspace))
            ids = {
                "leads": up.add_destination(simulator, "leads", timeout_seconds=2),
                "callbacks": up.add_destination(
                    simulator,
                    "callbacks",
                    events=["call.completed"],
                    filter="output_parameters.callback_requested == 'yes'",
                    mapping=MAPPING.replace("when", "callback_time", 2).replace(
                        "callback_time:", "when:", 1
                    ),
                ),
                "gone": up.add_destination(
                    simulator, "gone", filter=f"workspace_id == '{LOCKED.id}'"
                ),
            }
            plan = plan_faults(simulator)
            simulator.crm.hook("gone").fail_next(Fault.GONE)
            call_ids = plan.all
            random.Random(22).shuffle(call_ids)
            # What lasts longest goes first.
            call_ids.sort(key=lambda call_id: call_id not in {*plan.tight, *plan.throttled})
            sent = simulator.send_webhooks(call_ids, url=up.webhook_url, duplicate_rate=0.12)
            assert len(sent) >= 1_000
            assert {webhook.status for webhook in sent} == {200}
            release_locked(up)
            until_held_then_enable(up, ids["gone"])
            up.wait_until_quiet(seconds=85)
            took = time.monotonic() - began
            calls = {call["call_id"]: call for call in up.all("/calls")}
            deliveries = up.all("/deliveries")
            assert up.stop() == 0
        check_log(up, simulator)
        check_calls(calls, plan, simulator)
        check_deliveries(deliveries, calls, plan, ids)
        check_hooks(deliveries, calls, plan, simulator)
        report = simulator.report()
    assert report.rate_limit_breaches == 0
    assert report.bad_signatures == report.bad_ids == report.bad_bodies == 0
    assert report.ids_that_disagree == report.bodies_that_disagree == 0
    assert not any(path.startswith("/redirected") for path in report.requests)
    # Against hanging, not a target: a minute of it is Twenty2's own.
    assert took < 150


def credentials(workspace: SimulatedWorkspace) -> Json:
    return {
        "api_key": workspace.api_key,
        "api_secret": workspace.api_secret,
        "rate_limit": workspace.rate_limit,
    }


def release_locked(up: Up) -> None:
    """Refused credentials block the workspace, and it says so; new ones release it."""

    def is_blocked() -> bool:
        found = up.call("GET", f"/workspaces/{LOCKED.id}")
        return found["is_blocked"] and "401" in found["block_reason"]

    def is_idle() -> bool:
        calls = up.all("/calls", workspace_id=LOCKED.id)
        return {call["state"] for call in calls} == {"queued"}

    until(is_blocked, "the workspace is blocked", log=up.log)
    until(is_idle, "its calls wait", log=up.log)
    # Each of its calls may have met the 401 by now, or meets it after this: then it is done again.
    for _ in range(4):
        up.call("PUT", f"/workspaces/{LOCKED.id}", credentials(LOCKED))
        until(
            lambda: is_blocked() or fetched(up, LOCKED) == 3,
            "the next of its calls is tried",
            log=up.log,
        )
        if fetched(up, LOCKED) == 3:
            return
        until(is_idle_or_done(up), "its calls are not under way", log=up.log)
    raise AssertionError("it is blocked over and over")


def fetched(up: Up, workspace: SimulatedWorkspace) -> int:
    return len(up.all("/calls", workspace_id=workspace.id, state="fetched"))


def is_idle_or_done(up: Up) -> Callable[[], bool]:
    return lambda: not up.all("/calls", workspace_id=LOCKED.id, state="fetching")


def until_held_then_enable(up: Up, destination_id: str) -> None:
    """A hook that answered 410 is disabled and its deliveries are held, never dropped."""

    def is_disabled() -> bool:
        return not up.call("GET", f"/destinations/{destination_id}")["enabled"]

    until(is_disabled, "410 disables the destination", log=up.log)
    found = up.call("GET", f"/destinations/{destination_id}")
    assert "410" in found["disabled_reason"]
    assert up.all("/deliveries", destination_id=destination_id, state="held")
    up.call("POST", f"/destinations/{destination_id}/enable")


def check_log(up: Up, simulator: Simulator) -> None:
    """No traceback, no secret, no phone number; the tokens stand in the greeting alone."""
    said = up.log.read_text()
    assert "Traceback" not in said
    for workspace in simulator.twentytwo.workspaces:
        for secret in (workspace.api_key, workspace.api_secret, workspace.basic_token):
            assert secret not in said
    for secret in up.secrets:
        assert secret.removeprefix("whsec_") not in said
    for token in (up.admin_token, up.webhook_url.partition("token=")[2]):
        assert said.count(token) == 1
    for receipt in simulator.crm.receipts("callbacks"):
        assert receipt.body["phone"] not in said


# ---- what was saved ----


def check_calls(calls: Mapping[str, Json], plan: Plan, simulator: Simulator) -> None:
    assert calls.keys() == set(plan.all)
    for call_id, fault in plan.fetch.items():
        call = calls[call_id]
        if (status := FETCH_DEATHS.get(kind(fault))) is not None:
            assert call["state"] == "dead", (fault, call)
            assert status in call["last_error"], (fault, call)
            continue
        assert call["state"] == "fetched", (fault, call)
        retried = fault in FETCH_RETRIES
        assert call["attempts"] == (2 if retried else 1), (fault, call)
        seen = kind(fault) if fault in ODD_ANSWERS else None
        assert_saved(call, simulator.twentytwo.call(call_id), seen)
    for call_id in {*plan.all} - plan.fetch.keys():
        call = calls[call_id]
        assert call["state"] == "fetched", call
        assert call["attempts"] == 1, call
        assert_saved(call, simulator.twentytwo.call(call_id), None)
    # A duplicate makes no second fetch.
    for call_id in [*plan.clean, *plan.hook, *plan.tight]:
        assert simulator.twentytwo.looks(call_id) == 1, call_id


#: The API's name and the simulator's are the same.
_SAME = (
    "workspace_id", "status", "direction", "agent_id", "callee_phone", "caller_phone",
    "duration_seconds", "billed_duration_seconds",
)  # fmt: skip


def assert_saved(call: Json, truth: SimulatedCall, fault: Fault | None) -> None:
    """Field by field; `fault`: how the answer that was saved was odd."""
    expected: Json = {name: getattr(truth, name) for name in _SAME}
    expected["cost"] = None
    if truth.cost is not None:
        amount, currency = truth.cost.split()
        expected["cost"] = {"amount": amount, "currency": currency}
    for name in ("started_at", "ended_at"):
        expected[name] = moment(getattr(truth, name))
    for name in ("input_parameters", "output_parameters"):
        expected[name] = {} if name in truth.omitted else dict(getattr(truth, name) or {})
    for name in ("recording", "transcript"):
        media = None if name in truth.omitted else getattr(truth, name)
        # The link is signed anew in each answer.
        whose = f"/storage/{name}?call_id={truth.call_id}"
        expected[name] = media and {"url": whose, "expires_at": moment(media["expires_at"])}
    expected["answered_call_id"] = None
    match fault:
        case Fault.MISSING_FIELDS | Fault.NULL_FIELDS:
            nothing: Json = dict.fromkeys(expected)
            parameters: Json = {"input_parameters": {}, "output_parameters": {}}
            kept = {name: expected[name] for name in ("workspace_id", "status")}
            expected = {**nothing, **parameters, **kept}
        case Fault.OTHER_ID:
            expected["answered_call_id"] = other_id(truth.call_id)
        case Fault.UNKNOWN_STATUS_ENDED:
            expected["status"] = "voicemail_left"
        case Fault.NUL_IN_TEXT:
            notes = {"notes": "before\ufffdafter", "reaction": "half \ufffd a smile"}
            expected["output_parameters"] = {**expected["output_parameters"], **notes}
    found = {name: call[name] for name in expected}
    for name in ("started_at", "ended_at"):
        found[name] = moment(found[name])
    for name in ("recording", "transcript"):
        if found[name] is not None:
            link = urlsplit(found[name]["url"])
            whose = f"{link.path}?{link.query.partition('&')[0]}"
            found[name] = {"url": whose, "expires_at": moment(found[name]["expires_at"])}
    # As a number: the older spelling makes 15.5 of 15.50.
    found["cost"], expected["cost"] = as_number(found["cost"]), as_number(expected["cost"])
    assert found == expected, fault


def as_number(cost: Json | None) -> Json | None:
    return cost and {**cost, "amount": Decimal(cost["amount"])}


def moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


# ---- what was delivered ----


def check_deliveries(
    deliveries: Sequence[Json], calls: Mapping[str, Json], plan: Plan, ids: Mapping[str, str]
) -> None:
    by_pair = {(one["call_id"], one["destination"]): one for one in deliveries}
    assert len(by_pair) == len(deliveries), "one delivery for each call and destination"
    saved = {call_id for call_id, call in calls.items() if call["state"] == "fetched"}
    assert {call_id for call_id, name in by_pair if name == "leads"} == saved
    for call_id in saved:
        leads = by_pair[call_id, "leads"]
        fault = plan.hook.get(call_id)
        status = HOOK_DEATHS.get(fault) if fault else None
        if status is None:
            assert leads["state"] == "delivered", (fault, leads)
            assert leads["last_error"] is None, (fault, leads)
            assert len(leads["attempts"]) == (2 if fault in HOOK_RETRIES else 1), (fault, leads)
        else:
            assert leads["state"] == "dead", (fault, leads)
            assert status in leads["last_error"], (fault, leads)
            assert len(leads["attempts"]) == 1, (fault, leads)
        type_ = "call.failed" if is_missed(calls[call_id]) else "call.completed"
        assert leads["type"] == type_
        assert leads["destination_id"] == ids["leads"]
        callbacks = by_pair.get((call_id, "callbacks"))
        if type_ == "call.failed":
            assert callbacks is None
        else:
            assert callbacks is not None
            state = "delivered" if wants_callback(calls[call_id]) else "skipped"
            assert callbacks["state"] == state
        gone = by_pair[call_id, "gone"]
        assert gone["state"] == ("delivered" if call_id in plan.locked else "skipped"), gone


def is_missed(call: Json) -> bool:
    return call["status"] in ("failed", "not_connected")


def wants_callback(call: Json) -> bool:
    return bool(call["output_parameters"].get("callback_requested") == "yes")


def check_hooks(
    deliveries: Sequence[Json], calls: Mapping[str, Json], plan: Plan, simulator: Simulator
) -> None:
    """What the CRM has: each delivery that is delivered, once but for lost answers, and right."""
    receipts: dict[tuple[str, str | None], list[Receipt]] = {}
    for receipt in simulator.crm.receipts():
        receipts.setdefault((receipt.hook, receipt.call_id), []).append(receipt)
    delivered = {
        (one["destination"], one["call_id"]): one["id"]
        for one in deliveries
        if one["state"] == "delivered"
    }
    assert receipts.keys() == delivered.keys()
    for (hook, call_id), its in receipts.items():
        assert call_id is not None
        repeats = hook == "leads" and plan.hook.get(call_id) in HOOK_REPEATS
        assert [one.webhook_id for one in its] == [delivered[hook, call_id]] * (1 + repeats)
        call = calls[call_id]
        if hook == "callbacks":
            assert its[0].body == {
                "data": {"call_id": call_id},
                "phone": call["callee_phone"],
                "when": call["output_parameters"]["callback_time"],
            }
        else:
            assert_default_body(its[0].body, call)


def assert_default_body(body: Json, call: Json) -> None:
    assert body.keys() == {"type", "timestamp", "data"}
    assert body["type"] == ("call.failed" if is_missed(call) else "call.completed")
    assert moment(body["timestamp"])
    data = body["data"]
    assert data.keys() == {
        "call_id", "workspace_id", "call", "input_parameters", "output_parameters", "recording",
        "transcript",
    }  # fmt: skip
    for name in data.keys() - {"call"}:
        assert data[name] == call[name], name
    for name in (
        "call_id", "status", "direction", "callee_phone", "caller_phone", "duration_seconds",
        "billed_duration_seconds", "cost", "started_at", "ended_at",
    ):  # fmt: skip
        assert data["call"][name] == call[name], name


# ---- started, stopped, started again -------------------------------------------


def test_up_starts_says_what_to_paste_and_stops_without_a_trace_as_often_as_asked(
    folder: Path,
) -> None:
    with Simulator(seed=1, workspaces=[WORKSPACE]) as simulator:
        with running(folder, simulator) as up:
            first = (up.admin_token, up.webhook_url.partition("token=")[2])
            secrets = folder / "data" / "secrets.json"
            assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
            assert up.webhook_url.startswith(f"{up.origin}/webhooks/twentytwo?token=")
            assert_another_is_refused(up, port=free_port())
            assert_commands_find_it(up, folder)
            # What is under way when it is told to stop is finished, and not done twice.
            up.add_destination(simulator, "leads")
            [call_id] = simulator.twentytwo.make_calls(1, status="completed")
            simulator.crm.hook("leads").fail_next(PlannedFault(Fault.SLOW, seconds=2))
            simulator.send_webhooks([call_id], url=up.webhook_url)
            until(lambda: bool(simulator.crm.requests()), "the hook is called", log=up.log)
            assert up.stop(signal.SIGTERM) == 0
            assert "Traceback" not in up.log.read_text()
        with running(folder, simulator) as again:
            assert (again.admin_token, again.webhook_url.partition("token=")[2]) == first
            [delivery] = again.all("/deliveries")
            assert delivery["state"] == "delivered"
            assert len(simulator.crm.requests()) == 1
            assert again.stop(signal.SIGINT) == 0
            assert "Traceback" not in again.log.read_text()


def test_up_says_that_it_is_up_when_it_answers_and_that_another_runs_already(
    folder: Path,
) -> None:
    with Simulator(seed=1, workspaces=[WORKSPACE]) as simulator:
        up = Up(folder, simulator)
        try:
            until(lambda: "aftercall is up" in up.log.read_text(), "it says so", log=up.log)
            try:
                answered = requests.get(f"{up.origin}/healthz", timeout=5).ok
            except requests.ConnectionError:
                answered = False
            up.wait_until_ready()
            assert answered
            # As it happens: the same command, typed again in another window.
            assert_another_is_refused(up, port=up.port)
        finally:
            up.kill_all()


def test_what_up_prints_can_be_pasted_whatever_the_tokens_are_made_of(folder: Path) -> None:
    tokens = {
        # As `openssl rand -base64` makes them, and worse.
        "AFTERCALL_WEBHOOK_TOKEN": "a+b/c=%41[bold]:smile:",
        "AFTERCALL_ADMIN_TOKEN": "[red]a+b/c=:smile:",
    }
    with Simulator(seed=1, workspaces=[WORKSPACE]) as simulator:
        up = Up(folder, simulator, **tokens)
        try:
            up.wait_until_ready()
            assert up.admin_token == tokens["AFTERCALL_ADMIN_TOKEN"]
            answer = requests.post(up.webhook_url, json={"call_id": "call_1"}, timeout=10)
            assert answer.status_code == 200, answer.text
            assert [call["call_id"] for call in up.all("/calls")] == ["call_1"]
            assert up.stop() == 0
        finally:
            up.kill_all()


def test_a_terminal_that_is_closed_leaves_nothing_running(folder: Path) -> None:
    with Simulator(seed=1, workspaces=[WORKSPACE]) as simulator, running(folder, simulator) as up:
        assert up.stop(signal.SIGHUP) == 0
        assert "Traceback" not in up.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_demo_that_is_told_to_end_leaves_no_server_behind(
    folder: Path, number: signal.Signals
) -> None:
    log = folder / "demo.log"
    servers: list[Process] = []
    with log.open("wb") as output:
        demo = subprocess.Popen(
            [*_COMMAND, "demo"], cwd=folder, env=environment(), stdout=output, stderr=output
        )
    try:
        stores = folder / ".aftercall" / "demo" / "stores.json"
        until(stores.exists, "the stores run", seconds=60, log=log)
        servers = [Process(one.pid, one.create_time(), "") for one in _servers_of(demo.pid)]
        assert len(servers) > 1
        demo.send_signal(number)
        assert demo.wait(STOPS_WITHIN) == 128 + number
        left = [one for one in servers if one.is_alive()]
        assert left == [], log.read_text()
    finally:
        if demo.poll() is None:
            demo.kill()
            demo.wait()
        for one in servers:
            if one.is_alive():
                os.kill(one.pid, signal.SIGKILL)


def _servers_of(pid: int) -> list[psutil.Process]:
    """PostgreSQL's and Valkey's own processes."""
    found = psutil.Process(pid).children(recursive=True)
    return [one for one in found if one.name() in {"postgres", "valkey-server"}]


def assert_another_is_refused(up: Up, *, port: int) -> None:
    """It says that the directory is in use, and harms nothing."""
    another = subprocess.run(
        [*_COMMAND, "up", "--port", str(port)],
        cwd=up.folder,
        env=environment(**up.settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert another.returncode == 1
    [line] = another.stderr.strip().splitlines()
    assert str(up.folder / "data") in line
    assert str(up.process.pid) in line
    assert requests.get(f"{up.origin}/readyz", timeout=5).ok


def assert_commands_find_it(up: Up, folder: Path) -> None:
    """With nothing but the directory: its stores, and the secrets that it made."""
    listed = subprocess.run(
        [*_COMMAND, "calls", "list", "--json"],
        cwd=folder,
        env=environment(AFTERCALL_DATA_DIR=str(folder / "data")),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert json.loads(listed.stdout) == {
        "items": [],
        "next_cursor": None,
        "previous_cursor": None,
    }


# ---- killed ----------------------------------------------------------------------


def test_what_kills_interrupt_is_done_in_the_end_under_the_same_ids(folder: Path) -> None:
    """A pool process, the worker's main process, `up` itself: each while calls flow.

    Two instances at once, because the leases of what was killed take most of a minute to run out.
    """
    with ExitStack() as at_end:
        offices = [at_end.enter_context(flowing(folder / name)) for name in ("of_worker", "of_up")]
        of_worker, of_up = offices
        kill_pool_process(of_worker)
        kill_worker(of_worker)
        of_up = at_end.enter_context(killed_and_started_again(of_up))
        for office in (of_worker, of_up):
            office.sender.join()
            office.up.wait_until_quiet(seconds=75)
            check_nothing_was_lost(office)
            assert office.up.stop() == 0


@dataclass(frozen=True, slots=True)
class Office:
    """An `up` with calls flowing through it."""

    up: Up
    simulator: Simulator
    call_ids: list[str]
    sender: threading.Thread

    def wait_for(self, count: int) -> None:
        """Until so many calls have reached the CRM."""
        until(
            lambda: len(self.simulator.crm.accepted_call_ids("leads")) >= count,
            f"{count} calls are delivered",
            log=self.up.log,
        )


@contextmanager
def flowing(folder: Path) -> Iterator[Office]:
    folder.mkdir()
    with (
        Simulator(seed=5, workspaces=[WORKSPACE]) as simulator,
        running(folder, simulator) as up,
    ):
        up.add_destination(simulator, "leads")
        # Slow enough that something is always under way.
        simulator.crm.hook("leads").slow_down(0.3, sigma=0.3, longest_seconds=1)
        call_ids = simulator.twentytwo.make_calls(300)
        sender = threading.Thread(
            target=send_until_taken, args=(simulator, call_ids, up.webhook_url), daemon=True
        )
        sender.start()
        yield Office(up, simulator, call_ids, sender)


def send_until_taken(simulator: Simulator, call_ids: Sequence[str], url: str) -> None:
    """As a provider does that tries again what was not answered 200."""
    deadline = time.monotonic() + 60
    missing = list(call_ids)
    while missing and time.monotonic() < deadline:
        simulator.send_webhooks(missing, url=url, per_second=50, duplicate_rate=0.1)
        accepted = simulator.twentytwo.webhooks.accepted_call_ids()
        missing = [call_id for call_id in missing if call_id not in accepted]


def kill_pool_process(office: Office) -> None:
    office.wait_for(30)
    [main] = office.up.workers()
    os.kill(main.children()[0].pid, signal.SIGKILL)


def kill_worker(office: Office) -> None:
    office.wait_for(90)
    [main] = office.up.workers()
    os.kill(main.pid, signal.SIGKILL)
    until(
        lambda: main.pid not in {worker.pid for worker in office.up.workers()},
        "it is gone",
        log=office.up.log,
    )
    until(lambda: bool(office.up.workers()), "it is started again", log=office.up.log)


@contextmanager
def killed_and_started_again(office: Office) -> Iterator[Office]:
    """`kill -9` of `up` itself, and at once the next one, on the same directory and port."""
    office.wait_for(60)
    left = office.up.processes()
    os.kill(office.up.process.pid, signal.SIGKILL)
    office.up.process.wait()
    with running(office.up.folder, office.simulator, port=office.up.port) as up:
        until(
            lambda: not any(process.is_alive() for process in left),
            "nothing of the killed one is left",
            seconds=60,
            log=up.log,
        )
        yield Office(up, office.simulator, office.call_ids, office.sender)


def check_nothing_was_lost(office: Office) -> None:
    calls = office.up.all("/calls")
    assert {call["call_id"] for call in calls} == set(office.call_ids)
    assert {call["state"] for call in calls} == {"fetched"}
    deliveries = office.up.all("/deliveries")
    assert len(deliveries) == len(office.call_ids)
    assert {delivery["state"] for delivery in deliveries} == {"delivered"}
    crm = office.simulator.crm
    assert crm.accepted_call_ids("leads") == set(office.call_ids)
    assert {receipt.webhook_id for receipt in crm.receipts()} == {one["id"] for one in deliveries}
    report = office.simulator.report()
    assert report.ids_that_disagree == report.bodies_that_disagree == 0
    assert report.bad_signatures == report.rate_limit_breaches == 0
