"""How often Python looks for garbage that refers to itself: rarely, and not through everything."""

import gc

#: Objects made, more than freed, before the youngest are looked through. At Python's 700 that
#: happens several times a batch, for work that is under way and no garbage.
_COLLECT_AFTER = 20_000


def collect_rarely() -> None:
    """Once a process has started: what it holds now stays, and is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
