"""On PostgreSQL 16, which the embedded one's wheel has beside 18: the whole way, and upkeep.

Older ones down to 14 are taken, too; they are in no package, and were not tried here.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from aftercall import embedded_servers
from aftercall.embedded import StoreUrls, embedded_stores
from aftercall.simulator import SimulatedCall, Simulator
from tests.cli.command import environment
from tests.conftest import WORKSPACE
from tests.deploy.parts import parts, settings_for

OLDER = "16"
PHONE = "+919871532305"


@pytest.fixture
def older(stores: StoreUrls) -> Iterator[StoreUrls]:
    """The test's Redis, and a PostgreSQL of this test alone."""
    find = embedded_servers._in_wheel

    def find_older(package: str, path: str) -> Path:
        return find(package, path.replace(f"pginstall{OLDER}/", "pginstall/"))

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        patch.setattr(embedded_servers, "_POSTGRES_MAJOR", OLDER)
        patch.setattr(embedded_servers, "_in_wheel", find_older)
        # PostgreSQL's own collations are of 17.
        patch.setattr(embedded_servers, "_INITDB_OPTIONS", "--username=postgres --locale=C -E UTF8")
        with embedded_stores(Path(folder), redis=False) as found:
            yield replace(stores, database_url=found.database_url)


def aftercall(given: dict[str, str], *arguments: str) -> str:
    """What it says; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "aftercall.cli.main", *arguments],
        cwd="/",
        env=environment(**given),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("database")
def test_calls_flow_and_a_person_is_forgotten_on_an_older_postgresql(
    older: StoreUrls, simulator: Simulator, tmp_path: Path
) -> None:
    with psycopg.connect(older.database_url) as connection:
        assert connection.info.server_version // 10_000 == int(OLDER)
    given = settings_for(simulator, older, AFTERCALL_DATA_DIR=str(tmp_path))
    aftercall(given, "migrate")
    call_ids = simulator.twentytwo.make_calls(200)
    theirs = SimulatedCall(
        call_id="theirs",
        workspace_id=WORKSPACE.id,
        callee_phone=PHONE,
        caller_phone="+918040000000",
    )
    simulator.twentytwo.add_call(theirs)
    call_ids.append(theirs.call_id)
    with parts(given, simulator, tmp_path) as running:
        stream, sending = running.send(call_ids, per_second=60)
        sending.join()
        assert (stream.refused, stream.accepted) == (0, set(call_ids))
        running.wait_until_delivered(set(call_ids))
        assert "Traceback" not in running.log.read_text(), running.tail()
        assert simulator.report().ids_that_disagree == 0
        assert "theirs" in aftercall(given, "calls", "list", "--q", PHONE)
        aftercall(given, "forget", PHONE, "--yes")
        assert "theirs" not in aftercall(given, "calls", "list", "--q", PHONE)
        aftercall(given, "retention", "--run")
        assert "All is well." in aftercall(given, "overview")
        archive = tmp_path / "backup.tar"
        aftercall(given, "backup", str(archive))
        assert archive.stat().st_size > 10_000
