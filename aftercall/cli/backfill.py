"""`aftercall backfill`: reads Twenty2's log for calls that never came, and queues them.

Takes the steps itself, by the same claims as a worker: with workers beside it
the pages are shared, without any it does them all.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime

import click
import redis
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from aftercall.cli.session import (
    Moment,
    errors,
    open_session,
    say,
    say_aside,
    show_json,
    show_table,
)
from aftercall.flows import reconciliations
from aftercall.flows.audit import CLI
from aftercall.flows.errors import Conflict
from aftercall.flows.look import show_workspaces
from aftercall.flows.reconcile import step_here
from aftercall.flows.service import Service
from aftercall.flows.views import ReconciliationView
from aftercall.twentytwo.client import Twenty2

_PAUSE = 0.2
#: Seconds between two lines, where nobody sees a bar.
_SAY_EVERY = 5.0
_SHOWN = 20


@click.command()
@click.option("--workspace", help="Whose log; by default the one that is configured.")
@click.option("--since", type=Moment(), help="Calls that began at or after; UTC.")
@click.option("--until", type=Moment(), help="Calls that began before; UTC.")
@click.option("--status", is_flag=True, help="Only show the last ones.")
@click.option("--cancel", is_flag=True, help="Only stop the one that is under way.")
@click.option("--json", "as_json", is_flag=True, help="As the API answers.")
def backfill(
    workspace: str | None,
    since: datetime | None,
    until: datetime | None,
    status: bool,
    cancel: bool,
    as_json: bool,
) -> None:
    """Find calls whose webhooks never came, in Twenty2's log, and queue them.

    Goes on where one was interrupted. What is found waits behind everything fresh.

    \b
    aftercall backfill --since 2026-11-01
    aftercall backfill --status
    """
    if status and (cancel or since or until):
        raise click.UsageError("--status only shows")
    if cancel and (since or until):
        raise click.UsageError("--cancel only stops")
    with open_session() as service:
        if status:
            _show_status(service, workspace, as_json=as_json)
            return
        workspace = workspace or _only_workspace(service)
        if cancel:
            _cancel(service, workspace, as_json=as_json)
            return
        view = _begin(service, workspace, since=since, until=until)
        view = _read_to_its_end(service, view)
    if as_json:
        show_json(view)
    else:
        _report(view)
    if view.state != "done":
        raise SystemExit(1)


def _only_workspace(service: Service) -> str:
    own = service.settings.twentytwo_workspace_id
    if own is not None:
        return own
    found = [one.workspace_id for one in show_workspaces(service) if one.has_credentials]
    if len(found) == 1:
        return found[0]
    if not found:
        raise Conflict("No workspace has credentials: aftercall workspaces set ID")
    raise Conflict(f"Say which with --workspace: {', '.join(found[:10])}")


def _begin(
    service: Service, workspace: str, *, since: datetime | None, until: datetime | None
) -> ReconciliationView:
    running = reconciliations.running_reconciliation(service, workspace)
    if running is None or running.kind != "by_hand":
        return reconciliations.start_reconciliation(
            service, workspace, since=since, until=until, by=CLI
        )
    is_same = (since is None and until is None) or (since, until) == (running.since, running.until)
    if not is_same:
        raise Conflict(
            f"Another one is under way in workspace {workspace}. Let it come to its end with "
            "`aftercall backfill`, or stop it with `aftercall backfill --cancel`"
        )
    say_aside(f"Goes on at page {running.page} of the one that began at {_time(running)} UTC.")
    return running


def _read_to_its_end(service: Service, view: ReconciliationView) -> ReconciliationView:
    with closing(Twenty2(service.settings.twentytwo_base_url)) as twentytwo, _telling() as tell:
        try:
            while view.state == "running":
                asked = step_here(service, twentytwo, view.id)
                view = reconciliations.show_reconciliation(service, view.id)
                waits = None if asked or view.state != "running" else _wait(service, view)
                tell(view, waits)
        except KeyboardInterrupt:
            say_aside(
                f"Stopped before page {view.page}, {view.missing} calls queued so far. "
                "`aftercall backfill` goes on from there, and so do workers, where any run; "
                "`aftercall backfill --cancel` ends it."
            )
            raise
        except redis.RedisError:
            raise Conflict(
                "Redis does not answer, and permits for requests come from there. "
                f"Once it does, `aftercall backfill` goes on at page {view.page}"
            ) from None
    return view


def _wait(service: Service, view: ReconciliationView) -> str | None:
    """A moment. What is waited for; Conflict when only a person can end it."""
    waits = reconciliations.why_waiting(service, view)
    if waits is not None and waits.is_for_a_person:
        raise Conflict(
            f"{waits.reason}. Set them with `aftercall workspaces set {view.workspace_id}`; then "
            f"`aftercall backfill` goes on at page {view.page}"
        )
    time.sleep(_PAUSE)
    return None if waits is None else waits.reason


Tell = Callable[[ReconciliationView, str | None], None]


@contextmanager
def _telling() -> Iterator[Tell]:
    """How far it is: as a line that changes on a terminal, else as lines now and then."""
    if not errors.is_terminal:
        yield _tell_in_lines()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task("page 1")

        def tell(view: ReconciliationView, waits: str | None) -> None:
            progress.update(task, description=_how_far(view, waits).replace("[", r"\["))

        yield tell


def _tell_in_lines() -> Tell:
    told = time.monotonic()

    def tell(view: ReconciliationView, waits: str | None) -> None:
        nonlocal told
        if time.monotonic() - told >= _SAY_EVERY:
            told = time.monotonic()
            say_aside(_how_far(view, waits))

    return tell


def _how_far(view: ReconciliationView, waits: str | None) -> str:
    of = f" of {view.total}" if view.total else ""
    why = f"; waits: {waits}" if waits else ""
    return f"page {view.page}: {view.calls_seen}{of} seen, {view.missing} missing{why}"


def _report(view: ReconciliationView) -> None:
    ends = {
        "done": f"The log of workspace {view.workspace_id} is read: {view.pages_read} pages.",
        "canceled": f"Stopped by somebody else before page {view.page}.",
        "failed": f"Failed at page {view.page}: {view.last_error}",
    }
    say(ends[view.state])
    for count, what in (
        (view.calls_seen, "calls seen"),
        (view.already_known, "known already"),
        (view.missing, "missing, and queued now"),
        (view.under_way, "still under way: left for the next time"),
        (view.outside, "outside of the time"),
        (view.unreadable, "entries that are no call"),
    ):
        say(f"  {count:>9}  {what}")
    if view.note:
        say_aside(f"{view.note}.")
    if view.state == "failed":
        say_aside(f"`aftercall backfill` with the same times goes on at page {view.page}.")


def _show_status(service: Service, workspace: str | None, *, as_json: bool) -> None:
    page = reconciliations.list_reconciliations(service, workspace_id=workspace, limit=_SHOWN)
    if as_json:
        show_json(page)
        return
    show_table(
        (
            "RECONCILIATION",
            "WORKSPACE",
            "KIND",
            "STATE",
            "PAGES",
            "SEEN",
            "MISSING",
            "UNDER WAY",
            "UNREADABLE",
            "BEGAN (UTC)",
            "LAST ERROR",
        ),
        (
            (
                one.id,
                one.workspace_id,
                one.kind.replace("_", " "),
                one.state,
                one.pages_read,
                one.calls_seen,
                one.missing,
                one.under_way,
                one.unreadable,
                _time(one),
                one.last_error,
            )
            for one in page.items
        ),
        empty="Twenty2's log was not read yet: aftercall backfill",
    )


def _cancel(service: Service, workspace: str, *, as_json: bool) -> None:
    running = reconciliations.running_reconciliation(service, workspace)
    if running is None:
        raise Conflict(f"The log of workspace {workspace} is not being read")
    view = reconciliations.cancel_reconciliation(service, running.id, by=CLI)
    if as_json:
        show_json(view)
    else:
        say(f"Stopped before page {view.page}: {view.missing} calls were queued, and stay so.")


def _time(view: ReconciliationView) -> str:
    return f"{view.created_at:%Y-%m-%d %H:%M:%S}"
