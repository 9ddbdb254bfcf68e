"""Which code ran before a migration came: read from the history, unpacked beside the present tree.

A release here is the code of main just before a migration's file was in it, and the working tree
as the last one. What it needs of libraries is what the working tree needs: where the lock file has
changed since, that is told.
"""

import io
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = "alembic/versions"


class HistoryMissing(Exception):
    """The repository does not reach back far enough. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Release:
    """Code, with the schema that it was written for."""

    #: None: the working tree.
    commit: str | None
    schema: str

    def __str__(self) -> str:
        return f"{self.schema} ({self.commit[:7] if self.commit else 'this tree'})"


def releases() -> list[Release]:
    """The oldest first. HistoryMissing in a shallow clone."""
    if _git("rev-parse", "--is-shallow-repository") != "false":
        raise HistoryMissing(
            "The code before a migration is taken from the history, and this clone is shallow: "
            "`git fetch --unshallow`"
        )
    found: list[Release] = []
    for file in sorted((ROOT / VERSIONS).glob("*.py"))[1:]:
        before = _before(file)
        # Several migrations may have come at once.
        if before is not None and (not found or before != found[-1]):
            found.append(before)
    now = Release(None, newest([file.name for file in (ROOT / VERSIONS).glob("*.py")]))
    return [*(release for release in found if release.schema != now.schema), now]


def _before(file: Path) -> Release | None:
    """The code of main just before it had this file; None when that was no release."""
    added = _git(
        "log",
        "--first-parent",
        "-m",
        "--diff-filter=A",
        "--format=%H",
        "--",
        f"{VERSIONS}/{file.name}",
    ).split()
    commit = _git("rev-parse", f"{added[-1]}^1") if added else _git("rev-parse", "HEAD")
    names = _git("ls-tree", "--name-only", commit, f"{VERSIONS}/").splitlines()
    names = [Path(name).name for name in names if name.endswith(".py")]
    return Release(commit, newest(names)) if names and _is_one_line(commit) else None


def _is_one_line(commit: str) -> bool:
    """Whether each migration follows one of its own: between two merges several may follow one."""
    said = _git("grep", "-h", "^down_revision", commit, "--", VERSIONS).splitlines()
    return len(set(said)) == len(said)


def newest(names: list[str]) -> str:
    """The highest number among migrations' file names: 20261124_0007_crm_sync.py."""
    return max(found[1] for name in names if (found := re.match(r"\d{8}_(\d{4})_", name)))


def unpack(release: Release, folder: Path) -> Path:
    """Where the release's code lies."""
    if release.commit is None:
        return ROOT
    target = folder / f"code-{release.schema}"
    if target.exists():
        return target
    archive = subprocess.run(
        ["git", "archive", release.commit], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(target, filter="data")
    return target


def libraries_differ(release: Release) -> bool:
    """Whether it was locked to others than those it is run with here."""
    if release.commit is None:
        return False
    return bool(_git("diff", "--name-only", release.commit, "--", "requirements.lock"))


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise HistoryMissing(
            "The code before a migration is taken from the git history, and there is none here: "
            "run this in a clone"
        ) from error
