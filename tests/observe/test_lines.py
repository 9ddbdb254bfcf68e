"""docs/logs.md says what the processes write: the lines of the work, and every key in them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.simulator import Fault, Simulator
from tests.observe.house import House, Line, running_house, until

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "logs.md").read_text()
ALWAYS = {"event", "level", "timestamp"}


def documented() -> dict[str, set[str]]:
    """The keys of each line, as the page has them."""
    rows = re.findall(r"^\| `(\w+\.\w+)` \| (.+) \|$", PAGE, re.MULTILINE)
    return {event: set(re.findall(r"`(\w+)`", keys)) for event, keys in rows}


def test_every_key_of_the_lines_is_explained() -> None:
    explained = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    named = {key for keys in documented().values() for key in keys}
    plain = {
        *("workspace_id", "event_type", "destination_id", "destination", "kind", "type"),
        *("request_id", "received", "is_probe", "state", "size_bytes", "rung_by"),
    }
    assert named - explained - plain == set()


@pytest.fixture
def house(
    tmp_path: Path, stores: StoreUrls, database: Database, simulator: Simulator
) -> Iterator[House]:
    """An api so far."""
    with running_house(tmp_path, stores, simulator) as house:
        house.open("api")
        yield house


def of_call(house: House, event: str, call_id: str) -> list[Line]:
    return [line for line in house.events(event) if line.get("call_id") == call_id]


@pytest.mark.timeout(300)
def test_a_webhook_is_followed_by_its_request_id_through_api_queue_and_worker(
    house: House, simulator: Simulator
) -> None:
    # No beat yet: a sweep may ring for a call in the moment before the api does.
    house.open("worker")
    made = house.api.post(
        "/destinations", {"name": "leads", "url": simulator.crm.hook_url("leads")}, status=201
    )
    simulator.crm.add_hook("leads", made["secret"])
    first, second, failing = simulator.twentytwo.make_calls(3, status="completed")
    simulator.twentytwo.fail_next(failing, Fault.SERVER_ERROR)
    given = {"X-Request-ID": "gateway-7f3a"}
    answer = house.api.webhook({"call_id": first, "event_id": "evt_1"}, headers=given)
    assert answer.headers["x-request-id"] == "gateway-7f3a"
    ours = house.api.webhook({"call_ids": [second, failing]}).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{16}", ours)
    assert house.api.webhook({"call_id": first}, token="wrong").status_code == 401
    until(lambda: bool(of_call(house, "fetch.attempted", failing)), "the one that fails is tried")
    house.open("beat")
    everyone = {first, second, failing}
    until(lambda: simulator.crm.accepted_call_ids("leads") == everyone, "all are there")
    until(
        lambda: {line["call_id"] for line in house.events("delivery.attempted")} == everyone,
        "all lines are there",
    )

    [webhook] = of_call(house, "webhook.received", first)
    [fetch] = of_call(house, "fetch.attempted", first)
    [delivery] = of_call(house, "delivery.attempted", first)
    assert webhook["request_id"] == fetch["request_id"] == delivery["request_id"] == "gateway-7f3a"
    assert webhook["row_id"] == fetch["row_id"] == delivery["row_id"]
    assert (webhook["event_id"], webhook["received"], webhook["duplicates"]) == ("evt_1", 1, 0)
    assert (fetch["rung_by"], delivery["rung_by"]) == ("webhook", "worker")
    [several] = [line for line in house.events("webhook.received") if line.get("calls") == 2]
    assert several["call_ids"] == [second, failing]
    assert several["request_id"] == ours
    [refused] = house.events("webhook.refused")
    assert (refused["reason"], refused["status_code"]) == ("token", 401)
    failed, again = of_call(house, "fetch.attempted", failing)
    assert (failed["rung_by"], failed["request_id"], failed["outcome"]) == (
        "webhook",
        ours,
        "retry",
    )
    assert failed["next_due_at"]
    assert again["rung_by"] == "sweep"

    lines = documented()
    assert set(lines) == {
        *("webhook.received", "webhook.refused"),
        *("fetch.attempted", "delivery.attempted", "media.attempted"),
    }
    for event, keys in lines.items():
        written = [line for line in house.events(event) if "calls" not in line]
        if event == "media.attempted":
            until(lambda: bool(house.events("media.attempted")), "a recording was fetched")
            written = house.events(event)
        assert written, event
        for line in written:
            assert set(line) == keys | ALWAYS, event


def test_a_request_id_that_is_not_sane_is_replaced(house: House) -> None:
    phones = ("919812345678", "+91-98123-45678", "tel:+919812345678", "98123.45678", "id_9812345")
    for given in ("", "x" * 129, "two words", "naïve", *phones):
        headers = {"X-Request-ID": given.encode()}
        answer = house.api.open("/healthz", headers=headers)
        assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["x-request-id"]), given
    assert "98123" not in house.said("api")


def test_a_request_id_that_is_random_is_kept_whatever_digits_it_has(house: House) -> None:
    for given in ("123e4567-e89b-12d3-a456-426614174000", "0af7651916cd43dd8448eb211c80319c"):
        answer = house.api.open("/healthz", headers={"X-Request-ID": given})
        assert answer.headers["x-request-id"] == given
