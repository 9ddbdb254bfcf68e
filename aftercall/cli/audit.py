"""`aftercall audit …`."""

import click

from aftercall.cli.session import open_session, say_aside, show_json, show_table
from aftercall.flows.audit import list_entries
from aftercall.flows.cursors import MAX_LIMIT


@click.group()
def audit() -> None:
    """Who changed or replayed what."""


@audit.command("list")
@click.option("--subject", help="The id of what it was done to.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, MAX_LIMIT))
@click.option("--cursor", help="The next_cursor of the page before.")
@click.option("--json", "as_json", is_flag=True, help="As the API answers.")
def list_audit(subject: str | None, limit: int, cursor: str | None, as_json: bool) -> None:
    """Newest first."""
    with open_session() as service:
        page = list_entries(service, subject=subject, cursor=cursor, limit=limit)
    if as_json:
        show_json(page)
        return
    show_table(
        ("AT (UTC)", "WHO", "VIA", "FROM", "WHAT", "TO WHAT", "DETAIL"),
        (
            (
                f"{entry.at:%Y-%m-%d %H:%M:%S}",
                entry.actor,
                entry.via,
                entry.address,
                entry.action,
                entry.subject,
                ", ".join(f"{name}: {value}" for name, value in entry.detail.items()),
            )
            for entry in page.items
        ),
        empty="Nothing was changed yet. Sign-ins, changes and replays will stand here.",
    )
    if page.next_cursor:
        say_aside(f"More: --cursor {page.next_cursor}")
