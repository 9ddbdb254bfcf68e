"""Both sides together."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import requests

from aftercall.simulator import DEFAULT_WORKSPACE, Fault, Simulator

from .raw_client import SECRET, deliver, detail, payload


def test_a_whole_call_goes_in_and_out_and_the_report_says_so(simulator: Simulator) -> None:
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    outputs = detail(simulator, call_id).json()["output_parameters"]
    deliver(simulator, "leads", payload(call_id, **outputs))
    report = simulator.report()
    assert report.requests == {"/api/call/detail 200": 1, "/hooks/leads 200": 1}
    assert (report.crm_accepted, report.crm_unique_ids, report.crm_duplicates) == (1, 1, 0)


def test_the_same_path_on_both_sides_is_added_up(simulator: Simulator) -> None:
    for server in (simulator.twentytwo.server, simulator.crm.server):
        requests.get(f"{server.origin}/redirected", timeout=5)
    assert simulator.report().requests == {"/redirected 200": 2}


def test_the_same_seed_makes_the_same_calls() -> None:
    first, second, other = (Simulator(seed=seed).twentytwo.make_calls(20) for seed in (7, 7, 8))
    assert first == second != other


def test_given_ports_are_used_and_a_taken_one_is_an_error() -> None:
    with Simulator() as first:
        taken = first.crm.server.port
        second = Simulator(ports=(0, taken))
        with pytest.raises(OSError, match="in use"):
            second.start()
        with pytest.raises(requests.ConnectionError):
            requests.get(second.twentytwo.base_url, timeout=5)
    with Simulator(ports=(0, taken)) as third:
        assert third.crm.server.port == taken


def test_nothing_outlives_the_end() -> None:
    before = set(threading.enumerate())
    with Simulator() as simulator, ThreadPoolExecutor(8) as pool:
        hook = simulator.crm.add_hook("leads", SECRET)
        hook.fail_at_rate(1.0, [Fault.HANG])
        simulator.twentytwo.fail_at_rate(1.0, [Fault.HANG, Fault.DRIP])
        asked = [pool.submit(_expect_nothing, simulator, number) for number in range(8)]
        while sum(simulator.report().requests.values()) < 8:
            time.sleep(0.01)
        started = time.monotonic()
        simulator.close()
        assert time.monotonic() - started < 3
        for future in asked:
            future.result()
    assert set(threading.enumerate()) <= before


def _expect_nothing(simulator: Simulator, number: int) -> None:
    call_id = f"call {number}"
    ask = partial(detail, simulator, call_id)
    tell = partial(deliver, simulator, "leads", payload(call_id))
    with pytest.raises(requests.RequestException):
        (ask if number % 2 else tell)()


def test_threads_asking_at_once_are_all_counted() -> None:
    workspace = replace(DEFAULT_WORKSPACE, rate_limit=50)
    with Simulator(workspaces=[workspace]) as simulator, ThreadPoolExecutor(16) as pool:
        simulator.crm.add_hook("leads", SECRET)
        call_ids = simulator.twentytwo.make_calls(80)
        asked = pool.map(lambda call_id: detail(simulator, call_id).status_code, call_ids)
        sent = pool.map(
            lambda call_id: deliver(simulator, "leads", payload(call_id)).status_code, call_ids
        )
        assert sorted(asked) == [200] * 50 + [429] * 30
        assert set(sent) == {200}
        report = simulator.report()
        assert (report.rate_limit_breaches, report.largest_overrun) == (30, 30)
        assert (report.crm_accepted, report.crm_unique_ids) == (80, 80)


def test_it_loads_nothing_else_of_aftercall() -> None:
    program = (
        "import sys, aftercall.simulator; print(*sorted(name for name in sys.modules "
        "if name.startswith(('aftercall', 'api', 'worker'))))"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, cwd=root, text=True
    )
    loaded = run.stdout.split()
    assert all(name == "aftercall" or name.startswith("aftercall.simulator") for name in loaded)
