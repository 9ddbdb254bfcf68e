"""The schema's version: what the database has, what this code needs, and the way there."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from aftercall.db.session import Database

_ROOT = Path(__file__).resolve().parents[2]


class SchemaError(Exception):
    """The schema is not the one that this code needs. The message says what to do."""


def migrate(url: str) -> None:
    """To the newest version; two at once take turns. SchemaError when the database is newer."""
    database = Database(url, pool_size=1)
    try:
        _check_known(database)
    finally:
        database.close()
    config = _config()
    config.attributes["url"] = url
    command.upgrade(config, "head")


def _check_known(database: Database) -> None:
    scripts = ScriptDirectory.from_config(_config())
    known = {script.revision for script in scripts.walk_revisions()}
    with database.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_heads()
    if not set(found) <= known:
        raise SchemaError(
            f"The database's schema {', '.join(found)} is newer than this version of aftercall: "
            "update aftercall"
        )


def check_schema(database: Database) -> None:
    """SchemaError unless the database has exactly the version that this code needs."""
    scripts = ScriptDirectory.from_config(_config())
    needed = scripts.get_current_head()
    with database.engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_heads()
    if found == (needed,):
        return
    if not found:
        raise SchemaError("The database has no tables of aftercall yet: run `aftercall migrate`")
    _check_known(database)
    raise SchemaError(
        f"The database's schema is {', '.join(found)}, this version needs {needed}: "
        "run `aftercall migrate`"
    )


def _config() -> Config:
    config = Config(_ROOT / "alembic.ini")
    if not (_ROOT / "alembic.ini").exists():
        raise SchemaError("The migrations are not installed: run from a checkout or the image")
    return config
