"""Node and npm packages for the contestants that need them, as their lock files say.

Installed once into a folder of the user's cache, never into the repository.
Node itself comes from npm's packages of it, so that every contestant runs on
the same one, whatever the machine has.
"""

import hashlib
import os
import platform
import shutil
from pathlib import Path

from bench.processes import BenchError, run_to_end

_HERE = Path(__file__).parent


def node() -> Path:
    """The node program of `node/package-lock.json`."""
    kinds = {"x86_64": "x64", "aarch64": "arm64"}
    kind = kinds.get(platform.machine()) if platform.system() == "Linux" else None
    if kind is None:
        raise BenchError("npm's package of node is for Linux only: leave this contestant out")
    folder = installed("node", needs_node=False)
    return folder / "node_modules" / f"node-linux-{kind}" / "bin" / "node"


def installed(
    name: str, *, needs_node: bool = True, scripts: bool = True, timeout: float = 900.0
) -> Path:
    """A folder with the contestant's own files and its node_modules.

    `scripts`: whether its packages may run theirs, which compile or download.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise BenchError("npm is not there: install it, or leave this contestant out")
    source = _HERE / name
    lock = (source / "package-lock.json").read_bytes()
    folder = _cache() / f"{name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (folder / ".installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in ("package.json", "package-lock.json"):
            shutil.copy(source / file, folder)
        path = f"{node().parent}{os.pathsep}" if needs_node else ""
        run_to_end(
            [npm, "ci", "--omit=dev", "--no-audit", "--no-fund", *_no_scripts(scripts)],
            environment={"PATH": f"{path}{os.environ['PATH']}"},
            cwd=folder,
            log=folder / "install.log",
            timeout=timeout,
        )
        (folder / ".installed").touch()
    # The contestant's own files may have changed since.
    for own in source.iterdir():
        if own.suffix in {".js", ".json"}:
            shutil.copy(own, folder)
    return folder


def _no_scripts(scripts: bool) -> list[str]:
    return [] if scripts else ["--ignore-scripts"]


def _cache() -> Path:
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache") / "aftercall-bench"
