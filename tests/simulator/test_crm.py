"""The fake CRM over HTTP: whom it believes, what it keeps, and how it fails."""

import time

import pytest
import requests

from aftercall.simulator import Fault, Hook, PlannedFault, Simulator
from aftercall.simulator.crm import FakeCrm
from aftercall.simulator.exchange import Reply

from .raw_client import OTHER_SECRET, SECRET, deliver, fresh_id, payload, signed_headers


def test_a_signed_delivery_is_accepted_and_kept(simulator: Simulator) -> None:
    assert deliver(simulator, "leads", payload("c"), webhook_id="msg_1").status_code == 200
    [receipt] = simulator.crm.receipts("leads")
    assert (receipt.webhook_id, receipt.call_id) == ("msg_1", "c")
    assert receipt.body == payload("c")
    assert receipt.headers["content-type"] == "application/json"
    assert "host" not in receipt.headers
    assert simulator.crm.accepted_call_ids() == {"c"}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"secret": OTHER_SECRET}, id="another secret"),
        pytest.param({"webhook_signature": "v1,AAAA"}, id="another signature"),
        pytest.param({"webhook_signature": "v1"}, id="no comma"),
        pytest.param({"webhook_signature": "v1,&&&"}, id="no base64"),
        pytest.param({"webhook_signature": ""}, id="empty"),
        pytest.param({"webhook_timestamp": "1600000000"}, id="too old"),
        pytest.param({"webhook_timestamp": "soon"}, id="no time"),
        pytest.param({"webhook-id": ""}, id="no id"),
    ],
)
def test_a_bad_signature_is_401_and_counted(simulator: Simulator, changes: dict[str, str]) -> None:
    answer = deliver(simulator, "leads", payload("c"), **changes)
    assert answer.status_code == 401
    report = simulator.report()
    assert (report.bad_signatures, report.crm_requests, report.crm_accepted) == (1, 1, 0)
    assert simulator.crm.receipts() == []
    assert [seen.answer for seen in simulator.crm.requests()] == ["401"]


def test_a_body_that_is_not_utf_8_is_a_bad_signature(simulator: Simulator) -> None:
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(time.time())),
        "webhook-signature": "v1,AAAA",
    }
    url = simulator.crm.hook_url("leads")
    answer = requests.post(url, data=b"\xff\xfe", headers=headers, timeout=5)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("webhook_id", "key"), [("msg_1", "msg_2"), ("msg.1", "msg.1"), ("msg_1", "")]
)
def test_an_id_with_a_dot_or_without_its_twin_is_400_and_counted(
    simulator: Simulator, webhook_id: str, key: str
) -> None:
    answer = deliver(simulator, "leads", payload("c"), webhook_id=webhook_id, idempotency_key=key)
    assert answer.status_code == 400
    assert simulator.report().bad_ids == 1


def test_a_signed_body_that_is_not_json_is_400_and_counted(simulator: Simulator) -> None:
    assert deliver(simulator, "leads", b"name=Meera").status_code == 400
    report = simulator.report()
    assert (report.bad_bodies, report.bad_signatures) == (1, 0)


def test_during_a_rotation_several_secrets_open_a_hook(simulator: Simulator, hook: Hook) -> None:
    hook.set_secrets(SECRET, OTHER_SECRET)
    statuses = [
        deliver(simulator, "leads", payload("c"), secret=secret).status_code
        for secret in (SECRET, OTHER_SECRET)
    ]
    assert statuses == [200, 200]
    hook.set_secrets(OTHER_SECRET)
    assert deliver(simulator, "leads", payload("c"), secret=SECRET).status_code == 401


def test_a_hook_that_has_no_secret_yet_is_unavailable(simulator: Simulator) -> None:
    hook = simulator.crm.add_hook("later")
    assert deliver(simulator, "later", payload("c")).status_code == 503
    hook.set_secrets(SECRET)
    assert deliver(simulator, "later", payload("c")).status_code == 200
    assert simulator.report().bad_signatures == 0


@pytest.mark.parametrize("secret", ["whsec_", "whsec_=", "whsec_a"])
def test_a_secret_that_is_none_is_refused(hook: Hook, secret: str) -> None:
    with pytest.raises(ValueError, match="hook leads"):
        hook.set_secrets(secret)


def test_an_unknown_hook_is_404_and_another_method_405(simulator: Simulator) -> None:
    assert deliver(simulator, "nobody", payload("c")).status_code == 404
    assert requests.get(simulator.crm.hook_url("leads"), timeout=5).status_code == 405


@pytest.mark.parametrize("name", ["", "a/b", "a?b"])
def test_a_hooks_name_is_one_piece_of_a_path(simulator: Simulator, name: str) -> None:
    with pytest.raises(ValueError, match="a hook's name is one piece of a path"):
        simulator.crm.add_hook(name)


def test_a_hook_answers_with_the_status_it_was_given(simulator: Simulator) -> None:
    simulator.crm.add_hook("quiet", SECRET, status=204)
    answer = deliver(simulator, "quiet", payload("c"))
    assert (answer.status_code, answer.content) == (204, b"")
    assert simulator.report().crm_accepted == 1


def test_a_mapped_body_has_its_call_where_the_hook_says(simulator: Simulator) -> None:
    simulator.crm.add_hook("mapped", SECRET, call_id_of=lambda body: body["properties"]["call"])
    deliver(simulator, "mapped", {"properties": {"call": "c"}})
    deliver(simulator, "mapped", ["no call here"])
    assert [receipt.call_id for receipt in simulator.crm.receipts("mapped")] == ["c", None]


