"""From a saved call to a hook that has it, once, on real stores, against the simulator."""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import select, text

from aftercall.crm.sending import HookSender
from aftercall.db import deliveries as deliveries_db
from aftercall.db.destinations import get_destination
from aftercall.db.models import Attempt, Destination
from aftercall.db.replays import ReplayConditions
from aftercall.domain.outcomes import Retry, Succeeded
from aftercall.domain.states import DeliveryState
from aftercall.flows.configure_destinations import (
    change_destination,
    disable_destination,
    enable_destination,
    remove_destination,
    rotate_secret,
)
from aftercall.flows.deliver_calls import (
    LEASE,
    CallDeliverer,
    Sent,
    claim_within_limits,
    note_destinations,
)
from aftercall.flows.replay import replay_delivery, replay_matching
from aftercall.flows.service import Service
from aftercall.origins import Origin, RungBy
from aftercall.rate_limit import Grant, Lane, RateLimiter, Wish
from aftercall.sealing import Sealer
from aftercall.simulator import Fault, PlannedFault, Simulator
from tests.conftest import Clock
from tests.flows.work import accept_rows, add_hook, deliver, delivery_rows, fetch, queued_ids
from tests.raw_server import Peer, RawServer, answer


def save_calls(service: Service, simulator: Simulator, count: int = 1) -> list[str]:
    """Calls that are saved and whose deliveries are queued."""
    call_ids = simulator.twentytwo.make_calls(count, status="completed")
    fetch(service, accept_rows(service, call_ids))
    return call_ids


def destination(service: Service, id_: uuid.UUID) -> Destination:
    with service.database.transaction() as session:
        row = get_destination(session, id_)
    assert row is not None
    return row


def test_a_hook_gets_the_call_signed_and_once(service: Service, simulator: Simulator) -> None:
    add_hook(service, simulator)
    (call_id,) = save_calls(service, simulator)
    (id_,) = queued_ids(service)
    deliver(service, [id_])
    deliver(service, [id_])
    (receipt,) = simulator.crm.receipts("leads")
    body = receipt.body
    assert receipt.webhook_id == str(id_)
    assert body["type"] == "call.completed"
    assert set(body["data"]) == {
        "call_id",
        "workspace_id",
        "call",
        "input_parameters",
        "output_parameters",
        "recording",
        "transcript",
    }
    assert body["data"]["call_id"] == call_id
    truth = simulator.twentytwo.call(call_id)
    assert body["data"]["output_parameters"] == truth.output_parameters
    (row,) = delivery_rows(service)
    assert (row.state, row.attempts, row.last_error) == (DeliveryState.DELIVERED, 1, None)
    assert row.delivered_at is not None
    assert simulator.report().bad_signatures == 0


def test_the_mapping_makes_the_body(service: Service, simulator: Simulator) -> None:
    add_hook(service, simulator, mapping="{data: {call_id: call_id}, phone: call.callee_phone}")
    (call_id,) = save_calls(service, simulator)
    deliver(service, queued_ids(service))
    (receipt,) = simulator.crm.receipts("leads")
    phone = simulator.twentytwo.call(call_id).callee_phone
    assert receipt.body == {"data": {"call_id": call_id}, "phone": phone}


def test_a_mapping_that_fails_is_dead_with_its_reason_and_goes_once_it_is_mended(
    service: Service, simulator: Simulator
) -> None:
    id_ = add_hook(service, simulator, mapping="length(call.duration_seconds)")
    save_calls(service, simulator)
    deliver(service, queued_ids(service))
    (row,) = delivery_rows(service)
    assert row.state == DeliveryState.DEAD
    assert "mapping failed" in (row.last_error or "")
    with service.database.transaction() as session:
        session.execute(text("UPDATE destinations SET mapping = NULL"))
    assert replay_matching(service, ReplayConditions(destination_id=id_)).replayed == 1
    deliver(service, queued_ids(service))
    assert [receipt.webhook_id for receipt in simulator.crm.receipts("leads")] == [str(row.id)]


