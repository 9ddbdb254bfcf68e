"""The migrations: there and back again, and no drift from the models."""

import subprocess
import sys

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from aftercall.db.models import Base
from aftercall.db.partitions import is_partition
from aftercall.db.schema import SchemaError, _config, check_schema, migrate
from aftercall.db.session import Database, database_url


def test_upgrade_downgrade_and_upgrade_again_work(empty_database: str) -> None:
    config = _config()
    config.attributes["url"] = empty_database
    migrate(empty_database)
    command.downgrade(config, "base")
    engine = create_engine(database_url(empty_database))
    assert inspect(engine).get_table_names() == ["alembic_version"]
    migrate(empty_database)
    tables = inspect(engine).get_table_names()
    assert {name for name in tables if not is_partition(name)} == {
        "alembic_version",
        *(table.name for table in Base.metadata.sorted_tables),
    }
    engine.dispose()


def test_the_migrations_make_exactly_the_models_tables(empty_database: str) -> None:
    migrate(empty_database)
    engine = create_engine(database_url(empty_database))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, type_, _: type_ != "table" or not is_partition(name),
            },
        )
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ([], "no tables of aftercall yet"),
        (["from-the-future"], "newer than this version"),
    ],
)
def test_a_schema_that_does_not_fit_is_named_with_its_cure(
    empty_database: str, versions: list[str], message: str
) -> None:
    with psycopg.connect(
        database_url(empty_database)
        .set(drivername="postgresql")
        .render_as_string(hide_password=False)
    ) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)")
        for version in versions:
            connection.execute("INSERT INTO alembic_version VALUES (%s)", [version])
    database = Database(empty_database)
    with pytest.raises(SchemaError, match=message):
        check_schema(database)
    database.close()


def test_two_processes_that_migrate_at_once_take_turns(empty_database: str) -> None:
    program = "import sys; from aftercall.db.schema import migrate; migrate(sys.argv[1])"
    processes = [
        subprocess.Popen([sys.executable, "-c", program, empty_database]) for _ in range(2)
    ]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
