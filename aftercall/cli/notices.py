"""`aftercall notices …`: what the operator's webhook is told."""

import click

from aftercall.cli.session import open_session, say, say_aside, show_json, show_table
from aftercall.flows import tell_operator
from aftercall.flows.audit import CLI
from aftercall.flows.cursors import MAX_LIMIT

_as_json = click.option("--json", "as_json", is_flag=True, help="As the flow answers.")


@click.group()
def notices() -> None:
    """What the operator's webhook is told: docs/alerts.md."""


@notices.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, MAX_LIMIT))
@click.option("--cursor", help="The next_cursor of the page before.")
@_as_json
def list_notices(limit: int, cursor: str | None, as_json: bool) -> None:
    """Newest first."""
    with open_session() as service:
        page = tell_operator.list_notices(service, cursor=cursor, limit=limit)
        is_set = tell_operator.operator_hook(service.settings) is not None
    if as_json:
        show_json(page)
        return
    show_table(
        ("NOTICE", "AT (UTC)", "TYPE", "STATE", "ATTEMPTS", "LAST ERROR", "TEXT"),
        (
            (
                one.id,
                f"{one.created_at:%Y-%m-%d %H:%M:%S}",
                one.type,
                one.state,
                one.attempts,
                one.last_error,
                one.body.get("text"),
            )
            for one in page.items
        ),
        empty="Nothing was told yet. Try it: aftercall notices test"
        if is_set
        else "Nothing was told yet: AFTERCALL_OPERATOR_WEBHOOK_URL is not set.",
    )
    if page.next_cursor:
        say_aside(f"More: --cursor {page.next_cursor}")


@notices.command("test")
@_as_json
def test(as_json: bool) -> None:
    """Send one now, signed, and tell what came of it. It is not tried again."""
    with open_session() as service:
        answer = tell_operator.send_test_notice(service, by=CLI)
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
