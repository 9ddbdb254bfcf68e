"""The command line: names, options, exit codes. 0 done, 1 failed, 2 usage."""

import os
import sys

import click
from sqlalchemy.exc import DataError

from aftercall import __version__
from aftercall.cli.audit import audit
from aftercall.cli.backfill import backfill
from aftercall.cli.backup import backup, restore
from aftercall.cli.calls import calls
from aftercall.cli.deliveries import deliveries
from aftercall.cli.destinations import destinations
from aftercall.cli.enqueue import enqueue
from aftercall.cli.interrupts import unwind_when_told_to_end
from aftercall.cli.notices import notices
from aftercall.cli.overview import overview
from aftercall.cli.people import forget, people
from aftercall.cli.processes import (
    PortInUse,
    api_arguments,
    beat_arguments,
    check_port,
    child_environment,
    worker_arguments,
)
from aftercall.cli.replays import replays
from aftercall.cli.retention import retention
from aftercall.cli.session import EXPECTED, current_settings, fail, say, say_aside
from aftercall.cli.up import open_database
from aftercall.cli.workspaces import workspaces
from aftercall.db.schema import check_schema
from aftercall.db.schema import migrate as migrate_schema
from aftercall.db.session import DATABASE_AWAY, Database
from aftercall.flows.reseal import reseal_secrets
from aftercall.sealing import Sealer
from aftercall.stores import check_database, check_redis, find_stores

_host = click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
_port = click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Where to listen.",
)
_concurrency = click.option(
    "--concurrency", type=click.IntRange(1, 256), help="Worker processes; by default one a core."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="aftercall")
def cli() -> None:
    """A voice call's after-call work: every call reaches the CRM, once, soon."""


@cli.command()
@_host
@_port
@_concurrency
def up(host: str, port: int, concurrency: int | None) -> None:
    """Everything in one: stores, migrations, api, worker, sweeps. Ctrl-C stops it."""
    from aftercall.cli.up import up as run

    run(host=host, port=port, concurrency=concurrency)


@cli.command()
@_host
@_port
def api(host: str, port: int) -> None:
    """The HTTP side alone."""
    check_port(host, port)
    _become(api_arguments(host=host, port=port))


@cli.command()
@_concurrency
def worker(concurrency: int | None) -> None:
    """The Celery worker alone."""
    _become(worker_arguments(concurrency=concurrency))


@cli.command()
def beat() -> None:
    """The schedule of the sweeps alone. Two do no harm."""
    _become(beat_arguments())


@cli.command()
def migrate() -> None:
    """Brings the database's schema to this version."""
    settings = current_settings()
    with open_database(settings) as url:
        _migrate(url)


@cli.command()
@click.option(
    "--calls",
    "count",
    default=240,
    show_default=True,
    type=click.IntRange(1, 20_000),
    help="How many calls end.",
)
def demo(count: int) -> None:
    """The whole path, with simulated sides, on stores of its own. Ends by itself."""
    from aftercall.cli.demo import run_demo

    sys.exit(run_demo(count))


@cli.command()
@_host
@click.option(
    "--twentytwo-port",
    default=8122,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Of the fake Twenty2. 0: whatever is free.",
)
@click.option(
    "--crm-port",
    default=8133,
    show_default=True,
    type=click.IntRange(0, 65529),
    help="Of the hooks; the CRMs have the six behind it. 0: whatever is free.",
)
@click.option(
    "--rate-limit",
    default=60,
    show_default=True,
    type=click.IntRange(1),
    help="Requests a minute that the fake Twenty2 allows.",
)
@click.option(
    "--seed", default=0, show_default=True, type=int, help="What is made up follows from it."
)
def simulate(host: str, twentytwo_port: int, crm_port: int, rate_limit: int, seed: int) -> None:
    """A fake Twenty2 and a fake CRM, to try things against."""
    from aftercall.cli.simulate import run_simulator

    if host != "127.0.0.1":
        raise click.UsageError("the simulator listens on 127.0.0.1 only")
    run_simulator(ports=(twentytwo_port, crm_port), rate_limit=rate_limit, seed=seed)


@cli.command()
def doctor() -> None:
    """Checks settings, stores, schema, workers, credentials, destinations; says what to do."""
    from aftercall.cli.doctor import run_doctor

    sys.exit(run_doctor())


_COMMANDS = (
    overview,
    calls,
    enqueue,
    backfill,
    destinations,
    deliveries,
    replays,
    workspaces,
    audit,
    notices,
    retention,
    people,
    forget,
    backup,
    restore,
)
for command in _COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Entry point. What is expected to go wrong is one line, without a traceback."""
    unwind_when_told_to_end()
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):
            click.echo()
            raise fail(
                "Nobody is there to be asked: run it in a terminal, or answer by an option "
                "(as --yes; --help names them)"
            ) from None
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except (*EXPECTED, PortInUse) as error:
        raise fail(str(error)) from None
    except (DataError, UnicodeEncodeError):
        raise fail("It has a character or a number in it that cannot be stored") from None
    except DATABASE_AWAY:
        raise fail(
            "The database does not answer any more, or takes nothing, as a standby; try again"
        ) from None
    except BrokenPipeError:
        _say_no_more()
        sys.exit(1)
    except OSError as error:
        # A full disk behind > or a file that this user may not read.
        _say_no_more()
        where = error.filename or "The output cannot be written"
        raise fail(f"{where}: {error.strerror}") from None


def _say_no_more() -> None:
    """What is still to be written is not, and nobody is told so once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _migrate(url: str) -> None:
    database = Database(url, pool_size=1)
    try:
        check_database(database)
        is_ours = migrate_schema(url, say=say_aside)
        check_schema(database)
        _reseal(database)
    finally:
        database.close()
    if is_ours:
        say("The schema is up to date.")
    else:
        say("The schema is newer than this version, and serves it: there is nothing to do.")


def _reseal(database: Database) -> None:
    keys = current_settings().secret_key
    if keys is None or "," not in keys.get_secret_value():
        return
    resealed, lost = reseal_secrets(database, Sealer(keys.get_secret_value()))
    say(f"{resealed} stored secrets are under the first key of AFTERCALL_SECRET_KEY.")
    if lost:
        say(f"{lost} open with none of the keys: set them anew, or put their key back.")


def _become(arguments: list[str]) -> None:
    """Checks the stores, then turns into the program: it is its container's first process."""
    settings = current_settings()
    for name in ("secret_key", "admin_token", "webhook_token"):
        settings.require(name)
    stores = find_stores(settings)
    check_redis(stores.redis_url)
    database = Database(stores.database_url, pool_size=1, is_pooled=settings.is_pooled)
    try:
        check_database(database)
        check_schema(database)
    finally:
        database.close()
    environment = child_environment(settings, stores)
    os.execve(sys.executable, [sys.executable, "-m", *arguments], environment)  # noqa: S606


if __name__ == "__main__":
    main()
