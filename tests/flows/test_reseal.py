"""A key of AFTERCALL_SECRET_KEY can be replaced, and one that is lost can be lived without."""

from dataclasses import replace

from aftercall.flows.configure_destinations import (
    change_destination,
    list_destinations,
    rotate_secret,
)
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.reseal import reseal_secrets
from aftercall.flows.service import Service
from aftercall.sealing import Sealer
from aftercall.simulator import Simulator
from tests.conftest import SECRET_KEY
from tests.flows.work import accept_rows, add_hook, deliver, fetch, queued_ids

NEW_KEY = "the key that comes after it"


def test_after_resealing_the_old_key_can_go(service: Service, simulator: Simulator) -> None:
    add_hook(service, simulator, headers={"X-Api-Key": "abc"})
    set_workspace(service, "w2", WorkspaceSpec.model_validate({"api_key": "k", "api_secret": "s"}))
    both = Sealer(f"{NEW_KEY},{SECRET_KEY}")
    assert reseal_secrets(service.database, both) == (4, 0)
    (call_id,) = simulator.twentytwo.make_calls(1)
    fetch(service, accept_rows(service, [call_id]))
    deliver(replace(service, sealer=Sealer(NEW_KEY)), queued_ids(service))
    (receipt,) = simulator.crm.receipts("leads")
    assert receipt.headers["x-api-key"] == "abc"


def test_what_no_key_opens_is_counted_and_left(service: Service, simulator: Simulator) -> None:
    add_hook(service, simulator)
    assert reseal_secrets(service.database, Sealer("quite another key than it was")) == (0, 1)


def test_with_the_key_lost_a_destination_can_still_be_seen_and_mended(
    service: Service, simulator: Simulator
) -> None:
    id_ = add_hook(service, simulator, headers={"X-Api-Key": "abc"})
    lost = replace(service, sealer=Sealer("quite another key than it was"))
    assert [view.name for view in list_destinations(lost)] == ["leads"]
    simulator.crm.hook("leads").set_secrets(rotate_secret(lost, id_).secret)
    change_destination(lost, id_, {"headers": {"X-Api-Key": "new"}})
    (call_id,) = simulator.twentytwo.make_calls(1)
    fetch(service, accept_rows(service, [call_id]))
    deliver(lost, queued_ids(service))
    assert len(simulator.crm.receipts("leads")) == 1
