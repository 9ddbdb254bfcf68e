"""A private file: its owner's alone, whole when it appears, and nowhere else."""

import stat
from pathlib import Path
from typing import IO

import pytest

from aftercall.private_file import private_file


def test_neither_the_mode_nor_the_link_that_was_there_is_kept(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"before")
    elsewhere.chmod(0o644)
    link, open_to_all = tmp_path / "link", tmp_path / "open"
    link.symlink_to(elsewhere)
    open_to_all.write_bytes(b"before")
    open_to_all.chmod(0o644)
    for path in (link, open_to_all):
        with private_file(path) as file:
            file.write(b"secret")
        assert path.read_bytes() == b"secret"
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert not link.is_symlink()
    assert elsewhere.read_bytes() == b"before"


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="full"), private_file(path) as file:
        _fill(file)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def _fill(file: IO[bytes]) -> None:
    file.write(b"half")
    raise OSError("The disk is full")
