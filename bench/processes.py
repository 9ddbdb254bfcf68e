"""The processes that a benchmark starts: each is ended by its own pid, whatever the way out."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # comes with the embedded stores

_GRACE = 50.0


class BenchError(Exception):
    """A run cannot go on. One line: which contestant, what happened, where its log is."""


@dataclass(slots=True)
class Child:
    """One process that was started here, the leader of a group of its own."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path
    #: Not part of the contestant: it may end when it is done, and is not measured.
    is_beside: bool = False

    def check(self) -> None:
        """BenchError when it has ended."""
        code = self.process.poll()
        if code is not None and not (self.is_beside and code == 0):
            raise BenchError(f"{self.name} ended with {code}: {_last_words(self.log)}")


@dataclass(slots=True)
class Children:
    """Starts processes, measures them, stops them all."""

    directory: Path
    _running: list[Child] = field(default_factory=list)

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        cwd: Path | None = None,
        is_beside: bool = False,
    ) -> Child:
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - a contestant's own command
                list(command),
                env={**os.environ, **environment},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A Ctrl-C is for the benchmark; it stops its children in order. Not a session of
                # its own: Linux shares the processors out by session, and one contestant's two
                # processes would weigh more than another's two.
                process_group=0,
            )
        child = Child(name, process, log, is_beside)
        self._running.append(child)
        return child

    def check(self) -> None:
        """BenchError when one has ended by itself."""
        for child in self._running:
            child.check()

    def last_words(self) -> str:
        """The last line that each of them has written."""
        return "; ".join(f"{child.name}: {_last_words(child.log)}" for child in self._running)

    def trees(self) -> dict[str, list[psutil.Process]]:
        """By name, each of the contestant's processes with all that it has started."""
        trees = {}
        for child in self._running:
            if child.is_beside:
                continue
            with suppress(psutil.Error):
                root = psutil.Process(child.process.pid)
                trees[child.name] = [root, *root.children(recursive=True)]
        return trees

    def stop(self, *names: str) -> None:
        """SIGTERM, then patience, then SIGKILL to the whole group; without names, all."""
        leaving = [child for child in self._running if not names or child.name in names]
        self._running = [child for child in self._running if child not in leaving]
        for child in leaving:
            if child.process.poll() is None:
                child.process.terminate()
        end = time.monotonic() + _GRACE
        for child in leaving:
            try:
                child.process.wait(max(end - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                # The group is its own, and so is every process in it.
                with suppress(ProcessLookupError):
                    os.killpg(child.process.pid, signal.SIGKILL)
                child.process.wait()


@contextmanager
def children_in(directory: Path) -> Iterator[Children]:
    """Their logs lie in the directory."""
    children = Children(directory)
    try:
        yield children
    finally:
        children.stop()


def run_to_end(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    log: Path,
    timeout: float = 600.0,
) -> None:
    """BenchError, with the end of its output, unless it exits 0."""
    with log.open("ab") as output:
        try:
            code = subprocess.run(  # noqa: S603 - a contestant's own command
                list(command),
                env={**os.environ, **environment},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=timeout,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise BenchError(f"{command[0]} took over {timeout:.0f} s; see {log}") from None
    if code != 0:
        raise BenchError(f"{command[0]} ended with {code}: {_last_words(log)}")


def wait_until(
    is_done: Callable[[], bool], *, seconds: float, what: str, children: Children | None = None
) -> None:
    """BenchError when it does not come about in time, or a process ends first."""
    end = time.monotonic() + seconds
    while not is_done():
        if children is not None:
            children.check()
        if time.monotonic() > end:
            raise BenchError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"{lines[-1][:300] if lines else '(nothing)'} (see {log})"
