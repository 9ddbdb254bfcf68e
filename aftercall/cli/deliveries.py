"""`aftercall deliveries …`."""

import uuid
from datetime import datetime

import click

from aftercall.cli.session import Moment, open_session, say, say_aside, show_json, show_table
from aftercall.db.reading import DeliveryQuery
from aftercall.domain.states import DeliveryState
from aftercall.flows import look, replay
from aftercall.flows.audit import CLI
from aftercall.flows.configure_destinations import find_destination_id

_state = click.option("--state", type=click.Choice([state.value for state in DeliveryState]))
_destination = click.option("--destination", help="Its name or id.")
_as_json = click.option("--json", "as_json", is_flag=True, help="As the API answers.")


@click.group()
def deliveries() -> None:
    """Find deliveries, read one, send again."""


@deliveries.command("list")
@_state
@_destination
@click.option("--call", "call_id")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, look.MAX_LIMIT))
@click.option("--cursor", help="The next_cursor of the page before.")
@_as_json
def list_deliveries(
    state: str | None,
    destination: str | None,
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
        say_aside(f"More: --cursor {page.next_cursor}")


@deliveries.command("show")
@click.argument("delivery_id", type=click.UUID)
@_as_json
def show_delivery(delivery_id: uuid.UUID, as_json: bool) -> None:
    """One delivery with its attempts."""
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


@deliveries.command("replay")
@click.argument("delivery_id", type=click.UUID, required=False)
@_state
@_destination
@click.option("--since", type=Moment(), help="Made at or after; UTC.")
@click.option("--until", type=Moment(), help="Made before; UTC.")
def replay_deliveries(
    delivery_id: uuid.UUID | None,
    state: str | None,
    destination: str | None,
    since: datetime | None,
    until: datetime | None,
) -> None:
    """Send one again, or all that match; under the ids that they have."""
    conditions = (state, destination, since, until)
    if delivery_id is not None and any(conditions):
        raise click.UsageError("give either a delivery or conditions")
    if delivery_id is None and not any(conditions):
        raise click.UsageError("give a delivery, or --state, --destination, --since or --until")
    with open_session() as service:
        if delivery_id is not None:
            delivery = replay.replay_delivery(service, delivery_id, by=CLI)
            say(f"{delivery.id} is {delivery.state}.")
            return
        replayed = replay.replay_matching(
            service,
            state=DeliveryState(state) if state else None,
            destination_id=find_destination_id(service, destination) if destination else None,
            since=since,
            until=until,
            by=CLI,
        )
    say(f"{replayed.replayed} deliveries go again.")
