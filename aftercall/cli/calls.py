"""`aftercall calls …`."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from aftercall.cli.session import (
    Moment,
    open_session,
    say,
    say_aside,
    show_json,
    show_table,
)
from aftercall.db.call_search import CallQuery
from aftercall.domain.states import CallState
from aftercall.flows import look, media, replay
from aftercall.flows.audit import CLI
from aftercall.flows.configure_destinations import find_destination_id
from aftercall.flows.export_calls import export_calls
from aftercall.flows.replay_call import replay_call
from aftercall.flows.views import AttemptView, CallStory, NextAttemptView, Page

_as_json = click.option("--json", "as_json", is_flag=True, help="As the API answers.")
_workspace = click.option("--workspace", help="When several workspaces have the id.")


def call_filters(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which calls."""
    for option in reversed(
        (
            click.option(
                "--state",
                "states",
                multiple=True,
                type=click.Choice([state.value for state in CallState]),
                help="May be given several times.",
            ),
            click.option("--status", help="Twenty2's word, for example completed."),
            click.option(
                "--q",
                help="A call id or its beginning, the end of a phone number, an agent's id, "
                "a parameter's value, or words that were said.",
            ),
            click.option("--agent", help="The agent's id."),
            click.option("--parameter", metavar="NAME:VALUE", help="Of the output parameters."),
            click.option(
                "--transcript", metavar="WORDS", help="Words that were said, all of them."
            ),
            click.option("--workspace"),
            click.option("--since", type=Moment(), help="Received at or after; UTC."),
            click.option("--until", type=Moment(), help="Received before; UTC."),
        )
    ):
        command = option(command)
    return command


def read_filters(
    *,
    states: tuple[str, ...],
    status: str | None,
    q: str | None,
    agent: str | None,
    parameter: str | None,
    transcript: str | None,
    workspace: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int = 50,
) -> CallQuery:
    return CallQuery(
        state=tuple(CallState(state) for state in states),
        status=status,
        q=q,
        agent_id=agent,
        parameter=look.read_parameter(parameter),
        transcript=transcript,
        workspace_id=workspace,
        since=since,
        until=until,
        limit=limit,
    )


@click.group()
def calls() -> None:
    """Find calls, read one's story, fetch again."""


@calls.command("list")
@call_filters
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, look.MAX_LIMIT))
@click.option("--cursor", help="The next_cursor of the page before.")
@_as_json
def list_calls(limit: int, cursor: str | None, as_json: bool, **filters: Any) -> None:
    """Newest first.

    \b
    aftercall calls list --q "+91 98765 43210"
    aftercall calls list --state dead --state queued --since 2026-11-01
    aftercall calls list --parameter interested:yes --agent agent_7
    """
    query = read_filters(limit=limit, **filters)
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
        say_aside(f"Older: --cursor {page.next_cursor}")
    if page.previous_cursor:
        say_aside(f"Newer: --cursor {page.previous_cursor}")


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


@calls.command("media")
@click.argument("call_id")
@click.option("--refetch", "does_refetch", is_flag=True, help="Fetch them again.")
@click.option("--revoke", "does_revoke", is_flag=True, help="End the links that were given away.")
@_workspace
@_as_json
def call_media(
    call_id: str, does_refetch: bool, does_revoke: bool, workspace: str | None, as_json: bool
) -> None:
    """A call's recording and transcript: where they are, and the links to them."""
    with open_session() as service:
        story = look.show_call(service, call_id, workspace_id=workspace)
        if does_revoke:
            story = media.revoke_links(service, call_id, workspace_id=workspace, by=CLI)
        if does_refetch:
            story = media.refetch_media(service, call_id, workspace_id=workspace, by=CLI)
    if as_json:
        show_json(Page(items=story.media, next_cursor=None))
        return
    show_table(
        ("KIND", "STATE", "BYTES", "LINK", "LAST ERROR"),
        (
            (one.kind, one.state, one.size_bytes, one.link or one.path, one.last_error)
            for one in story.media
        ),
        empty="Nothing of it is kept here.",
    )
    if story.look_again_at is not None:
        say_aside(f"Twenty2 is asked again after {story.look_again_at:%Y-%m-%d %H:%M:%S} UTC.")


@calls.command("replay")
@click.argument("call_id")
@click.option("--destination", help="Its name or id; by default all that have it or want it.")
@_workspace
@_as_json
def replay_to(call_id: str, destination: str | None, workspace: str | None, as_json: bool) -> None:
    """Send it to one destination or to all, also where it has no delivery yet."""
    with open_session() as service:
        story = replay_call(
            service,
            call_id,
            workspace_id=workspace,
            destination_id=find_destination_id(service, destination) if destination else None,
            by=CLI,
        )
    if as_json:
        show_json(story)
        return
    for delivery in story.deliveries:
        say(f"{delivery.destination}: {delivery.state}  ({delivery.id})")


@calls.command("export")
@call_filters
@click.option("--clear-phones", is_flag=True, help="Phone numbers as they are, not masked.")
def export(clear_phones: bool, **filters: Any) -> None:
    """All that match, as CSV on standard output.

    \b
    aftercall calls export --since 2026-11-01 --status completed > november.csv
    """
    with open_session() as service:
        for piece in export_calls(service, read_filters(**filters), clear_phones=clear_phones):
            click.echo(piece, nl=False)


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
    for gone in story.not_kept:
        say(f"  {gone.message}")
    for event in story.events:
        again = f", and {event.duplicates} times again" if event.duplicates else ""
        _moment(event.received_at, f"received {event.type}{again}")
    for attempt in story.attempts:
        _attempt("fetch", attempt)
    _next("the next fetch", story.next_attempt)
    for delivery in story.deliveries:
        why = f": {delivery.last_error}" if delivery.last_error else ""
        _moment(
            delivery.created_at,
            f"delivery to {delivery.destination}: {delivery.state}{why}  ({delivery.id})",
        )
        for attempt in delivery.attempts:
            _attempt(f"  to {delivery.destination}", attempt)
        _next("  the next attempt", delivery.next_attempt)


def _next(what: str, coming: NextAttemptView | None) -> None:
    if coming is not None:
        at = f" at {coming.at:%Y-%m-%d %H:%M:%S}" if coming.at else ""
        say(f"                {what}{at}: {coming.why}")


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
