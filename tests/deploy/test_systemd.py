"""ops/systemd: units that systemd reads without a complaint, and what they promise."""

import configparser
import os
import subprocess
from pathlib import Path

import pytest

from tests.installed import installed

UNITS = Path(__file__).resolve().parents[2] / "ops" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
STAYING = [path for path in SERVICES if "migrate" not in path.name]


def unit(path: Path) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(path)
    return found


def test_systemd_reads_the_units_without_a_complaint(tmp_path: Path) -> None:
    installed("systemd-analyze", "systemd")
    # The program that they start, where it really is; the rest as it stands.
    program = tmp_path / "aftercall"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in UNITS.iterdir():
        written = path.read_text().replace("/opt/aftercall/.venv/bin/aftercall", str(program))
        (tmp_path / path.name.replace("@.", "@1.")).write_text(written)
    names = sorted(str(path) for path in tmp_path.glob("*.*"))
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *names],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    ours = [line for line in run.stderr.splitlines() if "aftercall" in line]
    assert (run.returncode, ours) == (0, []), run.stderr


def test_a_unit_that_is_wrong_would_be_found(tmp_path: Path) -> None:
    installed("systemd-analyze", "systemd")
    wrong = tmp_path / "wrong.service"
    wrong.write_text("[Service]\nExecStart=/bin/true\nRestart=sometimes\n")
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", wrong],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "sometimes" in run.stderr


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_nobody_is_root_and_nobody_writes_outside_of_the_state(path: Path) -> None:
    service = unit(path)["Service"]
    assert service["User"] == "aftercall"
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert service["StateDirectory"] == "aftercall"
    assert service["StateDirectoryMode"] == "0700"


@pytest.mark.parametrize("path", STAYING, ids=lambda path: path.name)
def test_what_ends_is_started_again(path: Path) -> None:
    assert unit(path)["Service"]["Restart"] == "always"


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("aftercall-up", 150), ("aftercall-api", 45), ("aftercall-worker@", 75)],
)
def test_who_is_stopped_may_finish_what_is_under_way(name: str, seconds: int) -> None:
    service = unit(UNITS / f"{name}.service")["Service"]
    assert int(service["TimeoutStopSec"]) == seconds
    if name != "aftercall-api":
        # The others of the group are stopped by the first, in order.
        assert service["KillMode"] == "mixed"


def test_the_migration_is_run_once_and_not_restarted() -> None:
    service = unit(UNITS / "aftercall-migrate.service")["Service"]
    assert service["Type"] == "oneshot"
    assert "Restart" not in service
