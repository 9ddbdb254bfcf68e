"""Asking Twenty2, over real HTTP: what arrives there, and how much of its answer is read."""

from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercall.domain.exchange import Answer, Exchange, NoAnswer
from aftercall.domain.outcomes import Blocked, Found, Refused, Retry, Unreadable, classify_fetch
from aftercall.domain.work import Credentials
from aftercall.simulator import Fault, SimulatedCall, Simulator
from aftercall.twentytwo.answers import read_answer
from aftercall.twentytwo.client import MAX_DETAIL_BYTES, Twenty2
from tests.conftest import WORKSPACE
from tests.raw_server import RawServer, always
from tests.raw_server import answer as raw_answer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = Credentials(api_key=WORKSPACE.api_key, api_secret=WORKSPACE.api_secret)


@pytest.fixture
def twentytwo(simulator: Simulator) -> Iterator[Twenty2]:
    client = Twenty2(simulator.twentytwo.base_url, keep=2)
    yield client
    client.close()


@pytest.fixture(scope="module")
def listener() -> Iterator[RawServer]:
    """Answers everything with an empty object, and keeps what it heard, byte for byte."""
    with RawServer(always(raw_answer(b"{}"))) as server:
        yield server


@pytest.fixture(scope="module")
def to_listener(listener: RawServer) -> Iterator[Twenty2]:
    client = Twenty2(listener.url("/api"), keep=2)
    yield client
    client.close()


def ask(
    client: Twenty2,
    call_id: str,
    *,
    workspace_id: str = WORKSPACE.id,
    credentials: Credentials = KEYS,
) -> Exchange:
    return client.call_detail(call_id, workspace_id=workspace_id, credentials=credentials)


def status_of(exchange: Exchange) -> int:
    assert isinstance(exchange, Answer), exchange
    return exchange.status


