"""The real command, run as a process of its own in a folder of its own."""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
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
    """A command under way. It is read to its end whether somebody waits for that or not."""

    def __init__(self, connection: socket.socket, streams: Sequence[int], stdin: bytes) -> None:
        self._connection = connection
        self._streams = [
            os.fdopen(stream, mode, buffering=0)
            for stream, mode in zip(streams, ("wb", "rb", "rb"), strict=True)
        ]
        self._said = [b"", b""]
        self._code: int | None = None
        self._end = threading.Thread(target=self._follow, args=(stdin,), daemon=True)
        self._end.start()

    def finish(self, *, timeout: float = 60) -> Result:
        """Waits for its end."""
        self._end.join(timeout)
        assert self._code is not None, f"not at its end after {timeout} s: {self._said}"
        out, err = (said.decode() for said in self._said)
        return Result(self._code, out, err)

    def _follow(self, stdin: bytes) -> None:
        helpers = [threading.Thread(target=self._write, args=(stdin,), daemon=True)]
        helpers += [
            threading.Thread(target=self._read, args=(number,), daemon=True) for number in (0, 1)
        ]
        for helper in helpers:
            helper.start()
        with self._connection, self._connection.makefile("r") as answers:
            code = int(answers.readline())
        for helper in helpers:
            helper.join(5)
        self._code = code

    def _write(self, stdin: bytes) -> None:
        try:
            with self._streams[0] as stream:
                stream.write(stdin)
        except BrokenPipeError:
            pass  # it does not read

    def _read(self, number: int) -> None:
        with self._streams[number + 1] as stream:
            while piece := stream.read(65_536):
                self._said[number] += piece


@dataclass(frozen=True, slots=True)
class Command:
    """`aftercall` in a folder, with settings."""

    launcher: str
    folder: Path
    settings: dict[str, str]

    def __call__(self, *arguments: str, stdin: str | bytes = "", **settings: str) -> Result:
        """Runs it to its end; `settings` replace the usual ones, "" unsets one."""
        return self.start(*arguments, stdin=stdin, **settings).finish()

    def ok(self, *arguments: str, stdin: str | bytes = "", **settings: str) -> str:
        """What it printed; it must exit 0."""
        result = self(*arguments, stdin=stdin, **settings)
        assert result.code == 0, result
        return result.out

    def start(self, *arguments: str, stdin: str | bytes = "", **settings: str) -> Running:
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
        return Running(connection, ours, stdin.encode() if isinstance(stdin, str) else stdin)


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
