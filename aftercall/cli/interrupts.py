"""A command that is told to end unwinds, whoever tells it: the stores it started stop with it."""

import signal
import sys
from types import FrameType

#: Until it is tried again to unwind, in seconds.
_AGAIN = 0.02


def unwind_when_told_to_end() -> None:
    """SIGTERM and SIGHUP become an exception, as Ctrl-C is one: SystemExit, 128 and the number."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup one is ignored, and stays so.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    sys.unraisablehook = _note_dropped


def _end(number: int, _frame: FrameType | None) -> None:
    for one in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _note_dropped(dropped: "sys.UnraisableHookArgs") -> None:
    """Where a weak reference is cleared or an object goes, Python drops what is raised: the
    command would go on, deaf to a second SIGTERM. It is raised once more a moment later.
    """
    if isinstance(dropped.exc_value, SystemExit):
        _raise_soon(SystemExit, dropped.exc_value.code)
    elif isinstance(dropped.exc_value, KeyboardInterrupt):
        _raise_soon(KeyboardInterrupt)
    else:
        sys.__unraisablehook__(dropped)


def _raise_soon(kind: type[BaseException], *arguments: object) -> None:
    def again(_number: int, _frame: FrameType | None) -> None:
        raise kind(*arguments)

    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, _AGAIN)
