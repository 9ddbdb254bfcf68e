"""A command that is told to end: where Python drops exceptions, too."""

import signal
import subprocess
import sys

import pytest

#: Is told to end while a weak reference is cleared, then does its work for half a minute.
_SCRIPT = """
import os, sys, time, weakref
from aftercall.cli.interrupts import unwind_when_told_to_end

class Held:
    pass

def tell(_):
    os.kill(os.getpid(), int(sys.argv[1]))
    for _ in range(1_000):
        pass

unwind_when_told_to_end()
held = Held()
reference = weakref.ref(held, tell)
try:
    del held
    time.sleep(30)
    print("did its work")
except KeyboardInterrupt:
    sys.exit(130)
finally:
    print("unwound")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_while_a_weak_reference_is_cleared_is_not_lost(number: signal.Signals) -> None:
    script = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(int(number))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said, _ = script.communicate(timeout=60)
    assert said == "unwound\n"
    assert script.returncode == 128 + number
