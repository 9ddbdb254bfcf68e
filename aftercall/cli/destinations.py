"""`aftercall destinations …`."""

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import yaml

from aftercall.cli.session import open_session, read_text, say, show_json, show_table
from aftercall.crm.destination_spec import DestinationSpec
from aftercall.domain.work import EVENT_TYPES
from aftercall.flows import configure_destinations as flow
from aftercall.flows.audit import CLI
from aftercall.flows.errors import Invalid
from aftercall.flows.preview_destination import PreviewSpec, preview_destination
from aftercall.flows.views import Page, PreviewView

_as_json = click.option("--json", "as_json", is_flag=True, help="As the API answers.")
_which = click.argument("destination", metavar="NAME|ID")


@click.group()
def destinations() -> None:
    """Make, change, test, pause and remove CRM hooks."""


@destinations.command("list")
@_as_json
def list_destinations(as_json: bool) -> None:
    """All of them."""
    with open_session() as service:
        found = flow.list_destinations(service)
    if as_json:
        show_json(Page(items=found, next_cursor=None))
        return
    show_table(
        ("ID", "NAME", "URL", "EVENTS", "STATE"),
        (
            (
                one.id,
                one.name,
                one.url,
                ", ".join(one.events),
                "enabled" if one.enabled else f"disabled: {one.disabled_reason}",
            )
            for one in found
        ),
        empty="No destinations yet: aftercall destinations add NAME URL",
    )


@destinations.command("add")
@click.argument("name")
@click.argument("url")
@click.option("--event", "events", multiple=True, type=click.Choice(EVENT_TYPES))
@click.option("--filter", "filter_", help="JMESPath over the call's data; false: not sent.")
@click.option("--mapping", help="JMESPath over the call's data that makes the body.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE")
@click.option("--workspace", help="Only this workspace's calls.")
@click.option("--timeout", "timeout_seconds", type=int, help="Seconds.")
@click.option("--max-in-flight", type=int)
@click.option("--rate-limit", "rate_limit_per_second", type=int, help="Deliveries a second.")
@click.option("--secret-stdin", is_flag=True, help="Read whsec_… from standard input.")
@_as_json
def add_destination(
    name: str,
    url: str,
    events: tuple[str, ...],
    filter_: str | None,
    mapping: str | None,
    headers: tuple[str, ...],
    workspace: str | None,
    timeout_seconds: int | None,
    max_in_flight: int | None,
    rate_limit_per_second: int | None,
    secret_stdin: bool,
    as_json: bool,
) -> None:
    """Make one. Its secret is shown once: keep it, it verifies the signatures."""
    given: dict[str, Any] = {
        "name": name,
        "url": url,
        "events": list(events) or None,
        "filter": filter_,
        "mapping": mapping,
        "headers": _read_headers(headers) or None,
        "workspace_id": workspace,
        "timeout_seconds": timeout_seconds,
        "max_in_flight": max_in_flight,
        "rate_limit_per_second": rate_limit_per_second,
        "secret": sys.stdin.readline().strip() if secret_stdin else None,
    }
    spec = flow.read_spec({key: value for key, value in given.items() if value is not None})
    with open_session() as service:
        made = flow.create_destination(service, spec, by=CLI)
    if as_json:
        show_json(made)
        return
    say(f"Made {made.name} ({made.id}).")
    say(f"Its secret, shown only now: {made.secret}")


@destinations.command("apply")
@click.option(
    "-f",
    "--file",
    "path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help='YAML or JSON: a list of destinations, or {"destinations": […]}. - is standard input.',
)
def apply_destinations(path: Path) -> None:
    """Make destinations be as the file says, by name. Doing it again changes nothing."""
    text = sys.stdin.read() if str(path) == "-" else read_text(path)
    specs = _read_specs(_entries(text))
    with open_session() as service:
        applied = flow.apply_destinations(service, specs, by=CLI)
    for one in applied:
        say(f"{one.change:9}  {one.name}")
        if one.secret is not None:
            say(
                f"           its secret, shown only now: {one.secret}",
            )


@destinations.command("test")
@_which
@_as_json
def test_destination(destination: str, as_json: bool) -> None:
    """Post a made-up call, signed, and tell what the hook answered."""
    with open_session() as service:
        answer = flow.test_destination(
            service, flow.find_destination_id(service, destination), by=CLI
        )
    if as_json:
        show_json(answer)
    else:
        status = f" ({answer.status_code})" if answer.status_code else ""
        why = f": {answer.reason}" if answer.reason else ""
        say(f"{answer.outcome}{status} in {answer.duration_ms} ms{why}")
        if answer.response_excerpt:
            say(answer.response_excerpt)
    if answer.outcome != "succeeded":
        raise SystemExit(1)


