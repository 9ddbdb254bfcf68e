"""Code on a schema that is newer than it: it runs where that only added, and nowhere else."""

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from aftercall.db.schema import SchemaError, _config, check_schema, migrate, oldest_served
from aftercall.db.session import Database, database_url

#: Since this one a migration has to say which code it serves.
FIRST_TO_SAY = "0009"


def newer(url: str, said: str | None) -> Database:
    """The database as a later version of aftercall leaves it."""
    migrate(url)
    plain = database_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from-the-future'")
        comment = "NULL" if said is None else f"'{said}'"
        connection.execute(f"COMMENT ON TABLE alembic_version IS {comment}".encode())
    return Database(url, pool_size=1)


def head() -> str:
    return str(ScriptDirectory.from_config(_config()).get_current_head())


@pytest.mark.parametrize("served", ["0007", None])
def test_code_runs_on_a_newer_schema_that_serves_it_and_has_nothing_to_migrate(
    empty_database: str, served: str | None
) -> None:
    database = newer(empty_database, f"runs_with: {served or head()}")
    check_schema(database)
    assert migrate(empty_database) is False
    database.close()


@pytest.mark.parametrize("said", [None, "runs_with: 9998", "runs_with: ", "other words"])
def test_code_does_not_run_on_a_newer_schema_that_does_not_serve_it(
    empty_database: str, said: str | None
) -> None:
    database = newer(empty_database, said)
    with pytest.raises(SchemaError, match="does not serve it any more: update aftercall"):
        check_schema(database)
    with pytest.raises(SchemaError, match="update aftercall"):
        migrate(empty_database)
    database.close()


def test_the_database_knows_after_each_migration_which_code_it_serves(empty_database: str) -> None:
    config = _config()
    config.attributes["url"] = empty_database
    scripts = ScriptDirectory.from_config(config)
    plain = database_url(empty_database).set(drivername="postgresql")
    with psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True) as found:
        for target in ("head", "-1"):
            go = command.upgrade if target == "head" else command.downgrade
            go(config, target)
            [version] = found.execute("SELECT version_num FROM alembic_version").fetchall()
            [said] = found.execute("SELECT obj_description('alembic_version'::regclass)").fetchall()
            assert said[0] == f"runs_with: {oldest_served(scripts, [str(version[0])])}"


def test_what_one_migration_needs_no_later_one_takes_back() -> None:
    scripts = ScriptDirectory.from_config(_config())
    order = [script.revision for script in reversed(list(scripts.walk_revisions()))]
    served = [oldest_served(scripts, [revision]) for revision in order]
    assert served == sorted(served, key=lambda one: order.index(str(one)))


def test_every_migration_says_which_code_may_run_on_its_schema() -> None:
    scripts = ScriptDirectory.from_config(_config())
    order = [script.revision for script in reversed(list(scripts.walk_revisions()))]
    silent = []
    for script in scripts.walk_revisions():
        served = getattr(script.module, "runs_with", None)
        if script.revision < FIRST_TO_SAY:
            continue
        if served not in order or order.index(served) > order.index(script.revision):
            silent.append(script.revision)
    assert not silent, (
        f"{silent}: write `runs_with = …`, the oldest migration whose code may run on it: the one "
        "before, when it only adds (docs/migrations.md)"
    )
