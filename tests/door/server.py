"""The api as `aftercall api` starts it, and what can be seen of its process from outside."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import requests

from aftercall.cli.processes import api_arguments
from tests.api.server import SETTINGS, Api, free_port
from tests.cli.command import environment

#: What most shells give a process; fewer than the connections that are opened here.
OPEN_FILES = 1_024


@dataclass(frozen=True, slots=True)
class Door:
    """A running api."""

    api: Api
    process: psutil.Process
    log: Path

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.api.origin)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def memory(self) -> int:
        """Resident bytes."""
        return int(self.process.memory_info().rss)

    def processor_seconds(self) -> float:
        """That it has used so far."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    def open_files(self) -> int:
        return int(self.process.num_fds())


@contextmanager
def running_door(folder: Path, *, stderr: int | None = None, **settings: str) -> Iterator[Door]:
    """Until the end of the block; it must still live then. `stderr`: a terminal for its log."""
    port = free_port()
    log = folder / f"door-{port}.log"
    command = [sys.executable, "-m", *api_arguments(host="127.0.0.1", port=port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f'ulimit -Sn {OPEN_FILES}; exec "$@"', "sh", *command],
            cwd=folder,
            env=environment(**{**SETTINGS, **settings}),
            stdout=output,
            stderr=output if stderr is None else stderr,
        )
    api = Api(f"http://127.0.0.1:{port}", log)
    try:
        _wait_until_alive(api, process)
        yield Door(api, psutil.Process(process.pid), log)
        assert process.poll() is None, f"the api died: {log.read_text()}"
    finally:
        api.session.close()
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _wait_until_alive(api: Api, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, api.log.read_text()
        try:
            if api.open("/healthz", timeout=1).ok:
                return
        except requests.RequestException:
            time.sleep(0.05)
    raise AssertionError(f"the api did not come up: {api.log.read_text()}")
