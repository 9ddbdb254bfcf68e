"""The provider's webhooks: what is posted, how often, and what is remembered."""

import hashlib
import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from aftercall.simulator import Simulator
from aftercall.simulator.exchange import HttpRequest, Manner, Reply
from aftercall.simulator.server import LocalServer


@dataclass
class Receiver:
    """Stands where aftercall would: takes webhooks, answers as told."""

    requests: list[HttpRequest] = field(default_factory=list)
    reply: Reply = field(default_factory=lambda: Reply(body=b"{}"))
    server: LocalServer = field(init=False)

    def __post_init__(self) -> None:
        self.server = LocalServer(self.answer)

    def answer(self, request: HttpRequest) -> Reply:
        self.requests.append(request)
        return self.reply

    @property
    def url(self) -> str:
        return f"{self.server.origin}/webhooks/twentytwo?token=t0ken"

    @property
    def call_ids(self) -> list[str]:
        return [json.loads(request.body)["call"]["call_id"] for request in self.requests]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.server.start()
    yield receiver
    receiver.server.close()


def test_a_webhook_is_posted_with_the_urls_token(simulator: Simulator, receiver: Receiver) -> None:
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    sent = simulator.twentytwo.webhooks.send(call_id, url=receiver.url)
    assert (sent.status, sent.accepted, sent.event) == (200, True, "call.completed")
    [request] = receiver.requests
    assert (request.method, request.query) == ("POST", {"token": "t0ken"})
    assert request.headers["content-type"] == "application/json"
    assert "x-twenty2-signature" not in request.headers
    payload = json.loads(request.body)
    assert payload["event_id"] == sent.event_id
    assert payload["workspace_id"] == simulator.twentytwo.call(call_id).workspace_id


def test_the_event_can_be_any(simulator: Simulator, receiver: Receiver) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.webhooks.send(call_id, url=receiver.url, event="call.analyzed")
    assert json.loads(receiver.requests[0].body)["event"] == "call.analyzed"


def test_a_signature_is_the_hmac_of_the_raw_body(simulator: Simulator, receiver: Receiver) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.webhooks.send(call_id, url=receiver.url, hmac_secret="s3cret")
    [request] = receiver.requests
    expected = hmac.new(b"s3cret", request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-twenty2-signature"] == f"sha256={expected}"


def test_a_stream_sends_one_webhook_a_call(simulator: Simulator, receiver: Receiver) -> None:
    call_ids = simulator.twentytwo.make_calls(60)
    sent = simulator.send_webhooks(call_ids, url=receiver.url)
    assert sorted(receiver.call_ids) == sorted(call_ids)
    assert simulator.twentytwo.webhooks.accepted_call_ids() == set(call_ids)
    assert sorted(webhook.event_id for webhook in sent) == sorted(
        webhook.event_id for webhook in simulator.twentytwo.webhooks.sent()
    )


def test_a_duplicate_is_another_delivery_with_an_event_id_of_its_own(
    simulator: Simulator, receiver: Receiver
) -> None:
    call_ids = simulator.twentytwo.make_calls(100)
    sent = simulator.send_webhooks(call_ids, url=receiver.url, duplicate_rate=0.2)
    counts = Counter(receiver.call_ids)
    assert set(counts) == set(call_ids)
    assert set(counts.values()) == {1, 2}
    assert 105 <= len(sent) <= 140
    assert len({webhook.event_id for webhook in sent}) == len(sent)


def test_a_stream_keeps_its_pace(simulator: Simulator, receiver: Receiver) -> None:
    call_ids = simulator.twentytwo.make_calls(11)
    started = time.monotonic()
    simulator.send_webhooks(call_ids, url=receiver.url, per_second=50)
    assert 0.2 <= time.monotonic() - started < 1.5


@pytest.mark.parametrize(
    ("reply", "status"),
    [(Reply(status=503), 503), (Reply(status=202), 202), (Reply(manner=Manner.RESET), None)],
)
def test_only_a_200_counts_as_accepted(
    simulator: Simulator, receiver: Receiver, reply: Reply, status: int | None
) -> None:
    receiver.reply = reply
    [call_id] = simulator.twentytwo.make_calls(1)
    sent = simulator.twentytwo.webhooks.send(call_id, url=receiver.url)
    assert (sent.status, sent.accepted) == (status, False)
    assert simulator.twentytwo.webhooks.accepted_call_ids() == set()
    report = simulator.report()
    assert (report.webhooks_sent, report.webhooks_accepted) == (1, 0)


def test_nobody_listening_is_an_answer_too(simulator: Simulator, receiver: Receiver) -> None:
    receiver.server.cut()
    [call_id] = simulator.twentytwo.make_calls(1)
    assert simulator.twentytwo.webhooks.send(call_id, url=receiver.url).status is None


def test_an_unknown_call_stops_the_stream_before_it_begins(
    simulator: Simulator, receiver: Receiver
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    with pytest.raises(KeyError):
        simulator.send_webhooks([call_id, "unknown"], url=receiver.url)
    assert receiver.requests == []


def test_a_stream_in_the_background_ends_with_the_simulator(receiver: Receiver) -> None:
    before = set(threading.enumerate())
    with Simulator() as simulator:
        call_ids = simulator.twentytwo.make_calls(1000)
        simulator.twentytwo.webhooks.send_all_in_background(
            call_ids, url=receiver.url, per_second=20
        )
    receiver.server.close()
    assert set(threading.enumerate()) <= before
    assert len(receiver.requests) < 1000
