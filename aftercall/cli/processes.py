"""aftercall's own processes, as `up` and `demo` start, watch and stop them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from aftercall.embedded import StoreUrls
from aftercall.settings import Settings

log = structlog.get_logger(__name__)

#: A worker may need this long to finish what it has in hand.
GRACE = 45.0
_FIRST_RESTART_WAIT = 1.0
_LONGEST_RESTART_WAIT = 30.0
#: One that ran this long was well; its next failure is a new one.
_WELL_AFTER = 60.0


class PortInUse(Exception):
    """Somebody else listens there."""


def api_arguments(*, host: str, port: int) -> list[str]:
    return [
        "uvicorn",
        "api.app:app",
        "--host",
        host,
        "--port",
        str(port),
        # The URL carries the webhook's token.
        "--no-access-log",
        "--no-server-header",
        "--timeout-graceful-shutdown",
        "20",
        "--log-level",
        "warning",
        # Bounds what a client that sends no request, or an endless one, can hold.
        "--http",
        "api.connections:BoundedConnection",
    ]


def worker_arguments(*, concurrency: int | None = None, name: str = "worker@%h") -> list[str]:
    options = [] if concurrency is None else ["--concurrency", str(concurrency)]
    return [
        "celery",
        "-A",
        "worker.app",
        "worker",
        "--without-mingle",
        "--without-gossip",
        "--loglevel",
        "INFO",
        "-n",
        name,
        *options,
    ]


def beat_arguments() -> list[str]:
    return ["celery", "-A", "worker.app", "beat", "--loglevel", "WARNING", "--pidfile="]


def child_environment(settings: Settings, stores: StoreUrls) -> dict[str, str]:
    """Ours, with the stores and the secrets that were made."""
    found: Mapping[str, str | None] = {
        "AFTERCALL_DATABASE_URL": stores.database_url,
        "AFTERCALL_REDIS_URL": stores.redis_url,
        "AFTERCALL_DATA_DIR": str(settings.data_dir.resolve()),
        **{
            f"AFTERCALL_{name.upper()}": settings.require(name)
            for name in ("secret_key", "admin_token", "webhook_token")
        },
    }
    return {**os.environ, **{key: value for key, value in found.items() if value}}


def check_port(host: str, port: int) -> None:
    """PortInUse when nobody could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUse(
                f"Cannot listen on {host}:{port} ({error.strerror}): "
                "stop what uses it, or choose another with --port"
            ) from None


@dataclass(slots=True)
class _Child:
    name: str
    arguments: list[str]
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    failures: int = 0
    restart_at: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Starts children, starts them again when they end, stops them all."""

    environment: dict[str, str]
    log_file: Path | None = None
    directory: Path | None = None
    _children: list[_Child] = field(default_factory=list)
    _tether: tuple[int, int] = field(default_factory=os.pipe)

    def start(self, name: str, arguments: Sequence[str]) -> None:
        child = _Child(name, list(arguments))
        self._children.append(child)
        self._spawn(child)

    def check(self) -> None:
        """Starts again what has ended, with growing waits."""
        for child in self._children:
            if child.process is None:
                if time.monotonic() >= child.restart_at:
                    self._spawn(child)
            elif (code := child.process.poll()) is not None:
                self._note_end(child, code)

    def pids(self) -> dict[str, int]:
        """Of those that run."""
        return {
            child.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.poll() is None
        }

    def stop(self) -> None:
        """SIGTERM to all, then patience, then SIGKILL."""
        running = [child for child in self._children if child.process is not None]
        for child in running:
            _signal(child, signal.SIGTERM)
        end = time.monotonic() + GRACE
        for child in running:
            if child.process is None:
                continue
            try:
                child.process.wait(max(end - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                log.warning("process.killed", name=child.name)
                _signal(child, signal.SIGKILL)
                child.process.wait()
        for descriptor in self._tether:
            os.close(descriptor)

    def _spawn(self, child: _Child) -> None:
        reader = self._tether[0]
        command = [
            sys.executable,
            "-m",
            "aftercall.cli.tethered",
            str(reader),
            *child.arguments,
        ]
        output = None if self.log_file is None else self.log_file.open("ab")
        try:
            child.process = subprocess.Popen(
                command,
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(reader,),
                # A Ctrl-C is for the supervisor; it stops the children in order.
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()
        child.started_at = time.monotonic()

    def _note_end(self, child: _Child, code: int) -> None:
        if time.monotonic() - child.started_at > _WELL_AFTER:
            child.failures = 0
        wait = min(_FIRST_RESTART_WAIT * 2**child.failures, _LONGEST_RESTART_WAIT)
        child.failures += 1
        child.process = None
        child.restart_at = time.monotonic() + wait
        log.warning("process.ended", name=child.name, code=code, restarts_in_seconds=wait)


def _signal(child: _Child, number: signal.Signals) -> None:
    if child.process is not None and child.process.poll() is None:
        child.process.send_signal(number)
