"""The receiver, from outside: what it takes, what it refuses, what it stores."""

import hashlib
import hmac
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.simulator import Simulator
from tests.api.server import Api, assert_problem, running_api
from tests.conftest import WEBHOOK_TOKEN, WORKSPACE

MIB = 1024 * 1024
HMAC_SECRET = "what-twenty2-signs-with"
TWENTY2 = {
    "event": "call.completed",
    "event_id": "evt_8b0f6a4e-2f57-4b6e-9f6d-0a4c1a6f3a11",
    "timestamp": "2024-12-25T10:01:40Z",
    "workspace_id": WORKSPACE.id,
    "assistant_id": "69de483c68b23495c853b43a",
    "assistant_name": "Site visit follow-up",
    "call": {
        "call_id": "call_9c4d7e12ab",
        "direction": "outbound",
        "status": "completed",
        "from_number": "9999999999",
        "to_number": "9999999999",
        "started_at": "2024-12-25T10:00:00Z",
        "ended_at": "2024-12-25T10:01:34Z",
        "duration_seconds": 94,
        "call_cost_inr": 15.67,
    },
    "campaign": None,
    "contact": {"phone_number": "9999999999", "input_variables": {"agentName": "रोहित"}},
    "output_variables": {"interested": "yes"},
    "recording": {"available": True, "url": "https://example.com/a.mp3"},
    "transcript": {"available": True},
}


# ---- what it takes -----------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "call_ids"),
    [
        (TWENTY2, ["call_9c4d7e12ab"]),
        ({"call_id": "call_1"}, ["call_1"]),
        ({"call_ids": ["call_1", "call_2", "call_3"]}, ["call_1", "call_2", "call_3"]),
        ({"call": {"call_id": "call_1"}}, ["call_1"]),
        ({"call_id": "x" * 128}, ["x" * 128]),
        ({"call_id": "आवाज़ ☎ 1"}, ["आवाज़ ☎ 1"]),
        ({"call_id": "a/b?c=d&e#f%20'\"\\"}, ["a/b?c=d&e#f%20'\"\\"]),
    ],
)
def test_every_shape_is_stored_for_the_workspace_that_is_configured(
    api: Api, body: dict[str, Any], call_ids: list[str]
) -> None:
    answer = api.webhook(body)
    assert (answer.status_code, answer.json()) == (
        200,
        {"received": len(call_ids), "duplicates": 0},
    )
    calls = api.calls()
    assert {call["call_id"] for call in calls} == set(call_ids)
    assert {call["workspace_id"] for call in calls} == {WORKSPACE.id}
    assert {call["state"] for call in calls} == {"queued"}


@pytest.mark.parametrize(
    "body",
    [
        {"call_id": "call_1", "workspace_id": "ws_2"},
        {"call_ids": ["call_1"], "workspace_id": "ws_2"},
        {"call": {"call_id": "call_1"}, "workspace_id": "ws_2"},
        {**TWENTY2, "workspace_id": "ws_2"},
    ],
)
def test_every_shape_may_name_its_workspace(api: Api, body: dict[str, Any]) -> None:
    assert api.webhook(body).status_code == 200
    assert [call["workspace_id"] for call in api.calls()] == ["ws_2"]


def test_a_call_of_an_unknown_workspace_is_kept_and_the_operator_is_told_what_is_missing(
    api: Api,
) -> None:
    assert api.webhook({"call_id": "call_1", "workspace_id": "ws_new"}).status_code == 200
    assert api.webhook({"call_id": "call_2"}).status_code == 200
    workspace = api.get("/workspaces/ws_new")
    assert workspace["has_credentials"] is False
    assert "aftercall workspaces set ws_new" in workspace["block_reason"]
    assert api.get("/calls", workspace_id="ws_new")["items"][0]["state"] == "queued"


def test_the_content_type_does_not_matter(api: Api) -> None:
    for content_type in ("", "text/plain", "application/x-www-form-urlencoded"):
        answer = api.webhook(
            raw=json.dumps({"call_id": f"c{content_type}"}).encode(),
            headers={"Content-Type": content_type},
        )
        assert answer.status_code == 200, answer.text


