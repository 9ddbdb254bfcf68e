"""`aftercall destinations preview`: what past calls would give, with nothing sent."""

import json
from pathlib import Path
from typing import Any

import click

from aftercall.cli import crm
from aftercall.cli.session import open_session, say, show_json
from aftercall.crm.destination_spec import KINDS
from aftercall.domain.work import EVENT_TYPES
from aftercall.flows.preview_destination import preview_destination
from aftercall.flows.views import PreviewView

_as_json = click.option("--json", "as_json", is_flag=True, help="As the API answers.")


@click.command("preview")
@click.option("--filter", "filter_")
@click.option("--mapping")
@click.option("--event", "events", multiple=True, type=click.Choice(EVENT_TYPES))
@click.option("--call", "call_id", help="Try it on this call; by default on the newest.")
@click.option("--workspace")
@click.option("--count", default=3, show_default=True, type=click.IntRange(1, 20))
@click.option("--destination", metavar="NAME|ID", help="Take what is not given from this one.")
@click.option("--kind", type=click.Choice(KINDS), help="A CRM, with --sync.")
@click.option("--sync", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_as_json
def preview(
    filter_: str | None,
    mapping: str | None,
    events: tuple[str, ...],
    call_id: str | None,
    workspace: str | None,
    count: int,
    destination: str | None,
    kind: str | None,
    sync: Path | None,
    as_json: bool,
) -> None:
    """Show what a filter and a mapping make of past calls, or what a CRM would get, field by field.

    Nothing is sent. Exit code 1 when something is wrong.

    \b
    aftercall destinations preview --mapping "{phone: call.callee_phone}"
    aftercall destinations preview --kind hubspot --sync sync.yaml
    aftercall destinations preview --destination sales --count 10
    """
    fields: dict[str, Any] = {
        "filter": filter_,
        "mapping": mapping,
        "call_id": call_id,
        "workspace_id": workspace,
        "count": count,
    }
    if events:
        fields["events"] = list(events)
    if sync is not None:
        fields["sync"] = crm.read_sync(sync)
    if kind is not None:
        fields["kind"] = kind
    with open_session() as service:
        if destination is not None:
            fields = crm.completed(service, destination, fields)
        view = preview_destination(service, crm.preview_spec(fields))
    if as_json:
        show_json(view)
    else:
        _print_preview(view, {"filter": fields["filter"] or "", "mapping": fields["mapping"] or ""})
    if view.faults:
        raise SystemExit(1)


def _print_preview(view: PreviewView, expressions: dict[str, str]) -> None:
    for fault in view.faults:
        say(f"{fault.field}: {fault.message}")
        if fault.line is not None and fault.column is not None:
            say(f"  {expressions[fault.field].split(chr(10))[fault.line - 1]}")
            say(f"  {' ' * (fault.column - 1)}^")
    for call in view.calls:
        if call.plan is not None:
            crm.show_plan(call)
            continue
        say(f"{call.call_id}: {call.reason or 'sent'}")
        if call.is_wanted and call.body is not None:
            say(json.dumps(call.body, ensure_ascii=False, indent=2))
    if view.unmapped and view.calls:
        say(f"Not mapped: {', '.join(view.unmapped)}")
    if not view.faults and not view.calls:
        say("No call is saved yet: there is nothing to try it on.")
