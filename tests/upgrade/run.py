"""Upgrades as an operator does them, with calls flowing: migrate while the old code runs, let one
of its parts crash and come back on the new schema, then restart part after part with the new code.

Real processes on real stores, 127.0.0.1 only, one database through all steps.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import psycopg
import requests

from aftercall.cli.processes import (
    Supervisor,
    api_arguments,
    beat_arguments,
    child_environment,
    worker_arguments,
)
from aftercall.cli.secrets_file import complete_secrets
from aftercall.embedded import Postgres, StoreUrls, Valkey
from aftercall.settings import Settings
from aftercall.simulator import SimulatedWorkspace, Simulator
from tests.upgrade.flow import Flow, Sent
from tests.upgrade.past import insert_past
from tests.upgrade.releases import ROOT, Release, unpack

HOOK = "leads"
WORKSPACE = SimulatedWorkspace(
    id="upgrade", api_key="upgrade-key", api_secret="upgrade-secret", rate_limit=1_000_000
)
#: Twenty2 waits no longer for an answer.
LONGEST_ANSWER = timedelta(seconds=5)
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much there is, how much comes, and how long each part of a step takes."""

    calls: int
    per_second: float
    #: Before the migration, and between it and the restarts.
    calm_seconds: float
    #: How long a reader (as pg_dump is one) has every table when the migration begins.
    reader_seconds: float
    #: Until everything that was accepted is at the hook.
    patience_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class Step:
    """What one upgrade did; `breaches` are what it must not have done."""

    before: Release
    after: Release
    seconds: float
    accepted: int
    refused: int
    delivered: int
    lost: tuple[str, ...]
    again_under_one_id: int
    ids_that_disagree: int
    longest_answer: timedelta
    #: Before the migration began: what the machine does anyway.
    longest_answer_before: timedelta
    longest_answer_migrating: timedelta
    longest_stall: timedelta
    crashed_parts_that_stayed_away: tuple[str, ...]
    #: By event, of the old code on the new schema.
    old_errors: Counter[str]
    said: tuple[str, ...]

    @property
    def breaches(self) -> list[str]:
        found = {
            f"lost {len(self.lost)}": bool(self.lost),
            f"refused {self.refused}": bool(self.refused),
            f"ids that disagree: {self.ids_that_disagree}": bool(self.ids_that_disagree),
            f"an answer took {self.longest_answer_migrating.total_seconds():.1f} s": (
                self.longest_answer_migrating >= LONGEST_ANSWER
            ),
            f"did not come back on the new schema: {self.crashed_parts_that_stayed_away}": bool(
                self.crashed_parts_that_stayed_away
            ),
        }
        return [words for words, is_so in found.items() if is_so]


def upgrade(releases: Sequence[Release], plan: Plan, *, say: Say) -> list[Step]:
    """From the first release through each to the last."""
    with _site(releases[0], plan, say=say) as site:
        return [site.step(release) for release in releases[1:]]


@dataclass(slots=True)
class Part:
    """One process of ours, as something starts it again when it ends."""

    name: str
    arguments: list[str]
    supervisor: Supervisor
    log: Path

    @property
    def pid(self) -> int | None:
        return self.supervisor.pids().get(self.name)


