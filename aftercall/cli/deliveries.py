"""`aftercall deliveries …`."""

import json
import sys
import uuid
from datetime import datetime

import click
from rich.progress import Progress

from aftercall.cli.session import (
    Moment,
    errors,
    open_session,
    say,
    say_aside,
    show_json,
    show_table,
)
from aftercall.db.delivery_search import DeliveryQuery
from aftercall.db.replays import ReplayConditions
from aftercall.domain.crm_words import say_step
from aftercall.domain.states import DeliveryState
from aftercall.flows import look, replay
from aftercall.flows.audit import CLI
from aftercall.flows.configure_destinations import find_destination_id
from aftercall.flows.preview_destination import show_request
from aftercall.flows.service import Service
from aftercall.flows.views import ReplayProgressView

_state = click.option("--state", type=click.Choice([state.value for state in DeliveryState]))
_destination = click.option("--destination", help="Its name or id.")
_reason = click.option("--reason", help="The last error, as `deliveries groups` has it.")
_as_json = click.option("--json", "as_json", is_flag=True, help="As the API answers.")


@click.group()
def deliveries() -> None:
    """Find deliveries, read one, send again."""


@deliveries.command("list")
@_state
@_destination
@_reason
@click.option("--call", "call_id")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, look.MAX_LIMIT))
@click.option("--cursor", help="The next_cursor of the page before.")
@_as_json
def list_deliveries(
    state: str | None,
    destination: str | None,
    reason: str | None,
    call_id: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """Newest first."""
    with open_session() as service:
        query = DeliveryQuery(
            state=DeliveryState(state) if state else None,
            destination_id=find_destination_id(service, destination) if destination else None,
            reason=reason,
            call_id=call_id,
            limit=limit,
        )
        page = look.list_deliveries(service, query, cursor=cursor)
    if as_json:
        show_json(page)
        return
    show_table(
        ("DELIVERY", "CALL", "DESTINATION", "STATE", "ATTEMPTS", "LAST ERROR"),
        (
            (
                delivery.id,
                delivery.call_id,
                delivery.destination,
                delivery.state,
                len(delivery.attempts),
                delivery.last_error,
            )
            for delivery in page.items
        ),
        empty="No deliveries. They are made when a call is saved and a destination wants it: "
        "see `aftercall destinations list`.",
    )
    if page.next_cursor:
        say_aside(f"Older: --cursor {page.next_cursor}")
    if page.previous_cursor:
        say_aside(f"Newer: --cursor {page.previous_cursor}")


@deliveries.command("show")
@click.argument("delivery_id", type=click.UUID)
@_as_json
def show_delivery(delivery_id: uuid.UUID, as_json: bool) -> None:
    """One delivery with its attempts, and what was done at a CRM."""
    with open_session() as service:
        delivery = look.show_delivery(service, delivery_id)
    if as_json:
        show_json(delivery)
        return
    say(f"{delivery.id} {delivery.state}")
    say(
        f"  call {delivery.call_id} to {delivery.destination}"
        + (f": {delivery.last_error}" if delivery.last_error else ""),
    )
    if delivery.steps:
        show_table(
            ("IN THE CRM", "WHEN (UTC)", "STATE", "ID THERE", "NOTE"),
            (
                (said.title, f"{said.at:%Y-%m-%d %H:%M:%S}", said.state, step.remote_id, said.text)
                for step in delivery.steps
                for said in (say_step(step),)
            ),
            empty="",
        )
    show_table(
        ("ATTEMPT", "STARTED (UTC)", "OUTCOME", "STATUS", "MS", "REASON", "ANSWER"),
        (
            (
                attempt.number,
                f"{attempt.started_at:%Y-%m-%d %H:%M:%S}",
                attempt.outcome,
                attempt.status_code,
                attempt.duration_ms,
                attempt.reason,
                (attempt.response_excerpt or "")[:80],
            )
            for attempt in delivery.attempts
        ),
        empty="Not tried yet.",
    )


@deliveries.command("request")
@click.argument("delivery_id", type=click.UUID)
@_as_json
def request(delivery_id: uuid.UUID, as_json: bool) -> None:
    """The request as it would be sent now, without its secrets."""
    with open_session() as service:
        view = show_request(service, delivery_id)
    if as_json:
        show_json(view)
        return
    say(f"{view.method} {view.url}")
    for name, value in view.headers.items():
        say(f"{name}: {value}")
    say("")
    say(view.fault or json.dumps(view.body, ensure_ascii=False, indent=2))


@deliveries.command("groups")
@click.option("--state", type=click.Choice(["dead", "held"]))
@_as_json
def list_groups(state: str | None, as_json: bool) -> None:
    """Dead and held ones by destination and reason, the largest group first."""
    with open_session() as service:
        groups = look.list_groups(service, state=DeliveryState(state) if state else None)
    if as_json:
        show_json(groups)
        return
    show_table(
        ("COUNT", "STATE", "DESTINATION", "REASON", "NEWEST (UTC)", "WHAT TO DO"),
        (
            (
                one.count,
                one.state,
                one.destination,
                one.reason,
                f"{one.newest_at:%Y-%m-%d %H:%M}",
                one.cure,
            )
            for one in groups.items
        ),
        empty="No delivery is dead or held.",
    )


@deliveries.command("replay")
@click.argument("delivery_id", type=click.UUID, required=False)
@_state
@_destination
@_reason
@click.option("--call", "call_id")
@click.option("--since", type=Moment(), help="Made at or after; UTC.")
@click.option("--until", type=Moment(), help="Made before; UTC.")
@click.option("--preview", is_flag=True, help="Only say how many, and where to.")
@click.option("--yes", is_flag=True, help="Do not ask; a terminal is asked otherwise.")
@_as_json
def replay_deliveries(
    delivery_id: uuid.UUID | None,
    state: str | None,
    destination: str | None,
    reason: str | None,
    call_id: str | None,
    since: datetime | None,
    until: datetime | None,
    preview: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Send one again, or all that match; under the ids that they have.

    \b
    aftercall deliveries replay --state dead --destination leads --preview
    aftercall deliveries replay --state dead --reason "the hook answered 422" --yes
    """
    given = (state, destination, reason, call_id, since, until)
    if delivery_id is not None and any(given):
        raise click.UsageError("give either a delivery or conditions")
    if delivery_id is None and not any(given):
        raise click.UsageError(
            "give a delivery, or --state, --destination, --reason, --call, --since or --until"
        )
    with open_session() as service:
        if delivery_id is not None:
            delivery = replay.replay_delivery(service, delivery_id, by=CLI)
            if as_json:
                show_json(delivery)
            else:
                say(f"{delivery.id} is {delivery.state}.")
            return
        conditions = ReplayConditions(
            state=DeliveryState(state) if state else None,
            destination_id=find_destination_id(service, destination) if destination else None,
            reason=reason,
            call_id=call_id,
            since=since,
            until=until,
        )
        _replay_matching(service, conditions, preview=preview, yes=yes, as_json=as_json)


def _replay_matching(
    service: Service, conditions: ReplayConditions, *, preview: bool, yes: bool, as_json: bool
) -> None:
    if preview or (sys.stdin.isatty() and not yes):
        found = replay.preview_replay(service, conditions)
        if as_json and preview:
            show_json(found)
            return
        for one in found.destinations:
            held = "" if one.enabled else " (disabled: they will be held)"
            say(f"{one.count} to {one.destination}{held}")
        if preview:
            say(f"{found.total} deliveries would go again.")
            return
        click.confirm(f"Send {found.total} deliveries again?", abort=True)
    replayed = replay.replay_matching(service, conditions, by=CLI)
    if replayed.replay is not None and not as_json:
        _follow(service, replayed.replay)
    if as_json:
        show_json(replayed)
    else:
        say(f"{replayed.replayed} deliveries go again.")


def _follow(service: Service, view: ReplayProgressView) -> None:
    """Until it is done. The sweeps do it; Ctrl-C leaves it to them."""
    with Progress(console=errors) as progress:
        task = progress.add_task(f"replay {view.id}", total=view.total)
        while view.state == "running":
            replay.step_replays(service, steps=1)
            view = replay.show_replay(service, view.id)
            progress.update(task, completed=view.done)
