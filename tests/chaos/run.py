"""The chaos test: `make chaos`. Breaks everything while calls flow, then counts what was lost.

Real processes on real stores; CHAOS_MINUTES, CHAOS_CALLS and CHAOS_SEED choose
how long, how many and which. Talks to 127.0.0.1 only, and ends by itself.
"""

import os
import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from aftercall.cli.processes import (
    Supervisor,
    api_arguments,
    beat_arguments,
    child_environment,
    worker_arguments,
)
from aftercall.cli.secrets_file import complete_secrets
from aftercall.crm.destination_spec import DestinationSpec
from aftercall.db.schema import migrate
from aftercall.embedded import Postgres, StoreUrls, Valkey
from aftercall.flows.configure_destinations import create_destination
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.service import Service, open_service
from aftercall.settings import Settings
from aftercall.simulator import Fault, PlannedFault, SimulatedWorkspace, Simulator
from tests.api.server import free_port
from tests.chaos.audit import Audit, audit
from tests.chaos.disturbances import DISTURBANCES, Target
from tests.chaos.sender import Stream

HOOKS = ("leads", "reports")
FAULT_RATE = 0.3
WORKSPACES = tuple(
    SimulatedWorkspace(
        id=f"chaos-{number}",
        api_key=f"key-{number}",
        api_secret=f"secret-{number}",
        rate_limit=100_000,
    )
    for number in range(8)
)
_FAULTS = (
    Fault.SERVER_ERROR,
    PlannedFault(Fault.RATE_LIMITED, retry_after="1"),
    PlannedFault(Fault.HANG, seconds=6),
    Fault.RESET,
    Fault.TRUNCATED,
)
_HOOK_FAULTS = (*_FAULTS, Fault.LOST_ANSWER)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much chaos."""

    seed: int
    calls: int
    per_second: float
    outage_seconds: float
    #: Between two disturbances.
    calm_seconds: tuple[float, float]
    #: After the stream, until everything must have arrived.
    patience_seconds: float


def plan_of(*, minutes: float, calls: int | None, seed: int) -> Plan:
    seconds = minutes * 60
    count = calls or max(5_000, int(seconds * 20))
    return Plan(
        seed=seed,
        calls=count,
        per_second=count / seconds,
        outage_seconds=20.0 if minutes >= 5 else 4.0,
        calm_seconds=(2.0, 6.0) if minutes >= 5 else (0.5, 2.5),
        patience_seconds=300.0,
    )


def run(plan: Plan, *, say: "Say") -> Audit:
    """Chaos, then the audit."""
    rng = random.Random(plan.seed)
    say(f"seed {plan.seed}: {plan.calls} webhooks, {plan.per_second:.0f} a second")
    with everything(plan) as (target, service, urls):
        call_ids = _make_calls(target.simulator, plan, rng)
        target.simulator.twentytwo.fail_at_rate(FAULT_RATE, _FAULTS)
        for name in HOOKS:
            target.simulator.crm.hook(name).fail_at_rate(FAULT_RATE, _HOOK_FAULTS)
        stream = Stream(target.simulator, urls, per_second=plan.per_second)
        sending = threading.Thread(target=stream.run, args=(call_ids,))
        sending.start()
        done: Counter[str] = Counter()
        while sending.is_alive():
            _calm(target, rng.uniform(*plan.calm_seconds))
            disturbance = rng.choice(DISTURBANCES)
            done[disturbance.__name__] += 1
            with _restarting(target):
                what = disturbance(target, rng)
            say(f"  {what}; accepted so far {len(stream.accepted)}")
        sending.join()
        say(f"all sent ({stream.refused} not answered 200); faults off, waiting until all is quiet")
        target.simulator.twentytwo.fail_at_rate(0.0, _FAULTS)
        for name in HOOKS:
            target.simulator.crm.hook(name).fail_at_rate(0.0, _HOOK_FAULTS)
        quiet_after = wait_until_quiet(service, target, plan, stream, say)
        return audit(
            service,
            target.simulator,
            accepted=stream.accepted,
            hooks=HOOKS,
            refused=stream.refused,
            slowest=stream.slowest,
            quiet_after=quiet_after,
            seed=plan.seed,
            disturbances=done,
        )


class Say:
    """Prints with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {line}", flush=True)  # noqa: T201


