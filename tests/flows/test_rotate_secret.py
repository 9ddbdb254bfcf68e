"""While two secrets overlap, a receiver that knows either of them is satisfied."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from aftercall.flows.configure_destinations import (
    change_destination,
    rotate_secret,
    show_destination,
)
from aftercall.flows.reseal import reseal_secrets
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.conftest import Clock
from tests.flows.work import accept_rows, add_hook, deliver, delivery_rows, fetch, queued_ids


def send(service: Service, simulator: Simulator) -> str | None:
    """A new call to the hook, which knows the secret before; what became of it."""
    rows = accept_rows(service, simulator.twentytwo.make_calls(1, status="completed"))
    fetch(service, rows)
    deliver(service, queued_ids(service))
    return delivery_rows(service)[-1].last_error


def test_the_secret_before_signs_until_the_overlap_is_over(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    hook = add_hook(service, simulator)
    view = rotate_secret(service, hook, overlap=timedelta(hours=1))
    assert view.old_secret_until == clock.now + timedelta(hours=1)
    assert send(service, simulator) is None
    reseal_secrets(service.database, service.sealer)
    assert send(service, simulator) is None
    clock.now += timedelta(hours=1)
    assert show_destination(service, hook).old_secret_until is None
    assert "401" in (send(service, simulator) or "")
    simulator.crm.add_hook("leads", view.secret)


@pytest.mark.parametrize("why", ["no overlap", "no key opens it"])
def test_a_secret_that_is_not_to_be_used_any_more_is_not_kept(
    service: Service, simulator: Simulator, why: str
) -> None:
    hook = add_hook(service, simulator)
    if why == "no key opens it":
        with service.database.transaction() as session:
            session.execute(text("UPDATE destinations SET secret_sealed = 'x'"))
    overlap = timedelta(0) if why == "no overlap" else timedelta(hours=1)
    assert rotate_secret(service, hook, overlap=overlap).old_secret_until is None


def test_headers_that_no_key_opens_any_more_can_be_cleared(
    service: Service, simulator: Simulator
) -> None:
    hook = add_hook(service, simulator, headers={"X-Api-Key": "a key"})
    with service.database.transaction() as session:
        session.execute(text("UPDATE destinations SET headers_sealed = 'x'"))
    change_destination(service, hook, {"headers": {}})
    with service.database.transaction() as session:
        assert session.execute(text("SELECT headers_sealed FROM destinations")).scalar() is None