def test_the_token_may_come_as_a_bearer(api: Api) -> None:
    answer = api.webhook(
        {"call_id": "call_1"}, token=None, headers={"Authorization": f"Bearer {WEBHOOK_TOKEN}"}
    )
    assert answer.status_code == 200


def test_a_slash_at_the_end_of_the_path_is_no_redirect(api: Api) -> None:
    answer = api.session.post(
        f"{api.origin}/webhooks/twentytwo/",
        params={"token": WEBHOOK_TOKEN},
        json={"call_id": "call_1"},
        allow_redirects=False,
        timeout=20,
    )
    assert (answer.status_code, answer.json()) == (200, {"received": 1, "duplicates": 0})
    refused = api.session.post(f"{api.origin}/webhooks/twentytwo/", json={"call_id": "call_2"})
    assert_problem(refused, 401)
    assert [call["call_id"] for call in api.calls()] == ["call_1"]


# ---- what it refuses ---------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "authorization"),
    [
        (None, None),
        ("", None),
        ("wrong", None),
        (WEBHOOK_TOKEN[:-1], None),
        (WEBHOOK_TOKEN + "x", None),
        (WEBHOOK_TOKEN.upper(), None),
        ("ключ", None),
        (None, "Bearer wrong"),
        (None, "Bearer"),
        (None, "Bearer "),
        (None, f"Basic {WEBHOOK_TOKEN}"),
        (None, WEBHOOK_TOKEN),
        (None, "Bearer \xff\xfe"),
    ],
)
def test_a_wrong_token_is_refused_and_nothing_is_stored(
    api: Api, token: str | None, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = api.webhook({"call_id": "call_1"}, token=token, headers=headers)
    assert_problem(answer, 401, "token")
    assert WEBHOOK_TOKEN not in answer.text
    assert api.calls() == []


def test_the_admin_token_does_not_open_the_receiver(api: Api) -> None:
    answer = api.webhook(
        {"call_id": "call_1"},
        token=None,
        headers={"Authorization": "Bearer the admin token of the tests"},
    )
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"call_id=call_1",
        b"{",
        b'{"call_id": "call_1"',
        b"{'call_id': 'call_1'}",
        b'{"call_id": "call_1"} trailing',
        b'\xff\xfe\xfd{"call_id"',
        b'{"call_id": "\xff"}',
        b"[" * 200_000,
        b'{"call_id": "call_1", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_not_json_is_a_400_and_nothing_is_stored(api: Api, raw: bytes) -> None:
    assert_problem(api.webhook(raw=raw), 400, "json")
    assert api.calls() == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "call_id"),
        ([], "object"),
        ("call_1", "object"),
        (None, "object"),
        (17, "object"),
        ({"call": {}}, "call_id"),
        ({"call": None}, "call_id"),
        ({"call": "call_1"}, "call_id"),
        ({"call": {"call_id": ""}}, "call.call_id is empty"),
        ({"call_id": ""}, "call_id is empty"),
        ({"call_id": " \t "}, "call_id is empty"),
        ({"call_id": "x" * 129}, "128"),
        ({"call_id": 17}, "not a string"),
        ({"call_id": None}, "not a string"),
        ({"call_id": True}, "not a string"),
        ({"call_id": ["call_1"]}, "not a string"),
        ({"call_id": {"id": "call_1"}}, "not a string"),
        ({"call_id": "a\u0000b"}, "control"),
        ({"call_id": "a\nb"}, "control"),
        ({"call_id": "half \ud83d"}, "control"),
        ({"call_ids": []}, "call_ids"),
        ({"call_ids": "call_1"}, "call_ids"),
        ({"call_ids": None}, "call_ids"),
        ({"call_ids": {"0": "call_1"}}, "call_ids"),
        ({"call_ids": ["call_1", ""]}, "call_ids[1] is empty"),
        ({"call_ids": ["call_1", 17]}, "call_ids[1] is not a string"),
        ({"call_ids": ["call_1", "x" * 129]}, "call_ids[1]"),
        ({"call_id": "call_1", "workspace_id": ""}, "workspace_id"),
        ({"call_id": "call_1", "workspace_id": 17}, "workspace_id"),
        ({"call_id": "call_1", "workspace_id": "w" * 129}, "workspace_id"),
        ({"call_id": "call_1", "workspace_id": "w\u0000"}, "workspace_id"),
    ],
)
def test_what_names_no_call_is_a_422_that_says_where_and_nothing_is_stored(
    api: Api, body: object, says: str
) -> None:
    assert_problem(api.webhook(raw=json.dumps(body).encode()), 422, says)
    assert api.calls() == []


