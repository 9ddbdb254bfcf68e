"""What strangers send does not write our log: an event is a line, and no control byte is in it."""

import json
import os
import pty
import re
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from aftercall.embedded import StoreUrls
from tests.conftest import ADMIN_TOKEN, WEBHOOK_TOKEN
from tests.door.server import Door, running_door
from tests.door.wire import HOOK, head, post, said, status

FORGED = '{"event": "forged", "level": "info"}'
POISONS = [
    f"x\r\n{FORGED}",
    f"x\n{FORGED}\n",
    f"x\r{FORGED}",
    "\x1b[2J\x1b]0;forged\x07",
    "\x9b31mforged\x9b0m",
    f"x\u2028{FORGED}\u2029\x85{FORGED}",
    "\x00\x08\x7f forged",
    "\u202eforged",
    '"}\n' + FORGED,
]
#: C0 but the line's end, DEL, C1, and what breaks or turns lines in Unicode.
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
#: The colours of our own console.
COLOURS = re.compile(r"\x1b\[\d+(;\d+)*m")


def poison(door: Door, *, with_the_token: bool = True) -> None:
    """Everything that a stranger can write, with something that it should not."""
    for number, bad in enumerate(POISONS):
        raw = bad.encode().decode("latin-1")
        for value in (quote(bad), raw):
            said(door, head("GET", f"/{value}"))
            said(door, head("GET", f"/healthz?token={value}"))
            said(door, head(f"GET {value}"))
            said(door, head("GET", "/healthz", ("X-Request-Id", value), ("User-Agent", value)))
            said(door, head("GET", "/healthz", (value, "1"), ("Host", value)))
            said(door, head("GET", "/api/v1/stats", ("X-Forwarded-For", value)))
            said(door, head("GET", "/", ("Connection", "upgrade"), ("Upgrade", value)))
            said(door, post(b"{}", ("Authorization", f"Bearer {value}"), path=HOOK))
        for name in ("call_id", "workspace_id", "event", "event_id"):
            door.api.webhook({"call_id": f"call_{number}", name: bad})
        for path in ("/calls", "/deliveries"):
            for name in ("call_id", "q", "state", "workspace_id", "since", "cursor"):
                door.api.call("GET", path, params={name: bad})
        door.api.call("GET", f"/calls/{quote(bad, safe='')}")
        door.api.call("POST", f"/calls/{quote(bad, safe='')}/refetch")
        door.api.call("PUT", f"/workspaces/{quote(bad, safe='')}", json={})
        door.api.call("POST", "/calls", json={"call_ids": [bad], "workspace_id": bad})
        for field in ("name", "url", "workspace_id", "filter", "mapping", "secret"):
            spec = {"name": "leads", "url": "http://127.0.0.1:9/hook", field: bad}
            door.api.call("POST", "/destinations", json=spec)


def test_the_log_of_a_poisoned_api_is_json_line_by_line(door: Door) -> None:
    before = len(door.log.read_bytes())
    poison(door)
    # Proof that something is said, and that it is looked at: this is no HTTP at all.
    assert status(said(door, b"\x1b[31m\r\n\r\n")) == 400
    log = door.log.read_bytes()[before:].decode("utf-8")
    lines = [json.loads(line) for line in log.removesuffix("\n").split("\n")]
    assert {line["event"] for line in lines} >= {"Invalid HTTP request received."}
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines)
    assert "forged" not in {line["event"] for line in lines}
    assert not CONTROL.search(log)
    assert WEBHOOK_TOKEN not in log
    assert ADMIN_TOKEN not in log


def test_what_is_said_while_both_stores_are_away_is_json_too(tmp_path: Path) -> None:
    with running_door(
        tmp_path,
        AFTERCALL_DATABASE_URL="postgresql://postgres@127.0.0.1:1/none",
        AFTERCALL_REDIS_URL="redis://127.0.0.1:1/0",
    ) as door:
        assert door.api.webhook({"call_id": "call_1", "event": POISONS[3]}).status_code == 503
        assert door.api.call("GET", f"/calls/{quote(POISONS[3], safe='')}").status_code == 503
        log = door.log.read_text()
    lines = [json.loads(line) for line in log.removesuffix("\n").split("\n")]
    assert "webhook.not_kept" in {line["event"] for line in lines}
    assert not CONTROL.search(log)


# ---- on a terminal -----------------------------------------------------------


class Terminal:
    """One that only listens."""

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self._heard = bytearray()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def heard(self, until: Callable[[str], bool]) -> str:
        """All that was written to it, as soon as it is enough."""
        with self._changed:
            assert self._changed.wait_for(lambda: until(self._heard.decode("utf-8")), 10)
            return self._heard.decode("utf-8")

    def close(self) -> None:
        os.close(self.slave)
        self._thread.join(10)
        os.close(self._master)

    def _listen(self) -> None:
        while True:
            try:
                piece = os.read(self._master, 65_536)
            except OSError:
                return  # nobody writes any more
            if not piece:
                return
            with self._changed:
                self._heard += piece
                self._changed.notify_all()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_a_terminal_shows_a_line_an_event_and_obeys_no_stranger(
    stores: StoreUrls, tmp_path: Path, terminal: Terminal
) -> None:
    with running_door(
        tmp_path,
        stderr=terminal.slave,
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
    ) as door:
        poison(door)
        said(door, b"\x1b[31m\r\n\r\n")
        shown = terminal.heard(lambda heard: "Invalid HTTP request" in heard)
    plain = COLOURS.sub("", shown).replace("\r\n", "\n")
    assert not CONTROL.search(plain), plain
    for line in plain.strip().split("\n"):
        assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[\w+ *\] \S", line), line
