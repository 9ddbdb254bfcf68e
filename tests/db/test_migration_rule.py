"""No migration may lock out webhooks: what each one runs is read by squawk, and by us.

Read from a real run, with its transactions. What a migration may do nevertheless stands in
`ALLOWED`, with the reason.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event

from aftercall.db.schema import _config

#: By migration and rule.
ALLOWED = {
    ("0003", "ban-drop-constraint"): "nothing is read or written; the older code needs no such key",
    # The swap: one transaction of less than a second, which waits for no lock longer than 0.3 s.
    **{
        ("0011", rule): reason
        for rule, reason in {
            "adding-serial-primary-key-field": "the new table is empty",
            "attaches-a-partition": "its check and its unique index are there: it is not read",
            "ban-alter-identity": "the ids go on at the parent",
            "ban-drop-constraint": "the old key's place is taken by one with the time in it",
            "ban-drop-table": "what a try that was broken off has left, and empty",
            "constraint-missing-not-valid": "the new table is empty",
            "locks-a-table": "at once, in the order of the receiver, so that nobody deadlocks",
            "renaming-object": "the older code names no index",
            "renaming-table": "the new table has the old one's name when it is seen again",
            "require-concurrent-index-creation": "the new table is empty",
        }.items()
    },
}

#: What is a matter of taste, or seen to elsewhere.
_NOT_ASKED = (
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",  # a migration is a transaction; what is outside of one is tried twice
    "prefer-text-field",
    "prefer-timestamptz",
    "require-lock-timeout",  # aftercall/db/migrating.py sets them
    "require-statement-timeout",
)
#: Our own rules, of statements in a transaction, on tables that were there before.
_MOVE = re.compile(r"^\s*(?:UPDATE|DELETE\s+FROM)\s+(?:ONLY\s+)?\"?(\w+)", re.IGNORECASE)
_LOCK = re.compile(r"^\s*(LOCK\b|CLUSTER\b|VACUUM\s+\(?FULL|TRUNCATE\b)", re.IGNORECASE)
_ATTACH = re.compile(r"\bATTACH\s+PARTITION\b", re.IGNORECASE)
#: They grow with the calls.
_LARGE = {
    "attempts",
    "call_payloads",
    "calls",
    "crm_people",
    "crm_steps",
    "deliveries",
    "events",
    "media",
    "transcripts",
    "webhooks",
}


@dataclass(frozen=True, slots=True)
class Ran:
    """One statement of a migration; `alone` when it was a transaction of its own."""

    statement: str
    alone: bool


class _Recorder:
    """Keeps what changes something; not what alembic and we ask and note."""

    _CHANGES = re.compile(
        r"^\s*(CREATE|ALTER|DROP|UPDATE|DELETE|INSERT|LOCK|TRUNCATE|VACUUM|CLUSTER|REINDEX|WITH|DO)\b",
        re.IGNORECASE,
    )

    def __init__(self) -> None:
        self.ran: list[Ran] = []

    def __call__(
        self,
        connection: Connection,
        _cursor: object,
        statement: str,
        _parameters: object,
        _context: object,
        _many: bool,
    ) -> None:
        if self._CHANGES.match(statement) and "alembic_version" not in statement:
            alone = bool(getattr(connection.connection.dbapi_connection, "autocommit", False))
            self.ran.append(Ran(statement, alone))


@pytest.fixture
def recorder() -> Iterator[_Recorder]:
    recorder = _Recorder()
    event.listen(Engine, "before_cursor_execute", recorder)
    yield recorder
    event.remove(Engine, "before_cursor_execute", recorder)


def test_no_migration_locks_out_webhooks_for_long(
    empty_database: str, recorder: _Recorder, tmp_path: Path
) -> None:
    config = _config()
    config.attributes["url"] = empty_database
    breaches = []
    for script in reversed(list(ScriptDirectory.from_config(config).walk_revisions())):
        recorder.ran.clear()
        command.upgrade(config, script.revision)
        found = breaches_of(recorder.ran, tmp_path / f"{script.revision}.sql")
        breaches += [
            f"{script.revision}: {rule}: {what}"
            for rule, what in found
            if (script.revision, rule) not in ALLOWED
        ]
    assert not breaches, "see docs/migrations.md, or say in ALLOWED why it may:\n" + "\n".join(
        breaches
    )


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("CREATE INDEX ix_x ON calls (state)", "require-concurrent-index-creation"),
        ("DROP INDEX ix_calls_due", "require-concurrent-index-deletion"),
        (
            "ALTER TABLE calls ADD COLUMN x timestamptz DEFAULT clock_timestamp()",
            "adding-field-with-default",
        ),
        ("ALTER TABLE calls ADD COLUMN x int NOT NULL", "adding-required-field"),
        ("ALTER TABLE calls ALTER COLUMN status SET NOT NULL", "adding-not-nullable-field"),
        ("ALTER TABLE calls ALTER COLUMN looks TYPE bigint", "changing-column-type"),
        (
            "ALTER TABLE calls ADD CONSTRAINT x FOREIGN KEY (id) REFERENCES media (id)",
            "constraint-missing-not-valid",
        ),
        ("ALTER TABLE calls ADD CONSTRAINT x CHECK (id > 0)", "constraint-missing-not-valid"),
        ("ALTER TABLE calls ADD CONSTRAINT x UNIQUE (status)", "disallowed-unique-constraint"),
        ("ALTER TABLE calls DROP COLUMN looks", "ban-drop-column"),
        ("ALTER TABLE calls RENAME COLUMN looks TO seen", "renaming-column"),
        ("ALTER TABLE calls RENAME TO old_calls", "renaming-table"),
        ("DROP TABLE media", "ban-drop-table"),
        ("UPDATE calls SET looks = 0", "move-in-a-transaction"),
        ("DELETE FROM calls WHERE id = 3", "move-in-a-transaction"),
        ("LOCK TABLE calls", "locks-a-table"),
        ("TRUNCATE media", "locks-a-table"),
        (
            "ALTER TABLE p ATTACH PARTITION calls FOR VALUES FROM (1) TO (2)",
            "attaches-a-partition",
        ),
    ],
)
def test_what_locks_for_long_is_seen(statement: str, rule: str, tmp_path: Path) -> None:
    found = breaches_of([Ran(statement, alone=False)], tmp_path / "one.sql")
    assert rule in [name for name, _ in found]


@pytest.mark.parametrize(
    "ran",
    [
        [Ran("CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_x ON calls (state)", alone=True)],
        [Ran("ALTER TABLE calls ADD COLUMN x smallint DEFAULT 0 NOT NULL", alone=False)],
        [
            Ran("CREATE TABLE notes (id bigint PRIMARY KEY, at timestamptz)", alone=False),
            Ran("CREATE INDEX ix_notes_at ON notes (at)", alone=False),
        ],
        [
            Ran("ALTER TABLE calls ADD CONSTRAINT x CHECK (id > 0) NOT VALID", alone=True),
            Ran("ALTER TABLE calls VALIDATE CONSTRAINT x", alone=True),
        ],
        [Ran("UPDATE calls SET looks = 0 WHERE id BETWEEN 1 AND 5000", alone=True)],
        [Ran("UPDATE destinations SET enabled = true", alone=False)],
    ],
)
def test_what_locks_for_a_moment_only_passes(ran: list[Ran], tmp_path: Path) -> None:
    assert breaches_of(ran, tmp_path / "some.sql") == []


def breaches_of(ran: list[Ran], file: Path) -> list[tuple[str, str]]:
    """(rule, statement) of each."""
    return [*_squawk(_script(ran), file), *_ours(ran)]


def _script(ran: list[Ran]) -> str:
    """As psql would run it: statements that were in one transaction are in one again."""
    lines: list[str] = []
    was_alone = True
    for one in ran:
        if one.alone != was_alone:
            lines.append("COMMIT;" if one.alone else "BEGIN;")
        was_alone = one.alone
        # Values do not matter to what is locked.
        lines.append(re.sub(r"%\(\w+\)s", "NULL", one.statement).replace("%%", "%").strip() + ";")
    if not was_alone:
        lines.append("COMMIT;")
    return "\n".join(lines)


def _squawk(script: str, file: Path) -> list[tuple[str, str]]:
    file.write_text(script)
    squawk = Path(sys.executable).with_name("squawk")
    done = subprocess.run(
        [
            squawk if squawk.exists() else str(shutil.which("squawk")),
            "--reporter=json",
            "--pg-version=14",
            *(f"--exclude={rule}" for rule in _NOT_ASKED),
            file,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in {0, 1}, done.stderr
    lines = script.splitlines()
    return [
        (said["rule_name"], lines[said["line"]].strip()) for said in json.loads(done.stdout or "[]")
    ]


def _ours(ran: list[Ran]) -> Iterator[tuple[str, str]]:
    for one in ran:
        if _LOCK.match(one.statement):
            yield "locks-a-table", one.statement
        if _ATTACH.search(one.statement):
            # It reads all of the table, unless a validated check says what is in it.
            yield "attaches-a-partition", one.statement
        moved = _MOVE.match(one.statement)
        if moved and not one.alone and moved[1] in _LARGE:
            yield "move-in-a-transaction", one.statement
