"""The parts that run until they are stopped, and the migrations, as their frameworks start them."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import requests

from aftercall.crm.description import descriptions
from aftercall.embedded import StoreUrls
from tests.api.server import free_port
from tests.cli.command import ROOT, Command, environment

Process = subprocess.Popen[bytes]


@contextmanager
def program(aftercall: Command, *arguments: str) -> Iterator[tuple[Process, Path]]:
    """A process of its own, and what it says."""
    log = aftercall.folder / f"{arguments[0]}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "aftercall.cli.main", *arguments],
            cwd=aftercall.folder,
            env=environment(**aftercall.settings),
            stdout=output,
            stderr=output,
        )
    try:
        yield process, log
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def wait_until_it_answers(url: str, process: Process, log: Path) -> None:
    deadline = time.monotonic() + 30
    while not answers(url):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_the_api_alone_answers_on_its_port_and_stops_cleanly(aftercall: Command) -> None:
    port = free_port()
    with program(aftercall, "api", "--port", str(port)) as (process, log):
        wait_until_it_answers(f"http://127.0.0.1:{port}/readyz", process, log)
        process.send_signal(signal.SIGTERM)
        # uvicorn ends by the signal, once it has shut down.
        assert process.wait(20) in (0, -signal.SIGTERM)
        assert "Traceback" not in log.read_text()


#: A fake CRM of `simulate`: its kind, its address, what it wants.
CRM_LINE = r"^  (\w+) +http://127\.0\.0\.1:\d+\S*  \w+=\S+"


def test_the_simulator_alone_says_how_to_use_it_and_stops_cleanly(stranger: Command) -> None:
    ports = (str(free_port()), str(free_port()))
    arguments = ("simulate", "--twentytwo-port", ports[0], "--crm-port", ports[1])
    with program(stranger, *arguments) as (process, log):
        report = f"http://127.0.0.1:{ports[1]}/_simulator/report"
        wait_until_it_answers(report, process, log)
        deadline = time.monotonic() + 10
        while set(re.findall(CRM_LINE, log.read_text(), re.MULTILINE)) != set(descriptions()):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        [base_url] = re.findall(r"TWENTYTWO_BASE_URL=(\S+)", log.read_text())
        assert base_url == f"http://127.0.0.1:{ports[0]}/api"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert "Traceback" not in log.read_text()


def test_alembic_upgrades_the_database_of_the_settings(
    aftercall: Command, stores: StoreUrls
) -> None:
    with psycopg.connect(stores.database_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS by_alembic")
        admin.execute("CREATE DATABASE by_alembic")
        url = stores.database_url.replace("/aftercall?", "/by_alembic?")
        try:
            subprocess.run(
                [sys.executable, "-m", "alembic", "upgrade", "head"],
                cwd=ROOT,
                env=environment(AFTERCALL_DATABASE_URL=url),
                check=True,
                capture_output=True,
            )
            assert aftercall("calls", "list", AFTERCALL_DATABASE_URL=url).code == 0
        finally:
            admin.execute("DROP DATABASE by_alembic WITH (FORCE)")


def test_a_port_that_is_taken_after_the_check_does_not_end_in_a_traceback(
    aftercall: Command,
) -> None:
    """Taken on another address family, or by a program that came first."""
    with socket.create_server(("0.0.0.0", 0)) as taken:  # noqa: S104 - so that the port is taken
        port = str(taken.getsockname()[1])
        result = aftercall("api", "--port", port)
    assert result.code == 1
    assert "Traceback" not in result.said
