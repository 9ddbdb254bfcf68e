"""A part that crashes during an upgrade comes back, on a schema that is newer by then."""

from collections.abc import Iterator

import psycopg
import pytest
import requests

from aftercall.db.schema import migrate
from aftercall.embedded import StoreUrls
from tests.api.server import free_port
from tests.cli.command import Command
from tests.cli.test_programs import program, wait_until_it_answers


@pytest.fixture
def newer(stores: StoreUrls) -> Iterator[str]:
    """A database that a later version has migrated."""
    with psycopg.connect(stores.database_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS newer")
        admin.execute("CREATE DATABASE newer")
        url = stores.database_url.replace("/aftercall?", "/newer?")
        try:
            migrate(url)
            with psycopg.connect(url) as connection:
                connection.execute("UPDATE alembic_version SET version_num = 'later'")
            yield url
        finally:
            admin.execute("DROP DATABASE newer WITH (FORCE)")


def test_an_api_starts_on_a_newer_schema_that_serves_it_and_is_ready(
    aftercall: Command, newer: str
) -> None:
    port = free_port()
    there = Command(
        aftercall.launcher,
        aftercall.folder,
        {**aftercall.settings, "AFTERCALL_DATABASE_URL": newer},
    )
    with program(there, "api", "--port", str(port)) as (process, log):
        origin = f"http://127.0.0.1:{port}"
        wait_until_it_answers(f"{origin}/readyz", process, log)
        assert requests.get(f"{origin}/readyz", timeout=5).json()["schema"] == "ok"
    done = there("migrate")
    assert done.code == 0
    assert "newer than this version, and serves it" in done.out


def test_no_part_starts_on_a_newer_schema_that_does_not_serve_it(
    aftercall: Command, newer: str
) -> None:
    with psycopg.connect(newer) as connection:
        connection.execute("COMMENT ON TABLE alembic_version IS 'runs_with: later'")
    for part in ("api", "worker", "beat", "migrate"):
        done = aftercall(part, AFTERCALL_DATABASE_URL=newer)
        assert done.code == 1
        assert "does not serve it any more: update aftercall" in done.err