@destinations.command("enable")
@_which
def enable_destination(destination: str) -> None:
    """What was held goes on its way."""
    with open_session() as service:
        one = flow.enable_destination(
            service, flow.find_destination_id(service, destination), by=CLI
        )
    say(f"{one.name} is enabled.")


@destinations.command("disable")
@_which
def disable_destination(destination: str) -> None:
    """Deliveries are held until it is enabled."""
    with open_session() as service:
        one = flow.disable_destination(
            service, flow.find_destination_id(service, destination), by=CLI
        )
    say(f"{one.name} is disabled; its deliveries are held.")


@destinations.command("rotate-secret")
@_which
@click.option(
    "--overlap-hours",
    default=24,
    show_default=True,
    type=click.IntRange(0, 720),
    help="For so long the secret before signs as well.",
)
@_as_json
def rotate_secret(destination: str, overlap_hours: int, as_json: bool) -> None:
    """A new secret, from the next attempt on."""
    with open_session() as service:
        one = flow.rotate_secret(
            service,
            flow.find_destination_id(service, destination),
            overlap=timedelta(hours=overlap_hours),
            by=CLI,
        )
    if as_json:
        show_json(one)
        return
    say(f"The secret, shown only now: {one.secret}")
    if one.old_secret_until is not None:
        say(f"The one before signs as well until {one.old_secret_until:%Y-%m-%d %H:%M} UTC.")


@destinations.command("preview")
@click.option("--filter", "filter_")
@click.option("--mapping")
@click.option("--event", "events", multiple=True, type=click.Choice(EVENT_TYPES))
@click.option("--call", "call_id", help="Try it on this call; by default on the newest.")
@click.option("--workspace")
@click.option("--count", default=3, show_default=True, type=click.IntRange(1, 20))
@_as_json
def preview_(
    filter_: str | None,
    mapping: str | None,
    events: tuple[str, ...],
    call_id: str | None,
    workspace: str | None,
    count: int,
    as_json: bool,
) -> None:
    """Show what a filter and a mapping make of past calls. Exit code 1 when one is wrong.

    \b
    aftercall destinations preview --mapping "{phone: call.callee_phone}"
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
    with open_session() as service:
        view = preview_destination(service, PreviewSpec.model_validate(fields))
    if as_json:
        show_json(view)
    else:
        _print_preview(view, {"filter": filter_ or "", "mapping": mapping or ""})
    if view.faults:
        raise SystemExit(1)


def _print_preview(view: PreviewView, expressions: dict[str, str]) -> None:
    for fault in view.faults:
        say(f"{fault.field}: {fault.message}")
        if fault.line is not None and fault.column is not None:
            say(f"  {expressions[fault.field].split(chr(10))[fault.line - 1]}")
            say(f"  {' ' * (fault.column - 1)}^")
    for call in view.calls:
        say(f"{call.call_id}: {call.reason or 'sent'}")
        if call.is_wanted and call.body is not None:
            say(json.dumps(call.body, ensure_ascii=False, indent=2))
    if not view.faults and not view.calls:
        say("No call is saved yet: there is nothing to try it on.")


@destinations.command("remove")
@_which
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove_destination(destination: str, yes: bool) -> None:
    """Its history stays; what waits for it is dead."""
    with open_session() as service:
        id_ = flow.find_destination_id(service, destination)
        one = flow.show_destination(service, id_)
        if not yes:
            click.confirm(f"Remove {one.name}? What waits for it will be dead", abort=True)
        flow.remove_destination(service, id_, by=CLI)
    say(f"{one.name} is removed.")


def _read_headers(headers: tuple[str, ...]) -> dict[str, str]:
    read: dict[str, str] = {}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise click.UsageError("a header is NAME:VALUE")
        read[name.strip()] = value.strip()
    return read


def _read_specs(entries: list[Any]) -> list[DestinationSpec]:
    """Invalid, naming the entry, when one of them is not a good one."""
    specs = []
    for number, entry in enumerate(entries, start=1):
        name = entry.get("name") if isinstance(entry, dict) else None
        try:
            specs.append(flow.read_spec(entry))
        except Invalid as error:
            which = f"destination {number}" + (f" ({name})" if name else "")
            raise Invalid([(f"{which}: {at}", message) for at, message in error.errors]) from None
    return specs


def _entries(text: str) -> list[Any]:
    try:
        # JSON first: indented with tabs, it is not YAML.
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        try:
            parsed = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError) as error:
            why = " ".join(str(error).split())[:200]
            raise Invalid([("file", f"It is neither JSON nor YAML: {why}")]) from None
    entries = parsed.get("destinations") if isinstance(parsed, dict) else parsed
    if not isinstance(entries, list):
        raise Invalid([("file", 'Expected a list, or {"destinations": […]}')])
    return entries
