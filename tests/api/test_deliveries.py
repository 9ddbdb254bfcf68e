"""/api/v1/deliveries: finding them, paging through them, sending again."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from aftercall.simulator import Fault, Simulator
from tests.api.server import Api, Json, assert_problem

#: As in contract.md.
FIELDS = {"id", "call_id", "destination_id", "state", "attempts", "due_at"}


@dataclass(frozen=True, slots=True)
class Office:
    """A hook at the simulated CRM, and the destination that leads there."""

    api: Api
    simulator: Simulator
    work: Callable[[], None]
    destination: Json

    def deliver(self, count: int, *faults: Fault) -> list[str]:
        """New calls, each fetched, and tried once; each meets the faults first."""
        call_ids = self.simulator.twentytwo.make_calls(count, status="completed")
        for call_id in call_ids:
            self.simulator.crm.hook("leads").fail_next_for_call(call_id, *faults)
        self.api.webhook({"call_ids": call_ids})
        self.work()
        return call_ids

    def list(self, **filters: object) -> list[Json]:
        return [one for page in self.api.pages("/deliveries", **filters) for one in page]


@pytest.fixture
def office(
    api: Api, simulator: Simulator, work: Callable[[], None], add_destination: Callable[..., Json]
) -> Office:
    made = add_destination(simulator.crm.hook_url("leads"))
    simulator.crm.add_hook("leads", made["secret"])
    return Office(api, simulator, work, made)


def test_a_delivery_reads_with_its_attempts(office: Office) -> None:
    [call_id] = office.deliver(1, Fault.SERVER_ERROR)
    [delivery] = office.list()
    assert delivery.keys() >= FIELDS
    assert (delivery["call_id"], delivery["destination_id"]) == (call_id, office.destination["id"])
    assert delivery["state"] == "queued"
    [attempt] = delivery["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["status_code"]) == (1, "retry", 500)
    assert "500" in attempt["reason"]
    assert attempt["next_due_at"] == delivery["due_at"]
    assert attempt["duration_ms"] >= 0
    assert office.api.get(f"/deliveries/{delivery['id']}") == delivery


def test_pages_over_120_deliveries_have_no_gap_and_no_repeat(office: Office) -> None:
    call_ids = office.deliver(120)
    for limit in (7, 50, 120):
        found = office.list(limit=limit)
        assert len(found) == 120
        assert {delivery["call_id"] for delivery in found} == set(call_ids)


def test_deliveries_are_filtered_by_state_destination_and_call(
    office: Office, add_destination: Callable[..., Json]
) -> None:
    other = add_destination(name="others", enabled=False)
    delivered = office.deliver(2)
    dead = office.deliver(1, Fault.BAD_REQUEST)
    assert {one["call_id"] for one in office.list(state="delivered")} == set(delivered)
    assert {one["call_id"] for one in office.list(state="dead")} == set(dead)
    assert len(office.list(state="held")) == 3
    assert len(office.list(destination_id=other["id"])) == 3
    assert len(office.list(destination_id=other["id"], state="dead")) == 0
    assert len(office.list(call_id=dead[0])) == 2
    assert office.list(call_id="call_nobody") == []
    assert office.list(destination_id=str(uuid.uuid4())) == []
    assert office.api.get("/deliveries", limit=2)["next_cursor"] is not None


def test_a_filter_that_gives_nothing_skips_the_call_and_says_so(
    api: Api, simulator: Simulator, work: Callable[[], None], add_destination: Callable[..., Json]
) -> None:
    add_destination(filter="output_parameters.interested == 'no such answer'")
    api.webhook({"call_ids": simulator.twentytwo.make_calls(1, status="completed")})
    work()
    [delivery] = api.get("/deliveries")["items"]
    assert (delivery["state"], delivery["attempts"]) == ("skipped", [])


@pytest.mark.parametrize(
    ("filters", "at"),
    [
        ({"state": "sleeping"}, "query.state"),
        ({"destination_id": "leads"}, "query.destination_id"),
        ({"limit": "0"}, "query.limit"),
        ({"limit": "501"}, "query.limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "MTIz"}, "cursor"),
    ],
)
def test_a_filter_that_makes_no_sense_is_a_422_that_names_it(
    api: Api, filters: dict[str, str], at: str
) -> None:
    assert_problem(api.call("GET", "/deliveries", params=filters), 422, at=at)


def test_a_delivery_that_nobody_knows_is_a_404(api: Api) -> None:
    unknown = uuid.uuid4()
    assert_problem(api.call("GET", f"/deliveries/{unknown}"), 404, str(unknown))
    assert_problem(api.call("POST", f"/deliveries/{unknown}/replay"), 404, str(unknown))
    assert api.call("GET", "/deliveries/not-an-id").status_code in (404, 422)


# ---- sending again -----------------------------------------------------------


def test_a_dead_delivery_is_sent_again_under_its_id(office: Office) -> None:
    office.deliver(1, Fault.BAD_REQUEST)
    [dead] = office.list()
    assert dead["state"] == "dead"
    assert "400" in dead["last_error"]
    replayed = office.api.post(f"/deliveries/{dead['id']}/replay", status=202)
    assert (replayed["id"], replayed["state"]) == (dead["id"], "queued")
    office.work()
    [delivered] = office.list()
    assert delivered["state"] == "delivered"
    assert delivered["last_error"] is None
    assert [attempt["outcome"] for attempt in delivered["attempts"]] == ["dead", "succeeded"]
    assert [receipt.webhook_id for receipt in office.simulator.crm.receipts()] == [dead["id"]]


def test_one_that_was_delivered_may_be_sent_again(office: Office) -> None:
    office.deliver(1)
    [delivered] = office.list()
    office.api.post(f"/deliveries/{delivered['id']}/replay", status=202)
    office.work()
    ids = [receipt.webhook_id for receipt in office.simulator.crm.receipts()]
    assert ids == [delivered["id"]] * 2


def test_all_that_match_are_sent_again(office: Office) -> None:
    before = datetime.now(UTC)
    early = office.deliver(2, Fault.BAD_REQUEST)
    between = datetime.now(UTC)
    late = office.deliver(3, Fault.UNPROCESSABLE)
    office.deliver(1)

    def replay(**conditions: str) -> int:
        answer = office.api.post("/deliveries/replay", conditions, status=202)
        replayed: int = answer["replayed"]
        return replayed

    assert replay(state="dead", until=before.isoformat()) == 0
    assert replay(state="dead", destination_id=str(uuid.uuid4())) == 0
    assert replay(state="dead", until=between.isoformat()) == 2
    assert {one["call_id"] for one in office.list(state="queued")} == set(early)
    assert (
        replay(state="dead", destination_id=office.destination["id"], since=between.isoformat())
        == 3
    )
    assert replay(state="dead") == 0
    office.work()
    assert {one["state"] for one in office.list()} == {"delivered"}
    assert office.simulator.crm.accepted_call_ids("leads") >= {*early, *late}
    assert office.simulator.report().ids_that_disagree == 0


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, ""),
        ({"state": "sending"}, "state"),
        ({"state": "sleeping"}, "body.state"),
        ({"destination_id": "leads"}, "body.destination_id"),
        ({"since": "yesterday"}, "body.since"),
        ({"stat": "dead"}, "body.stat"),
        ([], "body"),
        (None, "body"),
    ],
)
def test_a_replay_without_sense_is_a_422_and_replays_nothing(
    office: Office, body: object, at: str
) -> None:
    office.deliver(1)
    assert_problem(office.api.call("POST", "/deliveries/replay", json=body), 422, at=at)
    assert [one["state"] for one in office.list()] == ["delivered"]


def test_a_replay_to_a_disabled_destination_is_held(office: Office) -> None:
    office.deliver(1, Fault.BAD_REQUEST)
    office.api.post(f"/destinations/{office.destination['id']}/disable")
    [dead] = office.list()
    assert office.api.post(f"/deliveries/{dead['id']}/replay", status=202)["state"] == "held"
