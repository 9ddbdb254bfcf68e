"""`make release`: sdist, wheel, bill of materials and checksums, in dist/.

One commit gives the same bytes each time: every time in them is the commit's. The wheel is built
from the sdist, so that the sdist is known to be whole. It publishes nothing: docs/releasing.md.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from aftercall import __version__
from tools.sbom import make_sbom

ROOT = Path(__file__).resolve().parents[1]


class NotReady(Exception):
    """Something is missing for a release. The message says what to do."""


def main(arguments: list[str]) -> int:
    """0 done, 1 not ready, 2 usage."""
    if arguments not in ([], ["--draft"]):
        print("usage: python -m tools.release [--draft]", file=sys.stderr)
        return 2
    try:
        if not arguments:
            check_changelog((ROOT / "CHANGELOG.md").read_text(), __version__)
            check_tree(_git("status", "--porcelain"))
        for file in build(ROOT / "dist", epoch=_epoch()):
            print(file.relative_to(ROOT))
    except NotReady as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def check_changelog(text: str, version: str) -> None:
    """NotReady unless the version has its heading with a date, and nothing waits above it."""
    heading = re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE)
    if heading is None:
        raise NotReady(
            f"CHANGELOG.md has no heading '## [{version}] - YYYY-MM-DD': move what is under "
            "[Unreleased] below one, or set another __version__ in aftercall/__init__.py"
        )
    _, _, waiting = text[: heading.start()].partition("## [Unreleased]")
    if re.search(r"^- ", waiting, re.MULTILINE):
        raise NotReady(
            f"CHANGELOG.md has entries under [Unreleased], above {version}: they would not be in "
            f"its release notes. Move them below its heading"
        )


def check_tree(status: str) -> None:
    """NotReady when the files are not what the commit says."""
    if status.strip():
        raise NotReady(f"The working tree is not clean: commit or remove this first\n{status}")


def build(folder: Path, *, epoch: int) -> list[Path]:
    """Makes the folder anew; what is in it then."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sdist = _hatch("sdist", ROOT, folder, epoch)
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(sdist) as archive:
            archive.extractall(place, filter="data")
        wheel = _hatch("wheel", Path(place) / sdist.name.removesuffix(".tar.gz"), folder, epoch)
    sbom = folder / f"aftercall-{__version__}.cdx.json"
    lock = (ROOT / "requirements.lock").read_text()
    sbom.write_text(
        make_sbom(lock, version=__version__, made_at=datetime.fromtimestamp(epoch, UTC))
    )
    files = [sdist, wheel, sbom]
    sums = folder / "SHA256SUMS"
    lines = [f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}\n" for one in files]
    sums.write_text("".join(lines))
    return [*files, sums]


def _hatch(target: str, source: Path, folder: Path, epoch: int) -> Path:
    before = set(folder.iterdir())
    run = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise NotReady(f"The {target} could not be built:\n{run.stdout}{run.stderr}")
    (made,) = set(folder.iterdir()) - before
    return made


def _epoch() -> int:
    given = os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct")
    if not given.strip().isdigit():
        raise NotReady("SOURCE_DATE_EPOCH must be seconds since 1970")
    return int(given)


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        raise NotReady(f"git {arguments[0]} failed: releases are made in a clone\n{run.stderr}")
    return run.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
