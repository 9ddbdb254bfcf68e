"""When a row is tried next, and why not now: a table."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from aftercall.domain.breaker import OPENS_AFTER
from aftercall.domain.states import CallState, DeliveryState
from aftercall.domain.waiting import WaitingCall, WaitingDelivery, next_delivery, next_fetch

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
SOON, LATER = NOW + timedelta(minutes=1), NOW + timedelta(minutes=5)
CALL = WaitingCall(
    state=CallState.QUEUED,
    due_at=NOW,
    attempts=0,
    not_ready=False,
    has_credentials=True,
    blocked_until=None,
    block_reason=None,
)
DELIVERY = WaitingDelivery(
    state=DeliveryState.QUEUED,
    due_at=NOW,
    attempts=0,
    enabled=True,
    disabled_reason=None,
    paused_until=None,
    failures_in_a_row=0,
    rate_limit_per_second=None,
)


@pytest.mark.parametrize(
    ("call", "at", "says"),
    [
        (CALL, None, "rate limit"),
        (replace(CALL, due_at=SOON, attempts=2), SOON, "Attempt 2 failed"),
        (replace(CALL, due_at=SOON, not_ready=True), SOON, "not ready"),
        (replace(CALL, due_at=SOON), SOON, "not due"),
        (replace(CALL, blocked_until=SOON, block_reason="401"), SOON, "blocked: 401"),
        (replace(CALL, blocked_until=SOON, due_at=LATER, attempts=1), LATER, "Attempt 1"),
        (replace(CALL, blocked_until=NOW), None, "rate limit"),
        (replace(CALL, has_credentials=False), None, "no credentials"),
        (replace(CALL, state=CallState.FETCHING), None, "right now"),
    ],
)
def test_a_call_says_what_it_waits_for(call: WaitingCall, at: datetime | None, says: str) -> None:
    found = next_fetch(call, now=NOW)
    assert found is not None
    assert found.at == at
    assert says in found.why


@pytest.mark.parametrize(
    ("delivery", "at", "says"),
    [
        (DELIVERY, None, "limits."),
        (replace(DELIVERY, rate_limit_per_second=3), None, "3 a second"),
        (replace(DELIVERY, due_at=SOON, attempts=1), SOON, "Attempt 1 failed"),
        (replace(DELIVERY, due_at=SOON), SOON, "not due"),
        (replace(DELIVERY, paused_until=SOON, failures_in_a_row=12), SOON, "12 times in a row"),
        (replace(DELIVERY, paused_until=SOON, due_at=LATER, attempts=1), LATER, "Attempt 1"),
        (replace(DELIVERY, failures_in_a_row=OPENS_AFTER), None, "finding out"),
        (replace(DELIVERY, paused_until=SOON, failures_in_a_row=9), SOON, "limit is reached"),
        (replace(DELIVERY, state=DeliveryState.SENDING), None, "right now"),
        (
            replace(DELIVERY, state=DeliveryState.HELD, enabled=False, disabled_reason="by hand"),
            None,
            "disabled (by hand)",
        ),
    ],
)
def test_a_delivery_says_what_it_waits_for(
    delivery: WaitingDelivery, at: datetime | None, says: str
) -> None:
    found = next_delivery(delivery, now=NOW)
    assert found is not None
    assert found.at == at
    assert says in found.why


def test_where_nothing_is_to_come_nothing_is_said() -> None:
    for state in (CallState.FETCHED, CallState.DEAD):
        assert next_fetch(replace(CALL, state=state), now=NOW) is None
    for done in (DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.SKIPPED):
        assert next_delivery(replace(DELIVERY, state=done), now=NOW) is None