@contextmanager
def everything(plan: Plan) -> Iterator[tuple[Target, Service, list[str]]]:
    # A short path: PostgreSQL's socket lies in it.
    data_dir = Path(tempfile.mkdtemp(prefix="chaos-"))
    data_dir.chmod(0o711)
    postgres, valkey = Postgres(data_dir), Valkey(data_dir)
    with Simulator(seed=plan.seed, workspaces=WORKSPACES) as simulator:
        try:
            postgres.start()
            valkey.start()
            stores = StoreUrls(postgres.url, valkey.url)
            settings = complete_secrets(_settings(data_dir, simulator))
            migrate(stores.database_url)
            service = open_service(settings, stores, pool_size=3)
            _configure(service, simulator)
            supervisor = Supervisor(
                child_environment(settings, stores) | _environment(simulator),
                log_file=data_dir / "chaos.log",
                directory=data_dir,
            )
            target = Target(supervisor, postgres, valkey, simulator, plan.outage_seconds)
            try:
                origins = _start(supervisor)
                token = settings.require("webhook_token")
                yield (
                    target,
                    service,
                    [f"{origin}/webhooks/twentytwo?token={token}" for origin in origins],
                )
            finally:
                supervisor.stop()
                service.close()
        finally:
            valkey.stop()
            postgres.stop()
            _keep_log(data_dir)
            shutil.rmtree(data_dir, ignore_errors=True)


def _environment(simulator: Simulator) -> dict[str, str]:
    return {
        "TWENTYTWO_BASE_URL": simulator.twentytwo.base_url,
        "TWENTYTWO_RATE_LIMIT": "100000",
        "AFTERCALL_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
    }


def _settings(data_dir: Path, simulator: Simulator) -> Settings:
    given = {"AFTERCALL_DATA_DIR": str(data_dir), **_environment(simulator)}
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]


def _configure(service: Service, simulator: Simulator) -> None:
    for workspace in WORKSPACES:
        spec = {"api_key": workspace.api_key, "api_secret": workspace.api_secret}
        set_workspace(service, workspace.id, WorkspaceSpec.model_validate(spec))
    for name in HOOKS:
        spec_ = DestinationSpec(name=name, url=simulator.crm.hook_url(name), timeout_seconds=5)
        simulator.crm.add_hook(name, create_destination(service, spec_).secret)


def _start(supervisor: Supervisor) -> list[str]:
    origins = []
    for number in (1, 2):
        port = free_port()
        supervisor.start(f"api{number}", api_arguments(host="127.0.0.1", port=port))
        supervisor.start(f"worker{number}", worker_arguments(name=f"worker{number}@%h"))
        origins.append(f"http://127.0.0.1:{port}")
    supervisor.start("beat", beat_arguments())
    end = time.monotonic() + 60
    while not all(is_ready(origin) for origin in origins):
        if time.monotonic() > end:
            raise SystemExit("the apis did not come up")
        time.sleep(0.2)
    return origins


def is_ready(origin: str) -> bool:
    try:
        return requests.get(f"{origin}/readyz", timeout=2).ok
    except requests.RequestException:
        return False


def _make_calls(simulator: Simulator, plan: Plan, rng: random.Random) -> list[str]:
    per_workspace = -(-plan.calls // len(WORKSPACES))
    call_ids = [
        call_id
        for workspace in WORKSPACES
        for call_id in simulator.twentytwo.make_calls(per_workspace, workspace_id=workspace.id)
    ]
    rng.shuffle(call_ids)
    return call_ids[: plan.calls]


def _calm(target: Target, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        target.supervisor.check()
        time.sleep(0.1)


@contextmanager
def _restarting(target: Target) -> Iterator[None]:
    """The supervisor goes on while a disturbance takes its time."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.2):
            target.supervisor.check()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        stop.set()
        watching.join()


# Hours of waiting for the next attempt are skipped, not the waiting for a lease.
_FAST_FORWARD = (
    "UPDATE calls SET due_at = now() WHERE state = 'queued' AND due_at > now()",
    "UPDATE deliveries SET due_at = now() WHERE state = 'queued' AND due_at > now()",
    "UPDATE destinations SET paused_until = NULL WHERE paused_until > now()",
)
_BUSY = text(
    "SELECT (SELECT count(*) FROM calls WHERE state IN ('queued', 'fetching'))"
    " + (SELECT count(*) FROM deliveries WHERE state IN ('queued', 'sending'))"
)


def wait_until_quiet(
    service: Service, target: Target, plan: Plan, stream: Stream, say: Say
) -> float | None:
    """Seconds until nothing was under way any more; None when that did not come."""
    began = time.monotonic()
    next_word = began
    while time.monotonic() - began < plan.patience_seconds:
        _calm(target, 1.0)
        try:
            with service.database.transaction() as session:
                for statement in _FAST_FORWARD:
                    session.execute(text(statement))
                busy = int(session.execute(_BUSY).scalar_one())
                known = int(session.execute(text("SELECT count(*) FROM calls")).scalar_one())
        except DBAPIError:
            continue
        if time.monotonic() > next_word:
            say(f"  {busy} under way")
            next_word = time.monotonic() + 10
        if not busy and known >= len(stream.accepted):
            return time.monotonic() - began
    return None


def _keep_log(data_dir: Path) -> None:
    folder = os.environ.get("CHAOS_LOGS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for log in data_dir.glob("*.log"):
            shutil.copy(log, folder)
