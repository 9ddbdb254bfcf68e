"""An old, rightly signed webhook, sent again by whoever has caught it.

Twenty2's signature has no time in it, so a replay cannot be told from the first
time. It need not be: the second time changes nothing.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from aftercall.flows.service import Service
from aftercall.simulator import Fault, Simulator
from tests.conftest import WEBHOOK_TOKEN, WORKSPACE
from tests.door.conftest import HMAC_SECRET
from tests.door.server import Door
from tests.flows.work import add_hook

PARALLEL = 50


class Caught:
    """One signed request, byte by byte."""

    def __init__(self, door: Door, call_id: str) -> None:
        self._url = f"{door.api.origin}/webhooks/twentytwo?token={WEBHOOK_TOKEN}"
        self._body = json.dumps(
            {
                "event": "call.completed",
                "event_id": "evt_1c0e6a4e-2f57-4b6e-9f6d-0a4c1a6f3a11",
                "timestamp": "2024-12-25T10:01:40Z",
                "workspace_id": WORKSPACE.id,
                "call": {"call_id": call_id, "status": "completed"},
            }
        ).encode()
        mac = hmac.new(HMAC_SECRET.encode(), self._body, hashlib.sha256)
        self._headers = {"x-twenty2-signature": f"sha256={mac.hexdigest()}"}

    def send(self) -> tuple[int, dict[str, int]]:
        """The status, and what was counted."""
        answer = requests.post(self._url, data=self._body, headers=self._headers, timeout=20)
        return answer.status_code, answer.json()

    def send_many(self) -> list[tuple[int, dict[str, int]]]:
        """At once."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            return list(pool.map(lambda _: self.send(), range(PARALLEL)))


FIRST = (200, {"received": 1, "duplicates": 0})
AGAIN = (200, {"received": 1, "duplicates": 1})


@pytest.fixture
def call_id(service: Service, simulator: Simulator) -> str:
    """A call that has ended, which a hook waits for."""
    add_hook(service, simulator)
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    return call_id


def assert_done_once(door: Door, simulator: Simulator, call_id: str, *, duplicates: int) -> None:
    """Fetched once, received once by the hook, and every replay is counted."""
    assert simulator.twentytwo.looks(call_id) == 1
    assert len(simulator.crm.requests("leads")) == 1
    [receipt] = simulator.crm.receipts("leads")
    story = door.api.get(f"/calls/{call_id}")
    assert story["state"] == "fetched"
    assert [delivery["id"] for delivery in story["deliveries"]] == [receipt.webhook_id]
    assert [event["duplicates"] for event in story["events"]] == [duplicates]
    assert door.api.get("/stats")["due_calls"] == 0


def test_a_replay_before_the_fetch_is_fetched_and_delivered_once(
    signed_door: Door, simulator: Simulator, call_id: str, work: Callable[[], None]
) -> None:
    caught = Caught(signed_door, call_id)
    assert [caught.send(), caught.send()] == [FIRST, AGAIN]
    work()
    assert_done_once(signed_door, simulator, call_id, duplicates=1)


def test_a_replay_of_what_was_delivered_makes_nothing_due(
    signed_door: Door, simulator: Simulator, call_id: str, work: Callable[[], None]
) -> None:
    caught = Caught(signed_door, call_id)
    assert caught.send() == FIRST
    work()
    assert caught.send() == AGAIN
    work()
    assert_done_once(signed_door, simulator, call_id, duplicates=1)


def test_fifty_replays_at_once_are_one_call(
    signed_door: Door, simulator: Simulator, call_id: str, work: Callable[[], None]
) -> None:
    caught = Caught(signed_door, call_id)
    answers = caught.send_many()
    assert answers.count(FIRST) == 1
    assert answers.count(AGAIN) == PARALLEL - 1
    work()
    assert caught.send_many() == [AGAIN] * PARALLEL
    work()
    assert_done_once(signed_door, simulator, call_id, duplicates=2 * PARALLEL - 1)


def test_replays_while_the_call_is_fetched_and_delivered_are_one_call(
    signed_door: Door, simulator: Simulator, call_id: str, work: Callable[[], None]
) -> None:
    caught = Caught(signed_door, call_id)
    assert caught.send() == FIRST
    with ThreadPoolExecutor(1) as pool:
        replays = pool.submit(caught.send_many)
        work()
        assert replays.result() == [AGAIN] * PARALLEL
    work()
    assert_done_once(signed_door, simulator, call_id, duplicates=PARALLEL)


def test_a_replay_does_not_wake_a_call_that_is_dead(
    signed_door: Door, simulator: Simulator, call_id: str, work: Callable[[], None]
) -> None:
    simulator.twentytwo.fail_next(call_id, Fault.UNPROCESSABLE)
    caught = Caught(signed_door, call_id)
    assert caught.send() == FIRST
    work()
    assert signed_door.api.get(f"/calls/{call_id}")["state"] == "dead"
    assert caught.send() == AGAIN
    work()
    assert signed_door.api.get(f"/calls/{call_id}")["state"] == "dead"
    # The next request would have found the call.
    assert simulator.twentytwo.looks(call_id) == 0
    assert simulator.crm.requests("leads") == []
