"""`aftercall workspaces …`."""

import click
from pydantic import ValidationError

from aftercall.cli.session import open_session, say, show_json, show_table
from aftercall.flows import look
from aftercall.flows.audit import CLI
from aftercall.flows.check_workspace import check_workspace, release
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.errors import invalid_from
from aftercall.flows.overview import use_of
from aftercall.flows.views import Page

_as_json = click.option("--json", "as_json", is_flag=True, help="As the API answers.")


@click.group()
def workspaces() -> None:
    """Twenty2 workspaces: credentials, limits, blocks."""


@workspaces.command("list")
@_as_json
def list_workspaces(as_json: bool) -> None:
    """All of them."""
    with open_session() as service:
        found = look.show_workspaces(service)
    if as_json:
        show_json(Page(items=found, next_cursor=None))
        return
    show_table(
        ("WORKSPACE", "CREDENTIALS", "REQUESTS A MINUTE", "COUNTRY", "ZONE", "STATE"),
        (
            (
                one.workspace_id,
                one.credentials_from or "none",
                one.rate_limit,
                one.region,
                one.time_zone,
                one.block_reason or "works",
            )
            for one in found
        ),
        empty="No workspaces yet: set TWENTYTWO_WORKSPACE_ID, or aftercall workspaces set ID",
    )


@workspaces.command("set")
@click.argument("workspace_id")
@click.option("--api-key", help="Asked for when --api-secret is not given either.")
@click.option("--api-secret", help="Better left out: then it is asked for, unseen.")
@click.option("--rate-limit", type=int, help="Requests a minute.")
@click.option("--region", help="Country of numbers without a code: IN, AE (ISO 3166).")
@click.option("--time-zone", help="The zone that people speak in: Asia/Kolkata.")
@_as_json
def set_(
    workspace_id: str,
    api_key: str | None,
    api_secret: str | None,
    rate_limit: int | None,
    region: str | None,
    time_zone: str | None,
    as_json: bool,
) -> None:
    """Set credentials (asked for unless anything is given), the limit, the country or the zone.

    New credentials release a block.
    """
    if all(given is None for given in (api_key, api_secret, rate_limit, region, time_zone)):
        api_key = click.prompt("API key")
    if api_key is not None and api_secret is None:
        api_secret = click.prompt("API secret", hide_input=True)
    given = {
        "api_key": api_key,
        "api_secret": api_secret,
        "rate_limit": rate_limit,
        "region": region,
        "time_zone": time_zone,
    }
    try:
        spec = WorkspaceSpec.model_validate(
            {key: value for key, value in given.items() if value is not None}
        )
    except ValidationError as error:
        raise invalid_from(error) from None
    with open_session() as service:
        view = set_workspace(service, workspace_id, spec, by=CLI)
    if as_json:
        show_json(view)
        return
    say(f"{view.workspace_id} is set: {view.block_reason or 'works'}")


@workspaces.command("check")
@click.argument("workspace_id")
@_as_json
def check(workspace_id: str, as_json: bool) -> None:
    """Ask Twenty2 once whether the credentials work. Exit code 1 unless they do."""
    with open_session() as service:
        view = check_workspace(service, workspace_id)
    if as_json:
        show_json(view)
    else:
        say(view.message + (f" {view.cure}" if view.cure else ""))
    if not view.works:
        raise SystemExit(1)


@workspaces.command("release")
@click.argument("workspace_id")
@_as_json
def release_(workspace_id: str, as_json: bool) -> None:
    """End a block by hand. Refused credentials block it again at the next call."""
    with open_session() as service:
        view = release(service, workspace_id, by=CLI)
    if as_json:
        show_json(view)
    else:
        say(f"{view.workspace_id}: {view.block_reason or 'works'}")


@workspaces.command("use")
@click.argument("workspace_id")
@_as_json
def use(workspace_id: str, as_json: bool) -> None:
    """How much of its limit the last minute has used. Takes nothing of it."""
    with open_session() as service:
        view = use_of(service, look.show_workspace(service, workspace_id))
    if as_json:
        show_json(view)
    elif view.is_blocked:
        say(f"{workspace_id} is blocked: {view.block_reason}")
    elif view.used_now is None:
        say(f"Redis does not answer: it knows what is used. The limit is {view.rate_limit}.")
    else:
        say(f"{view.used_now} of {view.rate_limit} requests in the last minute")
