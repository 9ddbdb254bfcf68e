"""`aftercall retention`."""

import sys

import click

from aftercall.cli.session import open_session, say_aside, show_json, show_table
from aftercall.flows.audit import CLI
from aftercall.flows.keep import Kept, keep
from aftercall.flows.retention import KindView, show_retention
from aftercall.flows.service import Service
from aftercall.media_store import MediaStore

#: Rows between two lines of progress.
_TELL_EVERY = 5_000


@click.command()
@click.option("--run", "does_run", is_flag=True, help="Remove now what is past its time.")
@click.option(
    "--unnamed-files",
    "removes_unnamed",
    is_flag=True,
    help="With --run: media files that no row of this database names, too. They may be another "
    "installation's.",
)
@click.option("--json", "as_json", is_flag=True, help="As an object.")
def retention(*, does_run: bool, removes_unnamed: bool, as_json: bool) -> None:
    """What is kept for how long, what there is, and what goes next."""
    if removes_unnamed and not does_run:
        raise click.UsageError(
            "--unnamed-files goes with --run; `aftercall retention --run` alone says how many "
            "there are, and leaves them"
        )
    with open_session() as service:
        kept = _run(service, removes_unnamed=removes_unnamed) if does_run else None
        found = show_retention(service)
        if as_json:
            show_json(found)
        else:
            show_table(
                ("KIND", "KEPT FOR", "OLDEST (UTC)", "SIZE", "GOES NEXT"),
                (_row(one) for one in found.items),
                empty="",
            )
    if kept is not None and kept.faults:
        sys.exit(1)


def _run(service: Service, *, removes_unnamed: bool) -> Kept:
    told: dict[str, int] = {}

    def tell(what: str, count: int) -> None:
        if count == 1 or count - told.get(what, 0) >= _TELL_EVERY:
            told[what] = count
            say_aside(f"removing: {what} {count:,}")

    store = MediaStore(service.settings.media_root)
    kept = keep(service, store, by=CLI, tell=tell, removes_unnamed=removes_unnamed)
    for name in kept.made:
        say_aside(f"made: {name}")
    for name in kept.dropped:
        say_aside(f"dropped: {name}")
    for what, count in sorted(kept.removed.items()):
        say_aside(f"removed: {what} {count:,}")
    if kept.unnamed:
        say_aside(
            f"left alone: {kept.unnamed:,} media files that no row of this database names. When no "
            "other installation uses the media store, --unnamed-files removes them."
        )
    for fault in kept.faults:
        say_aside(f"not done: {fault}")
    if not (kept.made or kept.has_removed or kept.faults):
        say_aside("There was nothing to do.")
    return kept


def _row(one: KindView) -> tuple[object, ...]:
    return (
        one.kind,
        "ever" if one.keep_days is None else f"{one.keep_days} days",
        one.oldest_at and f"{one.oldest_at:%Y-%m-%d %H:%M}",
        _size(one.size_bytes),
        _due(one),
    )


def _due(one: KindView) -> str:
    if one.due_partitions:
        return ", ".join(one.due_partitions)
    if one.is_more:
        return f"more than {one.due_rows:,}"
    return f"{one.due_rows:,}" if one.due_rows else "nothing"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
