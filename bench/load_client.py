"""Runs `bench.load` beside a contestant, and reads what came of it."""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from bench.load import Outcome, Plan
from bench.processes import run_to_end


def send(
    url: str,
    bodies: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    rate: float | None = None,
    method: str = "POST",
) -> Outcome:
    """Blocks until all are answered, or the time is up. Each body is one line."""
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    with tempfile.TemporaryDirectory(prefix="aftercall-bench-") as name:
        folder = Path(name)
        plan = Plan(
            port=parts.port or 80,
            path=path,
            method=method,
            connections=connections,
            seconds=seconds,
            rate=rate,
            bodies=str(folder / "bodies"),
            result=str(folder / "result.json"),
        )
        (folder / "bodies").write_bytes(b"\n".join(bodies))
        (folder / "plan.json").write_text(json.dumps(asdict(plan)))
        run_to_end(
            [sys.executable, "-m", "bench.load", str(folder / "plan.json")],
            environment={},
            log=folder / "load.log",
            timeout=seconds + 60,
        )
        return Outcome(**json.loads((folder / "result.json").read_text()))