def test_the_right_credentials_and_workspace_open_the_call(
    simulator: Simulator, twentytwo: Twenty2
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    exchange = ask(twentytwo, call_id)
    assert status_of(exchange) == 200
    reading, detail = read_answer(exchange, now=NOW)
    assert isinstance(reading, Found)
    assert detail is not None
    assert detail.answered_call_id == call_id


@pytest.mark.parametrize(
    ("workspace_id", "credentials", "status"),
    [
        (WORKSPACE.id, Credentials(api_key="test-key", api_secret="wrong"), 401),
        (WORKSPACE.id, Credentials(api_key="", api_secret=""), 401),
        ("another workspace", KEYS, 403),
    ],
)
def test_the_wrong_ones_do_not(
    simulator: Simulator,
    twentytwo: Twenty2,
    workspace_id: str,
    credentials: Credentials,
    status: int,
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    exchange = ask(twentytwo, call_id, workspace_id=workspace_id, credentials=credentials)
    assert status_of(exchange) == status
    reading, _ = read_answer(exchange, now=NOW)
    assert isinstance(reading, Refused)
    assert isinstance(classify_fetch(reading), Blocked if status == 401 else Retry)


def test_the_request_is_the_documented_one(listener: RawServer, to_listener: Twenty2) -> None:
    ask(to_listener, "call_9c4d7e12ab")
    head = listener.requests[-1].decode("latin-1")
    request_line, *lines = head.rstrip("\r\n").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert request_line == "GET /api/call/detail?call_id=call_9c4d7e12ab HTTP/1.1"
    assert headers["authorization"] == "basic dgvzdc1rzxk6dgvzdc1zzwnyzxq="
    assert headers["x-workspace-id"] == WORKSPACE.id
    assert headers["accept"] == "application/json"
    assert headers["user-agent"].startswith("aftercall/")


@pytest.mark.parametrize("secret", ["a:b", "पासवर्ड", "x" * 500, "with space"])
def test_any_secret_can_be_sent(listener: RawServer, to_listener: Twenty2, secret: str) -> None:
    exchange = ask(to_listener, "call_1", credentials=Credentials(api_key="k", api_secret=secret))
    assert status_of(exchange) == 200


def test_a_slash_at_the_end_of_the_base_url_makes_no_difference(listener: RawServer) -> None:
    client = Twenty2(listener.url("/api/"), keep=1)
    try:
        ask(client, "call_1")
    finally:
        client.close()
    assert listener.requests[-1].startswith(b"GET /api/call/detail?call_id=call_1 HTTP/1.1\r\n")


NASTY_IDS = [
    "../../agent/trigger-outbound-call",
    "a/b",
    "a?b=c",
    "a&call_id=b",
    "a#b",
    "a%2Fb",
    "100%",
    "a+b",
    "a b",
    "a=b;c",
    "कॉल-१",
    "\N{GRINNING FACE}",
    "x" * 128,
]


@pytest.mark.parametrize("call_id", NASTY_IDS)
def test_an_id_arrives_as_it_is_whatever_is_in_it(
    simulator: Simulator, twentytwo: Twenty2, call_id: str
) -> None:
    simulator.twentytwo.add_call(SimulatedCall(call_id=call_id, workspace_id=WORKSPACE.id))
    exchange = ask(twentytwo, call_id)
    _, detail = read_answer(exchange, now=NOW)
    assert detail is not None
    assert detail.answered_call_id == call_id
    assert simulator.twentytwo.looks(call_id) == 1


@given(st.text(min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_no_id_leaves_its_place_in_the_url(
    listener: RawServer, to_listener: Twenty2, call_id: str
) -> None:
    exchange = ask(to_listener, call_id)
    assert status_of(exchange) == 200
    target = listener.requests[-1].split(b" ", 2)[1]
    path, _, query = target.partition(b"?")
    name, _, value = query.partition(b"=")
    assert (path, name) == (b"/api/call/detail", b"call_id")
    assert not {*b"?&=# /"} & {*value}
    assert unquote_to_bytes(value.replace(b"+", b" ")).decode() == call_id


def test_no_more_than_5_mib_of_an_answer_is_read(simulator: Simulator, twentytwo: Twenty2) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, Fault.HUGE)
    exchange = ask(twentytwo, call_id)
    assert isinstance(exchange, Answer)
    assert exchange.body_was_cut
    assert len(exchange.body) == MAX_DETAIL_BYTES == 5 * 1024 * 1024
    reading, detail = read_answer(exchange, now=NOW)
    assert (reading, detail) == (Unreadable("it is longer than 5 MiB"), None)
    assert isinstance(classify_fetch(reading), Retry)


def test_an_answer_of_5_mib_is_read_whole() -> None:
    filler = b"x" * (5 * 1024 * 1024 - len(b'{"call":{"status":"failed"},"x":""}'))
    body = b'{"call":{"status":"failed"},"x":"%s"}' % filler
    with RawServer(always(raw_answer(body))) as server:
        client = Twenty2(server.url("/api"), keep=1)
        try:
            exchange = ask(client, "call_1")
        finally:
            client.close()
    assert read_answer(exchange, now=NOW)[0] == Found("failed", has_ended=False)


@pytest.mark.parametrize(
    "fault", [Fault.RESET, Fault.TRUNCATED, Fault.MOVED, Fault.UNAVAILABLE, Fault.NOT_JSON]
)
def test_whatever_goes_wrong_is_a_value_and_is_tried_again(
    simulator: Simulator, twentytwo: Twenty2, fault: Fault
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, fault)
    reading, detail = read_answer(ask(twentytwo, call_id), now=NOW)
    assert detail is None
    assert isinstance(classify_fetch(reading), Retry)
    # No redirect was followed: it would have carried the key along.
    assert not any("/redirected" in path for path in simulator.report().requests)


def test_twenty2_being_away_is_a_value_that_names_the_host_and_no_key(
    simulator: Simulator, twentytwo: Twenty2
) -> None:
    simulator.twentytwo.server.cut()
    exchange = ask(twentytwo, "call_1")
    assert isinstance(exchange, NoAnswer)
    assert "127.0.0.1" in exchange.detail
    for secret in (KEYS.api_key, KEYS.api_secret, "call_1"):
        assert secret not in exchange.detail


def test_credentials_show_in_no_repr() -> None:
    assert "test" not in repr(KEYS)
    assert "test" not in f"{KEYS}"
