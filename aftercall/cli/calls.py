"""`aftercall calls …` and `aftercall enqueue`."""

import sys
from datetime import datetime
from pathlib import Path

import click

from aftercall.cli.session import (
    Moment,
    open_session,
    read_text,
    say,
    say_aside,
    show_json,
    show_table,
)
from aftercall.db.reading import CallQuery
from aftercall.domain.states import CallState, Priority
from aftercall.flows import look, replay
from aftercall.flows.accept_events import NoWorkspace, enqueue_calls
from aftercall.flows.audit import CLI
from aftercall.flows.errors import Invalid
from aftercall.flows.views import AttemptView, CallStory
from aftercall.twentytwo.inbound import NoCallId, check_call_id

_as_json = click.option("--json", "as_json", is_flag=True, help="As the API answers.")
_workspace = click.option("--workspace", help="When several workspaces have the id.")
#: Ids a transaction.
_CHUNK = 1_000


@click.group()
def calls() -> None:
    """Find calls, read one's story, fetch again."""


@calls.command("list")
@click.option("--state", type=click.Choice([state.value for state in CallState]))
@click.option("--status", help="Twenty2's word, for example completed.")
@click.option("--q", help="A call id, or the end of a phone number.")
@click.option("--workspace")
@click.option("--since", type=Moment(), help="UTC.")
@click.option("--until", type=Moment(), help="UTC.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, look.MAX_LIMIT))
@click.option("--cursor", help="The next_cursor of the page before.")
@_as_json
def list_calls(
    state: str | None,
    status: str | None,
    q: str | None,
    workspace: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """Newest first."""
    query = CallQuery(
        state=CallState(state) if state else None,
        status=status,
        q=q,
        workspace_id=workspace,
        since=since,
        until=until,
        limit=limit,
    )
    with open_session() as service:
        page = look.list_calls(service, query, cursor=cursor)
    if as_json:
        show_json(page)
        return
    show_table(
        ("CALL", "STATE", "STATUS", "RECEIVED (UTC)", "ATTEMPTS", "LAST ERROR"),
        (
            (
                call.call_id,
                call.state,
                call.status,
                f"{call.received_at:%Y-%m-%d %H:%M:%S}",
                call.attempts,
                call.last_error,
            )
            for call in page.items
        ),
        empty="No calls yet. They come with Twenty2's webhook, or with `aftercall enqueue ID`."
        if query == CallQuery(limit=limit) and cursor is None
        else "No calls match.",
    )
    if page.next_cursor:
        say_aside(f"More: --cursor {page.next_cursor}")


@calls.command("show")
@click.argument("call_id")
@_workspace
@_as_json
def show_call(call_id: str, workspace: str | None, as_json: bool) -> None:
    """One call's whole story."""
    with open_session() as service:
        story = look.show_call(service, call_id, workspace_id=workspace)
    if as_json:
        show_json(story)
    else:
        print_story(story)


@calls.command("refetch")
@click.argument("call_id")
@_workspace
def refetch_call(call_id: str, workspace: str | None) -> None:
    """Fetch it again; new content makes new deliveries."""
    with open_session() as service:
        replay.refetch_call(service, call_id, workspace_id=workspace, by=CLI)
    say(f"{call_id} is queued to be fetched again.")


@click.command()
@click.argument("call_ids", nargs=-1, metavar="IDS… | -")
@click.option("--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--workspace", help="Whose calls; by default the one that is configured.")
def enqueue(call_ids: tuple[str, ...], path: Path | None, workspace: str | None) -> None:
    """Queue calls by id: as arguments, from a file, or from standard input (-). One id a line."""
    if bool(call_ids) == (path is not None):
        raise click.UsageError("give either ids (or - for standard input) or --file")
    if path is not None:
        lines = read_text(path).splitlines()
    elif call_ids == ("-",):
        lines = sys.stdin.read().splitlines()
    else:
        lines = list(call_ids)
    ids = _check_lines(lines)
    received = duplicates = 0
    with open_session() as service:
        if workspace is not None:
            look.show_workspace(service, workspace)
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            try:
                accepted = enqueue_calls(
                    service,
                    chunk,
                    workspace_id=workspace,
                    # A list never goes before what is happening now.
                    priority=Priority.BACKFILL if path or call_ids == ("-",) else Priority.FRESH,
                    body=b"aftercall enqueue",
                    by=CLI,
                )
            except NoWorkspace as error:
                raise Invalid([("workspace", str(error))]) from None
            received += len(accepted)
            duplicates += sum(one.is_duplicate for one in accepted)
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


def print_story(story: CallStory) -> None:
    """One call, as a person reads it."""
    say(f"{story.call_id} (workspace {story.workspace_id})")
    say(f"  {story.state}" + (f": {story.last_error}" if story.last_error else ""))
    if story.status:
        length = f", {story.duration_seconds} s" if story.duration_seconds is not None else ""
        cost = f", {story.cost.amount} {story.cost.currency or ''}" if story.cost else ""
        say(f"  the call {story.status}{length}{cost}")
    for key, value in (story.output_parameters or {}).items():
        say(f"    {key}: {value}")
    for event in story.events:
        again = f", and {event.duplicates} times again" if event.duplicates else ""
        _moment(event.received_at, f"received {event.type}{again}")
    for attempt in story.attempts:
        _attempt("fetch", attempt)
    for delivery in story.deliveries:
        why = f": {delivery.last_error}" if delivery.last_error else ""
        _moment(
            delivery.created_at,
            f"delivery to {delivery.destination}: {delivery.state}{why}  ({delivery.id})",
        )
        for attempt in delivery.attempts:
            _attempt(f"  to {delivery.destination}", attempt)


def _attempt(what: str, attempt: AttemptView) -> None:
    status = f" {attempt.status_code}" if attempt.status_code else ""
    why = f": {attempt.reason}" if attempt.reason else ""
    again = f", again at {attempt.next_due_at:%H:%M:%S}" if attempt.next_due_at else ""
    _moment(
        attempt.started_at,
        f"{what}, attempt {attempt.number}: {attempt.outcome}{status} "
        f"in {attempt.duration_ms} ms{why}{again}",
    )


def _moment(at: datetime, text: str) -> None:
    say(f"  {at:%H:%M:%S.%f}"[:-3] + f"  {text}")
