"""The embedded stores of one machine: a data directory with PostgreSQL and Valkey on it.

Locks the directory, starts the servers, waits until they answer, stops them. The lock is a flock:
a dead holder holds nothing, a second `up` is refused. It must not migrate.
"""

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from io import FileIO
from pathlib import Path

from aftercall.embedded_servers import (
    EmbeddedError,
    EmbeddedStoresMissing,
    Postgres,
    Server,
    StoreUrls,
    Valkey,
    database_answers,
    is_free,
    last_urls,
    locked,
    read_pid,
    redis_answers,
    write_private,
)

__all__ = [
    "DataDirectoryInUse",
    "EmbeddedError",
    "EmbeddedStoresMissing",
    "Postgres",
    "Server",
    "StoreUrls",
    "Valkey",
    "embedded_stores",
    "running_stores",
]


class DataDirectoryInUse(EmbeddedError):
    """Another process owns the data directory."""


@contextmanager
def embedded_stores(
    data_dir: Path, *, database: bool = True, redis: bool = True
) -> Iterator[StoreUrls]:
    """Start the stores asked for; stop them on the way out, whatever the way.

    SIGTERM ends a Python process without a way out: the caller has to turn it into an exception.
    """
    owner = os.getpid()
    with ExitStack() as at_exit:
        with _os_errors_explained(data_dir):
            at_exit.enter_context(_owned(data_dir))
            postgres = Postgres(data_dir) if database else None
            valkey = Valkey(data_dir) if redis else None
            for server in filter(None, (postgres, valkey)):
                at_exit.callback(server.stop)
                server.start()
            urls = StoreUrls(postgres.url if postgres else "", valkey.url if valkey else "")
            write_private(data_dir / "stores.json", json.dumps(asdict(urls)))
        try:
            yield urls
        finally:
            if os.getpid() != owner:  # A forked child unwinds: the servers are not its to stop.
                at_exit.pop_all()


def running_stores(data_dir: Path) -> StoreUrls | None:
    """The stores that some process keeps running on this directory, if they answer now."""
    with _os_errors_explained(data_dir):
        urls = last_urls(data_dir)
        if urls is None or is_free(data_dir / "lock"):
            return None
    if urls.database_url and not database_answers(urls.database_url):
        return None
    if urls.redis_url and not redis_answers(urls.redis_url):
        return None
    return urls


def _owned(data_dir: Path) -> FileIO:
    """The directory's lock, until it is closed. It holds the owner's pid, for people to read."""
    # For us alone; started by root, the servers' user has to pass through.
    data_dir.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    path = data_dir / "lock"
    for _ in range(20):  # `running_stores` holds it for a moment, to see whether it is free.
        with suppress(BlockingIOError):
            lock = locked(path)
            os.register_at_fork(after_in_child=lock.close)  # It must not outlive us in a child.
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n".encode())
            return lock
        time.sleep(0.02)
    raise DataDirectoryInUse(
        f"{data_dir} is in use by process {read_pid(path)}: stop that one, "
        "or set AFTERCALL_DATA_DIR to another directory"
    )


@contextmanager
def _os_errors_explained(data_dir: Path) -> Iterator[None]:
    remedies = {
        errno.ENOSPC: "make room on its disk",
        errno.EACCES: "give it to the user who runs this, or set AFTERCALL_DATA_DIR elsewhere",
    }
    try:
        yield
    except OSError as error:
        remedy = remedies.get(error.errno or 0, "mend it, or set AFTERCALL_DATA_DIR elsewhere")
        where = error.filename or data_dir
        raise EmbeddedError(f"{where}: {error.strerror}; {remedy}") from error
