"""docs/tutorial.md, done: every command on the page runs, and says what the page shows.

What a file holds is written, what stays open stays open, and `…` on the page stands for anything.
The ports of the page are exchanged for free ones; nothing else is.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.command import environment

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tutorial.md"
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
#: api, Twenty2, hooks, HubSpot: which is the one behind the hooks.
API, TWENTYTWO, HOOKS, HUBSPOT = "8000", "8122", "8133", "8134"
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of the page."""

    kind: str
    title: str
    text: str


@pytest.mark.timeout(600)
def test_every_command_of_the_tutorial_says_what_the_page_shows() -> None:
    blocks = [Block(*found) for found in _BLOCK.findall(with_free_ports(PAGE.read_text()))]
    assert {block.kind for block in blocks} == {"sh", "text", "ini", "yaml"}
    with tempfile.TemporaryDirectory(prefix="aftercall-tutorial-") as folder, ExitStack() as open_:
        Path(folder).chmod(0o755)
        for block, next_ in zip(blocks, [*blocks[1:], Block("", "", "")], strict=True):
            expected = next_.text if next_.kind == "text" else ""
            if block.kind in {"ini", "yaml"}:
                (Path(folder) / block.title).write_text(block.text)
            elif "terminal" in block.title:
                open_.enter_context(staying_open(block, Path(folder), expected))
            elif block.kind == "sh":
                run(block, Path(folder), expected)


def test_the_page_has_an_output_for_every_command() -> None:
    kinds = [kind for kind, _, _ in _BLOCK.findall(PAGE.read_text()) if kind in {"sh", "text"}]
    assert kinds == ["sh", "text"] * (len(kinds) // 2)


@contextmanager
def staying_open(block: Block, folder: Path, expected: str) -> Iterator[None]:
    """A terminal of its own, until the page's end; as Ctrl-C ends it."""
    log = folder.parent / f"{folder.name}-{block.title.replace(' ', '-')}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {block.text}"],
            cwd=folder,
            env=of_a_person(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        until(log.read_text, expected, block)
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(70)
        finally:
            process.kill()
            process.wait()
            log.unlink()


def run(block: Block, folder: Path, expected: str) -> None:
    def output() -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text],
            cwd=folder,
            env=of_a_person(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0 or "again" in block.title, f"{block.text}\n{said}"
        return said

    if "again" in block.title:
        until(output, expected, block)
    else:
        said = output()
        assert fits(said, expected), f"{block.text}\nthe page shows\n{expected}\nit said\n{said}"


def until(look: Callable[[], str], expected: str, block: Block) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not fits(said := look(), expected):
        assert time.monotonic() < deadline, f"{block.text}\nnot within {_PATIENCE} s\n{said}"
        time.sleep(0.2)


def fits(said: str, expected: str) -> bool:
    """Whether the page's lines stand in it, in this order."""
    lines = [line.rstrip() for line in expected.strip("\n").splitlines()]
    patterns = [
        r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r" *\n"
        for line in lines
    ]
    return re.search("^" + "".join(patterns), said + "\n", re.MULTILINE) is not None


def with_free_ports(text: str) -> str:
    hooks = _free_ports(7)
    api, twentytwo = _free_ports(1), _free_ports(1)
    ports = {API: api, TWENTYTWO: twentytwo, HOOKS: hooks, HUBSPOT: hooks + 1}
    return re.sub(r"\b(8000|8122|8133|8134)\b", lambda found: str(ports[found[1]]), text)


def _free_ports(count: int) -> int:
    """The first of so many neighbours that nobody listens on."""
    for _ in range(100):
        with ExitStack() as sockets:
            first = sockets.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                for other in range(port + 1, port + count):
                    sockets.enter_context(socket.socket()).bind(("127.0.0.1", other))
            except (OSError, OverflowError):
                continue
            return port
    raise AssertionError("no free ports beside each other")


def of_a_person() -> dict[str, str]:
    """The environment after `. .venv/bin/activate`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return environment(PATH=path)
