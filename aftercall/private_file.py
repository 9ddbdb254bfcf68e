"""Writes a file that only its owner can read, and that appears when it is whole.

It is written beside its place under a name that nobody else has, and moved there: neither a
link that lies there is followed, nor the mode of an older file kept, nor do two writers meet.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def private_file(path: Path, *, replaces: bool = True) -> Iterator[IO[bytes]]:
    """OSError when it cannot be written; unless it `replaces`, when something is there."""
    # 0600, and made by this call or not at all.
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not replaces and path.exists():
            raise FileExistsError(errno.EEXIST, "is there already", str(path))
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
