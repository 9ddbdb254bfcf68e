"""What goes wrong before anything is done: one line that says what to do, and no secret in it."""

import json
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from aftercall.embedded import StoreUrls
from tests.api.server import free_port
from tests.cli.command import Command, Result, assert_one_line, environment
from tests.raw_server import Peer, RawServer

SECRET = "hunter2hunter2hunter2"


def url(port: int) -> str:
    return f"postgresql://user:{SECRET}@127.0.0.1:{port}/calls"


@pytest.fixture
def nothing_there() -> Iterator[int]:
    """A port on which nobody listens, kept from others."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def talks_nonsense(peer: Peer) -> None:
    peer.say(b"220 mail.example.com ESMTP\r\n")
    peer.hear_the_end()


# ---- usage -------------------------------------------------------------------


def test_help_and_the_version_exit_0_and_what_is_no_command_exits_2(stranger: Command) -> None:
    started = {
        arguments: stranger.start(*arguments)
        for arguments in (("--help",), ("--version",), ("nonsense",), ("calls", "--nonsense"))
    }
    results = {arguments: running.finish() for arguments, running in started.items()}
    assert [result.code for result in results.values()] == [0, 0, 2, 2]
    for name in (
        "up", "api", "worker", "beat", "migrate", "demo", "simulate", "enqueue", "calls",
        "destinations", "deliveries", "workspaces", "doctor",
    ):  # fmt: skip
        assert f"\n  {name} " in results[("--help",)].out


# ---- settings ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"AFTERCALL_DATABASE_URL": f"mysql://root:{SECRET}@127.0.0.1/calls"}, "PostgreSQL only"),
        ({"AFTERCALL_DATABASE_URL": SECRET}, "AFTERCALL_DATABASE_URL is not a URL"),
        ({"AFTERCALL_DATABASE_URL": f"postgresql://u:{SECRET}@h:port/d"}, "AFTERCALL_DATABASE_URL"),
        ({"AFTERCALL_REDIS_URL": f"http://:{SECRET}@127.0.0.1/0"}, "AFTERCALL_REDIS_URL"),
        ({"AFTERCALL_REDIS_URL": f"redis://:{SECRET}@127.0.0.1:port/0"}, "AFTERCALL_REDIS_URL"),
        ({"AFTERCALL_SECRET_KEY": "short"}, "AFTERCALL_SECRET_KEY"),
        ({"AFTERCALL_SECRET_KEY": f"{SECRET},short"}, "AFTERCALL_SECRET_KEY"),
        ({"AFTERCALL_SECRET_KEY": ""}, "AFTERCALL_SECRET_KEY is not set"),
        ({"TWENTYTWO_RATE_LIMIT": SECRET}, "TWENTYTWO_RATE_LIMIT"),
        ({"TWENTYTWO_RATE_LIMIT": "0"}, "TWENTYTWO_RATE_LIMIT"),
        ({"TWENTYTWO_BASE_URL": f"ftp://{SECRET}"}, "TWENTYTWO_BASE_URL"),
        ({"AFTERCALL_ALLOWED_PRIVATE_NETWORKS": "home"}, "AFTERCALL_ALLOWED_PRIVATE_NETWORKS"),
        ({"AFTERCALL_ALLOWED_PRIVATE_NETWORKS": "10.0.0.1/99"}, "ALLOWED_PRIVATE_NETWORKS"),
    ],
)
def test_a_malformed_setting_is_named_and_its_value_is_not_shown(
    aftercall: Command, settings: dict[str, str], says: str
) -> None:
    result = aftercall("calls", "list", **settings)
    assert_one_line(result, says)
    assert SECRET not in result.said


def test_settings_come_from_a_file_as_well_and_the_environment_wins(aftercall: Command) -> None:
    file = aftercall.folder / ".env"
    file.write_text("TWENTYTWO_RATE_LIMIT=nonsense\nUNKNOWN=1\n")
    assert aftercall("calls", "list").code == 0
    assert_one_line(aftercall("calls", "list", TWENTYTWO_RATE_LIMIT=""), "TWENTYTWO_RATE_LIMIT")


def test_a_settings_file_that_is_no_text_is_one_line(stranger: Command) -> None:
    (stranger.folder / ".env").write_bytes(b"\xff\xfeA\x00F\x00")
    assert_one_line(stranger("calls", "list"), ".env")


@pytest.mark.parametrize("text", ["", "5", "null", '"text"', "{", "[" * 100_000])
def test_a_secrets_file_that_is_damaged_is_one_line(stranger: Command, text: str) -> None:
    folder = stranger.folder / ".aftercall"
    folder.mkdir()
    (folder / "secrets.json").write_text(text)
    assert_one_line(stranger("calls", "list"), "secrets.json")


def test_the_programs_that_must_have_secrets_say_which_is_missing(
    aftercall: Command,
) -> None:
    for variable in ("AFTERCALL_SECRET_KEY", "AFTERCALL_ADMIN_TOKEN", "AFTERCALL_WEBHOOK_TOKEN"):
        for program in ("api", "worker", "beat"):
            assert_one_line(aftercall(program, **{variable: ""}), f"{variable} is not set")


# ---- output ----


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_the_output_is_one_line(aftercall: Command) -> None:
    for arguments in (("calls", "list"), ("calls", "export"), ("calls", "list", "--json")):
        with Path("/dev/full").open("wb") as full:
            ended = subprocess.run(
                [sys.executable, "-m", "aftercall.cli.main", *arguments],
                cwd=aftercall.folder,
                env=environment(**aftercall.settings),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert_one_line(Result(ended.returncode, "", ended.stderr), "No space left")


# ---- stores ------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("calls", "list"),
        ("enqueue", "call_1"),
        ("destinations", "list"),
        ("worker",),
        ("beat",),
    ],
)
def test_without_stores_it_says_how_to_get_some(
    aftercall: Command, arguments: tuple[str, ...]
) -> None:
    result = aftercall(*arguments, AFTERCALL_DATABASE_URL="", AFTERCALL_REDIS_URL="")
    assert_one_line(result, "AFTERCALL_DATABASE_URL", "aftercall up")


def test_a_database_that_does_not_answer_is_named(aftercall: Command, nothing_there: int) -> None:
    up = ("up", "--port", str(free_port()))
    for arguments in (("calls", "list"), ("migrate",), ("worker",), up):
        result = aftercall(*arguments, AFTERCALL_DATABASE_URL=url(nothing_there))
        assert_one_line(result, "PostgreSQL at 127.0.0.1", "AFTERCALL_DATABASE_URL")
        assert SECRET not in result.said


def test_redis_that_does_not_answer_is_named(aftercall: Command, nothing_there: int) -> None:
    redis = f"redis://:{SECRET}@127.0.0.1:{nothing_there}/0"
    result = aftercall("worker", AFTERCALL_REDIS_URL=redis)
    assert_one_line(result, "Redis does not answer", "AFTERCALL_REDIS_URL")
    assert SECRET not in result.said


def test_reading_needs_no_redis(aftercall: Command, nothing_there: int) -> None:
    redis = f"redis://127.0.0.1:{nothing_there}/0"
    assert aftercall("calls", "list", AFTERCALL_REDIS_URL=redis).code == 0


def test_calls_are_queued_without_redis_and_standard_output_stays_clean(
    aftercall: Command, nothing_there: int
) -> None:
    redis = f"redis://127.0.0.1:{nothing_there}/0"
    queued = aftercall.start("enqueue", "call_1", AFTERCALL_REDIS_URL=redis)
    set_ = aftercall.start(
        "workspaces", "set", "ws_2", "--api-key", "k", "--api-secret", "s", "--json",
        AFTERCALL_REDIS_URL=redis,
    )  # fmt: skip
    began = time.monotonic()
    assert queued.finish().out.splitlines() == ["1 queued, 0 known already."]
    assert json.loads(set_.finish().out)["workspace_id"] == "ws_2"
    assert time.monotonic() - began < 5


def test_another_server_behind_a_url_is_named(aftercall: Command) -> None:
    with RawServer(talks_nonsense) as server:
        database = aftercall("calls", "list", AFTERCALL_DATABASE_URL=url(server.port))
        redis = aftercall("worker", AFTERCALL_REDIS_URL=f"redis://127.0.0.1:{server.port}/0")
    assert_one_line(database, "127.0.0.1", "AFTERCALL_DATABASE_URL")
    assert_one_line(redis, "AFTERCALL_REDIS_URL")


def test_a_silent_server_behind_a_url_is_given_up_in_time(aftercall: Command) -> None:
    with RawServer(lambda peer: peer.hang()) as server:
        database = aftercall.start("calls", "list", AFTERCALL_DATABASE_URL=url(server.port))
        redis = aftercall.start("worker", AFTERCALL_REDIS_URL=f"redis://127.0.0.1:{server.port}/0")
        assert_one_line(database.finish(timeout=12), "AFTERCALL_DATABASE_URL")
        assert_one_line(redis.finish(timeout=12), "AFTERCALL_REDIS_URL")


@contextmanager
def database_with(stores: StoreUrls, version: str | None) -> Iterator[str]:
    """A database whose schema has this version; None: no tables at all."""
    with psycopg.connect(stores.database_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS other_schema")
        admin.execute("CREATE DATABASE other_schema")
        other = stores.database_url.replace("/aftercall?", "/other_schema?")
        if version is not None:
            with psycopg.connect(other) as connection:
                connection.execute("CREATE TABLE alembic_version (version_num text NOT NULL)")
                connection.execute("INSERT INTO alembic_version VALUES (%s)", [version])
        try:
            yield other
        finally:
            admin.execute("DROP DATABASE other_schema WITH (FORCE)")


def test_a_schema_that_is_missing_is_named_and_migrate_makes_it(
    aftercall: Command, stores: StoreUrls
) -> None:
    with database_with(stores, None) as other:
        for arguments in (("calls", "list"), ("worker",)):
            result = aftercall(*arguments, AFTERCALL_DATABASE_URL=other)
            assert_one_line(result, "aftercall migrate")
        assert "up to date" in aftercall.ok("migrate", AFTERCALL_DATABASE_URL=other)
        assert aftercall("calls", "list", AFTERCALL_DATABASE_URL=other).code == 0
        assert aftercall("migrate", AFTERCALL_DATABASE_URL=other).code == 0


def test_a_schema_that_is_newer_is_named_and_is_not_touched(
    aftercall: Command, stores: StoreUrls
) -> None:
    with database_with(stores, "from-the-future") as other:
        for arguments in (("calls", "list"), ("migrate",)):
            result = aftercall(*arguments, AFTERCALL_DATABASE_URL=other)
            assert_one_line(result, "newer")
        with psycopg.connect(other) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    assert rows == [("from-the-future",)]


# ---- ports and folders -------------------------------------------------------


@pytest.mark.parametrize("program", ["api", "up"])
def test_a_port_in_use_is_named(aftercall: Command, program: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = aftercall(program, "--port", port)
    assert_one_line(result, port, "--port")


def test_up_says_at_once_that_the_key_is_too_short(aftercall: Command) -> None:
    assert_one_line(aftercall("up", AFTERCALL_SECRET_KEY="short"), "AFTERCALL_SECRET_KEY", "16")


def test_the_simulators_port_in_use_is_named(stranger: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = stranger("simulate", "--twentytwo-port", port, "--crm-port", "0")
    assert_one_line(result, port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_a_host_that_is_not_ours_is_named(aftercall: Command, host: str) -> None:
    assert_one_line(aftercall("api", "--host", host), host)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
def test_a_port_that_is_none_is_usage(stranger: Command, port: str) -> None:
    assert stranger("up", "--port", port).code == 2


def test_a_data_directory_that_is_a_file_is_named(stranger: Command) -> None:
    file = stranger.folder / "data"
    file.write_text("")
    for arguments in (("up",), ("calls", "list")):
        assert_one_line(stranger(*arguments, AFTERCALL_DATA_DIR=str(file)), str(file))
    assert stat.S_ISREG(Path(file).stat().st_mode)