def test_a_hooks_next_requests_fail_as_planned(simulator: Simulator, hook: Hook) -> None:
    hook.fail_next(Fault.SERVER_ERROR, Fault.RATE_LIMITED)
    statuses = [deliver(simulator, "leads", payload("c")).status_code for _ in range(3)]
    assert statuses == [500, 429, 200]


def test_a_calls_next_requests_fail_as_planned(simulator: Simulator, hook: Hook) -> None:
    hook.fail_next_for_call("c", Fault.GONE)
    assert deliver(simulator, "leads", payload("d")).status_code == 200
    assert deliver(simulator, "leads", payload("c")).status_code == 410
    answers = [(seen.call_id, seen.answer) for seen in simulator.crm.requests("leads")]
    assert answers == [("d", "200"), ("c", "410")]


def test_one_hooks_faults_are_not_anothers(simulator: Simulator, hook: Hook) -> None:
    simulator.crm.add_hook("other", SECRET)
    hook.fail_at_rate(1.0, [Fault.SERVER_ERROR])
    assert deliver(simulator, "leads", payload("c")).status_code == 500
    assert deliver(simulator, "other", payload("c")).status_code == 200


def test_a_bad_signature_uses_no_planned_fault_up(simulator: Simulator, hook: Hook) -> None:
    hook.fail_next(Fault.SERVER_ERROR)
    assert deliver(simulator, "leads", payload("c"), secret=OTHER_SECRET).status_code == 401
    assert deliver(simulator, "leads", payload("c")).status_code == 500


def test_a_lost_answer_makes_the_retry_a_duplicate(simulator: Simulator, hook: Hook) -> None:
    hook.fail_next(Fault.LOST_ANSWER)
    webhook_id = fresh_id()
    with pytest.raises(requests.ConnectionError):
        deliver(simulator, "leads", payload("c"), webhook_id=webhook_id)
    deliver(simulator, "leads", payload("c"), webhook_id=webhook_id)
    report = simulator.report()
    assert (report.crm_accepted, report.crm_unique_ids, report.crm_duplicates) == (2, 1, 1)
    assert report.ids_that_disagree == 0
    assert [seen.answer for seen in simulator.crm.requests()] == ["reset", "200"]


def test_a_retry_under_another_id_is_reported(simulator: Simulator) -> None:
    deliver(simulator, "leads", payload("c"), webhook_id="msg_1")
    deliver(simulator, "leads", payload("c"), webhook_id="msg_2")
    assert simulator.report().ids_that_disagree == 1
    assert simulator.crm.ids_that_disagree() == {("leads", "msg_2")}


def test_slowness_has_the_median_asked_for_and_a_long_tail() -> None:
    def latencies(seed: int) -> list[float]:
        crm = FakeCrm(seed=seed, port=0, control=lambda _: Reply())
        hook = crm.add_hook("leads", SECRET)
        hook.slow_down(0.2, sigma=1.0, longest_seconds=3.0)
        return sorted(hook.draw_latency() for _ in range(2001))

    drawn = latencies(7)
    assert 0.18 < drawn[1000] < 0.22
    assert drawn[1900] > 0.6
    assert drawn[-1] == 3.0
    assert drawn == latencies(7)


def test_a_slow_hook_is_slow_until_it_is_told_to_stop(simulator: Simulator, hook: Hook) -> None:
    hook.slow_down(0.1, sigma=0.0)
    started = time.monotonic()
    assert deliver(simulator, "leads", payload("c")).status_code == 200
    assert time.monotonic() - started >= 0.1
    hook.slow_down(0)
    assert hook.draw_latency() == 0


def test_a_client_that_gives_up_on_a_slow_answer_was_accepted_all_the_same(
    simulator: Simulator, hook: Hook
) -> None:
    hook.fail_next(PlannedFault(Fault.SLOW, seconds=30))
    with pytest.raises(requests.ReadTimeout):
        requests.post(
            simulator.crm.hook_url("leads"),
            data=b"{}",
            headers=signed_headers(b"{}", webhook_id=fresh_id()),
            timeout=(5, 0.1),
        )
    # It may have given up before the hook came to it.
    while not simulator.report().crm_accepted:
        time.sleep(0.01)
    assert simulator.report().crm_accepted == 1


def test_while_cut_connections_are_refused_and_then_restored_on_the_same_port(
    simulator: Simulator,
) -> None:
    url = simulator.crm.hook_url("leads")
    with requests.Session() as session:
        assert session.get(url, timeout=5).status_code == 405
        simulator.crm.cut()
        with pytest.raises(requests.ConnectionError):
            session.get(url, timeout=5)
        simulator.crm.restore()
        assert session.get(url, timeout=5).status_code == 405
    assert simulator.crm.hook_url("leads") == url


def test_waiting_for_calls_ends_when_all_are_accepted(simulator: Simulator) -> None:
    deliver(simulator, "leads", payload("c"))
    assert simulator.crm.wait_for_calls(["c"], hook="leads", timeout_seconds=5) == set()


def test_waiting_for_calls_tells_which_are_missing(simulator: Simulator) -> None:
    deliver(simulator, "leads", payload("c"))
    assert simulator.crm.wait_for_calls(["c", "d"], timeout_seconds=0) == {"d"}
