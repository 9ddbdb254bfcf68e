"""What `make` does on a machine on which something went wrong before."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_an_environment_that_was_broken_off_is_made_to_its_end(tmp_path: Path) -> None:
    """Ctrl-C in the first seconds, or Debian without python3-venv: a Python is there and no pip."""
    half = tmp_path / "half"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", half], check=True)
    made = subprocess.run(
        ["make", f"PYTHON={sys.executable}", f"VENV={half}", f"{half}/.ready"],
        cwd=ROOT,
        # What comes after is of no interest here, and would take long.
        env={**os.environ, "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "No module named pip" not in made.stderr
    assert (half / "bin" / "pip").exists()
    assert not (half / ".ready").exists()
