"""Posting one delivery, against the simulator's CRM over real HTTP."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from aftercall.crm.mapping import MappingError, make_body
from aftercall.crm.sending import MAX_ANSWER_BYTES, HookSender, PreparedPost, prepare
from aftercall.crm.signing import new_secret
from aftercall.domain.exchange import Answer, Exchange, Failure, NoAnswer
from aftercall.domain.work import ClaimedDelivery
from aftercall.http import AddressGuard
from aftercall.sealing import Sealer, SealError
from aftercall.simulator import Fault, Hook, Simulator
from tests.conftest import SECRET_KEY
from tests.crm.test_mapping import DELIVERY

SEALER = Sealer(SECRET_KEY)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLjSw"
LOOPBACK = AddressGuard(allowed_networks=(ip_network("127.0.0.0/8"),))


@pytest.fixture
def hook(simulator: Simulator) -> Hook:
    return simulator.crm.add_hook("leads", SECRET)


@pytest.fixture
def sender() -> Iterator[HookSender]:
    sender = HookSender(guard=LOOPBACK, keep=2)
    yield sender
    sender.close()


@pytest.fixture
def delivery(simulator: Simulator, hook: Hook) -> ClaimedDelivery:
    return replace(
        DELIVERY,
        url=simulator.crm.hook_url(hook.name),
        secret_sealed=SEALER.seal(SECRET),
        timeout_seconds=5,
    )


def prepared(delivery: ClaimedDelivery, *, now: datetime | None = None) -> PreparedPost:
    return prepare(delivery, sealer=SEALER, now=now or datetime.now(UTC))


def with_headers(delivery: ClaimedDelivery, headers: dict[str, Any]) -> ClaimedDelivery:
    return replace(delivery, headers_sealed=SEALER.seal(json.dumps(headers)))


def status_of(exchange: Exchange) -> int:
    assert isinstance(exchange, Answer), exchange
    return exchange.status


def test_a_delivery_arrives_signed_and_whole(
    simulator: Simulator, sender: HookSender, delivery: ClaimedDelivery
) -> None:
    assert status_of(sender.post(prepared(delivery))) == 200
    [receipt] = simulator.crm.receipts("leads")
    assert receipt.raw_body == make_body(delivery)
    assert receipt.call_id == delivery.call_id
    assert receipt.webhook_id == str(delivery.id)
    assert receipt.headers["idempotency-key"] == receipt.webhook_id
    assert receipt.headers["content-type"] == "application/json"
    assert receipt.headers["user-agent"].startswith("aftercall/")


def test_every_attempt_has_the_same_id_and_body_and_its_own_timestamp(
    simulator: Simulator, hook: Hook, sender: HookSender, delivery: ClaimedDelivery
) -> None:
    hook.fail_next(Fault.SERVER_ERROR, Fault.LOST_ANSWER)
    now = datetime.now(UTC)
    statuses = [
        sender.post(prepared(replace(delivery, attempts=attempt), now=now + later))
        for attempt, later in enumerate(timedelta(seconds=s) for s in (0, 5, 35))
    ]
    assert [isinstance(exchange, Answer) for exchange in statuses] == [True, False, True]
    requests = simulator.crm.requests("leads")
    assert {request.webhook_id for request in requests} == {str(delivery.id)}
    assert len(requests) == 3
    assert simulator.crm.bodies_that_disagree() == set()
    assert simulator.crm.ids_that_disagree() == set()
    timestamps = {receipt.headers["webhook-timestamp"] for receipt in simulator.crm.receipts()}
    assert len(timestamps) == len(simulator.crm.receipts()) == 2


def test_a_mapped_body_is_what_is_signed_and_sent(
    simulator: Simulator, sender: HookSender, delivery: ClaimedDelivery
) -> None:
    mapped = replace(delivery, mapping="{lead: call_id, city: output_parameters.city}")
    assert status_of(sender.post(prepared(mapped))) == 200
    [receipt] = simulator.crm.receipts("leads")
    assert receipt.body == {"lead": "call_9c4d7e12ab", "city": "मुंबई"}


def test_the_destinations_own_headers_arrive(
    simulator: Simulator, sender: HookSender, delivery: ClaimedDelivery
) -> None:
    own = {"Authorization": "Bearer hunter2", "X-Empty": "", "X-Latin": "é", "User-Agent": "crm"}
    assert status_of(sender.post(prepared(with_headers(delivery, own)))) == 200
    [receipt] = simulator.crm.receipts("leads")
    assert receipt.headers["authorization"] == "Bearer hunter2"
    assert receipt.headers["x-empty"] == ""
    assert receipt.headers["x-latin"] == "é"
    assert receipt.headers["user-agent"] == "crm"


@pytest.mark.parametrize(
    "name",
    [
        "Webhook-Id",
        "WEBHOOK-TIMESTAMP",
        "webhook-signature",
        "idempotency-key",
        "content-type",
        "CONTENT-TYPE",
    ],
)
def test_even_stored_headers_cannot_replace_ours(
    simulator: Simulator, sender: HookSender, delivery: ClaimedDelivery, name: str
) -> None:
    # They are refused when they are saved; a row may be older than the check.
    assert status_of(sender.post(prepared(with_headers(delivery, {name: "forged"})))) == 200
    [receipt] = simulator.crm.receipts("leads")
    assert "forged" not in receipt.headers.values()


def test_a_private_address_is_refused_without_the_allowance(
    simulator: Simulator, delivery: ClaimedDelivery
) -> None:
    sender = HookSender(guard=AddressGuard(), keep=1)
    try:
        exchange = sender.post(prepared(delivery))
    finally:
        sender.close()
    assert isinstance(exchange, NoAnswer)
    assert exchange.failure is Failure.FORBIDDEN_ADDRESS
    assert simulator.crm.requests() == []


def test_a_redirect_is_an_answer_and_nobody_follows_it(
    simulator: Simulator, hook: Hook, sender: HookSender, delivery: ClaimedDelivery
) -> None:
    hook.fail_next(Fault.FOUND)
    assert status_of(sender.post(prepared(delivery))) == 302
    assert not any("/redirected" in path for path in simulator.report().requests)


def test_little_of_a_long_answer_is_read(
    hook: Hook, sender: HookSender, delivery: ClaimedDelivery
) -> None:
    hook.fail_next(Fault.HUGE)
    exchange = sender.post(prepared(delivery))
    assert isinstance(exchange, Answer)
    assert (exchange.status, exchange.body_was_cut) == (200, True)
    assert len(exchange.body) == MAX_ANSWER_BYTES


def test_a_silent_hook_is_given_up_after_the_destinations_own_timeout(
    hook: Hook, sender: HookSender, delivery: ClaimedDelivery
) -> None:
    hook.fail_next(Fault.HANG)
    exchange = sender.post(prepared(replace(delivery, timeout_seconds=1)))
    assert isinstance(exchange, NoAnswer)
    assert exchange.failure is Failure.TIMEOUT
    assert timedelta(seconds=0.9) < exchange.elapsed < timedelta(seconds=4)


def test_retry_after_comes_back_as_the_hook_said_it(
    hook: Hook, sender: HookSender, delivery: ClaimedDelivery
) -> None:
    hook.fail_next(Fault.UNAVAILABLE)
    exchange = sender.post(prepared(delivery))
    assert isinstance(exchange, Answer)
    assert (exchange.status, exchange.retry_after) == (503, "1")


def test_a_failing_mapping_is_a_mapping_error_before_anything_is_sent(
    simulator: Simulator, delivery: ClaimedDelivery
) -> None:
    with pytest.raises(MappingError):
        prepared(replace(delivery, mapping="transcript.url"))
    assert simulator.crm.requests() == []


@pytest.mark.parametrize("field", ["secret_sealed", "headers_sealed"])
def test_what_was_sealed_with_a_lost_key_is_a_seal_error(
    delivery: ClaimedDelivery, field: str
) -> None:
    lost = Sealer("a key that nobody has any more").seal("{}")
    with pytest.raises(SealError):
        prepared(replace(delivery, **{field: lost}))  # type: ignore[arg-type]


def test_a_prepared_post_shows_no_key_in_its_repr(delivery: ClaimedDelivery) -> None:
    post = prepared(with_headers(delivery, {"Authorization": "Bearer hunter2"}))
    assert "hunter2" not in repr(post)


def test_the_signature_is_made_with_the_secret_of_the_row(
    simulator: Simulator, hook: Hook, sender: HookSender, delivery: ClaimedDelivery
) -> None:
    rotated = new_secret()
    hook.set_secrets(rotated)
    assert status_of(sender.post(prepared(delivery))) == 401
    assert simulator.report().bad_signatures == 1
    after = replace(delivery, secret_sealed=SEALER.seal(rotated))
    assert status_of(sender.post(prepared(after))) == 200


def test_an_old_secret_that_no_key_opens_any_more_is_passed_over(
    delivery: ClaimedDelivery,
) -> None:
    now = datetime.now(UTC)
    overlapping = replace(
        delivery,
        old_secret_sealed=Sealer("a key that was lost").seal(new_secret()),
        old_secret_until=now + timedelta(hours=1),
    )
    signature = prepared(overlapping, now=now).headers["webhook-signature"]
    assert signature == prepared(delivery, now=now).headers["webhook-signature"]