def test_odd_members_beside_the_id_do_no_harm(api: Api) -> None:
    body = {
        "call_id": "call_1",
        "event": {"not": "a string"},
        "event_id": 17,
        "nul": "\u0000",
        "half": "\ud83d",
        "big": 10**400,
        "many": list(range(10_000)),
    }
    assert api.webhook(raw=json.dumps(body).encode()).status_code == 200
    assert api.webhook({"call_id": "call_2", "event": "e" * 10_000}).status_code == 200
    assert len(api.calls()) == 2


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_only_a_post_is_taken(api: Api, method: str) -> None:
    answer = requests.request(
        method, f"{api.origin}/webhooks/twentytwo?token={WEBHOOK_TOKEN}", timeout=10
    )
    assert_problem(answer, 405)


# ---- the body's size ---------------------------------------------------------


def padded(size: int) -> bytes:
    beginning, end = b'{"call_id": "call_1", "padding": "', b'"}'
    return beginning + b"x" * (size - len(beginning) - len(end)) + end


def test_a_body_of_exactly_one_mebibyte_is_taken(api: Api) -> None:
    assert api.webhook(raw=padded(MIB)).status_code == 200


def test_a_longer_body_is_refused_by_its_content_length_before_it_is_sent(api: Api) -> None:
    head = (
        f"POST /webhooks/twentytwo?token={WEBHOOK_TOKEN} HTTP/1.1\r\n"
        f"Host: x\r\nContent-Length: {MIB + 1}\r\n\r\n"
    )
    assert b" 413 " in raw_exchange(api, head.encode())
    assert_problem(api.webhook(raw=padded(MIB + 1)), 413, "byte")
    assert api.calls() == []