def test_a_mapping_whose_failure_cannot_be_written_as_it_is_costs_its_neighbours_nothing(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, "nul", mapping=r'abs(`"\u0000"`)')
    add_hook(service, simulator, "half", mapping=r'abs(`"\ud800"`)')
    add_hook(service, simulator)
    save_calls(service, simulator)
    deliver(service, queued_ids(service))
    states = [row.state for row in delivery_rows(service)]
    assert sorted(states) == [DeliveryState.DEAD, DeliveryState.DEAD, DeliveryState.DELIVERED]
    assert all(
        "mapping failed" in (row.last_error or "")
        for row in delivery_rows(service, state=DeliveryState.DEAD)
    )


@pytest.mark.parametrize(
    ("fault", "state", "wait"),
    [
        (Fault.SERVER_ERROR, DeliveryState.QUEUED, 5),
        (Fault.BAD_GATEWAY, DeliveryState.QUEUED, 5),
        (Fault.REQUEST_TIMEOUT, DeliveryState.QUEUED, 5),
        (Fault.CONFLICT, DeliveryState.QUEUED, 5),
        (Fault.TOO_EARLY, DeliveryState.QUEUED, 5),
        (Fault.UNAUTHORIZED, DeliveryState.QUEUED, 5),
        (Fault.FORBIDDEN, DeliveryState.QUEUED, 5),
        (Fault.NOT_FOUND, DeliveryState.QUEUED, 5),
        (Fault.RATE_LIMITED_WITHOUT_RETRY_AFTER, DeliveryState.QUEUED, 5),
        (PlannedFault(Fault.RATE_LIMITED, retry_after="90"), DeliveryState.QUEUED, 90),
        (PlannedFault(Fault.UNAVAILABLE, retry_after="999999"), DeliveryState.QUEUED, 86_400),
        (Fault.RESET, DeliveryState.QUEUED, 5),
        (Fault.BAD_REQUEST, DeliveryState.DEAD, None),
        (Fault.METHOD_NOT_ALLOWED, DeliveryState.DEAD, None),
        (Fault.CONTENT_TOO_LARGE, DeliveryState.DEAD, None),
        (Fault.UNSUPPORTED_MEDIA_TYPE, DeliveryState.DEAD, None),
        (Fault.UNPROCESSABLE, DeliveryState.DEAD, None),
        (Fault.MOVED, DeliveryState.DEAD, None),
        (Fault.FOUND, DeliveryState.DEAD, None),
    ],
)
def test_what_one_answer_means(
    service: Service,
    simulator: Simulator,
    clock: Clock,
    fault: Fault | PlannedFault,
    state: DeliveryState,
    wait: int | None,
) -> None:
    add_hook(service, simulator)
    save_calls(service, simulator)
    simulator.crm.hook("leads").fail_next(fault)
    deliver(service, queued_ids(service))
    (row,) = delivery_rows(service)
    assert (row.state, row.attempts) == (state, 1)
    assert row.last_error
    if wait is not None:
        seconds = (row.due_at - clock.now).total_seconds()
        assert wait * 0.9 <= seconds <= wait * 1.1


def test_a_hook_that_hangs_is_given_up_at_its_timeout(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, timeout_seconds=1)
    save_calls(service, simulator)
    simulator.crm.hook("leads").fail_next(PlannedFault(Fault.HANG, seconds=20))
    began = time.monotonic()
    deliver(service, queued_ids(service))
    assert time.monotonic() - began < 10
    (row,) = delivery_rows(service)
    assert row.state == DeliveryState.QUEUED


