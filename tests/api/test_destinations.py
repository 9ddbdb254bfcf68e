"""/api/v1/destinations: what can be made of them, what is refused, what stays secret."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from aftercall.simulator import Fault, Simulator
from tests.api.server import Api, Json, assert_problem
from tests.raw_server import RawServer, always, answer

#: As in contract.md.
FIELDS = {
    "id", "name", "url", "kind", "enabled", "events", "filter", "mapping", "headers",
    "timeout_seconds", "max_in_flight", "rate_limit_per_second",
}  # fmt: skip
SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
KEY = "the-key-of-the-crm"
URL = "http://127.0.0.1:9/hook"
PRIVATE = "AFTERCALL_ALLOWED_PRIVATE_NETWORKS"


# ---- made, read, changed, removed --------------------------------------------


def test_a_destination_is_made_read_changed_and_removed(api: Api) -> None:
    given = {
        "name": "Leads in the CRM",
        "url": URL,
        "events": ["call.completed"],
        "filter": "output_parameters.interested == 'yes'",
        "mapping": "{phone: call.callee_phone}",
        "headers": {"X-Api-Key": KEY},
        "timeout_seconds": 20,
        "max_in_flight": 4,
        "rate_limit_per_second": 10,
    }
    made = api.post("/destinations", given, status=201)
    assert made.keys() >= (FIELDS | {"secret"})
    expected = {**given, "headers": {"X-Api-Key": "********"}, "enabled": True, "kind": "webhook"}
    assert {name: made[name] for name in expected} == expected
    assert made["secret"].startswith("whsec_")
    read = api.get(f"/destinations/{made['id']}")
    assert read == {name: value for name, value in made.items() if name != "secret"}
    assert api.get("/destinations") == {"items": [read], "next_cursor": None}
    changed = api.patch(f"/destinations/{made['id']}", {"timeout_seconds": 5, "filter": None})
    unchanged = FIELDS - {"timeout_seconds", "filter"}
    assert (changed["timeout_seconds"], changed["filter"]) == (5, None)
    assert {name: changed[name] for name in unchanged} == {name: read[name] for name in unchanged}
    removed = api.call("DELETE", f"/destinations/{made['id']}")
    assert (removed.status_code, removed.content) == (204, b"")
    assert api.get("/destinations")["items"] == []
    assert_problem(api.call("GET", f"/destinations/{made['id']}"), 404)


def test_a_destination_needs_no_more_than_a_name_and_a_url(api: Api) -> None:
    made = api.post("/destinations", {"name": "leads", "url": URL}, status=201)
    assert made["enabled"] is True
    assert made["events"] == ["call.completed", "call.failed", "call.updated"]
    assert (made["filter"], made["mapping"], made["headers"]) == (None, None, {})


def test_a_name_can_be_used_again_once_its_destination_is_removed(
    api: Api, add_destination: Callable[..., Json]
) -> None:
    first = add_destination(name="leads")
    assert_problem(
        api.call("POST", "/destinations", json={"name": "leads", "url": URL}), 409, "leads"
    )
    api.call("DELETE", f"/destinations/{first['id']}")
    assert add_destination(name="leads")["id"] != first["id"]


def test_two_destinations_may_not_come_to_have_one_name(
    api: Api, add_destination: Callable[..., Json]
) -> None:
    add_destination(name="leads")
    other = add_destination(name="others")
    path = f"/destinations/{other['id']}"
    assert_problem(api.call("PATCH", path, json={"name": "leads"}), 409, "leads")
    assert api.get(path)["name"] == "others"


ROUTES = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/test"),
    ("POST", "/enable"),
    ("POST", "/disable"),
    ("POST", "/rotate-secret"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_destination_that_nobody_knows_is_a_404(api: Api, method: str, path: str) -> None:
    body = {"json": {}} if method == "PATCH" else {}
    unknown = f"/destinations/{uuid.uuid4()}{path}"
    assert_problem(api.call(method, unknown, **body), 404, "destination")
    malformed = f"/destinations/not-an-id{path}"
    assert api.call(method, malformed, **body).status_code in (404, 422)


# ---- what is refused ---------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"name": ""}, "name", ""),
    ({"name": "   "}, "name", ""),
    ({"name": "n" * 101}, "name", "100"),
    ({"name": "two\nlines"}, "name", ""),
    ({"name": "nul\u0000"}, "name", ""),
    ({"name": "half \ud83d"}, "name", ""),
    ({"name": None}, "name", ""),
    ({"name": 17}, "name", ""),
    ({"url": ""}, "url", ""),
    ({"url": "crm.example.com/hook"}, "url", "http"),
    ({"url": "ftp://crm.example.com/hook"}, "url", "http"),
    ({"url": "file:///etc/passwd"}, "url", "http"),
    ({"url": "https://"}, "url", "host"),
    ({"url": "https:///hook"}, "url", "host"),
    ({"url": "https://user:pass@crm.example.com/"}, "url", "headers"),
    ({"url": "https://crm.example.com:99999/"}, "url", ""),
    ({"url": "https://crm.example.com:port/"}, "url", ""),
    ({"url": "https://crm.example.com/a b"}, "url", ""),
    ({"url": "https://crm.example.com/a\nb"}, "url", ""),
    ({"url": "https://crm.example.com/#part"}, "url", "fragment"),
    ({"url": "https://crm.example.com/" + "x" * 2_000}, "url", "2000"),
    ({"url": "https://[::1/"}, "url", ""),
    ({"url": "http://10.0.0.1/hook"}, "url", PRIVATE),
    ({"url": "http://192.168.1.10:8080/hook"}, "url", PRIVATE),
    ({"url": "http://169.254.169.254/latest/meta-data"}, "url", PRIVATE),
    ({"url": "http://[::1]/hook"}, "url", PRIVATE),
    ({"url": "http://[::ffff:10.0.0.1]/hook"}, "url", PRIVATE),
    ({"url": "http://0.0.0.0/hook"}, "url", PRIVATE),
    ({"url": "http://167772161/hook"}, "url", PRIVATE),  # 10.0.0.1 in one number
    ({"url": "http://0x0a000001/hook"}, "url", PRIVATE),
    ({"events": []}, "events", ""),
    ({"events": ["call.started"]}, "events", ""),
    ({"events": "call.completed"}, "events", ""),
    ({"filter": "output_parameters["}, "filter", "JMESPath"),
    ({"filter": "a ==="}, "filter", "JMESPath"),
    ({"filter": 17}, "filter", ""),
    ({"filter": "(" * 9_000}, "filter", ""),
    ({"filter": "'nul\u0000' == 'x'"}, "filter", ""),
    ({"mapping": "{phone: }"}, "mapping", "JMESPath"),
    ({"mapping": "unknown_function(call)"}, "mapping", ""),
    ({"mapping": "x" * 10_001}, "mapping", "10000"),
    ({"mapping": "{a: 'nul\u0000'}"}, "mapping", ""),
    ({"mapping": "{a: 'half \ud83d'}"}, "mapping", ""),
    ({"headers": {"X Api": "x"}}, "headers", ""),
    ({"headers": {"": "x"}}, "headers", ""),
    ({"headers": {"X-Api": "two\r\nX-Evil: 1"}}, "headers", ""),
    ({"headers": {"X-Api": "☎"}}, "headers", ""),
    ({"headers": {"Content-Length": "0"}}, "headers", "Content-Length"),
    ({"headers": {"WEBHOOK-ID": "0"}}, "headers", ""),
    ({"headers": {"Idempotency-Key": "0"}}, "headers", ""),
    ({"headers": {f"X-{n}": "x" for n in range(31)}}, "headers", "30"),
    ({"headers": ["X-Api: x"]}, "headers", ""),
    ({"headers": {"X-Api": 17}}, "headers.X-Api", ""),
    ({"timeout_seconds": 0}, "timeout_seconds", ""),
    ({"timeout_seconds": 31}, "timeout_seconds", ""),
    ({"timeout_seconds": "soon"}, "timeout_seconds", ""),
    ({"max_in_flight": 0}, "max_in_flight", ""),
    ({"max_in_flight": 100_000}, "max_in_flight", ""),
    ({"rate_limit_per_second": 0}, "rate_limit_per_second", ""),
    ({"rate_limit_per_second": -1}, "rate_limit_per_second", ""),
    ({"kind": "pigeon"}, "kind", ""),
    ({"secret": "whsec_short"}, "secret", ""),
    ({"secret": "not-a-secret-but-long-enough-to-be-one-of-them"}, "secret", ""),
    ({"workspace_id": "ws_unknown"}, "workspace_id", "ws_unknown"),
    ({"workspace_id": ""}, "workspace_id", ""),
    ({"workspace_id": "nul\u0000"}, "workspace_id", ""),
    ({"enabled": "perhaps"}, "enabled", ""),
    ({"colour": "blue"}, "colour", ""),
    ({"id": "00000000-0000-0000-0000-000000000000"}, "id", ""),
]


def send(api: Api, method: str, path: str, body: object) -> Any:
    """Escaped, so that half characters get there too."""
    return api.call(
        method,
        path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )


@pytest.mark.parametrize(("fields", "at", "says"), WRONG)
def test_what_cannot_work_is_a_422_that_names_the_field_when_it_is_made(
    api: Api, fields: dict[str, Any], at: str, says: str
) -> None:
    found = send(api, "POST", "/destinations", {"name": "leads", "url": URL, **fields})
    problem = assert_problem(found, 422, says)
    assert any(error["at"].removeprefix("body.").startswith(at) for error in problem["errors"])
    assert api.get("/destinations")["items"] == []


@pytest.mark.parametrize(("fields", "at", "says"), WRONG)
def test_what_cannot_work_is_a_422_that_names_the_field_when_it_is_changed(
    api: Api,
    add_destination: Callable[..., Json],
    fields: dict[str, Any],
    at: str,
    says: str,
) -> None:
    made = add_destination()
    path = f"/destinations/{made['id']}"
    before = api.get(path)
    problem = assert_problem(send(api, "PATCH", path, fields), 422, says)
    assert any(error["at"].startswith(at) for error in problem["errors"])
    assert api.get(path) == before


def test_every_fault_is_named_at_once(api: Api) -> None:
    body = {"url": "ftp://x", "filter": "[", "timeout_seconds": 0}
    problem = assert_problem(api.call("POST", "/destinations", json=body), 422)
    places = {error["at"].removeprefix("body.") for error in problem["errors"]}
    assert places == {"name", "url", "filter", "timeout_seconds"}


def test_messages_read_like_sentences_and_quote_no_secret(api: Api) -> None:
    body = {"name": "leads", "url": "ftp://x", "secret": "whsec_my-own-bad-secret"}
    created = api.call("POST", "/destinations", json=body)
    assert "my-own-bad-secret" not in created.text
    for error in assert_problem(created, 422)["errors"]:
        assert not error["message"].startswith("Value error"), error


@pytest.mark.parametrize("body", [[], "x", 17, None])
def test_a_change_that_is_no_object_is_a_422(
    api: Api, add_destination: Callable[..., Json], body: object
) -> None:
    path = f"/destinations/{add_destination()['id']}"
    assert_problem(api.call("PATCH", path, json=body), 422)


# ---- secrets -----------------------------------------------------------------


def test_a_secret_of_ones_own_is_taken(
    api: Api, simulator: Simulator, add_destination: Callable[..., Json]
) -> None:
    simulator.crm.add_hook("leads", SECRET)
    made = add_destination(simulator.crm.hook_url("leads"), secret=SECRET)
    assert made["secret"] == SECRET
    assert api.post(f"/destinations/{made['id']}/test")["outcome"] == "succeeded"


def test_no_answer_tells_a_secret_but_those_that_make_it(
    api: Api, simulator: Simulator, work: Callable[[], None], add_destination: Callable[..., Json]
) -> None:
    made = add_destination(simulator.crm.hook_url("leads"), headers={"X-Api-Key": KEY})
    simulator.crm.add_hook("leads", made["secret"])
    api.put("/workspaces/ws_2", {"api_key": "key-of-ws-2", "api_secret": "secret-of-ws-2"})
    [call_id] = simulator.twentytwo.make_calls(1)
    api.webhook({"call_id": call_id})
    work()
    path = f"/destinations/{made['id']}"
    rotated = api.post(f"{path}/rotate-secret")
    assert rotated["secret"] not in ("", made["secret"])
    delivery = api.get("/deliveries")["items"][0]
    answers = [
        api.call("GET", path),
        api.call("GET", "/destinations"),
        api.call("PATCH", path, json={"timeout_seconds": 9}),
        api.call("PATCH", path, json={"secret": SECRET}),
        api.call("PATCH", path, json={"secret": 17}),
        api.call("PATCH", path, json={"headers": {"X-Api-Key": "key-two"}}),
        api.call("POST", f"{path}/test"),
        api.call("POST", f"{path}/disable"),
        api.call("POST", f"{path}/enable"),
        api.call("GET", f"/calls/{call_id}"),
        api.call("GET", f"/deliveries/{delivery['id']}"),
        api.call("GET", "/workspaces"),
        api.call("GET", "/workspaces/ws_2"),
        api.call("GET", "/stats"),
        api.open("/metrics"),
        api.open("/readyz"),
        api.open("/openapi.json"),
        api.call("POST", "/destinations", json={"name": "leads", "url": URL, "secret": SECRET}),
        api.call("DELETE", path),
    ]
    told = [answer.text for answer in answers] + [api.log.read_text()]
    secrets = [made["secret"], rotated["secret"], SECRET, KEY, "key-two"]
    for text in told:
        for secret in [*secrets, "key-of-ws-2", "secret-of-ws-2", "test-secret"]:
            assert secret not in text
            assert secret.removeprefix("whsec_") not in text


def test_a_secret_that_is_rotated_without_overlap_signs_from_the_next_delivery_on(
    api: Api, simulator: Simulator, add_destination: Callable[..., Json]
) -> None:
    made = add_destination(simulator.crm.hook_url("leads"))
    hook = simulator.crm.add_hook("leads", made["secret"])
    path = f"/destinations/{made['id']}"
    rotated = api.post(f"{path}/rotate-secret", {"overlap_hours": 0})
    assert api.post(f"{path}/test")["status_code"] == 401
    hook.set_secrets(rotated["secret"])
    assert api.post(f"{path}/test")["status_code"] == 200


# ---- headers -----------------------------------------------------------------


def test_headers_are_read_back_masked_and_a_masked_one_that_comes_back_keeps_its_value(
    api: Api, simulator: Simulator, add_destination: Callable[..., Json]
) -> None:
    made = add_destination(
        simulator.crm.hook_url("leads"), headers={"X-Api-Key": KEY, "X-Team": "sales"}
    )
    simulator.crm.add_hook("leads", made["secret"])
    path = f"/destinations/{made['id']}"
    read = api.get(path)
    assert read["headers"] == {"X-Api-Key": "********", "X-Team": "********"}
    # As a form does it: everything back, one value changed.
    headers = {**read["headers"], "X-Team": "support"}
    changed = api.patch(path, {"headers": headers})
    assert changed["headers"] == {"X-Api-Key": "********", "X-Team": "********"}
    api.post(f"{path}/test")
    [receipt] = simulator.crm.receipts()
    assert (receipt.headers["x-api-key"], receipt.headers["x-team"]) == (KEY, "support")
    api.patch(path, {"headers": {"X-Team": "********"}})
    api.post(f"{path}/test")
    last = simulator.crm.receipts()[-1]
    assert "x-api-key" not in last.headers
    assert last.headers["x-team"] == "support"


@pytest.mark.parametrize("name", ["X-Other", "x-api-key"])
def test_a_mask_never_becomes_a_value(
    api: Api, simulator: Simulator, add_destination: Callable[..., Json], name: str
) -> None:
    """A header that is renamed in a form comes back with its mask: its value is not known."""
    made = add_destination(simulator.crm.hook_url("leads"), headers={"X-Api-Key": KEY})
    simulator.crm.add_hook("leads", made["secret"])
    path = f"/destinations/{made['id']}"
    api.call("PATCH", path, json={"headers": {name: "********"}})
    api.post(f"{path}/test")
    [receipt] = simulator.crm.receipts()
    assert "********" not in receipt.headers.values()


def test_a_mask_is_no_value_for_a_new_destination(api: Api) -> None:
    body = {"name": "leads", "url": URL, "headers": {"X-Api-Key": "********"}}
    problem = assert_problem(api.call("POST", "/destinations", json=body), 422)
    assert "headers" in problem["errors"][0]["at"]


# ---- test --------------------------------------------------------------------


def test_a_test_posts_a_signed_call_and_tells_what_the_hook_answered(
    api: Api, simulator: Simulator, add_destination: Callable[..., Json]
) -> None:
    made = add_destination(simulator.crm.hook_url("leads"))
    hook = simulator.crm.add_hook("leads", made["secret"])
    path = f"/destinations/{made['id']}"
    told = api.post(f"{path}/test")
    assert (told["outcome"], told["status_code"]) == ("succeeded", 200)
    assert "accepted" in told["response_excerpt"]
    [receipt] = simulator.crm.receipts()
    assert receipt.body["type"] == "call.completed"
    assert receipt.body["data"].keys() == {
        "call_id", "workspace_id", "call", "input_parameters", "output_parameters", "recording",
        "transcript",
    }  # fmt: skip
    hook.fail_next(Fault.UNPROCESSABLE, Fault.RESET)
    told = api.post(f"{path}/test")
    assert (told["outcome"], told["status_code"]) == ("dead", 422)
    told = api.post(f"{path}/test")
    assert (told["outcome"], told["status_code"]) == ("retry", None)
    assert "127.0.0.1" in told["reason"]


def test_a_test_of_a_hook_that_is_gone_does_not_disable_it(
    api: Api, simulator: Simulator, add_destination: Callable[..., Json]
) -> None:
    made = add_destination(simulator.crm.hook_url("leads"))
    simulator.crm.add_hook("leads", made["secret"]).fail_next(Fault.GONE)
    told = api.post(f"/destinations/{made['id']}/test")
    assert told["status_code"] == 410
    assert api.get(f"/destinations/{made['id']}")["enabled"] is True


def test_a_test_tells_of_a_mapping_that_fails(
    api: Api, add_destination: Callable[..., Json]
) -> None:
    made = add_destination(mapping="{length: length(call.duration_seconds)}")
    told = api.post(f"/destinations/{made['id']}/test")
    assert told["outcome"] == "dead"
    assert "mapping" in told["reason"]


def test_a_mapping_makes_the_body(
    api: Api, simulator: Simulator, add_destination: Callable[..., Json]
) -> None:
    made = add_destination(
        simulator.crm.hook_url("leads"),
        mapping="{data: {call_id: call_id}, phone: call.callee_phone, static: 'यह'}",
    )
    simulator.crm.add_hook("leads", made["secret"])
    api.post(f"/destinations/{made['id']}/test")
    [receipt] = simulator.crm.receipts()
    assert receipt.body.keys() == {"data", "phone", "static"}
    assert receipt.body["static"] == "यह"


def test_what_a_mapping_makes_is_always_json(
    api: Api, simulator: Simulator, add_destination: Callable[..., Json]
) -> None:
    made = add_destination(
        simulator.crm.hook_url("leads"), mapping="{data: {call_id: call_id}, n: to_number('nan')}"
    )
    simulator.crm.add_hook("leads", made["secret"])
    told = api.post(f"/destinations/{made['id']}/test")
    for receipt in simulator.crm.receipts():
        assert b"NaN" not in receipt.raw_body, told


def test_a_hook_that_answers_nonsense_does_not_break_the_test(
    api: Api, add_destination: Callable[..., Json]
) -> None:
    with RawServer(always(answer(b"\x00\xff" * 400, status="200 OK"))) as server:
        made = add_destination(server.url())
        told = api.post(f"/destinations/{made['id']}/test")
        assert told["outcome"] == "succeeded"
        assert len(told["response_excerpt"]) <= 1_000


# ---- enabled and disabled ----------------------------------------------------


def test_a_disabled_destination_holds_its_deliveries_until_it_is_enabled(
    api: Api, simulator: Simulator, work: Callable[[], None], add_destination: Callable[..., Json]
) -> None:
    made = add_destination(simulator.crm.hook_url("leads"))
    simulator.crm.add_hook("leads", made["secret"])
    path = f"/destinations/{made['id']}"
    disabled = api.post(f"{path}/disable")
    assert disabled["enabled"] is False
    assert disabled["disabled_reason"]
    assert api.post(f"{path}/disable")["enabled"] is False
    [call_id] = simulator.twentytwo.make_calls(1)
    api.webhook({"call_id": call_id})
    work()
    [held] = api.get("/deliveries")["items"]
    assert (held["state"], held["due_at"]) == ("held", None)
    assert simulator.crm.receipts() == []
    enabled = api.post(f"{path}/enable")
    assert (enabled["enabled"], enabled["disabled_reason"]) == (True, None)
    assert api.get(f"/deliveries/{held['id']}")["state"] == "queued"
    work()
    assert [receipt.webhook_id for receipt in simulator.crm.receipts()] == [held["id"]]


def test_what_waits_for_a_destination_that_is_removed_is_dead_and_can_be_seen(
    api: Api, simulator: Simulator, work: Callable[[], None], add_destination: Callable[..., Json]
) -> None:
    made = add_destination(simulator.crm.hook_url("leads"), enabled=False)
    [call_id] = simulator.twentytwo.make_calls(1)
    api.webhook({"call_id": call_id})
    work()
    api.call("DELETE", f"/destinations/{made['id']}")
    [delivery] = api.get("/deliveries", destination_id=made["id"])["items"]
    assert delivery["state"] == "dead"
    assert "removed" in delivery["last_error"]
    assert delivery["destination"] == "leads"
    answer = api.call("POST", f"/deliveries/{delivery['id']}/replay")
    assert_problem(answer, 409, "removed")