@dataclass(slots=True)
class _Site:
    plan: Plan
    say: Say
    folder: Path
    stores: StoreUrls
    simulator: Simulator
    environment: dict[str, str]
    origins: list[str]
    release: Release
    parts: dict[str, Part] = field(default_factory=dict)

    def start(self, release: Release, name: str, arguments: list[str]) -> None:
        code = unpack(release, self.folder)
        log = self.folder / f"{name}-{release.schema}.log"
        supervisor = Supervisor(
            self.environment | {"PYTHONPATH": str(code)}, log_file=log, directory=code
        )
        supervisor.start(name, arguments)
        self.parts[name] = Part(name, arguments, supervisor, log)

    def stop(self) -> None:
        for part in self.parts.values():
            part.supervisor.stop()

    def watch(self, seconds: float) -> None:
        """Time goes by; what has ended is started again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for part in self.parts.values():
                part.supervisor.check()
            time.sleep(0.1)

    def step(self, after: Release) -> Step:
        before, plan = self.release, self.plan
        self.say(f"from {before} to {after}")
        marks = {name: part.log.stat().st_size for name, part in self.parts.items()}
        seen_before = self.simulator.report()
        token = self.environment["AFTERCALL_WEBHOOK_TOKEN"]
        flow = Flow(
            self.simulator,
            [f"{origin}/webhooks/twentytwo?token={token}" for origin in self.origins],
            per_second=plan.per_second,
        )
        flowing_at = datetime.now(UTC)
        try:
            self.watch(plan.calm_seconds)
            began_at = datetime.now(UTC)
            said, took = self._migrate(after)
            ended_at = datetime.now(UTC)
            self.say(f"  migrated in {took:.1f} s; the old code runs on")
            away = self._crash_some()
            self.watch(plan.calm_seconds)
            errors = self._errors(marks)
            self._roll_to(after)
            self.watch(plan.calm_seconds)
        finally:
            sent = flow.stop()
        accepted = {one.call_id for one in sent if one.accepted}
        self.say(f"  {len(accepted)} accepted; waiting for the last of them")
        lost = self._wait_for(accepted)
        report = self.simulator.report()
        return Step(
            before=before,
            after=after,
            seconds=took,
            accepted=len(accepted),
            refused=len(sent) - len(accepted),
            delivered=len(accepted) - len(lost),
            lost=tuple(sorted(lost)),
            again_under_one_id=report.crm_duplicates - seen_before.crm_duplicates,
            ids_that_disagree=report.ids_that_disagree - seen_before.ids_that_disagree,
            longest_answer=max(one.slowest for one in sent),
            longest_answer_before=_longest_between(sent, flowing_at, began_at),
            longest_answer_migrating=_longest_between(sent, began_at, ended_at),
            longest_stall=self._longest_stall(began_at, ended_at),
            crashed_parts_that_stayed_away=away,
            old_errors=errors,
            said=said,
        )

    def _migrate(self, after: Release) -> tuple[tuple[str, ...], float]:
        """With the present tree, as an operator would; while a reader has every table."""
        reading = threading.Thread(target=self._read_for_a_while)
        reading.start()
        time.sleep(0.5)
        began = time.monotonic()
        command = [sys.executable, "-m", "alembic", "upgrade", after.schema]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                self.say(f"  | {line.rstrip()}")
                said.append(line.rstrip())
        took = time.monotonic() - began
        reading.join()
        if process.returncode:
            raise SystemExit(f"the migration to {after.schema} failed")
        return tuple(said), took

    def _read_for_a_while(self) -> None:
        if not self.plan.reader_seconds:
            return
        with psycopg.connect(self.stores.database_url, application_name="reader") as connection:
            tables = connection.execute(
                "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables"
                " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            ).fetchone()
            assert tables is not None
            connection.execute(f"LOCK TABLE {tables[0]} IN ACCESS SHARE MODE".encode())
            time.sleep(self.plan.reader_seconds)

    def _crash_some(self) -> tuple[str, ...]:
        """kill -9 of an api and a worker of the old code: do they come back on the new schema?"""
        killed = {}
        for name in ("api1", "worker1"):
            killed[name] = pid = self.parts[name].pid
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 45
        while time.monotonic() < end:
            self.watch(0.2)
            if _answers(self.origins[0]) and all(
                self.parts[name].pid not in {None, pid} for name, pid in killed.items()
            ):
                return ()
        return tuple(name for name, pid in killed.items() if self.parts[name].pid in {None, pid})

    def _roll_to(self, after: Release) -> None:
        for name in list(self.parts):
            old = self.parts[name]
            old.supervisor.stop()
            self.start(after, name, old.arguments)
            if name.startswith("api"):
                self.wait_until_up(self.origins[int(name[-1]) - 1])
        self.release = after
        for origin in self.origins:
            self.wait_until_ready(origin)

    def wait_until_up(self, origin: str) -> None:
        self._wait(lambda: _answers(origin), f"{origin} did not come up")

    def wait_until_ready(self, origin: str) -> None:
        self._wait(lambda: _answers(origin, "/readyz"), f"{origin} did not become ready")

    def _wait(self, is_so: Callable[[], bool], else_: str) -> None:
        end = time.monotonic() + 90
        while not is_so():
            if time.monotonic() > end:
                raise SystemExit(else_)
            self.watch(0.2)

    def _wait_for(self, accepted: set[str]) -> set[str]:
        """Those that are not at the hook when nothing has come for as long as patience is."""
        fewest, end = len(accepted) + 1, 0.0
        while missing := accepted - self.simulator.crm.accepted_call_ids(HOOK):
            if len(missing) < fewest:
                fewest, end = len(missing), time.monotonic() + self.plan.patience_seconds
            if time.monotonic() > end:
                break
            self.watch(0.5)
        return missing

    def _longest_stall(self, began_at: datetime, ended_at: datetime) -> timedelta:
        """Between two deliveries, while it migrated."""
        times = [receipt.received_at for receipt in self.simulator.crm.receipts(HOOK)]
        inside = sorted(time for time in times if began_at <= time <= ended_at)
        later = [time for time in times if time > ended_at]
        marks = [began_at, *inside, *([min(later)] if later else [])]
        return max((b - a for a, b in pairwise(marks)), default=timedelta())

    def _errors(self, marks: dict[str, int]) -> Counter[str]:
        found: Counter[str] = Counter()
        for name, mark in marks.items():
            with self.parts[name].log.open("rb") as log:
                log.seek(mark)
                for line in log:
                    if event := _error_in(line):
                        found[f"{name.rstrip('12')}: {event}"] += 1
        return found


def _error_in(line: bytes) -> str | None:
    try:
        said = json.loads(line)
    except ValueError:
        return (
            line.decode(errors="replace").strip()[:100] if line.startswith(b"Traceback") else None
        )
    if not isinstance(said, dict) or said.get("level") not in {"error", "critical"}:
        return None
    return str(said.get("event"))[:100]


def _longest_between(sent: list[Sent], began_at: datetime, ended_at: datetime) -> timedelta:
    inside = (
        one.slowest
        for one in sent
        if one.began_at <= ended_at and one.began_at + one.slowest >= began_at
    )
    return max(inside, default=timedelta())


def _answers(origin: str, path: str = "/healthz") -> bool:
    try:
        return requests.get(f"{origin}{path}", timeout=3).ok
    except requests.RequestException:
        return False


@contextmanager
def _site(release: Release, plan: Plan, *, say: Say) -> Iterator[_Site]:
    """The release on a database of its schema, with the past in it."""
    # A short path: PostgreSQL's socket lies in it.
    folder = Path(tempfile.mkdtemp(prefix="upgrade-"))
    folder.chmod(0o711)
    with ExitStack() as at_end:
        at_end.callback(shutil.rmtree, folder, ignore_errors=True)
        at_end.callback(_keep_logs, folder)
        simulator = at_end.enter_context(Simulator(seed=7, workspaces=[WORKSPACE]))
        postgres, valkey = Postgres(folder), Valkey(folder)
        for server in (postgres, valkey):
            at_end.callback(server.stop)
            server.start()
        stores = StoreUrls(postgres.url, valkey.url)
        environment = _environment(folder, stores, simulator)
        subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", release.schema],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
        )
        ports = [_free_port() for _ in range(2)]
        origins = [f"http://127.0.0.1:{port}" for port in ports]
        site = _Site(plan, say, folder, stores, simulator, environment, origins, release)
        at_end.callback(site.stop)
        for number, port in enumerate(ports, 1):
            site.start(release, f"api{number}", api_arguments(host="127.0.0.1", port=port))
            site.wait_until_up(origins[number - 1])
        _make_hook(site)
        say(f"writing {plan.calls:,} calls into schema {release.schema}")
        insert_past(stores.database_url, workspace=WORKSPACE.id, calls=plan.calls)
        for number in (1, 2):
            arguments = worker_arguments(concurrency=1, name=f"worker{number}@%h")
            site.start(release, f"worker{number}", arguments)
        site.start(release, "beat", beat_arguments())
        for origin in origins:
            site.wait_until_ready(origin)
        yield site


def _environment(folder: Path, stores: StoreUrls, simulator: Simulator) -> dict[str, str]:
    given = {
        "AFTERCALL_DATA_DIR": str(folder),
        "AFTERCALL_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        "TWENTYTWO_BASE_URL": simulator.twentytwo.base_url,
        "TWENTYTWO_RATE_LIMIT": str(WORKSPACE.rate_limit),
        "TWENTYTWO_WORKSPACE_ID": WORKSPACE.id,
        "TWENTYTWO_API_KEY": WORKSPACE.api_key,
        "TWENTYTWO_API_SECRET": WORKSPACE.api_secret,
    }
    settings = complete_secrets(Settings(_env_file=None, **given))  # type: ignore[arg-type]
    return child_environment(settings, stores) | given


def _make_hook(site: _Site) -> None:
    """By the release's own API: it seals the secret. The workspace comes with a first call."""
    site.simulator.crm.add_hook(HOOK)
    headers = {"Authorization": f"Bearer {site.environment['AFTERCALL_ADMIN_TOKEN']}"}
    answer = requests.post(
        f"{site.origins[0]}/api/v1/destinations",
        json={"name": HOOK, "url": site.simulator.crm.hook_url(HOOK), "timeout_seconds": 5},
        headers=headers,
        timeout=30,
    )
    answer.raise_for_status()
    site.simulator.crm.hook(HOOK).set_secrets(answer.json()["secret"])
    with psycopg.connect(site.stores.database_url) as connection:
        connection.execute(
            "INSERT INTO workspaces (id) VALUES (%s) ON CONFLICT DO NOTHING", [WORKSPACE.id]
        )


def _keep_logs(folder: Path) -> None:
    if wanted := os.environ.get("UPGRADE_LOGS"):
        Path(wanted).mkdir(parents=True, exist_ok=True)
        for log in folder.glob("*.log"):
            shutil.copy(log, wanted)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
