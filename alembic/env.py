"""Runs migrations on the database of the settings, or on the URL that `aftercall migrate` passes.

How long each may wait and take, and what happens then, stands in aftercall/db/migrating.py.
"""

from alembic import context
from sqlalchemy import Connection

from aftercall.db.migrating import migrating, run_patiently
from aftercall.db.models import Base
from aftercall.db.partitions import is_partition
from aftercall.db.schema import note_who_is_served, say_in_the_log
from aftercall.settings import load_settings
from aftercall.stores import direct_database_url, find_stores


def run() -> None:
    url = context.config.attributes.get("url") or _url_of_settings()
    say = context.config.attributes.get("say") or say_in_the_log
    with migrating(url, say=say) as connection:
        run_patiently(connection, lambda: _run_on(connection), say=say)


def _run_on(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_server_default=True,
        include_name=lambda name, type_, _: type_ != "table" or not is_partition(name or ""),
        # What is done is not undone by what cannot be had yet.
        transaction_per_migration=True,
        on_version_apply=note_who_is_served,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


def _run_offline() -> None:
    """`alembic upgrade 0008:head --sql`: for people to read, or to run as somebody else."""
    context.configure(
        dialect_name="postgresql",
        literal_binds=True,
        transaction_per_migration=True,
        on_version_apply=note_who_is_served,
    )
    with context.begin_transaction():
        context.run_migrations()


def _url_of_settings() -> str:
    settings = load_settings()
    if settings.database_url is not None:
        return direct_database_url(settings, settings.database_url.get_secret_value())
    return find_stores(settings).database_url


if context.is_offline_mode():
    _run_offline()
else:
    run()
