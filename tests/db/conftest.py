"""A database that has nothing in it yet."""

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, text

from aftercall.db.session import database_url
from aftercall.embedded import StoreUrls


@pytest.fixture
def empty_database(stores: StoreUrls) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    url = database_url(stores.database_url)
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS migrations"))
        connection.execute(text("CREATE DATABASE migrations"))
    yield url.set(database="migrations").render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE migrations WITH (FORCE)"))
    admin.dispose()
