"""What a command works with: settings, stores, a service; and how it says what went wrong."""

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aftercall.backup_file import BackupError
from aftercall.cli.secrets_file import kept_secrets
from aftercall.db.schema import SchemaError, check_schema
from aftercall.db.session import DatabaseError
from aftercall.embedded import EmbeddedError
from aftercall.flows.errors import Invalid, OperatorError
from aftercall.flows.service import Service, open_service
from aftercall.logs import configure_logs
from aftercall.sealing import SealError
from aftercall.settings import Settings, SettingsError, load_settings
from aftercall.stores import StoreError, check_database, find_stores

#: Wide where nobody looks at it: a pipe gets whole ids, however many columns.
console = Console(width=None if sys.stdout.isatty() else 1_000)
errors = Console(stderr=True)

#: Each says, in one line, what happened and what to do.
EXPECTED = (
    BackupError,
    DatabaseError,
    EmbeddedError,
    OperatorError,
    SchemaError,
    SealError,
    SettingsError,
    StoreError,
)


def current_settings() -> Settings:
    """The environment's, completed by the secrets that `aftercall up` keeps."""
    settings = load_settings()
    kept = kept_secrets(settings.data_dir)
    missing = {name: value for name, value in kept.items() if getattr(settings, name, None) is None}
    return settings.completed(missing)


class Moment(click.ParamType[datetime]):
    """A time as --json shows it, or a date; UTC unless it says otherwise."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            at = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(
                f"{value!r} is no time: expected 2026-01-31 or 2026-01-31T18:30:00Z", param, ctx
            )
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at


@contextmanager
def open_session() -> Iterator[Service]:
    """A service on stores that answer and have the right schema."""
    # Standard output is the result; what a library or a flow logs goes elsewhere.
    configure_logs(level=logging.ERROR)
    settings = current_settings()
    service = open_service(settings, find_stores(settings), pool_size=2)
    try:
        check_database(service.database)
        check_schema(service.database)
        yield service
    finally:
        service.close()


def say(line: str) -> None:
    """A line as it is: names may have brackets in them."""
    console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say_aside(line: str) -> None:
    """A line that is no part of the result."""
    errors.print(line, highlight=False, markup=False, emoji=False, soft_wrap=True)


def read_text(path: Path) -> str:
    """A file as people and spreadsheets write it: UTF-8, with or without a mark. Invalid else."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid([("", f"{path} is not UTF-8 text: save it as UTF-8")]) from None
    except OSError as error:
        raise Invalid([("", f"{path} cannot be read: {error.strerror}")]) from None


def show_json(value: BaseModel) -> None:
    """As the API would answer."""
    click.echo(json.dumps(value.model_dump(mode="json"), ensure_ascii=False, indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table, or a line that says what to do when there is nothing."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        # The first is an id: people copy it.
        table.add_column(column, overflow="fold", no_wrap=index == 0)
    count = 0
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
        count += 1
    if count:
        console.print(table)
    else:
        say(empty)


#: What wants to be seen at a glance; on a terminal only.
_COLOURS = {
    **dict.fromkeys(("dead", "failed", "open"), "red"),
    **dict.fromkeys(("held", "disabled", "blocked", "probing", "retry"), "yellow"),
    **dict.fromkeys(("delivered", "fetched", "succeeded", "done", "works"), "green"),
}


def _cell(value: object) -> Text:
    said = "" if value is None else str(value)
    return Text(said, style=_COLOURS.get(said, ""))


def fail(message: str) -> "SystemExit":
    """Prints the line, and is what to raise."""
    line = Text.assemble(("aftercall:", "bold red"), " ", " ".join(message.split()))
    errors.print(line, soft_wrap=True)
    return SystemExit(1)
