"""What a command works with: settings, stores, a service; and how it says what went wrong."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from aftercall.cli.secrets_file import kept_secrets
from aftercall.db.schema import SchemaError, check_schema
from aftercall.db.session import DatabaseError
from aftercall.embedded import EmbeddedError
from aftercall.flows.errors import OperatorError
from aftercall.flows.service import Service, open_service
from aftercall.sealing import SealError
from aftercall.settings import Settings, SettingsError, load_settings
from aftercall.stores import StoreError, check_database, find_stores

console = Console()
errors = Console(stderr=True)

#: Each says, in one line, what happened and what to do.
EXPECTED = (
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
    return settings.model_copy(update=missing) if missing else settings


@contextmanager
def open_session() -> Iterator[Service]:
    """A service on stores that answer and have the right schema."""
    settings = current_settings()
    service = open_service(settings, find_stores(settings), pool_size=2)
    try:
        check_database(service.database)
        check_schema(service.database)
        yield service
    finally:
        service.close()


def show_json(value: BaseModel | Sequence[BaseModel]) -> None:
    """As the API would answer."""
    if isinstance(value, BaseModel):
        plain: Any = value.model_dump(mode="json")
    else:
        plain = [item.model_dump(mode="json") for item in value]
    click.echo(json.dumps(plain, ensure_ascii=False, indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table, or a line that says what to do when there is nothing."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
        count += 1
    console.print(table if count else empty)


def fail(message: str) -> "SystemExit":
    """Prints the line, and is what to raise."""
    errors.print(f"[bold red]aftercall:[/] {message}", highlight=False, soft_wrap=True)
    return SystemExit(1)
