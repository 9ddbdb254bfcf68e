"""`aftercall doctor`: finds each fault, says what to do, and is quiet when all is well."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from aftercall.embedded import StoreUrls
from aftercall.simulator import Fault, Simulator
from tests.api.server import Api
from tests.cli.command import Command, Result, environment
from tests.conftest import WORKSPACE

WORKSPACE_NAME = f"workspace {WORKSPACE.id}"


@pytest.fixture
def doctor(aftercall: Command, simulator: Simulator) -> Command:
    """The command, with a simulated Twenty2."""
    base_url = simulator.twentytwo.base_url
    settings = {**aftercall.settings, "TWENTYTWO_BASE_URL": base_url}
    return Command(aftercall.launcher, aftercall.folder, settings)


@contextmanager
def at_work(folder: Path, settings: dict[str, str], api: Api) -> Iterator[None]:
    """A worker and beat, and sweeps that come."""
    processes = []
    for program in ("worker", "beat"):
        with (folder / f"{program}.log").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "aftercall.cli.main", program],
                cwd=folder,
                env=environment(**settings),
                stdout=output,
                stderr=output,
            )
        processes.append(process)
    try:
        deadline = time.monotonic() + 120
        while api.open("/readyz").json()["work"] != "ok":
            assert [process.poll() for process in processes] == [None, None]
            assert time.monotonic() < deadline, (folder / "worker.log").read_text()
            time.sleep(0.05)
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(40)


def fault(result: Result, name: str) -> str:
    """The line of the fault of this name."""
    lines = [line for line in result.out.splitlines() if line.startswith("fault")]
    found = [line for line in lines if line.removeprefix("fault ").startswith(name)]
    assert len(found) == 1, result.said
    assert result.code == 1
    assert "Traceback" not in result.said
    return found[0]


def test_all_is_well_when_all_is_well(doctor: Command, api: Api, simulator: Simulator) -> None:
    body = {"name": "leads", "url": simulator.crm.hook_url("leads")}
    api.post("/destinations", body, status=201)
    with at_work(doctor.folder, doctor.settings, api):
        result = doctor("doctor")
    assert result.code == 0, result.said
    assert "All is well" in result.out
    assert "fault" not in result.out
    for name in (
        "database", "redis", "schema", "workers", "sweeps", WORKSPACE_NAME, "destination leads",
    ):  # fmt: skip
        assert f"ok    {name}" in result.out
    # One request, and about no call of anybody's.
    assert simulator.report().requests == {"/api/call/detail 404": 1}
    assert simulator.crm.requests() == []


def test_credentials_are_tried_and_what_twenty2_says_is_told(
    doctor: Command, simulator: Simulator
) -> None:
    with Simulator(workspaces=[WORKSPACE]) as failing, Simulator() as away:
        failing.twentytwo.fail_next_requests(Fault.SERVER_ERROR)
        away.close()
        runs = [
            doctor.start("doctor", TWENTYTWO_API_SECRET="a wrong secret"),
            doctor.start("doctor", TWENTYTWO_BASE_URL=failing.twentytwo.base_url),
            doctor.start("doctor", TWENTYTWO_BASE_URL=away.twentytwo.base_url),
        ]
        refused, failed, unreachable = (run.finish() for run in runs)
    said = fault(refused, WORKSPACE_NAME)
    assert f"aftercall workspaces set {WORKSPACE.id}" in said
    assert "a wrong secret" not in refused.said
    assert "500" in fault(failed, WORKSPACE_NAME)
    assert "Twenty2" in fault(unreachable, WORKSPACE_NAME)
    # Nothing else is there yet, and that is told as well.
    assert "aftercall worker" in fault(failed, "workers")
    assert "aftercall beat" in fault(failed, "sweeps")
    assert "aftercall destinations add" in fault(failed, "destinations")


def test_workspaces_and_destinations_that_cannot_work_are_faults(
    doctor: Command, api: Api, stores: StoreUrls
) -> None:
    api.webhook({"call_id": "call_1", "workspace_id": "ws_2"})
    urls = {
        "unknown": "http://no.such.host.invalid/",
        "private": "http://127.0.0.1:9/",
        "disabled": "http://127.0.0.1:9/",
    }
    ids = {
        name: api.post("/destinations", {"name": name, "url": url}, status=201)["id"]
        for name, url in urls.items()
    }
    api.post(f"/destinations/{ids['disabled']}/disable")
    with psycopg.connect(stores.database_url) as connection:
        # As if the address had been allowed when it was made.
        connection.execute("UPDATE destinations SET url = 'http://10.0.0.1/' WHERE name='private'")
    result = doctor("doctor")
    assert "aftercall workspaces set ws_2" in fault(result, "workspace ws_2")
    assert "resolve" in fault(result, "destination unknown")
    assert "AFTERCALL_ALLOWED_PRIVATE_NETWORKS" in fault(result, "destination private")
    assert "aftercall destinations enable" in fault(result, "destination disabled")


def test_another_key_than_the_one_that_sealed_the_secrets_is_a_fault(
    doctor: Command, api: Api, simulator: Simulator
) -> None:
    api.put("/workspaces/ws_2", {"api_key": "k", "api_secret": "s"})
    body = {"name": "leads", "url": simulator.crm.hook_url("leads")}
    api.post("/destinations", body, status=201)
    result = doctor("doctor", AFTERCALL_SECRET_KEY="quite another key of ours")
    assert "AFTERCALL_SECRET_KEY" in fault(result, "workspace ws_2")
    # With it, every delivery would wait for ever.
    assert "AFTERCALL_SECRET_KEY" in fault(result, "destination leads")


def without_tables(stores: StoreUrls) -> str:
    """Its tables are not ours: PostgreSQL's own database."""
    return stores.database_url.replace("/aftercall?", "/postgres?")