def test_a_retry_is_the_same_delivery_and_the_twelfth_failure_is_the_last(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    add_hook(service, simulator)
    save_calls(service, simulator)
    simulator.crm.hook("leads").fail_next(*[Fault.SERVER_ERROR] * 12)
    (id_,) = queued_ids(service)
    for number in range(1, 13):
        deliver(service, [id_])
        (row,) = delivery_rows(service)
        assert row.attempts == number
        clock.now = max(row.due_at, clock.now)
    assert row.state == DeliveryState.DEAD
    assert "gave up after 12 attempts" in (row.last_error or "")
    seen = simulator.crm.requests("leads")
    assert {request.webhook_id for request in seen} == {str(id_)}
    with service.database.transaction() as session:
        numbers = session.scalars(
            select(Attempt.number).where(Attempt.delivery_id == id_).order_by(Attempt.id)
        ).all()
    assert list(numbers) == list(range(1, 13))


def test_a_replay_starts_over_under_the_same_id(service: Service, simulator: Simulator) -> None:
    add_hook(service, simulator)
    save_calls(service, simulator)
    simulator.crm.hook("leads").fail_next(Fault.UNPROCESSABLE)
    (id_,) = queued_ids(service)
    deliver(service, [id_])
    assert replay_delivery(service, id_).state == "queued"
    deliver(service, [id_])
    (receipt,) = simulator.crm.receipts("leads")
    assert receipt.webhook_id == str(id_)


def test_a_410_disables_the_destination_and_holds_what_waits_until_it_is_enabled(
    service: Service, simulator: Simulator
) -> None:
    id_ = add_hook(service, simulator)
    save_calls(service, simulator, 3)
    simulator.crm.hook("leads").fail_next(Fault.GONE)
    ids = queued_ids(service)
    deliver(service, ids[:1])
    assert not destination(service, id_).enabled
    assert "410" in (destination(service, id_).disabled_reason or "")
    assert {row.state for row in delivery_rows(service)} == {DeliveryState.HELD}
    save_calls(service, simulator, 1)
    assert {row.state for row in delivery_rows(service)} == {DeliveryState.HELD}
    enable_destination(service, id_)
    deliver(service, queued_ids(service))
    assert len(simulator.crm.receipts("leads")) == 4


def test_a_410_of_the_address_before_disables_nothing(
    service: Service, simulator: Simulator
) -> None:
    id_ = add_hook(service, simulator)

    def move(peer: Peer) -> None:
        for _ in peer.requests():
            change_destination(service, id_, {"url": simulator.crm.hook_url("leads")})
            peer.say(answer(status="410 Gone"))

    with RawServer(move) as old:
        change_destination(service, id_, {"url": old.url()})
        save_calls(service, simulator, 1)
        deliver(service, queued_ids(service))
        assert len(old.requests) == 1
    assert destination(service, id_).enabled
    deliver(service, queued_ids(service))
    assert len(simulator.crm.receipts("leads")) == 1


def test_a_destination_that_fails_for_five_days_is_disabled_and_drops_nothing(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    id_ = add_hook(service, simulator)
    save_calls(service, simulator, 2)
    simulator.crm.hook("leads").fail_at_rate(1.0, [Fault.SERVER_ERROR])
    ids = queued_ids(service)
    deliver(service, ids[:1])
    assert destination(service, id_).failing_since == clock.now
    clock.now += timedelta(days=4, hours=23)
    deliver(service, ids[1:])
    assert destination(service, id_).enabled
    clock.now += timedelta(hours=1)
    deliver(service, ids)
    assert not destination(service, id_).enabled
    assert {row.state for row in delivery_rows(service)} == {DeliveryState.HELD}


def test_one_success_ends_the_five_days(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    id_ = add_hook(service, simulator)
    save_calls(service, simulator, 2)
    simulator.crm.hook("leads").fail_next(Fault.SERVER_ERROR)
    first, second = queued_ids(service)
    deliver(service, [first])
    assert destination(service, id_).failing_since is not None
    deliver(service, [second])
    assert destination(service, id_).failing_since is None


def test_a_disabled_destination_holds_and_a_removed_one_buries_what_waits(
    service: Service, simulator: Simulator
) -> None:
    id_ = add_hook(service, simulator)
    save_calls(service, simulator, 2)
    disable_destination(service, id_)
    assert {row.state for row in delivery_rows(service)} == {DeliveryState.HELD}
    remove_destination(service, id_)
    rows = delivery_rows(service)
    assert {row.state for row in rows} == {DeliveryState.DEAD}
    assert {row.last_error for row in rows} == {"its destination was removed"}


def test_a_rotated_secret_signs_the_next_attempt(service: Service, simulator: Simulator) -> None:
    id_ = add_hook(service, simulator)
    save_calls(service, simulator)
    simulator.crm.hook("leads").set_secrets(rotate_secret(service, id_).secret)
    deliver(service, queued_ids(service))
    assert len(simulator.crm.receipts("leads")) == 1


def test_a_private_address_is_refused_and_dead_with_its_cure(
    service: Service, simulator: Simulator
) -> None:
    from dataclasses import replace

    add_hook(service, simulator)
    save_calls(service, simulator)
    settings = service.settings.model_copy(update={"allowed_private_networks": ()})
    deliver(replace(service, settings=settings), queued_ids(service))
    (row,) = delivery_rows(service)
    assert row.state == DeliveryState.DEAD
    assert "AFTERCALL_ALLOWED_PRIVATE_NETWORKS" in (row.last_error or "")
    assert simulator.crm.requests("leads") == []


def test_a_destination_takes_no_more_than_its_own_share_in_flight(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, "slow", max_in_flight=3)
    add_hook(service, simulator, "fast")
    save_calls(service, simulator, 10)
    claimed, crowded = claim_within_limits(service, queued_ids(service))
    names = [claim.destination_name for claim in claimed]
    assert (names.count("slow"), names.count("fast")) == (3, 10)
    assert len(crowded) == 1
    again, _ = claim_within_limits(service, queued_ids(service))
    assert again == []


def test_workers_together_keep_to_a_destinations_share(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, max_in_flight=5)
    save_calls(service, simulator, 30)
    ids = queued_ids(service)
    claimed: list[uuid.UUID] = []
    lock = threading.Lock()

    def claim() -> None:
        mine, _ = claim_within_limits(service, ids)
        with lock:
            claimed.extend(one.id for one in mine)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 5


def test_a_destinations_rate_a_second_is_kept(service: Service, simulator: Simulator) -> None:
    add_hook(service, simulator, rate_limit_per_second=4)
    save_calls(service, simulator, 10)
    claimed, _ = claim_within_limits(service, queued_ids(service))
    assert len(claimed) == 4


class Meanwhile(RateLimiter):
    """Does something just after permits were taken."""

    def __init__(self, client: redis.Redis, then: Callable[[], None]) -> None:
        super().__init__(client)
        self._then = then

    def take(self, wishes: Sequence[Wish]) -> list[Grant]:
        grants = super().take(wishes)
        if wishes:
            self._then()
        return grants


def test_nobody_waits_for_a_destination_while_redis_is_asked_for_permits(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, rate_limit_per_second=4)
    save_calls(service, simulator, 10)
    locked: list[str] = []

    def lock() -> None:
        with service.database.transaction() as session:
            statement = "SELECT name FROM destinations FOR UPDATE NOWAIT"
            locked.extend(session.execute(text(statement)).scalars())

    limiter = Meanwhile(service.redis, lock)
    claimed, _ = claim_within_limits(replace(service, limiter=limiter), queued_ids(service))
    assert (locked, len(claimed)) == (["leads"], 4)


def test_permits_of_deliveries_that_somebody_else_took_are_given_back(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, rate_limit_per_second=4)
    save_calls(service, simulator, 3)
    ids = queued_ids(service)
    in_their_hands: list[uuid.UUID] = []

    def take_first() -> None:
        if not in_their_hands:
            in_their_hands.extend(ids[:2])
            with service.database.transaction() as session:
                session.execute(
                    text("UPDATE deliveries SET due_at = :later WHERE id = ANY(:ids)"),
                    {"ids": ids[:2], "later": service.clock() + timedelta(hours=1)},
                )

    limiter = Meanwhile(service.redis, take_first)
    claimed, _ = claim_within_limits(replace(service, limiter=limiter), ids)
    assert [claim.id for claim in claimed] == ids[2:]
    # One of four was used.
    lane = Lane(f"destination:{claimed[0].destination_id}", 4, timedelta(seconds=1))
    assert service.limiter.look([Wish(lane, fresh=4, paced=0)])[0].fresh == 3


def test_a_straggler_does_not_keep_its_neighbours_from_being_recorded(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator)
    call_ids = save_calls(service, simulator, 6)
    simulator.crm.hook("leads").fail_next_for_call(call_ids[0], PlannedFault(Fault.SLOW, seconds=3))
    sending = threading.Thread(target=deliver, args=(service, queued_ids(service)))
    sending.start()
    delivered: list[object] = []
    while len(delivered) < 5 and sending.is_alive():
        delivered = list(delivery_rows(service, state=DeliveryState.DELIVERED))
    assert len(delivered) == 5
    sending.join()
    assert len(delivery_rows(service, state=DeliveryState.DELIVERED)) == 6


def test_a_secret_that_does_not_open_spends_no_attempt(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator)
    save_calls(service, simulator)
    deliver(replace(service, sealer=Sealer("another key than the right one")), queued_ids(service))
    (row,) = delivery_rows(service)
    assert (row.state, row.attempts) == (DeliveryState.QUEUED, 0)
    assert "AFTERCALL_SECRET_KEY" in (row.last_error or "")


def test_a_kind_that_only_a_newer_version_knows_waits_for_it_and_spends_no_attempt(
    service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator)
    save_calls(service, simulator)
    with service.database.transaction() as session:
        session.execute(text("UPDATE destinations SET kind = 'invented-later'"))
    deliver(service, queued_ids(service))
    (row,) = delivery_rows(service)
    assert (row.state, row.attempts) == (DeliveryState.QUEUED, 0)
    assert row.due_at > service.clock()
    assert "knows no CRM of the kind 'invented-later'" in (row.last_error or "")


def test_the_lease_is_longer_than_any_request_and_shorter_than_a_minute() -> None:
    from aftercall.flows.recording import PATIENCE

    longest = timedelta(seconds=30)
    assert longest + timedelta(seconds=PATIENCE) < LEASE < timedelta(seconds=55)


def test_ten_failures_open_the_breaker_and_one_probe_closes_it(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    id_ = add_hook(service, simulator)
    save_calls(service, simulator, 15)
    ids = queued_ids(service)
    hook = simulator.crm.hook("leads")
    hook.fail_next(*[Fault.SERVER_ERROR] * 11)
    deliver(service, ids[:10])
    assert destination(service, id_).paused_until == clock.now + timedelta(seconds=10)
    deliver(service, ids[10:])
    assert len(simulator.crm.requests("leads")) == 10
    clock.now += timedelta(seconds=11)
    deliver(service, ids[10:])
    assert len(simulator.crm.requests("leads")) == 11
    assert destination(service, id_).paused_until == clock.now + timedelta(seconds=20)
    clock.now += timedelta(seconds=21)
    deliver(service, ids[10:])
    assert len(simulator.crm.receipts("leads")) >= 1
    assert destination(service, id_).paused_until is None
    assert destination(service, id_).failures_in_a_row == 0
    clock.now += timedelta(minutes=1)
    deliver(service, queued_ids(service))
    assert len(simulator.crm.receipts("leads")) == 15


def test_a_probe_that_is_refused_for_good_holds_up_no_other(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    id_ = add_hook(service, simulator)
    save_calls(service, simulator, 15)
    ids = queued_ids(service)
    simulator.crm.hook("leads").fail_next(*[Fault.SERVER_ERROR] * 10, Fault.UNPROCESSABLE)
    deliver(service, ids[:10])
    clock.now += timedelta(seconds=11)
    deliver(service, ids[10:11])
    assert len(delivery_rows(service, state=DeliveryState.DEAD)) == 1
    deliver(service, ids[11:12])
    assert len(delivery_rows(service, state=DeliveryState.DELIVERED)) == 1
    assert destination(service, id_).failures_in_a_row == 0


def test_what_failed_with_a_wrong_key_goes_as_soon_as_it_is_corrected(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    id_ = add_hook(service, simulator, headers={"X-Key": "wrong"})
    save_calls(service, simulator)
    simulator.crm.hook("leads").fail_next(*[Fault.UNAUTHORIZED] * 4)
    for _ in range(4):
        clock.now = delivery_rows(service)[0].due_at
        deliver(service, queued_ids(service))
    assert delivery_rows(service)[0].due_at - clock.now > timedelta(minutes=8)
    change_destination(service, id_, {"name": "renamed"})
    deliver(service, queued_ids(service))
    assert len(simulator.crm.requests("leads")) == 4
    change_destination(service, id_, {"headers": {"X-Key": "right"}})
    deliver(service, queued_ids(service))
    (row,) = delivery_rows(service)
    assert (row.state, row.attempts) == (DeliveryState.DELIVERED, 1)


def test_a_corrected_address_ends_the_pause(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    id_ = add_hook(service, simulator)
    save_calls(service, simulator, 12)
    simulator.crm.hook("leads").fail_next(*[Fault.NOT_FOUND] * 10)
    deliver(service, queued_ids(service)[:10])
    assert destination(service, id_).paused_until is not None
    change_destination(service, id_, {"url": simulator.crm.hook_url("leads") + "?moved=yes"})
    deliver(service, queued_ids(service))
    assert destination(service, id_).failures_in_a_row == 0


def test_what_was_under_way_when_the_breaker_opened_does_not_prolong_the_pause(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    id_ = add_hook(service, simulator)
    save_calls(service, simulator, 30)
    simulator.crm.hook("leads").fail_at_rate(1.0, [Fault.SERVER_ERROR])
    deliver(service, queued_ids(service), size=30)
    assert destination(service, id_).failures_in_a_row == 10
    assert destination(service, id_).paused_until == clock.now + timedelta(seconds=10)


def test_two_revisions_of_a_call_reach_a_hook_in_order(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    from dataclasses import replace

    add_hook(service, simulator)
    (call_id,) = save_calls(service, simulator)
    truth = simulator.twentytwo.call(call_id)
    simulator.twentytwo.add_call(replace(truth, output_parameters={"interested": "now yes"}))
    fetch(service, accept_rows(service, [call_id], type="call.analysed"))
    first, second = delivery_rows(service)
    simulator.crm.hook("leads").fail_next(Fault.SERVER_ERROR)
    deliver(service, [first.id, second.id])
    deliver(service, [second.id])
    assert simulator.crm.receipts("leads") == []
    clock.now += timedelta(seconds=10)
    deliver(service, [first.id, second.id])
    deliver(service, [second.id])
    assert [receipt.webhook_id for receipt in simulator.crm.receipts("leads")] == [
        str(first.id),
        str(second.id),
    ]


def test_a_410_disables_the_destination_even_beside_a_success(
    service: Service, simulator: Simulator
) -> None:
    id_ = add_hook(service, simulator)
    call_ids = save_calls(service, simulator, 2)
    simulator.crm.hook("leads").fail_next_for_call(call_ids[0], Fault.GONE)
    deliver(service, queued_ids(service))
    assert not destination(service, id_).enabled
    enable_destination(service, id_)
    deliver(service, queued_ids(service))
    assert {row.state for row in delivery_rows(service)} == {DeliveryState.DELIVERED}


def test_a_crowded_destination_goes_on_until_nothing_waits_whatever_room_is_found_meanwhile(
    service: Service, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_hook(service, simulator, max_in_flight=2)
    call_ids = save_calls(service, simulator, 12)
    look = deliveries_db.due_deliveries

    def look_just_before_there_is_room(*given: Any, **options: Any) -> list[uuid.UUID]:
        found = look(*given, **options)
        with service.database.transaction() as session:
            session.execute(text("UPDATE destinations SET max_in_flight = 100"))
        return found

    monkeypatch.setattr(deliveries_db, "due_deliveries", look_just_before_there_is_room)
    sender = HookSender(guard=service.guard(), keep=16)
    deliverer = CallDeliverer(service, sender, size=16)
    deliverer.deliver(queued_ids(service)[:3])
    deadline = time.monotonic() + 20
    while simulator.crm.accepted_call_ids("leads") != set(call_ids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert deliverer.close(40)
    sender.close()


def test_a_success_in_the_same_batch_ends_the_five_days(
    service: Service, simulator: Simulator
) -> None:
    id_ = add_hook(service, simulator)
    save_calls(service, simulator, 2)
    with service.database.transaction() as session:
        session.execute(text("UPDATE destinations SET failing_since = now() - interval '6 days'"))
    claims, _ = claim_within_limits(service, queued_ids(service))
    outcomes = (Retry("the hook answered 500"), Succeeded())
    batch = [
        Sent(
            claim=claim,
            started_at=service.clock(),
            elapsed=timedelta(0),
            status_code=None,
            response_excerpt=None,
            outcome=outcome,
            origin=Origin(RungBy.SWEEP),
        )
        for claim, outcome in zip(claims, outcomes, strict=True)
    ]
    with service.database.transaction() as session:
        note_destinations(session, batch, now=service.clock())
    assert destination(service, id_).enabled
    assert destination(service, id_).failing_since is None
