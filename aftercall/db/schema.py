"""The schema's version: what the database has, what this code needs, and the way there.

Code runs on its own schema, and on a newer one that only added to it: each migration says which
code it serves (`runs_with`), and the database keeps that where older code can read it.
"""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from aftercall.db.session import Database

log = structlog.get_logger(__name__)

_PACKAGE = Path(__file__).resolve().parents[1]
#: On the table alembic_version: `runs_with: 0008`.
_SERVED = "runs_with: "


class SchemaError(Exception):
    """The schema is not the one that this code needs. The message says what to do."""


def say_in_the_log(line: str) -> None:
    """What a migration tells while it runs, where nobody looks on."""
    log.warning("migration", says=line)


def migrate(url: str, *, say: Callable[[str], None] = say_in_the_log) -> bool:
    """To the newest version; two at once take turns. False when it is on a newer one already,
    which serves us.

    SchemaError when that does not, and when a lock could not be had; `say` is told what it waits
    for.
    """
    database = Database(url, pool_size=1)
    try:
        with database.engine.connect() as connection:
            if _is_newer(connection):
                return False
    finally:
        database.close()
    config = _config()
    config.attributes["url"] = url
    config.attributes["say"] = say
    command.upgrade(config, "head")
    return True


def check_schema(database: Database) -> None:
    """SchemaError unless this code may run on the database's schema."""
    needed = ScriptDirectory.from_config(_config()).get_current_head()
    with database.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_heads()
        if found == (needed,) or (found and _is_newer(connection)):
            return
    if not found:
        raise SchemaError("The database has no tables of aftercall yet: run `aftercall migrate`")
    raise SchemaError(
        f"The database's schema is {', '.join(found)}, this version needs {needed}: "
        "run `aftercall migrate`"
    )


def _is_newer(connection: Connection) -> bool:
    """Whether it is one that this code does not know. SchemaError when it does not serve us."""
    known = known_revisions()
    found = MigrationContext.configure(connection).get_current_heads()
    if set(found) <= known:
        return False
    said = connection.execute(_READ_SERVED).scalar() or ""
    # What serves a version that we know serves us: we are the newest that we know.
    if said.startswith(_SERVED) and said.removeprefix(_SERVED) in known:
        return True
    raise SchemaError(
        f"The database's schema {', '.join(found)} is newer than this version of aftercall, and "
        "does not serve it any more: update aftercall"
    )


_READ_SERVED = text("SELECT obj_description(to_regclass('alembic_version'), 'pg_class')")


def note_who_is_served(*, ctx: MigrationContext, heads: Collection[str], **_: Any) -> None:
    """Alembic's on_version_apply: in the transaction that notes the version."""
    served = oldest_served(ScriptDirectory.from_config(_config()), heads)
    said = "NULL" if served is None else f"'{_SERVED}{served}'"
    ctx.impl.execute(text(f"COMMENT ON TABLE alembic_version IS {said}"))


def oldest_served(scripts: ScriptDirectory, heads: Collection[str]) -> str | None:
    """The revision whose code, and all later code, runs on a schema with these heads.

    A migration that says nothing serves its own code only.
    """
    applied = [script for head in heads for script in scripts.iterate_revisions(head, "base")]
    order = [script.revision for script in reversed(list(scripts.walk_revisions()))]
    served = [getattr(script.module, "runs_with", script.revision) for script in applied]
    return max(served, key=order.index, default=None)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def known_revisions() -> frozenset[str]:
    """Of all schemas up to the one that this code needs."""
    return frozenset(
        one.revision for one in ScriptDirectory.from_config(_config()).walk_revisions()
    )


def _migrations() -> Path:
    """A wheel has them in the package; a checkout beside it, where an installed one has the
    library of that name."""
    for folder in (_PACKAGE / "migrations", _PACKAGE.parent / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise SchemaError(f"The migrations are not in {_PACKAGE}: install aftercall again")