def test_a_longer_body_is_refused_as_it_comes_when_it_is_chunked(api: Api) -> None:
    head = (
        f"POST /webhooks/twentytwo?token={WEBHOOK_TOKEN} HTTP/1.1\r\n"
        "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    answer = raw_exchange(api, head.encode() + chunked(padded(MIB + 1)))
    assert b" 413 " in answer.partition(b"\r\n")[0]
    assert b"application/problem+json" in answer
    assert api.calls() == []


def test_a_chunked_body_that_is_short_enough_is_taken(api: Api) -> None:
    body = json.dumps(TWENTY2).encode()
    url = f"{api.origin}/webhooks/twentytwo?token={WEBHOOK_TOKEN}"
    answer = requests.post(url, data=iter([body[:10], body[10:]]), timeout=10)
    assert answer.status_code == 200


def chunked(body: bytes) -> bytes:
    """Without the last, empty chunk: the sender is not done."""
    pieces = [body[start : start + 65_536] for start in range(0, len(body), 65_536)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def raw_exchange(api: Api, request: bytes) -> bytes:
    """What comes back until the server closes, or has said a whole answer."""
    parts = urlsplit(api.origin)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(request)
        received = b""
        while b"}" not in received and (piece := connection.recv(65_536)):
            received += piece
    return received


# ---- the signature -----------------------------------------------------------


@pytest.fixture(scope="module")
def _signed_api(stores: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One that wants signatures, and has no workspace of its own."""
    with running_api(
        tmp_path_factory.mktemp("signed"),
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
        AFTERCALL_WEBHOOK_HMAC_SECRET=HMAC_SECRET,
        TWENTYTWO_WORKSPACE_ID="",
    ) as api:
        yield api


@pytest.fixture
def signed_api(_signed_api: Api, database: Database) -> Api:
    return _signed_api


BODY = json.dumps({"call_id": "call_1", "workspace_id": WORKSPACE.id}).encode()


def signature(body: bytes, secret: str = HMAC_SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (signature(BODY), 200),
        (None, 401),
        ("", 401),
        ("sha256=", 401),
        (signature(BODY).removeprefix("sha256="), 401),
        (signature(BODY).replace("sha256", "sha1"), 401),
        (signature(BODY, secret="another"), 401),
        (signature(BODY + b" "), 401),
        ("sha256=" + "0" * 64, 401),
        ("sha256=\xff", 401),
    ],
)
def test_a_signature_is_required_and_checked_once_a_secret_for_it_is_set(
    signed_api: Api, given: str | None, status: int
) -> None:
    headers = {} if given is None else {"x-twenty2-signature": given}
    answer = signed_api.webhook(raw=BODY, headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert_problem(answer, 401, "x-twenty2-signature")
        assert HMAC_SECRET not in answer.text
    assert len(signed_api.calls()) == (1 if status == 200 else 0)


def test_a_right_signature_does_not_replace_the_token(signed_api: Api) -> None:
    answer = signed_api.webhook(
        raw=BODY, token=None, headers={"x-twenty2-signature": signature(BODY)}
    )
    assert_problem(answer, 401, "token")


def test_the_simulated_provider_signs_as_it_is_checked(
    signed_api: Api, simulator: Simulator
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    url = f"{signed_api.origin}/webhooks/twentytwo?token={WEBHOOK_TOKEN}"
    sent = simulator.twentytwo.webhooks.send(call_id, url=url, hmac_secret=HMAC_SECRET)
    assert sent.status == 200


def test_without_a_workspace_anywhere_an_id_alone_is_a_422_that_says_what_to_add(
    signed_api: Api,
) -> None:
    def send(body: bytes) -> requests.Response:
        return signed_api.webhook(raw=body, headers={"x-twenty2-signature": signature(body)})

    bare = b'{"call_id": "call_1"}'
    assert_problem(send(bare), 422, "workspace_id")
    assert send(BODY).status_code == 200
    # There is exactly one workspace now: it is clear which one is meant.
    assert send(bare).json() == {"received": 1, "duplicates": 1}
    assert send(b'{"call_id": "call_1", "workspace_id": "ws_2"}').status_code == 200
    assert_problem(send(bare), 422, "workspace_id")


# ---- duplicates --------------------------------------------------------------


def test_an_id_that_stands_in_a_request_twice_is_stored_once(api: Api) -> None:
    answer = api.webhook({"call_ids": ["a", "b", "a", " a "]})
    assert answer.json() == {"received": 4, "duplicates": 2}
    assert len(api.calls()) == 2


def test_the_same_event_again_is_a_duplicate_and_makes_no_second_fetch(
    api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    body = {**TWENTY2, "call": {"call_id": call_id}}
    assert api.webhook(body).json() == {"received": 1, "duplicates": 0}
    assert api.webhook(body).json() == {"received": 1, "duplicates": 1}
    work()
    # A redelivery of the provider has an event id of its own.
    again = {**body, "event_id": "evt_another", "timestamp": "2024-12-25T10:05:00Z"}
    assert api.webhook(again).json() == {"received": 1, "duplicates": 1}
    story = api.get(f"/calls/{call_id}")
    assert story["state"] == "fetched"
    assert [(event["type"], event["duplicates"]) for event in story["events"]] == [
        ("call.completed", 2)
    ]
    work()
    assert simulator.twentytwo.looks(call_id) == 1


def test_a_newer_event_type_makes_the_call_due_again(
    api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1, status="failed")
    body = {**TWENTY2, "event": "call.failed", "call": {"call_id": call_id}}
    api.webhook(body)
    work()
    assert api.get(f"/calls/{call_id}")["state"] == "fetched"
    newer = {**body, "event": "call.completed"}
    assert api.webhook(newer).json() == {"received": 1, "duplicates": 0}
    story = api.get(f"/calls/{call_id}")
    assert story["state"] == "queued"
    assert story["due_at"] is not None
    assert [event["type"] for event in story["events"]] == ["call.failed", "call.completed"]
    work()
    assert simulator.twentytwo.looks(call_id) == 2


def test_a_bare_id_of_a_call_that_is_known_is_a_duplicate(api: Api) -> None:
    api.webhook(TWENTY2)
    bare = {"call_id": TWENTY2["call"]["call_id"]}  # type: ignore[index]
    assert api.webhook(bare).json() == {"received": 1, "duplicates": 1}
    assert len(api.calls()) == 1


def test_the_first_full_event_after_a_bare_id_is_no_duplicate(api: Api) -> None:
    api.webhook({"call_id": TWENTY2["call"]["call_id"]})  # type: ignore[index]
    assert api.webhook(TWENTY2).json() == {"received": 1, "duplicates": 0}
    assert len(api.calls()) == 1


def test_the_same_id_in_two_workspaces_is_two_calls(api: Api) -> None:
    for workspace_id in ("ws_1", "ws_2"):
        answer = api.webhook({"call_id": "call_1", "workspace_id": workspace_id})
        assert answer.json() == {"received": 1, "duplicates": 0}
    assert {call["workspace_id"] for call in api.calls()} == {"ws_1", "ws_2"}
    assert_problem(api.call("GET", "/calls/call_1"), 409, "workspace_id")
    assert api.get("/calls/call_1", workspace_id="ws_2")["workspace_id"] == "ws_2"


# ---- many --------------------------------------------------------------------


def test_a_thousand_ids_at_once_are_all_stored(api: Api) -> None:
    call_ids = [f"call_{number:04}" for number in range(1_000)]
    answer = api.webhook({"call_ids": call_ids})
    assert answer.json() == {"received": 1_000, "duplicates": 0}
    assert api.webhook({"call_ids": call_ids}).json()["duplicates"] == 1_000
    assert sorted(call["call_id"] for call in api.calls()) == call_ids


def test_as_many_ids_as_fit_into_a_body_are_stored_or_refused_and_hold_up_nobody(
    api: Api,
) -> None:
    call_ids = [f"c{number:05}" for number in range(100_000)]
    raw = json.dumps({"call_ids": call_ids}, separators=(",", ":")).encode()
    assert len(raw) < MIB
    url = f"{api.origin}/webhooks/twentytwo?token={WEBHOOK_TOKEN}"
    statuses: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        many = pool.submit(requests.post, url, data=raw, timeout=20)
        while not many.done():
            alone = api.webhook({"call_id": f"alone_{len(statuses)}"})
            statuses.append(alone.status_code)
    until_idle(api)
    # Not 503: sent again as it is told, it would fail in the same way for ever.
    assert many.result().status_code in (200, 413, 422), many.result().text
    assert set(statuses) == {200}


def until_idle(api: Api) -> None:
    deadline = time.monotonic() + 60
    while not api.stores_at_once():
        assert time.monotonic() < deadline


def test_two_hundred_webhooks_at_once_are_all_stored_once(api: Api) -> None:
    url = f"{api.origin}/webhooks/twentytwo?token={WEBHOOK_TOKEN}"

    def send(number: int) -> tuple[int, int]:
        # Each call comes twice, and with a neighbour's id in the other order.
        ids = [f"call_{number % 100:03}", f"call_{(number + 1) % 100:03}"]
        body = {"call_ids": ids if number % 2 else ids[::-1]}
        answer = requests.post(url, json=body, timeout=20)
        return answer.status_code, answer.json().get("duplicates", -1)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(send, range(200)))
    assert {status for status, _ in answers} == {200}
    assert sum(duplicates for _, duplicates in answers) == 300
    assert sorted(call["call_id"] for call in api.calls()) == [f"call_{n:03}" for n in range(100)]
