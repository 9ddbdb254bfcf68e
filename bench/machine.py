"""What machine the figures are from."""

import os
import platform
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # comes with the embedded stores


def machine() -> str:
    """Cores, memory, processor, system; no name and no path."""
    memory = psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory:.0f} GB, {_processor()}, {system}, {python}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def load() -> float:
    """Of the last minute: above one or so, something else was running."""
    return os.getloadavg()[0]
