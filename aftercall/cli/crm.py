"""`aftercall destinations …` for CRMs: kinds, fields, backfill; and how a preview reads."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click
import yaml
from pydantic import ValidationError

from aftercall.cli.session import Moment, open_session, read_text, say, show_json, show_table
from aftercall.flows import configure_destinations as flow
from aftercall.flows.audit import CLI
from aftercall.flows.backfill_destination import MOST, backfill_destination
from aftercall.flows.check_destination import list_crm_fields, list_kinds
from aftercall.flows.errors import Invalid, invalid_from
from aftercall.flows.preview_destination import PreviewSpec
from aftercall.flows.service import Service
from aftercall.flows.views import KindView, Page, PreviewCallView, TestView

_as_json = click.option("--json", "as_json", is_flag=True, help="As the API answers.")
_which = click.argument("destination", metavar="NAME|ID")


def add_commands(group: click.Group) -> None:
    """Puts them into `destinations`."""
    for command in (kinds, fields, backfill):
        group.add_command(command)


@click.command("kinds")
@_as_json
def kinds(as_json: bool) -> None:
    """The CRMs that a destination may be, and what each needs to be told."""
    found = list_kinds()
    if as_json:
        show_json(Page(items=found, next_cursor=None))
        return
    show_table(
        ("KIND", "NAME", "ADDRESS", "CREDENTIALS", "OPTIONS"),
        (_kind_row(one) for one in found),
        empty="None.",
    )


def _kind_row(kind: KindView) -> tuple[str, ...]:
    return (
        kind.kind,
        kind.name,
        kind.api or f"your own: {kind.api_hint}",
        "\n".join(_need(one.key, one.label, one.required) for one in kind.credentials),
        "\n".join(_need(one.key, one.label, one.required) for one in kind.options),
    )


def _need(key: str, label: str, required: bool) -> str:
    return f"{key}: {label}" + ("" if required else " (optional)")


@click.command("fields")
@_which
@_as_json
def fields(destination: str, as_json: bool) -> None:
    """The fields that may be mapped, asked of the CRM now."""
    with open_session() as service:
        found = list_crm_fields(service, flow.find_destination_id(service, destination))
    if as_json:
        show_json(Page(items=found, next_cursor=None))
        return
    show_table(
        ("FIELD", "NAME", "TYPE", "CHOICES"),
        (
            (
                one.field,
                one.label,
                one.type + (" (cannot be written)" if one.read_only else ""),
                ", ".join(one.choices[:20]),
            )
            for one in found
        ),
        empty="This CRM does not tell its fields.",
    )


@click.command("backfill")
@_which
@click.option(
    "--last",
    "count",
    required=True,
    type=click.IntRange(1, MOST),
    help="The newest so many saved calls.",
)
@click.option("--since", type=Moment(), help="Received at or after; UTC.")
@click.option("--until", type=Moment(), help="Received before; UTC.")
@click.option("--preview", is_flag=True, help="Only say how many.")
@_as_json
def backfill(
    destination: str,
    count: int,
    since: datetime | None,
    until: datetime | None,
    preview: bool,
    as_json: bool,
) -> None:
    """Send past calls that it has not got yet and would have wanted. Each goes once."""
    with open_session() as service:
        view = backfill_destination(
            service,
            flow.find_destination_id(service, destination),
            count=count,
            since=since,
            until=until,
            preview=preview,
            by=CLI,
        )
    if as_json:
        show_json(view)
        return
    go = "would go" if preview else "go"
    say(f"Of {view.looked_at} calls it wants {view.wanted}; {view.queued} {go} now.")


# ---- what the other commands need --------------------------------------------


def read_credentials(text: str) -> dict[str, str]:
    """KEY=VALUE lines. A usage error that does not repeat what was read."""
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise click.UsageError(f"credentials: line {number} is not KEY=VALUE")
        found[key.strip()] = value.strip()
    return found


def read_sync(path: Path) -> Any:
    """The `sync` part of a destination; a file with all of it will do. Invalid when unreadable."""
    try:
        parsed = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise Invalid([("sync", f"{path} is neither YAML nor JSON: {why}")]) from None
    return parsed["sync"] if isinstance(parsed, dict) and "sync" in parsed else parsed


def completed(service: Service, destination: str, fields: dict[str, Any]) -> dict[str, Any]:
    """What is not given, from a destination that is there."""
    one = flow.show_destination(service, flow.find_destination_id(service, destination))
    its = one.model_dump(include={"kind", "sync", "filter", "mapping", "events", "workspace_id"})
    return {**its, **{key: value for key, value in fields.items() if value is not None}}


def preview_spec(fields: dict[str, Any]) -> PreviewSpec:
    try:
        return PreviewSpec.model_validate(fields)
    except ValidationError as error:
        raise invalid_from(error) from None


def show_checks(answer: TestView) -> None:
    for check in answer.checks:
        say(f"  {'yes' if check.works else 'NO '}  {check.what}")
        if check.advice:
            say(f"       {check.advice}")


def show_plan(call: PreviewCallView) -> None:
    """One call, field by field. Nobody's number is shown whole."""
    plan = call.plan
    if plan is None:
        return
    say(f"{call.call_id}: {call.reason or 'written'}")
    if not call.is_wanted:
        return
    number = f"…{plan.number[-4:]}" if plan.number else "nobody: there is no number"
    nobody = "made if nobody has it" if plan.person is not None else "skipped if nobody has it"
    rows: list[tuple[str, str, str]] = [("person", number, nobody)]
    rows += [
        (one.field, "" if one.value is None else str(one.value), one.why_not or one.mode)
        for one in plan.fields
    ]
    rows.append(("call", plan.title or "", "logged" if plan.title else "not logged"))
    if plan.subject:
        due = f"{plan.due:%Y-%m-%d %H:%M %Z}" if plan.due else "no time"
        rows.append(("task", plan.subject, f"{due}: “{(plan.words or '')[:80]}”"))
    show_table(("WHAT", "VALUE", "HOW, OR WHY NOT"), rows, empty="")
    for note in plan.notes:
        say(f"For review: {note}")
