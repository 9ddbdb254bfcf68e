"""Starts `aftercall` commands: each a process of its own, forked from one that did the imports.

`python -m tests.cli.launcher PATH` listens on the Unix socket PATH. A request is one JSON object
(`arguments`, `folder`, `environment`) with the command's three standard streams; the answer is a
line with its exit code. It ends when its standard input does.

What follows the imports is exactly what `python -m aftercall.cli.main` does; that takes a second,
and this some hundredths.
"""

import json
import os
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress

from aftercall.cli.main import main as aftercall

MOST_BYTES = 1024 * 1024


def main(path: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)  # noqa: T201 - whoever started us waits for it
        while True:
            readable, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in readable:
                return
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _attend(connection)
                os._exit(0)
            connection.close()


def _attend(connection: socket.socket) -> None:
    """In a process of its own: starts one command and waits for it."""
    request, streams, _, _ = socket.recv_fds(connection, MOST_BYTES, 3)
    given = json.loads(request)
    pid = os.fork()
    if pid == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(given["folder"])
        os.environ.clear()
        os.environ.update(given["environment"])
        sys.argv = ["aftercall", *given["arguments"]]
        os._exit(_run())
    for stream in streams:
        os.close(stream)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # The one who asked may be gone: then nobody wants to know.
    with suppress(OSError):
        connection.sendall(f"{code}\n".encode())


def _run() -> int:
    """As Python runs a program: its exit code."""
    try:
        aftercall()
        code: object = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    main(sys.argv[1])
