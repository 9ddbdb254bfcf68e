"""`aftercall overview`: is all well, and if not, what to do."""

from datetime import UTC, datetime, timedelta

import click

from aftercall.cli.session import open_session, say, show_json, show_table
from aftercall.flows.overview import Window, show_overview
from aftercall.flows.views import DestinationHealthView, OverviewView


@click.command()
@click.option(
    "--window",
    default=Window.DAY.value,
    show_default=True,
    type=click.Choice([window.value for window in Window]),
    help="What the destinations' health looks at.",
)
@click.option("--json", "as_json", is_flag=True, help="As the API answers.")
def overview(window: str, as_json: bool) -> None:
    """What came and went, what waits, who is unwell, and what to do. Days begin where you are.

    \b
    aftercall overview --window 7d
    """
    offset = datetime.now(UTC).astimezone().utcoffset() or timedelta()
    with open_session() as service:
        view = show_overview(service, window=Window(window), utc_offset=offset)
    if as_json:
        show_json(view)
    else:
        _print(view)


def _state_of(one: DestinationHealthView) -> str:
    if not one.enabled:
        return "disabled"
    if one.breaker != "closed":
        return f"breaker {one.breaker}"
    return "failing" if one.is_failing else "enabled"


def _print(view: OverviewView) -> None:
    say("All is well." if view.is_well else "Not all is well: see what failed below.")
    if not view.is_complete:
        say("Much is not counted yet: the numbers grow for some minutes.")
    say("")
    show_table(
        ("", "RECEIVED", "SAVED", "DELIVERED", "DEAD"),
        (
            (name, one.received, one.saved, one.delivered, one.dead)
            for name, one in (
                ("today", view.today),
                ("24 h", view.last_24h),
                ("7 d", view.last_7d),
                ("30 d", view.last_30d),
            )
        ),
        empty="",
    )
    say("")
    say(f"Waiting: {view.waiting_calls.count} calls, {view.waiting_deliveries.count} deliveries.")
    say("")
    show_table(
        ("DESTINATION", "STATE", "SUCCESS", "P50 MS", "P95 MS", "WAITING", "HELD", "DEAD"),
        (
            (
                one.name,
                _state_of(one),
                "" if one.success_rate is None else f"{one.success_rate:.1%}",
                one.p50_ms,
                one.p95_ms,
                one.waiting,
                one.held,
                one.dead,
            )
            for one in view.destinations
        ),
        empty="No destinations yet: aftercall destinations add NAME URL",
    )
    if view.failures:
        say("")
    for failure in view.failures:
        where = failure.destination or failure.workspace_id
        say(f"{failure.count} {failure.kind} {failure.state} ({where}): {failure.reason}")
        say(f"  {failure.cure}")
