"""What a backup is: a tar with the database's dump, and on demand the secrets and the media.

    database.dump   pg_dump's custom format, compressed
    secrets.json    the key and the tokens, as `up` keeps them
    media/…         recordings and transcripts, by their paths in the store
    manifest.json   what made it, when, of which schema, and what is in it; the last one

The dump is written straight into the tar: no disk needs room for it twice. A file without its
manifest is not whole. Must not touch a database: `aftercall.cli.backup` does.
"""

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from aftercall.media_store import FILE_PATH
from aftercall.private_file import private_file

DUMP = "database.dump"
SECRETS = "secrets.json"
MANIFEST = "manifest.json"
MEDIA = "media/"
_CHUNK = 1 << 20
_BLOCK = 512


class BackupError(Exception):
    """There is no backup, or it is not restored. One line: what happened, and what to do."""


class Manifest(BaseModel):
    """What stands in `manifest.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    aftercall: str
    made_at: AwareDatetime
    #: The revision of the database's schema.
    schema_revision: str
    dump_bytes: int
    has_secrets: bool
    media_files: int


class BackupWriter:
    """Adds the parts, one after the other; the dump first."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.dump_bytes = 0
        self.media_files = 0
        self.has_secrets = False

    def add_dump(self, source: IO[bytes], told: Callable[[int], None]) -> None:
        """All that `source` has. Its length, which a tar tells first, is written at the end."""
        entry = _entry(DUMP)
        start = self._file.tell()
        self._file.write(_head(entry))
        while piece := source.read(_CHUNK):
            self._file.write(piece)
            entry.size += len(piece)
            told(entry.size)
        self._file.write(b"\0" * (-entry.size % _BLOCK))
        end = self._file.tell()
        self._file.seek(start)
        self._file.write(_head(entry))
        self._file.seek(end)
        self.dump_bytes = entry.size

    def add_secrets(self, secrets: dict[str, str]) -> None:
        self._add(SECRETS, json.dumps(secrets).encode())
        self.has_secrets = True

    def add_media(self, root: Path, told: Callable[[int], None]) -> None:
        """All that is ours and whole; what is removed meanwhile was not wanted any more."""
        for path in sorted(root.glob("*/*")):
            name = f"{path.parent.name}/{path.name}"
            if not _is_medium(name) or not path.is_file():
                continue
            try:
                self._add(f"{MEDIA}{name}", path.read_bytes())
            except FileNotFoundError:
                continue
            self.media_files += 1
            told(self.media_files)

    def finish(self, manifest: Manifest) -> None:
        self._add(MANIFEST, manifest.model_dump_json(indent=2).encode())
        self._file.write(b"\0" * _BLOCK * 2)

    def _add(self, name: str, content: bytes) -> None:
        entry = _entry(name)
        entry.size = len(content)
        self._file.write(_head(entry) + content + b"\0" * (-len(content) % _BLOCK))


@contextmanager
def new_backup(path: Path) -> Iterator[BackupWriter]:
    """A file that only its owner can read, and that appears when it is whole."""
    if path.exists():
        raise BackupError(f"{path} is there already: choose another name, or move it away")
    try:
        with private_file(path, replaces=False) as file:
            yield BackupWriter(file)
    except OSError as error:
        raise BackupError(f"{error.filename or path}: {error.strerror}") from None


class BackupReader:
    """What a backup holds."""

    def __init__(self, tar: tarfile.TarFile, manifest: Manifest) -> None:
        self._tar = tar
        self.manifest = manifest

    def dump(self) -> IO[bytes]:
        return self._open(DUMP)

    def secrets(self) -> dict[str, str]:
        found = json.loads(self._open(SECRETS).read())
        return {str(name): str(value) for name, value in found.items()}

    def restore_media(self, root: Path, told: Callable[[int], None]) -> None:
        """Into the folder; what is there already is left as it is: a name tells the content.

        Names that the store does not give are passed over: older versions took what lay there.
        """
        count = 0
        for entry in self._tar:
            name = entry.name.removeprefix(MEDIA)
            if not entry.isreg() or name == entry.name or not _is_medium(name):
                continue
            path = root / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                with private_file(path) as file:
                    shutil.copyfileobj(self._open(entry), file, _CHUNK)
            count += 1
            told(count)

    def _open(self, name: str | tarfile.TarInfo) -> IO[bytes]:
        try:
            file = self._tar.extractfile(name)
        except KeyError:
            file = None
        if file is None:
            raise BackupError(f"The backup has no {name}: it is not whole")
        return file


@contextmanager
def open_backup(path: Path) -> Iterator[BackupReader]:
    """BackupError when it is none, or not whole."""
    try:
        with tarfile.open(path, "r:") as tar:
            file = tar.extractfile(MANIFEST)
            if file is None:
                raise KeyError(MANIFEST)
            reader = BackupReader(tar, Manifest.model_validate_json(file.read()))
            if tar.getmember(DUMP).size != reader.manifest.dump_bytes:
                raise BackupError(f"{path} is damaged: its dump has another length than it says")
            yield reader
    except (tarfile.TarError, KeyError, ValidationError):
        raise BackupError(
            f"{path} is no backup that `aftercall backup` made, or not whole"
        ) from None
    except OSError as error:
        raise BackupError(f"{error.filename or path}: {error.strerror}") from None


def _entry(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode = 0o600
    return entry


def _head(entry: tarfile.TarInfo) -> bytes:
    # GNU's form: one block, whatever the length.
    return entry.tobuf(format=tarfile.GNU_FORMAT)


def _is_medium(name: str) -> bool:
    found = FILE_PATH.fullmatch(name)
    return found is not None and found["unfinished"] is None
