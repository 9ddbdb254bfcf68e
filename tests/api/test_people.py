"""/api/v1/people: found, handed out, forgotten; the number is in no address and no log."""

import json
from collections.abc import Callable

from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.api.server import Api, assert_problem
from tests.flows.people import LINE, NATIONAL, PHONE, add_call, call_ids, webhook


def tell(api: Api, simulator: Simulator, call_id: str = "c1") -> None:
    add_call(simulator, call_id)
    assert api.webhook(raw=webhook(call_id)).ok


def test_a_person_is_found_handed_out_and_forgotten(
    api: Api, simulator: Simulator, service: Service, work: Callable[[], None]
) -> None:
    tell(api, simulator)
    work()
    found = api.post("/people/find", {"phone": "98715 32305"})
    assert (found["calls"], found["held"]["call_payloads"]) == (1, 1)
    exported = api.call("POST", "/people/export", json={"phone": PHONE})
    assert exported.headers["content-type"] == "application/json"
    assert [call["call_id"] for call in json.loads(exported.text)["calls"]] == ["c1"]
    done = api.post("/people/forget", {"phone": PHONE, "confirm": True})
    assert (done["left"], done["erased"]["calls"]) == ([], 1)
    assert NATIONAL not in json.dumps([found, done])
    assert call_ids(service) == set()
    assert NATIONAL not in api.log.read_text()
    actions = [entry["action"] for entry in api.get("/audit")["items"]]
    assert actions[:2] == ["person.forgotten", "person.exported"]
    assert NATIONAL not in json.dumps(api.get("/audit"))


def test_a_late_webhook_is_answered_200_and_not_kept(
    api: Api, simulator: Simulator, service: Service, work: Callable[[], None]
) -> None:
    tell(api, simulator)
    work()
    api.post("/people/forget", {"phone": PHONE, "confirm": True})
    answer = api.webhook(raw=webhook("c1"))
    assert (answer.status_code, answer.json()) == (200, {"received": 1, "duplicates": 1})
    assert api.call("POST", "/calls", json={"call_ids": ["c1"]}).status_code == 202
    assert call_ids(service) == set()


def test_without_a_yes_or_a_number_nothing_is_done(
    api: Api, simulator: Simulator, service: Service, work: Callable[[], None]
) -> None:
    tell(api, simulator)
    work()
    for body in (
        {"phone": PHONE},
        {"phone": PHONE, "confirm": False},
        {"phone": PHONE, "confirm": "yes"},
        {"confirm": True},
        {"phone": "nobody at all", "confirm": True},
        {"phone": PHONE, "confirm": True, "region": "XX"},
    ):
        assert_problem(api.call("POST", "/people/forget", json=body), 422)
    assert_problem(
        api.call("POST", "/people/forget", json={"phone": LINE, "confirm": True}), 409, "no person"
    )
    assert call_ids(service) == {"c1"}
