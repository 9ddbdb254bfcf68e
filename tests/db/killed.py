"""A migration killed with -9 before each of its statements in turn, and run again each time.

`python -m tests.db.killed URL 0010 0011 --every 1`: prints a line for each kill. Its own process,
for it forks: what is killed has begun a migration and nothing else.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from alembic import command
from sqlalchemy import Connection, Engine, create_engine, event, text

from aftercall.db.schema import _config
from aftercall.db.session import database_url

#: Of each table that is filled.
ROWS = 500
_FILL = (
    "INSERT INTO workspaces (id) VALUES ('w')",
    "INSERT INTO webhooks (id, received_at, body) SELECT gen_random_uuid(),"
    " now() - n * interval '1 hour', 'x' FROM generate_series(1, 500) AS n",
    "INSERT INTO calls (workspace_id, call_id, state, due_at, received_at)"
    " SELECT 'w', id::text, 'queued', received_at, received_at FROM webhooks",
    "INSERT INTO events (workspace_id, call_id, type, webhook_id, received_at)"
    " SELECT 'w', id::text, 'call.completed', id, received_at FROM webhooks",
    "INSERT INTO attempts (call_row_id, number, started_at, duration_ms, outcome)"
    " SELECT n, 1, now() - n * interval '1 hour', 5, 'succeeded' FROM generate_series(1, 500) AS n",
)
#: What must be the same, however often it was killed.
_SCHEMA = text(
    """
    SELECT c.relname, c.relkind, pg_get_expr(c.relpartbound, c.oid), (
      SELECT string_agg(pg_get_constraintdef(k.oid), '; ' ORDER BY conname)
      FROM pg_constraint k WHERE k.conrelid = c.oid
    ), (
      SELECT string_agg(
        indexrelid::regclass || ' ' || indisvalid, '; ' ORDER BY indexrelid::regclass::text
      ) FROM pg_index i WHERE i.indrelid = c.oid
    ), obj_description(c.oid)
    FROM pg_class c
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'S')
    ORDER BY 1
    """
)
_COUNTS = text(
    "SELECT (SELECT count(*) FROM webhooks), (SELECT count(*) FROM attempts),"
    " (SELECT count(*) FROM events JOIN webhooks ON webhooks.id = events.webhook_id)"
)
_WRITES = (
    "INSERT INTO webhooks (id, received_at, body) VALUES (gen_random_uuid(), now(), 'x')",
    "INSERT INTO attempts (call_row_id, number, started_at, duration_ms, outcome)"
    " VALUES (1, 2, now(), 5, 'succeeded')",
)


def main(url: str, before: str, after: str, *, every: int) -> None:
    admin = create_engine(database_url(url), isolation_level="AUTOCOMMIT")
    names = [f"killed_{name}" for name in ("template", "try")]
    template, tried = (with_name(url, name) for name in names)
    try:
        remake(admin, names[0])
        in_a_child(lambda: to(template, before))
        written(template, *_FILL)
        remake(admin, names[1], template=names[0])
        in_a_child(lambda: to(tried, after))
        wanted = schema_of(tried)
        for statement in count(every, every):
            remake(admin, names[1], template=names[0])
            said = in_a_child(partial(to, tried, after, kill_before=statement))
            if said != signal.SIGKILL:
                break
            # What runs meanwhile goes on writing.
            written(tried, *_WRITES)
            in_a_child(lambda: to(tried, after))
            written(tried, *_WRITES)
            assert schema_of(tried) == wanted, f"after the kill before statement {statement}"
            counts = look(tried, _COUNTS)
            assert counts == [(ROWS + 2, ROWS + 2, ROWS)], f"statement {statement}: {counts}"
            print(f"killed before statement {statement}", flush=True)  # noqa: T201
    finally:
        for name in names:
            with admin.connect() as connection:
                connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        admin.dispose()


def to(url: str, revision: str, *, kill_before: int | None = None) -> None:
    config = _config()
    config.attributes["url"] = url
    seen = 0

    def look_at(_: Any, __: Any, statement: str, *___: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == kill_before:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", look_at)
    command.upgrade(config, revision)


def in_a_child(work: Callable[[], None]) -> int:
    """The signal that ended it; 0 when it came to its end."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)  # noqa: T201
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def remake(admin: Engine, name: str, *, template: str = "template1") -> None:
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))


def with_name(url: str, name: str) -> str:
    return database_url(url).set(database=name).render_as_string(hide_password=False)


def on(url: str, work: Callable[[Connection], Any]) -> Any:
    engine = create_engine(database_url(url))
    try:
        with engine.begin() as connection:
            return work(connection)
    finally:
        engine.dispose()


def written(url: str, *statements: str) -> None:
    on(url, lambda connection: [connection.execute(text(one)) for one in statements])


def look(url: str, query: Any) -> list[Any]:
    return list(on(url, lambda connection: [tuple(row) for row in connection.execute(query)]))


def schema_of(url: str) -> list[Any]:
    """Without the first partition's bound, which is of the moment."""
    return look(url, _SCHEMA)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.db.killed")
    for name in ("url", "before", "after"):
        parser.add_argument(name)
    parser.add_argument("--every", type=int, default=1)
    main(**vars(parser.parse_args()))
