"""`aftercall destinations …`."""

import json
import shlex
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import yaml

from aftercall.cli import crm
from aftercall.cli.preview import preview
from aftercall.cli.session import open_session, read_text, say, show_json, show_table
from aftercall.crm.destination_spec import KINDS, DestinationSpec
from aftercall.domain.work import EVENT_TYPES, WEBHOOK
from aftercall.flows import configure_destinations as flow
from aftercall.flows.audit import CLI
from aftercall.flows.errors import Invalid
from aftercall.flows.views import Page

_as_json = click.option("--json", "as_json", is_flag=True, help="As the API answers.")
_which = click.argument("destination", metavar="NAME|ID")


@click.group()
def destinations() -> None:
    """Make, change, test, pause and remove CRMs and hooks."""


crm.add_commands(destinations)
destinations.add_command(preview)


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
        ("ID", "NAME", "KIND", "URL", "EVENTS", "STATE"),
        (
            (
                one.id,
                one.name,
                one.kind,
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
@click.argument("url", required=False)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="A CRM: see `aftercall destinations kinds`. By default a hook.",
)
@click.option("--credential-stdin", is_flag=True, help="Read its KEY=VALUE lines.")
@click.option(
    "--sync",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML or JSON: whom a call is about, which fields are written, the follow-up.",
)
@click.option("--disabled", is_flag=True, help="Hold its calls until it is enabled.")
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
    url: str | None,
    kind: str | None,
    credential_stdin: bool,
    sync: Path | None,
    disabled: bool,
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
    """Make one. A hook's secret is shown once: keep it, it verifies the signatures.

    \b
    aftercall destinations add leads https://crm.example.com/hooks/calls
    echo token=pat-… | aftercall destinations add sales --kind hubspot --credential-stdin
    """
    if url is None and kind in (None, WEBHOOK):
        raise click.UsageError("a hook needs its URL: aftercall destinations add NAME URL")
    if credential_stdin and secret_stdin:
        raise click.UsageError("either --credential-stdin or --secret-stdin")
    given: dict[str, Any] = {
        "name": name,
        "url": url or ("" if kind else None),
        "kind": kind,
        "credentials": crm.read_credentials(sys.stdin.read()) if credential_stdin else None,
        "sync": crm.read_sync(sync) if sync else None,
        "enabled": False if disabled else None,
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
    if made.kind != WEBHOOK:
        say(f"Check it now: aftercall destinations test {shlex.quote(made.name)}")
        return
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
    """Post a made-up call, signed, and tell what the hook answered; or check a CRM's connection."""
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
        crm.show_checks(answer)
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
