"""The logs that aftercall itself keeps: those of the embedded stores and of a demo.

Numbers are masked in what aftercall logs; a store's own complaint may quote a row. Servers append
to these files while we look, so what is found is written over in place, byte for byte.
"""

from collections.abc import Iterator
from pathlib import Path

from aftercall.domain.traces import Traces

_PIECE = 1024 * 1024
#: A number that lies across two pieces is whole in one of them.
_OVERLAP = 256


def count_in_logs(data_dir: Path, traces: Traces) -> int:
    """How many files hold it."""
    return sum(1 for path in _files(data_dir) if any(True for _ in _places(path, traces)))


def redact_logs(data_dir: Path, traces: Traces) -> int:
    """Asterisks for each of its bytes; answers in how many files."""
    return sum(1 for path in _files(data_dir) if _redact(path, traces))


def _files(data_dir: Path) -> list[Path]:
    return sorted(path for path in data_dir.glob("*.log*") if path.is_file())


def _redact(path: Path, traces: Traces) -> int:
    places = list(_places(path, traces))
    if places:
        with path.open("r+b") as file:
            for start, length in places:
                file.seek(start)
                file.write(b"*" * length)
    return len(places)


def _places(path: Path, traces: Traces) -> Iterator[tuple[int, int]]:
    """Where it begins, and how many bytes it is long."""
    with path.open("rb") as file:
        start = 0
        while True:
            file.seek(start)
            piece = file.read(_PIECE + _OVERLAP)
            text = piece.decode("utf-8", "surrogateescape")
            for begin, end in traces.spans(text):
                before = len(text[:begin].encode("utf-8", "surrogateescape"))
                length = len(text[begin:end].encode("utf-8", "surrogateescape"))
                yield start + before, length
            if len(piece) <= _PIECE:
                return
            start += _PIECE
