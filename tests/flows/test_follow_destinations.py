"""Very many deliveries follow their destination a step at a time: at once, then by sweeps."""

import uuid

import pytest

from aftercall.db import deliveries as deliveries_db
from aftercall.domain.states import DeliveryState
from aftercall.flows.configure_destinations import (
    disable_destination,
    enable_destination,
    remove_destination,
)
from aftercall.flows.service import Service
from aftercall.flows.sweep import sweep
from aftercall.simulator import Simulator
from tests.console.rows import make_deliveries
from tests.flows.work import add_hook, delivery_rows


@pytest.fixture
def hook(service: Service, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> uuid.UUID:
    """With ten deliveries that wait, which are very many here."""
    monkeypatch.setattr(deliveries_db, "AT_ONCE", 4)
    hook = add_hook(service, simulator)
    make_deliveries(service.database, str(hook), 10, state=DeliveryState.QUEUED, reason=None)
    return hook


def counts(service: Service, state: DeliveryState) -> list[int]:
    """Now, and after each of two sweeps."""
    found = [len(delivery_rows(service, state=state))]
    for _ in range(2):
        sweep(service, waiting_messages=lambda _: 100)
        found.append(len(delivery_rows(service, state=state)))
    return found


def test_what_waits_is_held_and_goes_again(service: Service, hook: uuid.UUID) -> None:
    view = disable_destination(service, hook)
    assert (view.held, view.waiting) == (4, 6)
    assert counts(service, DeliveryState.HELD) == [4, 8, 10]
    view = enable_destination(service, hook)
    assert (view.held, view.waiting) == (6, 4)
    assert counts(service, DeliveryState.QUEUED) == [4, 8, 10]


def test_what_waits_for_a_removed_destination_is_dead(service: Service, hook: uuid.UUID) -> None:
    remove_destination(service, hook)
    assert counts(service, DeliveryState.DEAD) == [4, 8, 10]


def test_what_was_held_in_the_moment_of_enabling_is_not_held_for_ever(
    service: Service, simulator: Simulator
) -> None:
    hook = add_hook(service, simulator)
    make_deliveries(service.database, str(hook), 1, state=DeliveryState.HELD, reason=None)
    assert counts(service, DeliveryState.HELD)[-1] == 0
