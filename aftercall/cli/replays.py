"""`aftercall replays …`: how far replays of many deliveries are, and stopping one."""

import uuid

import click

from aftercall.cli.session import open_session, say, show_json, show_table
from aftercall.flows import replay
from aftercall.flows.audit import CLI
from aftercall.flows.views import Page

_as_json = click.option("--json", "as_json", is_flag=True, help="As the API answers.")


@click.group()
def replays() -> None:
    """Replays of more than a thousand deliveries, which go a step at a time."""


@replays.command("list")
@_as_json
def list_(as_json: bool) -> None:
    """The newest hundred, newest first."""
    with open_session() as service:
        found = replay.list_replays(service)
    if as_json:
        show_json(Page(items=found, next_cursor=None))
        return
    show_table(
        ("REPLAY", "STATE", "DONE", "OF", "BEGAN (UTC)"),
        (
            (one.id, one.state, one.done, one.total, f"{one.created_at:%Y-%m-%d %H:%M:%S}")
            for one in found
        ),
        empty="No replays of many yet: aftercall deliveries replay --state dead",
    )


@replays.command("cancel")
@click.argument("replay_id", type=click.UUID)
@_as_json
def cancel(replay_id: uuid.UUID, as_json: bool) -> None:
    """What went already stays gone; the rest stays where it is."""
    with open_session() as service:
        view = replay.cancel_replay(service, replay_id, by=CLI)
    if as_json:
        show_json(view)
    else:
        say(f"{view.id} is {view.state}: {view.done} of {view.total} went.")
