"""PostgreSQL and Valkey for one contestant: fresh, durable, and the same settings for all.

They are aftercall's embedded ones, so synchronous_commit is on and the
append-only file is written: what `aftercall up` runs on.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import redis

from aftercall.embedded import Postgres, Valkey


@dataclass(frozen=True, slots=True)
class Stores:
    """Where they answer, in every spelling that a contestant wants."""

    directory: Path
    database_url: str
    redis_url: str
    postgres_pid: int | None
    valkey_pid: int | None

    @property
    def socket_directory(self) -> str:
        """PostgreSQL's, for drivers that do not read libpq's URLs."""
        return parse_qs(urlsplit(self.database_url).query)["host"][0]

    @property
    def redis_port(self) -> int:
        return urlsplit(self.redis_url).port or 0

    @property
    def redis_password(self) -> str:
        return urlsplit(self.redis_url).password or ""

    def environment(self) -> dict[str, str]:
        """As every contestant but ours reads it."""
        return {
            "DATABASE_URL": self.database_url,
            "PGHOST": self.socket_directory,
            "PGPORT": "5432",
            "PGUSER": "postgres",
            "PGDATABASE": "aftercall",
            "REDIS_URL": self.redis_url,
            "REDIS_PORT": str(self.redis_port),
            "REDIS_PASSWORD": self.redis_password,
        }

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def number(self, query: str) -> int:
        """The one number that the query answers."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    def database_bytes(self) -> int:
        return self.number("SELECT pg_database_size(current_database())")

    def redis_bytes(self) -> int:
        with redis.Redis.from_url(self.redis_url, protocol=2) as client:
            return int(client.info("memory")["used_memory"])


@contextmanager
def fresh_stores() -> Iterator[Stores]:
    """In a directory of their own, which is removed at the end."""
    with fresh_directory() as directory:
        postgres, valkey = Postgres(directory), Valkey(directory)
        try:
            postgres.start()
            valkey.start()
            yield Stores(directory, postgres.url, valkey.url, postgres.pid, valkey.pid)
        finally:
            valkey.stop()
            postgres.stop()


@contextmanager
def fresh_directory() -> Iterator[Path]:
    """Removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="aftercall-bench-"))
    # Started by root, the servers' own user has to pass through.
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
