"""What contradicts itself in what a CRM was sent."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from aftercall.simulator.receipts import Ledger, Receipt, SeenRequest

from .raw_client import payload

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Sender:
    """Puts requests into a ledger as a hook would."""

    def __init__(self) -> None:
        self.ledger = Ledger()

    def send(
        self, webhook_id: str, body: dict[str, Any], *, hook: str = "leads", accepted: bool = True
    ) -> None:
        call_id = body.get("data", {}).get("call_id")
        seen = SeenRequest(
            hook=hook,
            webhook_id=webhook_id,
            call_id=call_id,
            received_at=NOW,
            answer="200" if accepted else "500",
            accepted=accepted,
        )
        receipt = Receipt(
            hook=hook,
            webhook_id=webhook_id,
            call_id=call_id,
            received_at=NOW,
            headers={},
            raw_body=json.dumps(body).encode(),
        )
        self.ledger.well_formed(seen, receipt, body)


@pytest.fixture
def sender() -> Sender:
    return Sender()


def test_a_repeat_under_the_same_id_is_a_duplicate_and_no_contradiction(sender: Sender) -> None:
    for _ in range(3):
        sender.send("msg_1", payload("c"))
    tally = sender.ledger.tally()
    assert (tally.accepted, tally.unique_ids, tally.duplicates) == (3, 1, 2)
    assert (tally.ids_that_disagree, tally.bodies_that_disagree) == (0, 0)


def test_the_same_content_under_two_ids_is_ids_that_disagree(sender: Sender) -> None:
    sender.send("msg_1", payload("c"))
    sender.send("msg_2", payload("c"))
    assert sender.ledger.ids_that_disagree() == {("leads", "msg_2")}
    assert sender.ledger.tally().duplicates == 0


def test_ids_disagree_even_when_the_first_attempt_failed(sender: Sender) -> None:
    sender.send("msg_1", payload("c"), accepted=False)
    sender.send("msg_2", payload("c"))
    assert sender.ledger.tally().ids_that_disagree == 1


def test_the_timestamp_is_not_part_of_the_content(sender: Sender) -> None:
    sender.send("msg_1", payload("c"))
    sender.send("msg_2", payload("c") | {"timestamp": "2026-01-01T00:00:09Z"})
    assert sender.ledger.tally().ids_that_disagree == 1


def test_a_mapped_body_is_content_as_a_whole(sender: Sender) -> None:
    sender.send("msg_1", {"name": "Meera", "timestamp": "1"})
    sender.send("msg_2", {"name": "Meera", "timestamp": "2"})
    sender.send("msg_3", {"name": "Rohit", "timestamp": "1"})
    assert sender.ledger.ids_that_disagree() == {("leads", "msg_2")}


@pytest.mark.parametrize(
    ("hook", "body"),
    [
        pytest.param("other", payload("c"), id="another hook"),
        pytest.param("leads", payload("d"), id="another call"),
        pytest.param("leads", payload("c", interested="no"), id="other content"),
        pytest.param("leads", payload("c") | {"type": "call.failed"}, id="another event"),
    ],
)
def test_other_news_may_and_should_have_another_id(
    sender: Sender, hook: str, body: dict[str, Any]
) -> None:
    sender.send("msg_1", payload("c"))
    sender.send("msg_2", body, hook=hook)
    assert sender.ledger.tally().ids_that_disagree == 0


def test_different_bodies_under_one_id_disagree(sender: Sender) -> None:
    sender.send("msg_1", payload("c"))
    sender.send("msg_1", payload("c", interested="no"))
    sender.send("msg_1", payload("d"), hook="other")
    assert sender.ledger.bodies_that_disagree() == {("leads", "msg_1")}


def test_what_was_not_accepted_is_seen_and_is_no_receipt(sender: Sender) -> None:
    sender.send("msg_1", payload("c"), accepted=False)
    assert len(sender.ledger.seen()) == 1
    assert sender.ledger.receipts() == []
    assert sender.ledger.accepted_call_ids(None) == set()


def test_accepted_calls_are_told_apart_by_hook(sender: Sender) -> None:
    sender.send("msg_1", payload("c"))
    sender.send("msg_2", payload("d"), hook="other")
    assert sender.ledger.accepted_call_ids("leads") == {"c"}
    assert sender.ledger.accepted_call_ids(None) == {"c", "d"}
