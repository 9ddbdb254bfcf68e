"""What the console shows, in a terminal: `overview`, `replays`, `deliveries request`."""

import json
import uuid

from tests.cli.command import Command


def test_an_empty_house_is_well_and_says_what_to_do_next(aftercall: Command) -> None:
    said = aftercall.ok("overview")
    assert "All is well." in said
    assert "aftercall destinations add" in said


def test_the_overview_counts_what_waits(aftercall: Command) -> None:
    aftercall.ok("enqueue", "call_1", "call_2")
    aftercall.ok("destinations", "add", "leads", "http://127.0.0.1:9/hook")
    said = aftercall.ok("overview", "--window", "7d")
    assert "Waiting: 2 calls, 0 deliveries." in said
    assert "leads" in said
    found = json.loads(aftercall.ok("overview", "--json"))
    assert found["waiting_calls"]["count"] == 2
    assert found["window"] == "24h"


def test_there_are_no_replays_of_many_and_none_to_cancel(aftercall: Command) -> None:
    assert "No replays of many yet" in aftercall.ok("replays", "list")
    assert json.loads(aftercall.ok("replays", "list", "--json")) == {
        "items": [],
        "next_cursor": None,
    }
    missing = str(uuid.UUID(int=7))
    refused = aftercall("replays", "cancel", missing)
    assert refused.code == 1
    assert f"There is no replay {missing}" in refused.said


def test_a_delivery_that_is_not_there_has_no_request(aftercall: Command) -> None:
    missing = str(uuid.UUID(int=7))
    refused = aftercall("deliveries", "request", missing)
    assert refused.code == 1
    assert missing in refused.said
