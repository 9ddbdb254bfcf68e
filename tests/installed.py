"""Programs that some tests need and no wheel brings. In CI they are there: `.ci/run` sees to it."""

import os
import shutil
from pathlib import Path

import pytest


def why_not_installed(program: str, package: str) -> str | None:
    """None when it is installed. In CI its absence is a failure.

    `package`: Debian's.
    """
    if shutil.which(program) or Path("/usr/sbin", program).exists():
        return None
    assert os.environ.get("CI") != "true", f"{program} is missing: .ci/run installs {package}"
    return f"NOT tested: {program} is not installed here (Debian's package {package})"


def installed(program: str, package: str) -> str:
    """Where it is; skips the test where it is not, but not in CI."""
    if why := why_not_installed(program, package):
        pytest.skip(why)
    return shutil.which(program) or f"/usr/sbin/{program}"
