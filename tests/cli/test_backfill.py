"""`aftercall backfill`: to its end, interrupted, killed and taken up again."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from sqlalchemy import text

from aftercall.domain.states import Priority
from aftercall.flows.service import Service
from aftercall.simulator import Fault, PlannedFault, Simulator
from tests.cli.command import Command, assert_one_line, environment
from tests.conftest import WORKSPACE
from tests.flows.work import accept

#: As many requests a minute that the test takes seconds; kept by both sides.
FAST = 60_000


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=7, workspaces=[replace(WORKSPACE, rate_limit=FAST)]) as simulator:
        yield simulator


@pytest.fixture
def backfilling(aftercall: Command, simulator: Simulator, service: Service) -> Command:
    """The command, whose Twenty2 is the simulator."""
    url = simulator.twentytwo.base_url
    settings = {"TWENTYTWO_BASE_URL": url, "TWENTYTWO_RATE_LIMIT": str(FAST)}
    return Command(aftercall.launcher, aftercall.folder, {**aftercall.settings, **settings})


def priorities(service: Service) -> dict[str, int]:
    with service.database.transaction() as session:
        rows = session.execute(text("SELECT call_id, priority FROM calls")).all()
    return {row.call_id: row.priority for row in rows}


def pages_read(service: Service) -> int:
    with service.database.transaction() as session:
        pages = session.execute(text("SELECT max(pages) FROM reconciliations")).scalar_one()
    return int(pages or 0)


def start_process(command: Command) -> "subprocess.Popen[bytes]":
    """A process that can be killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "aftercall.cli.main", "backfill"],
        cwd=command.folder,
        env=environment(**command.settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def wait_for_pages(service: Service, count: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 90
    while pages_read(service) < count:
        assert process.poll() is None, process.stderr
        assert time.monotonic() < end, "no page is read"
        time.sleep(0.005)


@pytest.mark.timeout(400)
def test_exactly_the_withheld_calls_are_found_though_the_process_is_killed_in_between(
    backfilling: Command, simulator: Simulator, service: Service
) -> None:
    made = simulator.twentytwo.make_calls(12_000)
    rng = Random(7)
    withheld = set(rng.sample(made, 10_000))
    for start in range(0, len(made), 1_000):
        accept(service, [one for one in made[start : start + 1_000] if one not in withheld])
    killed_at: list[int] = []
    for _ in range(3):
        process = start_process(backfilling)
        wait_for_pages(service, pages_read(service) + rng.randint(5, 30), process)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        assert process.stderr is not None
        process.stderr.close()
        killed_at.append(pages_read(service))
        with service.database.transaction() as session:
            # As if the forty seconds of its lease had passed.
            session.execute(text("UPDATE reconciliations SET lease_until = now()"))
    assert killed_at[-1] < 120, "it was at its end before it was killed"
    report = json.loads(backfilling.ok("backfill", "--json"))
    assert report["state"] == "done"
    assert (report["calls_seen"], report["already_known"], report["missing"]) == (
        12_000,
        2_000,
        10_000,
    )
    assert report["unreadable"] == 0
    here = priorities(service)
    assert set(here) == set(made)
    assert {one for one, priority in here.items() if priority == Priority.BACKFILL} == withheld
    with service.database.transaction() as session:
        events = session.execute(
            text("SELECT count(*), sum(duplicates) FROM events WHERE type = 'found_in_log'")
        ).one()
        runs = session.execute(text("SELECT count(*) FROM reconciliations")).scalar_one()
    assert (tuple(events), runs) == ((10_000, 0), 1)
    assert simulator.twentytwo.breaches() == (0, 0)


def test_its_report_says_what_was_missing(
    backfilling: Command, simulator: Simulator, service: Service
) -> None:
    made = simulator.twentytwo.make_calls(120)
    accept(service, made[:20])
    said = backfilling.ok("backfill")
    for line in ("120  calls seen", "20  known already", "100  missing, and queued", "0  entries"):
        assert line in said
    status = json.loads(backfilling.ok("backfill", "--status", "--json"))
    assert [(one["state"], one["missing"]) for one in status["items"]] == [("done", 100)]
    assert "by hand" in backfilling.ok("backfill", "--status")


def test_ctrl_c_leaves_it_where_it_is_and_says_how_it_goes_on(
    backfilling: Command, simulator: Simulator, service: Service
) -> None:
    simulator.twentytwo.make_calls(5_000)
    # Else its fifty pages may be read before it is interrupted.
    simulator.twentytwo.fail_next_logs(*[PlannedFault(Fault.SLOW, seconds=0.2)] * 20)
    process = start_process(backfilling)
    wait_for_pages(service, 3, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"`aftercall backfill` goes on from there" in err
    with service.database.transaction() as session:
        leases = session.execute(text("SELECT lease_token FROM reconciliations")).scalars().all()
    assert leases == [None]
    result = backfilling("backfill", "--json")
    assert (result.code, json.loads(result.out)["missing"]) == (0, 5_000)
    assert "Goes on at page" in result.err


def test_refused_credentials_end_it_and_say_what_to_do(
    backfilling: Command, simulator: Simulator
) -> None:
    simulator.twentytwo.make_calls(3)
    simulator.twentytwo.fail_next_logs(Fault.UNAUTHORIZED)
    result = backfilling("backfill")
    assert_one_line(result, "401", f"aftercall workspaces set {WORKSPACE.id}", "goes on at page 1")


def test_one_under_way_is_not_begun_again_with_other_times_and_can_be_stopped(
    backfilling: Command, simulator: Simulator
) -> None:
    simulator.twentytwo.fail_next_logs(Fault.UNAUTHORIZED)
    backfilling("backfill")
    assert_one_line(backfilling("backfill", "--since", "2026-01-01"), "--cancel")
    assert "Stopped before page 1" in backfilling.ok("backfill", "--cancel")
    assert_one_line(backfilling("backfill", "--cancel"), "not being read")


def test_what_makes_no_sense_is_told_in_a_line(aftercall: Command) -> None:
    assert_one_line(aftercall("backfill", "--workspace", "nobody"), "nobody")
    times = ("--since", "2026-02-01", "--until", "2026-01-01")
    assert_one_line(aftercall("backfill", *times), "later than since")
    assert aftercall("backfill", "--since", "yesterday").code == 2
    assert aftercall("backfill", "--status", "--cancel").code == 2
    assert "was not read yet" in aftercall.ok("backfill", "--status")


def test_without_redis_it_is_one_line(backfilling: Command) -> None:
    result = backfilling("backfill", AFTERCALL_REDIS_URL="redis://127.0.0.1:1/0")
    assert_one_line(result, "Redis")
