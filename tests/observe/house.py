"""aftercall's real processes, each with a log of its own: api, a worker with two children, beat."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import requests
from prometheus_client.parser import text_string_to_metric_families

from aftercall.cli.processes import api_arguments, beat_arguments, worker_arguments
from aftercall.counters import fresh_folder
from aftercall.embedded import StoreUrls
from aftercall.simulator import Simulator
from tests.api.server import SETTINGS, Api, free_port
from tests.cli.command import environment

Line = dict[str, Any]
Samples = dict[tuple[str, ...], float]


def until(happens: Callable[[], bool], what: str, *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def samples_at(url: str) -> Samples:
    """A page of metrics, by name and label values."""
    with requests.get(url, timeout=20) as answer:
        assert answer.ok, answer.text
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }


class House:
    """The processes that are running, by name."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self._folder = folder
        self._settings = settings
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port = free_port()
        self._readies = 0
        self.api = Api(f"http://127.0.0.1:{self.port}", folder / "api.log")

    def start(self, name: str, arguments: list[str], **settings: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=self._folder,
                env=environment(**{**self._settings, **settings}),
                stdout=output,
                stderr=output,
            )

    def open(self, *names: str, **settings: str) -> None:
        """Starts api, worker or beat, side by side; they are there when it returns."""
        commands = {
            "api": api_arguments(host="127.0.0.1", port=self.port),
            "worker": worker_arguments(concurrency=2, name="watched@%h"),
            "beat": beat_arguments(),
        }
        for name in names:
            self.start(name, commands[name], **settings)
        if "api" in names:
            until(self._is_alive, "the api is alive")
        if "worker" in names:
            self.wait_for("worker", " ready.", times=self._readies + 1)
            self._readies += 1

    def said(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def wait_for(self, name: str, text: str, *, times: int = 1) -> None:
        until(lambda: self.said(name).count(text) >= times, f"{name} says {text!r}")

    def lines(self, *names: str) -> list[Line]:
        found = [self.said(name).splitlines() for name in names or self.processes]
        return [json.loads(line) for lines in found for line in lines if line.startswith("{")]

    def events(self, event: str, *names: str) -> list[Line]:
        return [line for line in self.lines(*names) if line["event"] == event]

    def children(self, name: str) -> list[int]:
        return [child.pid for child in psutil.Process(self.processes[name].pid).children()]

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def kill_all(self) -> None:
        for process in self.processes.values():
            pids = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
            process.kill()
            process.wait()
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    def _is_alive(self) -> bool:
        assert self.processes["api"].poll() is None, self.said("api")
        try:
            return self.api.open("/healthz", timeout=1).ok
        except requests.RequestException:
            return False


@contextmanager
def running_house(
    folder: Path, stores: StoreUrls, simulator: Simulator, *, share: bool = True, **settings: str
) -> Iterator[House]:
    """Nothing runs in it yet. `share`: its processes count into one folder, as under `up`."""
    house = House(
        folder,
        {
            **SETTINGS,
            "AFTERCALL_DATABASE_URL": stores.database_url,
            "AFTERCALL_REDIS_URL": stores.redis_url,
            "AFTERCALL_DATA_DIR": str(folder / "data"),
            "TWENTYTWO_BASE_URL": simulator.twentytwo.base_url,
            **(fresh_folder(folder / "data" / "metrics") if share else {}),
            **settings,
        },
    )
    try:
        yield house
        for name in list(house.processes):
            house.end(name)
    finally:
        house.api.session.close()
        house.kill_all()
