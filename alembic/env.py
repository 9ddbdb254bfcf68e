"""Runs migrations on the database of the settings, or on the URL that `aftercall migrate` passes.

Waits at most a few seconds for a lock, so that a migration never queues all
of production up behind itself.
"""

from alembic import context
from sqlalchemy import create_engine, pool, text

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
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.commit()
        context.configure(
            connection=connection, target_metadata=Base.metadata, compare_server_default=True
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


def _url_of_settings() -> str:
    settings = load_settings()
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return find_stores(settings).database_url


run()
