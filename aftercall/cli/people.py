"""`aftercall forget` and `aftercall people …`: what is held of one person, erased or handed out."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from aftercall.cli.session import open_session, say, say_aside, show_json
from aftercall.flows.audit import CLI
from aftercall.flows.errors import Conflict
from aftercall.flows.export_person import export_person, export_zip
from aftercall.flows.forget_person import forget_person
from aftercall.flows.people import show_person
from aftercall.flows.views import ElsewhereView, ForgottenView, PersonView, PlaceView
from aftercall.private_file import private_file

_phone = click.argument("phone", metavar="PHONE | -")
_region = click.option(
    "--region", help="Country of a number without a code: IN, AE. By default the workspaces'."
)
_as_json = click.option("--json", "as_json", is_flag=True, help="As the API answers.")


@click.command()
@_phone
@_region
@click.option("--preview", "only_preview", is_flag=True, help="Only say what would be erased.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Also write the report there, as JSON.",
)
@_as_json
def forget(
    phone: str,
    region: str | None,
    only_preview: bool,
    yes: bool,
    report: Path | None,
    as_json: bool,
) -> None:
    """Erase all that is held of a person, and prove it. Exit code 1 when something is left.

    PHONE in any spelling; - reads it from standard input, out of the shell's history.

    \b
    aftercall forget "+91 98765 43210" --preview
    aftercall forget "+91 98765 43210" --report forgotten.json
    """
    phone = _read_phone(phone)
    with open_session() as service:
        if only_preview or not yes:
            view = show_person(service, phone, region=region, tell=say_aside)
            if only_preview and as_json:
                show_json(view)
                return
            (say_aside if as_json else say)(_told(view))
            if only_preview:
                return
            click.confirm("Erase all of this? It cannot be undone", abort=True, err=as_json)
        done = forget_person(
            service,
            phone,
            region=region,
            by=CLI,
            tell=say_aside,
            draft=lambda view: _write(report, view),
        )
    if as_json:
        show_json(done)
    else:
        say(_told_after(done))
    if done.left:
        raise SystemExit(1)


@click.group()
def people() -> None:
    """One person's data: what is held, handed out."""


@people.command("show")
@_phone
@_region
@_as_json
def show(phone: str, region: str | None, as_json: bool) -> None:
    """What is held of a person, counted; where their number stands besides; who got it."""
    with open_session() as service:
        view = show_person(service, _read_phone(phone), region=region, tell=say_aside)
    if as_json:
        show_json(view)
    else:
        say(_told(view))


@people.command("export")
@_phone
@_region
@click.option(
    "--to",
    "target",
    default="-",
    show_default=True,
    help="A file; one that ends in .zip has the recordings in it, too. - is standard output.",
)
def export(phone: str, region: str | None, target: str) -> None:
    """All that is held of a person, as JSON that people can read.

    \b
    aftercall people export "+91 98765 43210" --to person.zip
    """
    phone = _read_phone(phone)
    with open_session() as service:
        if target == "-":
            for piece in export_person(service, phone, region=region, by=CLI):
                click.echo(piece, nl=False)
            return
        path = Path(target)
        try:
            with private_file(path) as file:
                if path.suffix == ".zip":
                    export_zip(service, phone, file, region=region, by=CLI, tell=say_aside)
                else:
                    pieces = export_person(service, phone, region=region, by=CLI, tell=say_aside)
                    file.writelines(piece.encode() for piece in pieces)
        except OSError as error:
            raise Conflict(f"{path} cannot be written: {error.strerror}") from None
    say(f"{path} has all that is held. It is as secret as the database.")


def _read_phone(given: str) -> str:
    return sys.stdin.readline().strip() if given == "-" else given


def _write(report: Path | None, view: ForgottenView) -> None:
    """Whole or not at all; what others have is not lost when a turn is broken off."""
    if report is None:
        return
    try:
        with private_file(report) as file:
            file.write(f"{_with_earlier(report, view).model_dump_json(indent=2)}\n".encode())
    except OSError as error:
        raise Conflict(
            f"{report} cannot be written ({error.strerror}): choose another with --report"
        ) from None


def _with_earlier(report: Path, view: ForgottenView) -> ForgottenView:
    """With what a turn that was broken off had found elsewhere."""
    try:
        earlier = ForgottenView.model_validate_json(report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return view
    if earlier.is_complete or earlier.mark != view.mark:
        return view
    known = {one.destination_id: one for one in view.elsewhere}
    for one in earlier.elsewhere:
        mine = known.get(one.destination_id)
        if mine is None:
            view.elsewhere.append(one)
            continue
        mine.delivered = sorted({*mine.delivered, *one.delivered})
        mine.perhaps = sorted({*mine.perhaps, *one.perhaps} - set(mine.delivered))
        mine.records.extend(record for record in one.records if record not in mine.records)
    return view


# ---- in words ----------------------------------------------------------------


def _told(view: PersonView) -> str:
    since = (
        f", from {view.first_call_at:%Y-%m-%d} to {view.last_call_at:%Y-%m-%d}"
        if view.first_call_at and view.last_call_at
        else ""
    )
    lines = [f"The number that ends in {view.ending}: {view.calls} calls{since}."]
    lines += [f"  {table}: {count}" for table, count in view.held.items() if count]
    if view.files:
        lines.append(f"  files: {view.files}")
    if view.spooled:
        lines.append(f"  webhooks kept in Redis: {view.spooled}")
    if view.under_way:
        lines.append(f"  {view.under_way} requests are under way, and would be waited for.")
    if view.mentions:
        lines.append("It stands in what is not theirs, and would be replaced by *** there:")
        lines += _places(view.mentions)
    lines += _elsewhere(view.elsewhere)
    lines += _to_fetch(view.calls_to_fetch)
    return "\n".join(lines)


def _told_after(view: ForgottenView) -> str:
    lines = [f"Erased of the number that ends in {view.ending} (mark {view.mark}):"]
    lines += [f"  {table}: {count}" for table, count in view.erased.items()] or ["  nothing"]
    if view.files:
        lines.append(f"  files: {view.files}")
    if view.spooled:
        lines.append(f"  webhooks kept in Redis: {view.spooled}")
    if view.redacted:
        lines.append("Replaced by ***:")
        lines += _places(view.redacted)
    lines += _elsewhere(view.elsewhere)
    lines += _to_fetch(view.calls_to_fetch)
    lines += [f"Note: {remark}." for remark in view.remarks]
    lines.append(f"Everything was looked through again: {len(view.left)} places left.")
    lines += _places(view.left)
    if view.left:
        lines.append(
            "What is left stands in settings or in ids, or in files that were not there: "
            "change it by hand, then again."
        )
    return "\n".join(lines)


def _places(places: Sequence[PlaceView]) -> list[str]:
    return [f"  {one.where}{f'.{one.column}' if one.column else ''}: {one.count}" for one in places]


def _elsewhere(views: Sequence[ElsewhereView]) -> list[str]:
    if not views:
        return []
    lines = ["Others have it, and have to be told:"]
    for one in views:
        lines.append(f"  {one.destination} ({one.kind}): {len(one.delivered)} deliveries")
        if one.perhaps:
            lines.append(f"    and {len(one.perhaps)} that may have arrived")
        lines += [f"    {record.step} {record.remote_id}" for record in one.records]
    return lines


def _to_fetch(count: int) -> list[str]:
    if not count:
        return []
    return [
        f"{count} calls are still to be fetched, and whose they are is not known yet: "
        "do it again when they are."
    ]
