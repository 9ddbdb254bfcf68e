"""`aftercall enqueue`: queues calls by their ids, from arguments, standard input or a file."""

import csv
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from pydantic import BaseModel

from aftercall.cli.id_files import IdLine, RefusedLine, open_ids
from aftercall.cli.session import open_session, say, say_aside, show_json
from aftercall.domain.states import Priority
from aftercall.flows import look
from aftercall.flows.accept_events import NoWorkspace, enqueue_calls
from aftercall.flows.audit import CLI
from aftercall.flows.errors import Invalid, NotFound
from aftercall.flows.export_calls import as_cell
from aftercall.flows.service import Service
from aftercall.twentytwo.inbound import NoCallId, check_call_id

#: Ids a transaction.
_CHUNK = 1_000
#: Refused lines that are told one by one, on the terminal and in JSON.
_TOLD = 20
_TOLD_JSON = 1_000


class RefusedLineView(BaseModel):
    line: int
    value: str
    reason: str


class EnqueueReport(BaseModel):
    """What became of a file's lines. The first thousand refused ones stand in it."""

    lines: int = 0
    queued: int = 0
    already_known: int = 0
    #: More than once in the file.
    repeated: int = 0
    refused: int = 0
    refused_lines: list[RefusedLineView] = []


@click.command()
@click.argument("call_ids", nargs=-1, metavar="IDS… | -")
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A list, a CSV or TSV, or an .xlsx.",
)
@click.option("--column", help="Of the file: the one that has the ids, by its head or number.")
@click.option(
    "--refused",
    "refused_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Of the file: writes the lines that were refused there, as CSV.",
)
@click.option("--workspace", help="Whose calls; by default the one that is configured.")
@click.option("--json", "as_json", is_flag=True, help="What became of the file's lines, as JSON.")
def enqueue(
    call_ids: tuple[str, ...],
    path: Path | None,
    column: str | None,
    refused_path: Path | None,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Queue calls by id: as arguments, from a file, or from standard input (-), one a line.

    A file's good lines are queued although others are bad; then the exit code is 1.

    \b
    aftercall enqueue call_9c4d7e12ab
    aftercall enqueue --file lost.csv --column "Call ID" --refused refused.csv
    """
    if bool(call_ids) == (path is not None):
        raise click.UsageError("give either ids (or - for standard input) or --file")
    if path is None:
        if column or refused_path or as_json:
            raise click.UsageError("--column, --refused and --json go with --file")
        _enqueue_ids(call_ids, workspace)
        return
    with open_session() as service:
        if workspace is not None:
            look.show_workspace(service, workspace)
        with open_ids(path, column=column) as lines, _keeping(refused_path) as keep:
            report = _enqueue_lines(service, lines, workspace=workspace, keep=keep)
    if not report.lines:
        raise Invalid([("", f"There is no call id in {path}")])
    _show(report, refused_path, as_json=as_json)
    if report.refused:
        raise SystemExit(1)


# ---- ids ---------------------------------------------------------------------


def _enqueue_ids(call_ids: tuple[str, ...], workspace: str | None) -> None:
    is_list = call_ids == ("-",)
    ids = _check_lines(sys.stdin.read().splitlines() if is_list else list(call_ids))
    received = duplicates = 0
    with open_session() as service:
        if workspace is not None:
            look.show_workspace(service, workspace)
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            received += len(chunk)
            duplicates += _enqueue(service, chunk, workspace, is_list=is_list)
            if len(ids) > _CHUNK:
                say_aside(f"{received} of {len(ids)}")
    say(f"{received - duplicates} queued, {duplicates} known already.")


def _check_lines(lines: list[str]) -> list[str]:
    ids: list[str] = []
    faults: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            ids.append(check_call_id(line, at=f"line {number}"))
        except NoCallId as error:
            faults.append(("", str(error)))
    if faults:
        raise Invalid(faults[:20])
    if not ids:
        raise Invalid([("", "There is no call id in it")])
    return ids


def _enqueue(service: Service, ids: list[str], workspace: str | None, *, is_list: bool) -> int:
    """How many of them were known."""
    try:
        accepted = enqueue_calls(
            service,
            ids,
            workspace_id=workspace,
            # A list never goes before what is happening now.
            priority=Priority.BACKFILL if is_list else Priority.FRESH,
            body=b"aftercall enqueue",
            by=CLI,
        )
    except NoWorkspace as error:
        raise Invalid([("workspace", str(error))]) from None
    return sum(one.is_duplicate for one in accepted)


# ---- a file ------------------------------------------------------------------


Keep = Callable[[RefusedLine], object]


def _enqueue_lines(
    service: Service,
    lines: Iterable[IdLine | RefusedLine],
    *,
    workspace: str | None,
    keep: Keep,
) -> EnqueueReport:
    report = EnqueueReport()
    checked = _Workspaces(service)
    seen: set[bytes] = set()
    waiting: dict[str | None, list[str]] = {}
    for line in lines:
        report.lines += 1
        if isinstance(line, IdLine) and (refused := checked.refusal(line)) is not None:
            line = refused
        if isinstance(line, RefusedLine):
            _refuse(report, line, keep)
            continue
        its = line.workspace_id or workspace
        if (digest := _digest(line.call_id, its)) in seen:
            report.repeated += 1
            continue
        seen.add(digest)
        waiting.setdefault(its, []).append(line.call_id)
        if len(waiting[its]) == _CHUNK:
            _go(service, report, waiting.pop(its), its)
            say_aside(f"{report.lines} lines")
    for its, ids in waiting.items():
        _go(service, report, ids, its)
    return report


class _Workspaces:
    """Those that lines name: each is looked up once."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._faults: dict[str, str | None] = {}

    def refusal(self, line: IdLine) -> RefusedLine | None:
        name = line.workspace_id
        if name is None:
            return None
        if name not in self._faults:
            try:
                look.show_workspace(self._service, name)
                self._faults[name] = None
            except NotFound as error:
                self._faults[name] = str(error)
        reason = self._faults[name]
        return None if reason is None else RefusedLine(line.number, line.call_id, reason)


def _go(service: Service, report: EnqueueReport, ids: list[str], workspace: str | None) -> None:
    known = _enqueue(service, ids, workspace, is_list=True)
    report.queued += len(ids) - known
    report.already_known += known


def _digest(call_id: str, workspace: str | None) -> bytes:
    # The ids themselves would be several times as large.
    return hashlib.blake2b(f"{workspace}\0{call_id}".encode(), digest_size=12).digest()


def _refuse(report: EnqueueReport, line: RefusedLine, keep: Keep) -> None:
    report.refused += 1
    keep(line)
    if report.refused <= _TOLD:
        say_aside(f"line {line.number}: {line.reason}")
    if report.refused <= _TOLD_JSON:
        report.refused_lines.append(
            RefusedLineView(line=line.number, value=line.value, reason=line.reason)
        )


@contextmanager
def _keeping(path: Path | None) -> Iterator[Keep]:
    """Writes refused lines to the file, if there is to be one."""
    if path is None:
        yield lambda _: None
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("line", "value", "reason"))
            yield lambda line: writer.writerow(
                (line.number, as_cell(line.value), as_cell(line.reason))
            )
    except OSError as error:
        raise Invalid([("refused", f"{path} cannot be written: {error.strerror}")]) from None


def _show(report: EnqueueReport, refused_path: Path | None, *, as_json: bool) -> None:
    if report.refused > _TOLD:
        rest = f"all of them stand in {refused_path}" if refused_path else "--refused FILE has all"
        say_aside(f"and {report.refused - _TOLD} more: {rest}")
    if as_json:
        show_json(report)
        return
    parts = [f"{report.queued} queued", f"{report.already_known} known already"]
    if report.repeated:
        parts.append(f"{report.repeated} more than once in the file")
    if report.refused:
        parts.append(f"{report.refused} refused")
    say(f"{', '.join(parts)}.")
