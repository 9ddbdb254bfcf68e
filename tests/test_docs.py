"""The pages keep up with the code: settings, commands, routes, links, names, numbers."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click
import pytest

from aftercall.cli.main import cli
from aftercall.domain import breaker, outcomes, schedules
from aftercall.flows import claim_calls, deliver_calls, recording
from aftercall.settings import Settings
from api.app import app

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / ".env.example"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
#: Read by docker-compose.yml, not by aftercall.
FOR_COMPOSE = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "API_PORT", "WORKER_PROCESSES"}
VARIABLES = {str(field.alias): field for field in Settings.model_fields.values()}


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(text: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


# ---- settings ----------------------------------------------------------------


def example_lines() -> dict[str, str]:
    """Each name in the example with what stands behind it; all of them commented out."""
    found = re.findall(r"^# ([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE)
    assert len(found) == len(dict(found)), "a name stands there twice"
    return dict(found)


def test_every_setting_stands_in_the_example_and_nothing_else_does() -> None:
    assert set(example_lines()) == set(VARIABLES) | FOR_COMPOSE


def test_every_setting_of_the_example_is_explained() -> None:
    # A comment in words right above it, or above the settings that go with it.
    blocks = re.split(r"\n\s*\n", EXAMPLE.read_text())
    for name in example_lines():
        block = next(block for block in blocks if re.search(rf"^# {name}=", block, re.MULTILINE))
        words = [line for line in block.splitlines() if not re.match(r"# [A-Z][A-Z0-9_]+=", line)]
        assert words, f"{name} is not explained"


def test_the_example_as_it_is_sets_nothing() -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and line[0] != "#"]
    assert lines == []


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_the_example_shows_the_default(name: str) -> None:
    default = VARIABLES[name].default
    shown = example_lines()[name]
    assert shown == ("" if default in (None, ()) else str(default))


def settings_table() -> dict[str, list[str]]:
    """The rows of docs/settings.md by name."""
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return {row[0].strip(): [cell.strip() for cell in row] for row in rows}


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_every_setting_has_its_row_with_a_meaning_and_a_default(name: str) -> None:
    _, meaning, form, default, _ = settings_table()[name]
    assert meaning
    assert form
    assert default
    if VARIABLES[name].default not in (None, ()):
        assert f"`{VARIABLES[name].default}`" in default


def test_the_settings_page_names_no_setting_that_is_none() -> None:
    rows = set(settings_table()) - {"name"}
    assert rows == set(VARIABLES)


# ---- commands ----------------------------------------------------------------


def commands(
    group: click.Group = cli, path: tuple[str, ...] = ("aftercall",)
) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_has_its_row_with_all_its_options(name: str, command: click.Command) -> None:
    row = re.search(rf"^\| `{re.escape(name)}[ `].*$", REFERENCE, re.MULTILINE)
    assert row, f"{name} has no row in docs/reference.md"
    options = [
        max(parameter.opts, key=len)
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]
    short = {"--file": "-f FILE"}
    missing = [
        option
        for option in options
        if option not in row[0] and short.get(option, option) not in row[0]
    ]
    assert missing == []


def typed_commands(text: str) -> set[tuple[str, str]]:
    """The first two words after `aftercall` wherever a page shows something to type."""
    code = re.findall(r"`([^`\n]+)`|^(.+)$", text, re.MULTILINE)
    begins = r"(?:^|\$ |exec \w+ )aftercall ([a-z]+)(?: ([a-z][a-z-]*)\b)?"
    return {
        found.groups(default="")
        for span, line in code
        for found in [re.search(begins, span or line)]
        if found
    }


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_no_page_has_a_command_that_is_none(page: Path) -> None:
    known = {tuple(name.split(" ")[1:]) for name, _ in commands()}
    groups = {path[0] for path in known if len(path) == 2}
    code = "\n".join(
        re.findall(r"^```\n.*?^```$|`[^`\n]+`", page.read_text(), re.MULTILINE | re.DOTALL)
    )
    wrong = [
        words
        for words in typed_commands(code)
        if not ((words[0], words[1]) in known if words[0] in groups else (words[0],) in known)
    ]
    assert wrong == []


# ---- routes ------------------------------------------------------------------


def routes() -> list[tuple[str, str]]:
    paths = app.openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


@pytest.mark.parametrize(("method", "path"), routes())
def test_every_route_has_its_row(method: str, path: str) -> None:
    assert re.search(rf"^\| {method} \| `{re.escape(path)}` \|", REFERENCE, re.MULTILINE)


def test_the_reference_has_no_route_that_is_none() -> None:
    rows = re.findall(r"^\| (GET|POST|PUT|PATCH|DELETE) \| `([^`]+)` \|", REFERENCE, re.MULTILINE)
    assert sorted(rows) == sorted(routes())


@pytest.mark.parametrize(("method", "path"), routes())
def test_every_query_parameter_stands_in_its_routes_row(method: str, path: str) -> None:
    row = re.search(rf"^\| {method} \| `{re.escape(path)}` \|.*$", REFERENCE, re.MULTILINE)
    asked = app.openapi()["paths"][path][method.lower()].get("parameters", [])
    names = [one["name"] for one in asked if one["in"] == "query"]
    where = REFERENCE if path.startswith("/webhooks") else row[0] if row else ""
    assert [name for name in names if name not in where] == []


# ---- links and names ---------------------------------------------------------


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text()), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        is_there = file.is_file() and ROOT in file.parents
        if not is_there or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_file_of_ours_that_a_page_names_exists(page: Path) -> None:
    ours = r"`((?:aftercall|alembic|api|docs|tests|worker)/[\w./-]*)`"
    assert [path for path in re.findall(ours, page.read_text()) if not (ROOT / path).exists()] == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = re.findall(r"\]\(([^)\s#]+)", prose(page.read_text()))
        ours = [target for target in targets if not re.match(r"[a-z]+:", target)]
        waiting.extend((page.parent / target).resolve() for target in ours)
    assert [named(page) for page in PAGES if page not in reached] == []


def _rows_of_the_walk() -> list[tuple[str, list[str]]]:
    rows = re.findall(r"^\| \[([\w/.]+\.py)\]\([^)]+\) \| ([^|]+) \|", ARCHITECTURE, re.MULTILINE)
    return [(path, re.findall(r"`(\w+)`", names)) for path, names in rows]


@pytest.mark.parametrize(("path", "names"), _rows_of_the_walk())
def test_the_walk_through_the_rooms_names_what_is_there(path: str, names: list[str]) -> None:
    code = (ROOT / path).read_text()
    assert names
    for name in names:
        assert re.search(rf"(?:def|class) {name}\b|^{name}\b", code, re.MULTILINE), name


def test_the_architecture_page_captions_every_room() -> None:
    rooms = {
        f"{folder.relative_to(ROOT)}/"
        for top in ("aftercall", "api", "worker")
        for folder in [ROOT / top, *(ROOT / top).iterdir()]
        if folder.is_dir() and (folder / "__init__.py").exists()
    }
    captions = set(re.findall(r"^\| `([\w/]+/)` \|", ARCHITECTURE, re.MULTILINE))
    assert rooms <= captions


@pytest.mark.parametrize("page", DECISIONS, ids=named)
def test_every_decision_has_its_four_parts_and_stands_in_the_list(page: Path) -> None:
    headings = re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences", "What enforces it"]
    assert f"]({page.name})" in (page.parent / "README.md").read_text()
    assert page.read_text().startswith(f"# {page.name[:4]}: ")


def test_what_is_worth_an_alert_is_what_the_code_logs() -> None:
    line = re.search(r"^Worth an alert: (.+)$", REFERENCE, re.MULTILINE)
    assert line
    files = [path for top in ("aftercall", "api", "worker") for path in (ROOT / top).rglob("*.py")]
    code = "".join(path.read_text() for path in files)
    names = re.findall(r"`([\w.]+)`", line[1])
    assert names
    assert [name for name in names if f'"{name}"' not in code] == []


# ---- what must not be there --------------------------------------------------

#: Put together here, so that this file does not name them either.
_REGISTRIES = re.compile(
    r"\b(?:pypi|pythonhosted|npmjs|debian|docker|ghcr|quay|crates|gcr)\.(?:org|com|io|dev)\b"
)


@pytest.mark.parametrize(
    "name",
    [
        *(named(page) for page in PAGES),
        ".env.example",
        ".dockerignore",
        "Dockerfile",
        "docker-compose.yml",
    ],
)
def test_no_page_names_a_package_registrys_host(name: str) -> None:
    assert _REGISTRIES.findall((ROOT / name).read_text()) == []


# ---- numbers -----------------------------------------------------------------


def said(duration: timedelta) -> str:
    """A duration as the pages write it."""
    seconds = int(duration.total_seconds())
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


@pytest.mark.parametrize(
    "sentence",
    [
        f"A delivery has {schedules.DELIVERY_ATTEMPTS} attempts.",
        ", ".join(said(wait) for wait in schedules.DELIVERY_WAITS),
        f"each {schedules.DELIVERY_JITTER:.0%} more or less".replace("%", " %"),
        f"A fetch that is retried has {schedules.FETCH_ATTEMPTS} attempts.",
        f"for {said(outcomes.UNDER_WAY_PATIENCE)}; then dead",
        f"After {said(outcomes.NOT_VISIBLE_PATIENCE)} of 404 in a row, dead",
        f"One call every {said(outcomes.CREDENTIALS_PROBE_WAIT)} finds out",
        f"retry, {outcomes.FORBIDDEN_ATTEMPTS} attempts; then dead. "
        f"{outcomes.FORBIDDEN_IN_A_ROW} in a row block",
        # Twenty2's limit is a minute's; the page says it in seconds.
        f"({outcomes.RATE_LIMIT_WAIT.total_seconds():.0f} s without one, "
        f"{said(outcomes.MAX_RATE_LIMIT_WAIT)} at most)",
        f"Retry-After, of {said(schedules.MAX_RETRY_AFTER)} at most",
        f"After {breaker.OPENS_AFTER} failures without a success between them",
        f"has failed for {deliver_calls.MAX_FAILING.days} days",
        f"wait {recording.PATIENCE:.0f} s for the database",
    ],
)
def test_the_architecture_page_has_the_codes_numbers(sentence: str) -> None:
    assert sentence in ARCHITECTURE


@pytest.mark.parametrize("page", ["architecture.md", "decisions/0003-claim-call-record.md"])
def test_the_leases_are_as_the_pages_say(page: str) -> None:
    leases = f"{said(claim_calls.LEASE)} for a fetch, {said(deliver_calls.LEASE)} for a delivery"
    assert leases in (ROOT / "docs" / page).read_text()
