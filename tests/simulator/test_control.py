"""The simulator's own routes, as `aftercall simulate` offers them."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from aftercall.simulator import Simulator
from aftercall.simulator.exchange import HttpRequest, Reply
from aftercall.simulator.server import LocalServer

from .raw_client import OTHER_SECRET, SECRET, deliver, detail, payload


def post(server: LocalServer, path: str, body: object) -> requests.Response:
    return requests.post(f"{server.origin}/_simulator/{path}", json=body, timeout=5)


def report(server: LocalServer) -> dict[str, Any]:
    body: dict[str, Any] = requests.get(f"{server.origin}/_simulator/report", timeout=5).json()
    return body


@pytest.fixture
def receiver() -> Iterator[LocalServer]:
    def accept(request: HttpRequest) -> Reply:
        return Reply(body=b"{}")

    server = LocalServer(accept)
    server.start()
    yield server
    server.close()


def test_the_report_is_the_same_on_both_sides(simulator: Simulator) -> None:
    deliver(simulator, "leads", payload("c"))
    detail(simulator, "c")
    for server in (simulator.twentytwo.server, simulator.crm.server):
        body = report(server)
        assert body["crm_accepted"] == 1
        assert body["requests"]["/hooks/leads 200"] == 1
        assert body["requests"]["/api/call/detail 404"] == 1


def test_calls_are_made_and_known_at_once(simulator: Simulator) -> None:
    answer = post(simulator.twentytwo.server, "calls", {"count": 3})
    assert answer.status_code == 200
    call_ids = answer.json()["call_ids"]
    assert len(call_ids) == 3
    assert [detail(simulator, call_id).status_code for call_id in call_ids] == [200, 200, 200]


def test_calls_are_made_and_their_webhooks_sent(
    simulator: Simulator, receiver: LocalServer
) -> None:
    order = {"count": 5, "webhook_url": f"{receiver.origin}/hook", "per_second": 500}
    call_ids = post(simulator.twentytwo.server, "calls", order).json()["call_ids"]
    # Asked again rather than slept for: every answer is a round trip to the simulator.
    for _ in range(2000):
        if report(simulator.twentytwo.server)["webhooks_accepted"] == 5:
            break
    assert simulator.twentytwo.webhooks.accepted_call_ids() == set(call_ids)


def test_a_hook_is_opened_and_then_gets_another_secret(simulator: Simulator) -> None:
    server = simulator.crm.server
    answer = post(server, "hooks", {"name": "new", "secret": SECRET})
    assert answer.json() == {"url": simulator.crm.hook_url("new")}
    assert deliver(simulator, "new", payload("c")).status_code == 200
    post(server, "hooks", {"name": "new", "secrets": [OTHER_SECRET]})
    assert deliver(simulator, "new", payload("c")).status_code == 401


def test_faults_of_a_call_are_planned(simulator: Simulator) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    order = {
        "call_id": call_id,
        "faults": [
            "server_error",
            {"kind": "rate_limited", "retry_after": "9"},
            {"kind": "bad_request", "second_envelope": True},
        ],
    }
    assert post(simulator.twentytwo.server, "faults", order).json() == {"planned": 3}
    answers = [detail(simulator, call_id) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [500, 429, 400, 200]
    assert answers[1].headers["Retry-After"] == "9"
    assert "statusCode" in answers[2].json()


def test_faults_of_the_next_requests_and_at_a_rate_are_planned(simulator: Simulator) -> None:
    server = simulator.twentytwo.server
    [call_id] = simulator.twentytwo.make_calls(1)
    post(server, "faults", {"faults": ["bad_gateway"]})
    assert detail(simulator, call_id).status_code == 502
    post(server, "faults", {"rate": 1, "faults": ["unavailable"]})
    assert detail(simulator, call_id).status_code == 503
    post(server, "faults", {"rate": 0})
    assert detail(simulator, call_id).status_code == 200


def test_faults_of_a_hook_are_planned(simulator: Simulator) -> None:
    server = simulator.crm.server
    post(server, "faults", {"hook": "leads", "faults": ["gone"]})
    post(server, "faults", {"hook": "leads", "call_id": "c", "faults": ["conflict"]})
    statuses = [deliver(simulator, "leads", payload("c")).status_code for _ in range(3)]
    assert statuses == [409, 410, 200]
    post(server, "faults", {"hook": "leads", "rate": 1.0, "faults": ["too_early"]})
    assert deliver(simulator, "leads", payload("c")).status_code == 425


@pytest.mark.parametrize(
    ("side", "path", "body"),
    [
        ("twentytwo", "calls", {"count": 0}),
        ("twentytwo", "calls", {"count": "many"}),
        ("twentytwo", "calls", {"count": True}),
        ("twentytwo", "calls", {"workspace_id": "unknown"}),
        ("twentytwo", "calls", {"count": 1, "per_second": -1}),
        ("twentytwo", "calls", []),
        ("twentytwo", "faults", {"faults": ["nonsense"]}),
        ("twentytwo", "faults", {"faults": [3]}),
        ("twentytwo", "faults", {"faults": [{"kind": None}]}),
        ("twentytwo", "faults", {"rate": 2, "faults": ["reset"]}),
        ("crm", "faults", {"hook": "unknown", "faults": ["reset"]}),
        ("crm", "faults", {"hook": "leads", "faults": ["missing_fields"]}),
        ("crm", "hooks", {"name": "a/b"}),
        ("crm", "hooks", {"name": "new", "secret": "whsec_"}),
        ("crm", "hooks", {"name": "new", "secrets": [1]}),
    ],
)
def test_an_order_that_makes_no_sense_is_400_and_told_why(
    simulator: Simulator, side: str, path: str, body: object
) -> None:
    server = simulator.crm.server if side == "crm" else simulator.twentytwo.server
    answer = post(server, path, body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_an_order_that_is_not_json_is_400(simulator: Simulator) -> None:
    url = f"{simulator.twentytwo.server.origin}/_simulator/calls"
    assert requests.post(url, data=b"{", timeout=5).status_code == 400


def test_an_unknown_order_is_404(simulator: Simulator) -> None:
    assert post(simulator.twentytwo.server, "hooks", {}).status_code == 404
    assert post(simulator.crm.server, "calls", {}).status_code == 404
