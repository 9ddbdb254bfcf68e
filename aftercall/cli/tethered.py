"""Runs a module as a program that ends when its supervisor does, even when that was killed.

`python -m aftercall.cli.tethered FD MODULE ARGS…`: the supervisor holds the
other end of the pipe FD; when it is gone, we ask ourselves to stop.
"""

import os
import runpy
import signal
import sys
import threading


def _watch(descriptor: int) -> None:
    # Nothing is ever written: a read returns when the other end is closed.
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    descriptor, module = int(sys.argv[1]), sys.argv[2]
    # Not for the children of the program.
    os.set_inheritable(descriptor, False)
    threading.Thread(target=_watch, args=(descriptor,), daemon=True, name="tether").start()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
