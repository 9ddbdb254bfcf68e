"""`aftercall backup FILE` and `aftercall restore FILE`: the database, and what belongs to it.

A backup is made while calls flow. It is restored into an empty database only: nothing that is
there is ever overwritten.
"""

import sys
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

import click
from rich.progress import Progress, SpinnerColumn, TextColumn

from aftercall.backup_file import (
    BackupError,
    BackupReader,
    BackupWriter,
    Manifest,
    new_backup,
    open_backup,
)
from aftercall.cli.secrets_file import NAMES, keep_secrets, kept_secrets
from aftercall.cli.session import current_settings, errors, say, say_aside
from aftercall.cli.up import open_database
from aftercall.db.dump import Tools, analyze, found_revision, is_empty, tools_for
from aftercall.db.schema import known_revisions, migrate
from aftercall.db.session import Database
from aftercall.settings import Settings
from aftercall.stores import check_database

_CHUNK = 1 << 20


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--with-secrets", is_flag=True, help="The key and the tokens too: keep it as safe.")
@click.option("--with-media", is_flag=True, help="Recordings and transcripts too.")
def backup(file: Path, with_secrets: bool, with_media: bool) -> None:
    """Writes the database into FILE, while calls flow; only its owner can read it."""
    settings = current_settings()
    media = _media_folder(settings) if with_media else None
    with (
        open_database(settings) as url,
        closing(Database(url, pool_size=1)) as database,
        new_backup(file) as writer,
        _Told() as told,
    ):
        check_database(database)
        revision = found_revision(database)
        with tools_for(database).dumping() as dump:
            writer.add_dump(dump, told.bytes)
        if with_secrets:
            writer.add_secrets(_secrets_of(settings))
        if media is not None:
            writer.add_media(media, told.files)
        writer.finish(_manifest(writer, revision))
    say(f"{file}: the database{' with its secrets' if with_secrets else ''}, {_told_media(writer)}")
    if not with_secrets:
        say("AFTERCALL_SECRET_KEY is not in it: without that key the credentials cannot be read.")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(file: Path) -> None:
    """Fills an empty database, and an empty data directory, from FILE."""
    settings = current_settings()
    with open_backup(file) as reader:
        _check_revision(reader.manifest)
        if reader.manifest.has_secrets:
            _check_secrets(settings, reader)
        media = _media_folder(settings) if reader.manifest.media_files else None
        with open_database(settings) as url, _Told() as told:
            with closing(Database(url, pool_size=1)) as database:
                check_database(database)
                if not is_empty(database):
                    raise BackupError(
                        "The database has tables already, and nothing was changed: restore into an "
                        "empty one (for embedded stores: stop `up`, and set AFTERCALL_DATA_DIR to "
                        "a new directory)"
                    )
                # The database comes last: until it is there, all of this can be done again.
                if reader.manifest.has_secrets:
                    keep_secrets(settings.data_dir, reader.secrets())
                if media is not None:
                    reader.restore_media(media, told.files)
                _restore_database(tools_for(database), reader.dump(), told)
                analyze(database)
            _migrate(url)
    say(
        f"Restored what was there at {reader.manifest.made_at:%Y-%m-%d %H:%M:%S} UTC. "
        "Calls that were accepted later are not in it: find them again with `aftercall backfill`, "
        "or enqueue their ids."
    )
    if not reader.manifest.has_secrets:
        say("Set AFTERCALL_SECRET_KEY to the key of then, and see what `aftercall doctor` says.")


class _Told:
    """How far it is; on a terminal only."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            console=errors,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task("")

    def __enter__(self) -> "_Told":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def bytes(self, count: int) -> None:
        self._progress.update(self._task, description=f"database: {count / 1e6:,.1f} MB")

    def files(self, count: int) -> None:
        self._progress.update(self._task, description=f"media: {count:,} files")


def _restore_database(tools: Tools, dump: IO[bytes], told: _Told) -> None:
    done = 0
    with tools.restoring() as target:
        while piece := dump.read(_CHUNK):
            target.write(piece)
            done += len(piece)
            told.bytes(done)


def _migrate(url: str) -> None:
    try:
        migrate(url)
    except Exception:
        say_aside(
            "Everything is restored, but not brought to this version's schema: see why below, "
            "then `aftercall migrate`. Do not restore again."
        )
        raise


def _manifest(writer: BackupWriter, revision: str) -> Manifest:
    return Manifest(
        aftercall=version("aftercall"),
        made_at=datetime.now(UTC),
        schema_revision=revision,
        dump_bytes=writer.dump_bytes,
        has_secrets=writer.has_secrets,
        media_files=writer.media_files,
    )


def _told_media(writer: BackupWriter) -> str:
    size = f"{writer.dump_bytes / 1e6:,.1f} MB"
    return f"{size}, {writer.media_files:,} recordings and transcripts."


def _secrets_of(settings: Settings) -> dict[str, str]:
    return {name: settings.require(name) for name in NAMES if getattr(settings, name) is not None}


def _check_revision(manifest: Manifest) -> None:
    if manifest.schema_revision not in known_revisions():
        raise BackupError(
            f"The backup was made by aftercall {manifest.aftercall}, whose schema "
            f"{manifest.schema_revision} this version does not know: update aftercall"
        )


def _check_secrets(settings: Settings, reader: BackupReader) -> None:
    kept = {
        name: value.get_secret_value() for name, value in kept_secrets(settings.data_dir).items()
    }
    if kept and kept != reader.secrets():
        raise BackupError(
            f"{settings.data_dir} has other secrets than the backup, and nothing was changed: "
            "set AFTERCALL_DATA_DIR to a new directory"
        )


def _media_folder(settings: Settings) -> Path:
    root = settings.media_root
    if "://" in root and not root.startswith("file://"):
        raise BackupError(
            "The media are in an object store, not in a folder: leave --with-media away, "
            "and let the object store keep versions or a copy"
        )
    return Path(root.removeprefix("file://"))
