"""Reads call ids from what people have: a list, a CSV or TSV of any spelling, an .xlsx.

Line by line; never the whole file. Says of each line its ids or what is wrong
with it. Which column has the ids is told by its head, by `--column`, or by
being the only one.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from aftercall.flows.errors import Invalid
from aftercall.twentytwo.inbound import NoCallId, check_call_id, check_workspace_id

#: Heads of a column of ids, as `_plain` has them; the first that is there counts.
_ID_HEADS = ("callid", "callids", "call", "id", "ids")
_WORKSPACE_HEADS = ("workspaceid", "workspace")
_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))
_DELIMITERS = ("\t", ";", ",", "|")
#: What shows of which kind a file is.
_BEGINNING = 65_536
_MAX_LINE = 1_000_000
#: Of a spreadsheet, unpacked.
_MAX_UNPACKED = 1_000_000_000
_ZIP, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
#: What a spreadsheet makes of long digits: 6.99E+23.
_ROUNDED = re.compile(r"-?\d(\.\d+)?E\+\d+", re.IGNORECASE)
#: Floats tell whole numbers apart up to here.
_MAX_WHOLE = 2**53


@dataclass(frozen=True, slots=True)
class IdLine:
    """One good line."""

    number: int
    call_id: str
    #: None: it names none.
    workspace_id: str | None


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """One bad line."""

    number: int
    value: str
    reason: str


Row = tuple[int, Sequence[str]]


@contextmanager
def open_ids(path: Path, *, column: str | None) -> Iterator[Iterator[IdLine | RefusedLine]]:
    """The file's lines, as they are asked for. Invalid when it is no list of ids at all."""
    try:
        with io.BufferedReader(io.FileIO(path), _BEGINNING) as file:
            # Looked at, not taken: a pipe, such as <(…), gives nothing twice.
            beginning = file.peek(_BEGINNING)
            if beginning.startswith(_OLD_EXCEL):
                raise Invalid([("", f"{path} is an old .xls: save it as .xlsx or CSV")])
            if beginning.startswith(_ZIP):
                if not file.seekable():
                    raise Invalid([("", f"{path} is a pipe: give the spreadsheet itself, or CSV")])
                with _open_workbook(path) as rows:
                    yield _read_lines(rows, path, column)
                return
            encoding = next((name for mark, name in _MARKS if beginning.startswith(mark)), "utf-8")
            if encoding != "utf-16" and b"\0" in beginning:
                raise Invalid([("", f"{path} is not text: save it as CSV, UTF-8")])
            # What is not UTF-8 may stand in other columns: in an id, it is told at its line.
            errors = "replace" if encoding == "utf-16" else "surrogateescape"
            with io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="") as text:
                yield _read_lines(_text_rows(text, path), path, column)
    except OSError as error:
        raise Invalid([("", f"{path} cannot be read: {error.strerror}")]) from None


# ---- rows to lines -----------------------------------------------------------


def _read_lines(
    rows: Iterator[Row], path: Path, column: str | None
) -> Iterator[IdLine | RefusedLine]:
    first = next((row for row in rows if any(cell.strip() for cell in row[1])), None)
    if first is None:
        return
    at, workspace_at, has_head = _columns(first[1], path, column)
    if not has_head:
        yield from _read_row(first, at, workspace_at)
    for row in rows:
        yield from _read_row(row, at, workspace_at)


def _columns(head: Sequence[str], path: Path, column: str | None) -> tuple[int, int | None, bool]:
    """Where the ids are, where the workspaces, and whether this first row is a head."""
    names = [_plain(cell) for cell in head]
    workspace_at = next((names.index(name) for name in _WORKSPACE_HEADS if name in names), None)
    if column is not None:
        if _plain(column) in names:
            return names.index(_plain(column)), workspace_at, True
        if column.isdecimal() and 1 <= int(column) <= len(head):
            at = int(column) - 1
            has_head = workspace_at is not None or names[at] in _ID_HEADS
            return at, workspace_at, has_head
        raise Invalid([("column", f"{path} has no column {column!r}: {_named(head)}")])
    found = next((names.index(name) for name in _ID_HEADS if name in names), None)
    if found is not None:
        return found, workspace_at, True
    if sum(bool(cell.strip()) for cell in head) > 1:
        raise Invalid(
            [
                (
                    "column",
                    f"Which column of {path} has the call ids? Name it with --column, or give its "
                    f"number: {_named(head)}",
                )
            ]
        )
    return next(at for at, cell in enumerate(head) if cell.strip()), None, False