def test_stores_that_are_away_are_faults_and_the_rest_is_still_checked(
    doctor: Command, stores: StoreUrls
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{nobody.getsockname()[1]}"
        runs = [
            doctor.start("doctor", AFTERCALL_REDIS_URL=f"redis://:hunter2@{at}/0"),
            doctor.start("doctor", AFTERCALL_DATABASE_URL=f"postgresql://u:hunter2@{at}/d"),
            doctor.start("doctor", AFTERCALL_DATABASE_URL=without_tables(stores)),
        ]
        no_redis, no_database, no_schema = (run.finish() for run in runs)
    assert "AFTERCALL_REDIS_URL" in fault(no_redis, "redis")
    assert "ok    database" in no_redis.out
    assert "ok    schema" in no_redis.out
    assert "AFTERCALL_DATABASE_URL" in fault(no_database, "database")
    assert "ok    redis" in no_database.out
    assert "aftercall migrate" in fault(no_schema, "schema")
    assert "hunter2" not in no_redis.said + no_database.said


def test_settings_that_are_missing_or_malformed_are_faults(
    doctor: Command, stranger: Command
) -> None:
    assert "AFTERCALL_DATABASE_URL" in fault(stranger("doctor"), "settings")
    malformed = stranger("doctor", TWENTYTWO_RATE_LIMIT="fast")
    assert "TWENTYTWO_RATE_LIMIT" in fault(malformed, "settings")
    no_key = doctor("doctor", AFTERCALL_SECRET_KEY="", AFTERCALL_ADMIN_TOKEN="")
    assert "not set" in fault(no_key, "AFTERCALL_SECRET_KEY")
    assert "not set" in fault(no_key, "AFTERCALL_ADMIN_TOKEN")


def test_a_setting_whose_name_is_misspelt_is_found(doctor: Command) -> None:
    """It does nothing, and nobody would know: attempts that should be kept would go."""
    (doctor.folder / ".env").write_text("AFTERCALL_KEEP_ATEMPTS_DAYS=forever\nOTHER=1\n")
    # What Kubernetes makes of services is not meant for us.
    links = {"AFTERCALL_API_SERVICE_HOST": "10.0.0.1", "AFTERCALL_API_PORT_80_TCP": "tcp://…"}
    result = doctor("doctor", TWENTYTWO_REGION="IN", **links)
    assert "AFTERCALL_KEEP_ATTEMPTS_DAYS meant?" in fault(result, "AFTERCALL_KEEP_ATEMPTS_DAYS")
    assert "no such setting" in fault(result, "TWENTYTWO_REGION")
    assert "_API_" not in result.out
    assert "OTHER" not in result.out
