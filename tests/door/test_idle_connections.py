"""Thousands of connections that nobody uses: they cost files, and shut out nobody."""

import resource
import socket
import time
from collections.abc import Iterator

import pytest

from tests.door.server import OPEN_FILES, Door

WANTED = 2_500
#: For what is open besides.
OTHER = 200


@pytest.fixture
def how_many() -> Iterator[int]:
    """As many as this process may open: 2,500, where the hard limit allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = WANTED + OTHER
    allowed = needed if hard == resource.RLIM_INFINITY else min(hard, needed)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    yield allowed - OTHER
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_api_raises_its_own_limit_of_open_files(door: Door) -> None:
    """It is started with what a shell gives it, which the connections below use up."""
    soft, hard = door.process.rlimit(resource.RLIMIT_NOFILE)
    assert OPEN_FILES < WANTED
    assert soft == min(hard, 10_240)


def test_thousands_of_idle_connections_shut_out_no_webhook(door: Door, how_many: int) -> None:
    before = door.open_files()
    idle = [socket.create_connection(door.address, timeout=5) for _ in range(how_many)]
    try:
        seconds: list[float] = []
        for number in range(20):
            began = time.monotonic()
            assert door.api.webhook({"call_id": f"call_{number}"}).status_code == 200
            seconds.append(time.monotonic() - began)
            assert door.api.open("/healthz", timeout=1).ok
            # Each time on a connection of its own, which has to be accepted behind all of them.
            door.api.session.close()
        assert door.open_files() >= how_many, "they were not all there"
        assert max(seconds) < 1
        assert len(door.api.calls()) == 20
    finally:
        for connection in idle:
            connection.close()
    deadline = time.monotonic() + 5
    while door.open_files() > before + 5:
        assert time.monotonic() < deadline, "the files did not come back"
        time.sleep(0.05)
