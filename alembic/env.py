"""Runs migrations on the database of the settings, or on the URL that `aftercall migrate` passes.

Waits at most a few seconds for a lock, so that a migration never queues all
of production up behind itself.
"""

import time

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from aftercall.db.models import Base
from aftercall.db.session import database_url
from aftercall.settings import load_settings
from aftercall.stores import find_stores

#: Two `aftercall migrate` at once take turns.
MIGRATION_LOCK = 7_130_151_018_120_117


def run() -> None:
    url = context.config.attributes.get("url") or _url_of_settings()
    engine = create_engine(database_url(url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        _wait_for_turn(connection)
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.commit()
        context.configure(
            connection=connection, target_metadata=Base.metadata, compare_server_default=True
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


def _wait_for_turn(connection: Connection) -> None:
    # Asked again and again: who waits inside a statement keeps the other one's index from
    # being built concurrently.
    take = text("SELECT pg_try_advisory_lock(:key)")
    while not connection.execute(take, {"key": MIGRATION_LOCK}).scalar_one():
        connection.commit()
        time.sleep(0.2)


def _url_of_settings() -> str:
    settings = load_settings()
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return find_stores(settings).database_url


run()