def _named(head: Sequence[str]) -> str:
    return "it begins with " + ", ".join(repr(_visible(cell)) for cell in head[:12])


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _read_row(row: Row, at: int, workspace_at: int | None) -> Iterator[IdLine | RefusedLine]:
    number, cells = row
    if not any(cell.strip() for cell in cells):
        return
    value = cells[at].strip() if at < len(cells) else ""
    workspace = ""
    if workspace_at is not None and workspace_at < len(cells):
        workspace = cells[workspace_at].strip()
    try:
        if _ROUNDED.fullmatch(value):
            raise NoCallId("a spreadsheet has made a number of the id, and lost its end")
        if "\ufffd" in value:
            raise NoCallId("call_id has characters in it that cannot be read")
        call_id = check_call_id(value, at="call_id")
        yield IdLine(number, call_id, check_workspace_id(workspace) if workspace else None)
    except NoCallId as error:
        yield RefusedLine(number, _visible(value), str(error))


def _visible(value: str) -> str:
    """Fit to be shown and written: short, without what no text has."""
    return value[:200].encode("utf-8", "replace").decode()


# ---- text to rows ------------------------------------------------------------


def _text_rows(text: IO[str], path: Path) -> Iterator[Row]:
    lines = _lines(text, path)
    skipped = 0
    first = next(lines, None)
    delimiter = ","
    if first is not None and re.fullmatch(r"\s*sep=.\s*", first):
        # Excel's own way to say it.
        delimiter, skipped = first.strip()[-1], 1
    elif first is not None:
        delimiter = _delimiter_of(first)
        lines = _with_first(first, lines)
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        number = reader.line_num + skipped + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise Invalid([("", f"{path}, line {number}, cannot be read: {error}")]) from None
        if cells is None:
            return
        yield number, cells


def _with_first(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _lines(text: IO[str], path: Path) -> Iterator[str]:
    number = 0
    while line := text.readline(_MAX_LINE):
        number += 1
        if len(line) == _MAX_LINE and not line.endswith("\n"):
            raise Invalid([("", f"{path}, line {number}, is too long for a list of ids")])
        # A cell may hold none, and csv takes none.
        yield line.replace("\0", "\x01")


def _delimiter_of(line: str) -> str:
    """The one that the first line has most of, outside of quotes."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(_DELIMITERS, key=bare.count) if any(map(bare.count, _DELIMITERS)) else ","


# ---- a spreadsheet to rows ---------------------------------------------------


@contextmanager
def _open_workbook(path: Path) -> Iterator[Iterator[Row]]:
    try:
        import openpyxl
    except ImportError:
        raise Invalid(
            [("", f"{path}: save it as CSV, or install what reads .xlsx: 'aftercall[xlsx]'")]
        ) from None
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(part.file_size for part in packed.infolist()) > _MAX_UNPACKED:
                raise Invalid([("", f"{path} is too large: save it as CSV")])
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, SyntaxError):
        # An XML fault is a SyntaxError.
        raise _no_workbook(path) from None
    try:
        yield _sheet_rows(book.worksheets[0].iter_rows(values_only=True), path)
    except IndexError:
        raise _no_workbook(path) from None
    finally:
        book.close()


def _no_workbook(path: Path) -> Invalid:
    return Invalid([("", f"{path} cannot be read as a spreadsheet: save it as .xlsx or CSV")])


def _sheet_rows(rows: Iterator[Sequence[object]], path: Path) -> Iterator[Row]:
    number = 0
    while True:
        number += 1
        try:
            cells = next(rows, None)
        except (zipfile.BadZipFile, KeyError, ValueError, SyntaxError):
            raise _no_workbook(path) from None
        if cells is None:
            return
        yield number, [_cell(value) for value in cells]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_WHOLE:
        return str(int(value))
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= _MAX_WHOLE:
        return f"{value:E}"
    return str(value)
