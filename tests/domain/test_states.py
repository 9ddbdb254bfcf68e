"""The states and the only moves between them, as the diagram in `design.md` has them."""

import pytest

from aftercall.domain.states import (
    CALL_MOVES,
    DELIVERY_MOVES,
    CallState,
    DeliveryState,
    Priority,
    may_move,
)

#: `queued → fetching → fetched`; back to the queue, or dead; again by hand or for a newer event.
CALL_DIAGRAM = {
    ("queued", "fetching"),
    ("fetching", "fetched"),
    ("fetching", "queued"),
    ("fetching", "dead"),
    ("fetched", "queued"),
    ("dead", "queued"),
}
DELIVERY_DIAGRAM = {
    ("queued", "sending"),
    ("sending", "delivered"),
    ("sending", "queued"),
    ("sending", "dead"),
    # The destination is disabled, and enabled again.
    ("queued", "held"),
    ("held", "queued"),
    ("sending", "held"),
    # A CRM knows nobody with this number, and nobody is to be made there.
    ("sending", "skipped"),
    # The destination was removed.
    ("queued", "dead"),
    ("held", "dead"),
    # A replay by hand, to a destination that is enabled or not.
    ("delivered", "queued"),
    ("delivered", "held"),
    ("dead", "queued"),
    ("dead", "held"),
    ("skipped", "queued"),
    ("skipped", "held"),
}


@pytest.mark.parametrize("before", list(CallState))
@pytest.mark.parametrize("after", list(CallState))
def test_a_call_moves_only_as_the_diagram_says(before: CallState, after: CallState) -> None:
    assert may_move(before, after) is ((before.value, after.value) in CALL_DIAGRAM)


@pytest.mark.parametrize("before", list(DeliveryState))
@pytest.mark.parametrize("after", list(DeliveryState))
def test_a_delivery_moves_only_as_the_diagram_says(
    before: DeliveryState, after: DeliveryState
) -> None:
    assert may_move(before, after) is ((before.value, after.value) in DELIVERY_DIAGRAM)


def test_every_state_has_its_row_in_the_table() -> None:
    assert set(CALL_MOVES) == set(CallState)
    assert set(DELIVERY_MOVES) == set(DeliveryState)


def test_no_state_is_a_dead_end() -> None:
    assert all(CALL_MOVES.values())
    assert all(DELIVERY_MOVES.values())


def test_nothing_is_skipped_later_but_by_a_crm() -> None:
    # The filter is asked once, when the delivery is made; whether a CRM knows the person, later.
    skipped = {state for state, after in DELIVERY_MOVES.items() if DeliveryState.SKIPPED in after}
    assert skipped == {DeliveryState.SENDING}


def test_only_a_leased_row_ends_well() -> None:
    assert {s for s, after in CALL_MOVES.items() if CallState.FETCHED in after} == {
        CallState.FETCHING
    }
    assert {s for s, after in DELIVERY_MOVES.items() if DeliveryState.DELIVERED in after} == {
        DeliveryState.SENDING
    }


def test_fresh_goes_before_retries_and_these_before_the_backfill() -> None:
    assert Priority.FRESH < Priority.RETRY < Priority.BACKFILL
