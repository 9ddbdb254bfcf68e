"""Garbage is collected rarely, and is collected."""

import subprocess
import sys

_PROGRAM = """
import gc
import weakref
import json, http.client, logging  # a heap that stays
from aftercall.garbage import collect_rarely

class Ring:
    def __init__(self):
        self.itself = self

collect_rarely()
print(gc.get_freeze_count())
alive = weakref.WeakSet()
most = 0
for _ in range(100_000):
    alive.add(Ring())
    most = max(most, len(alive))
print(most)
"""


def test_what_a_process_started_with_is_left_out_and_the_rest_is_collected() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    frozen, most_alive = map(int, ran.stdout.split())
    assert frozen > 1_000
    assert most_alive < 50_000
