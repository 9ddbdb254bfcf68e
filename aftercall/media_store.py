"""Where recordings and transcripts are kept: a folder, or whatever else `fsspec` has a name for.

A file's name is made of the call's row, the kind and the content's hash, and of nothing that
somebody else wrote: another content is another file, so no row tells of what is not there. A
file appears whole or not at all: it is written under another name, and moved. In a folder
nobody but its owner can read it.
"""

import hashlib
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

#: Of a million calls a thousand files are in each, on the average.
FOLDERS = 1_000
#: A file as the store names it: its call's row, its kind, and whether it was never finished.
FILE_PATH = re.compile(
    r"[0-9]{3}/(?P<row>[0-9]{1,18})-(?P<kind>recording|transcript)-[0-9a-f]{16}"
    r"(?P<unfinished>\.[0-9a-f]{32}\.part)?"
)


class MediaStoreError(Exception):
    """The store does not do what it is asked. Says why; never the URL, which may hold a key."""


class NoSuchFile(MediaStoreError):
    """The store answers, and has no file of this name."""


class MediaStore:
    """Opened at its first use: whoever never keeps anything needs no store."""

    def __init__(self, root: str) -> None:
        """`root`: AFTERCALL_MEDIA_URL, a folder or a URL."""
        self._given = root
        self._opened: tuple[Any, str] | None = None

    def __repr__(self) -> str:
        return "MediaStore(…)"

    def put(self, call_row_id: int, kind: str, body: bytes) -> str:
        """Keeps it; its path. MediaStoreError."""
        mark = hashlib.sha256(body).hexdigest()[:16]
        folder, name = f"{call_row_id % FOLDERS:03d}", f"{call_row_id}-{kind}-{mark}"
        try:
            files, root = self._open()
            if isinstance(files, LocalFileSystem):
                _make_private(Path(root), Path(root, folder))
            unfinished = f"{root}/{folder}/{name}.{uuid.uuid4().hex}.part"
            try:
                files.pipe_file(unfinished, body)
                if isinstance(files, LocalFileSystem):
                    Path(unfinished).chmod(0o600)
                files.mv(unfinished, f"{root}/{folder}/{name}")
            except BaseException:
                _forget(files, unfinished)
                raise
        except MediaStoreError:
            raise
        except Exception as error:
            raise MediaStoreError(_why("written", error)) from None
        return f"{folder}/{name}"

    def open(self, path: str) -> IO[bytes]:
        """For reading, with `seek`. NoSuchFile when it is not there."""
        try:
            files, root = self._open()
            return cast(IO[bytes], files.open(f"{root}/{path}", "rb"))
        except MediaStoreError:
            raise
        except FileNotFoundError as error:
            raise NoSuchFile(_why("read", error)) from None
        except Exception as error:
            raise MediaStoreError(_why("read", error)) from None

    def read(self, path: str) -> bytes:
        """All of it. NoSuchFile when it is not there."""
        with self.open(path) as file:
            try:
                return file.read()
            except Exception as error:
                raise MediaStoreError(_why("read", error)) from None

    def files_of(self, call_row_id: int) -> list[str]:
        """The paths of all that is kept of a call: also what no row tells of any more."""
        beginning = f"{call_row_id}-"
        found = self.paths(call_row_id % FOLDERS)
        return sorted(path for path in found if path.rpartition("/")[2].startswith(beginning))

    def remove(self, path: str) -> None:
        """Gone afterwards, whether it was there or not. MediaStoreError."""
        try:
            files, root = self._open()
            files.rm_file(f"{root}/{path}")
        except MediaStoreError:
            raise
        except FileNotFoundError:
            return
        except Exception as error:
            raise MediaStoreError(_why("changed", error)) from None

    def paths(self, folder: int) -> list[str]:
        """Of all that lies in this one of the `FOLDERS`. MediaStoreError."""
        try:
            files, root = self._open()
            files.invalidate_cache()
            names = files.ls(f"{root}/{folder:03d}", detail=False)
        except MediaStoreError:
            raise
        except FileNotFoundError:
            return []
        except Exception as error:
            raise MediaStoreError(_why("read", error)) from None
        return [f"{folder:03d}/{str(name).rpartition('/')[2]}" for name in names]

    def written_at(self, path: str) -> datetime | None:
        """None: it is not there, or the store does not tell. MediaStoreError."""
        try:
            files, root = self._open()
            at = cast(datetime, files.modified(f"{root}/{path}"))
        except MediaStoreError:
            raise
        except (FileNotFoundError, NotImplementedError):
            return None
        except Exception as error:
            raise MediaStoreError(_why("read", error)) from None
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    def check(self) -> None:
        """MediaStoreError unless a file can be written, read and removed."""
        try:
            files, root = self._open()
            if isinstance(files, LocalFileSystem):
                _make_private(Path(root))
            probe = f"{root}/probe-{uuid.uuid4().hex}"
            files.pipe_file(probe, b"?")
            read = files.cat_file(probe)
            files.rm_file(probe)
        except MediaStoreError:
            raise
        except Exception as error:
            raise MediaStoreError(_why("written", error)) from None
        if read != b"?":
            raise MediaStoreError("The media store gives back something else than it was given")

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            try:
                self._opened = fsspec.url_to_fs(self._given)
            except ImportError:
                raise MediaStoreError(
                    "AFTERCALL_MEDIA_URL names a storage whose program is not installed: "
                    "install aftercall[s3] or aftercall[gcs]"
                ) from None
            except Exception:
                raise MediaStoreError("AFTERCALL_MEDIA_URL is no folder and no URL") from None
        files, root = self._opened
        return files, str(root).rstrip("/")


def _make_private(*folders: Path) -> None:
    for folder in folders:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _forget(files: Any, path: str) -> None:
    try:
        files.rm_file(path)
    except Exception:
        # It may never have been there.
        return


def _why(what: str, error: Exception) -> str:
    # The message of a remote store's error may quote its URL.
    said = error.strerror if isinstance(error, OSError) and error.strerror else ""
    return f"The media store cannot be {what} ({said or type(error).__name__})"
