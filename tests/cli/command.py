"""The real command, run as a process of its own in a folder of its own."""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(**settings: str) -> dict[str, str]:
    """That of a shell that knows nothing of aftercall, and these settings."""
    ours = ("AFTERCALL_", "TWENTYTWO_", "COLUMNS", "NO_COLOR", "FORCE_COLOR")
    outside = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    if outside.pop("PYTHONDONTWRITEBYTECODE", None):
        # Compiled anew for each process, the imports alone would take seconds.
        outside["PYTHONPYCACHEPREFIX"] = _compiled()
    return {**outside, "PYTHONPATH": str(ROOT), **settings}


@cache
def _compiled() -> str:
    folder = tempfile.mkdtemp(prefix="aftercall-pyc-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Running:
    """A command under way: its pid, and what it says."""

    def __init__(self, connection: socket.socket, stdin: int, stdout: int, stderr: int) -> None:
        self._answers = connection.makefile("r")
        self._connection = connection
        self.pid = int(self._answers.readline())
        self._said: dict[int, bytes] = {}
        self._stdin = stdin
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (stdout, stderr)
        ]
        self._streams = (stdout, stderr)
        for reader in self._readers:
            reader.start()

    def finish(self, stdin: str | bytes = "", *, timeout: float = 60) -> Result:
        """Waits for its end."""
        threading.Thread(target=self._write, args=(stdin,), daemon=True).start()
        self._connection.settimeout(timeout)
        try:
            code = int(self._answers.readline())
        except TimeoutError:
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"it did not end: {self._said}") from None
        finally:
            for reader in self._readers:
                reader.join(5)
            self._answers.close()
            self._connection.close()
        out, err = (self._said.get(stream, b"").decode() for stream in self._streams)
        return Result(code, out, err)

    def _write(self, stdin: str | bytes) -> None:
        with os.fdopen(self._stdin, "wb") as stream:
            try:
                stream.write(stdin.encode() if isinstance(stdin, str) else stdin)
                stream.flush()
            except BrokenPipeError:
                pass  # it does not read

    def _read(self, stream: int) -> None:
        with os.fdopen(stream, "rb", buffering=0) as file:
            while piece := file.read(65_536):
                self._said[stream] = self._said.get(stream, b"") + piece


@dataclass(frozen=True, slots=True)
class Command:
    """`aftercall` in a folder, with settings."""

    launcher: str
    folder: Path
    settings: dict[str, str]

    def __call__(self, *arguments: str, stdin: str | bytes = "", **settings: str) -> Result:
        """Runs it to its end; `settings` replace the usual ones, "" unsets one."""
        return self.start(*arguments, **settings).finish(stdin)

    def ok(self, *arguments: str, stdin: str | bytes = "", **settings: str) -> str:
        """What it printed; it must exit 0."""
        result = self(*arguments, stdin=stdin, **settings)
        assert result.code == 0, result
        return result.out

    def start(self, *arguments: str, **settings: str) -> Running:
        given = {name: value for name, value in {**self.settings, **settings}.items() if value}
        request = {
            "arguments": arguments,
            "folder": str(self.folder),
            "environment": environment(**given),
        }
        theirs, ours = zip(*(_pipe(reads=reads) for reads in (True, False, False)), strict=True)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.launcher)
        socket.send_fds(connection, [json.dumps(request).encode()], list(theirs))
        for stream in theirs:
            os.close(stream)
        return Running(connection, *ours)


def _pipe(*, reads: bool) -> tuple[int, int]:
    """The command's end, which it reads from or writes to, and ours."""
    reader, writer = os.pipe()
    return (reader, writer) if reads else (writer, reader)


@contextmanager
def launched() -> Iterator[str]:
    """The launcher's socket; it runs until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="aftercall-cli-") as folder:
        path = str(Path(folder, "socket"))
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.launcher", path],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield path
            assert process.stdin is not None
            process.stdin.close()


def assert_one_line(result: Result, *says: str, code: int = 1) -> None:
    """It failed, and says why in one line, without a traceback."""
    assert result.code == code, result
    assert "Traceback" not in result.said, result.said
    lines = result.err.strip().splitlines()
    assert len(lines) == 1, result.said
    for text in says:
        assert text.lower() in lines[0].lower(), lines[0]
