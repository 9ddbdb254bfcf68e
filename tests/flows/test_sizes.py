"""Large and odd content goes through whole: saved, and delivered byte for byte."""

import sys
from dataclasses import replace

from aftercall.crm.destination_spec import DestinationSpec
from aftercall.flows.configure_destinations import apply_destinations
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.flows.work import accept_rows, add_hook, deliver, delivery_rows, fetch, queued_ids

SECRET = "whsec_" + "A" * 32


def deliver_with(service: Service, simulator: Simulator, parameters: dict[str, object]) -> object:
    """The output parameters as the hook got them."""
    add_hook(service, simulator)
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    truth = simulator.twentytwo.call(call_id)
    simulator.twentytwo.add_call(replace(truth, output_parameters=parameters))
    fetch(service, accept_rows(service, [call_id]))
    deliver(service, queued_ids(service))
    (receipt,) = simulator.crm.receipts("leads")
    return receipt.body["data"]["output_parameters"]


def test_an_output_parameter_of_a_megabyte_is_delivered_whole(
    service: Service, simulator: Simulator
) -> None:
    parameters: dict[str, object] = {"summary": "बात हुई। " * 120_000}
    assert len(str(parameters["summary"]).encode()) > 1024 * 1024
    assert deliver_with(service, simulator, parameters) == parameters


def test_unicode_of_every_kind_is_delivered_character_for_character(
    service: Service, simulator: Simulator
) -> None:
    # Every character there is, but NUL and halves of surrogate pairs, which are none.
    codes = [*range(1, 0xD800), *range(0xE000, sys.maxunicode + 1)]
    parameters: dict[str, object] = {
        f"plane {plane}": "".join(chr(code) for code in codes if code >> 16 == plane)
        for plane in range(17)
    }
    assert deliver_with(service, simulator, parameters) == parameters


def test_one_call_reaches_a_thousand_destinations_once_each(
    service: Service, simulator: Simulator
) -> None:
    simulator.crm.add_hook("leads", SECRET)
    url = simulator.crm.hook_url("leads")
    specs = [
        DestinationSpec(name=f"destination {number}", url=url, secret=SECRET)
        for number in range(1_000)
    ]
    apply_destinations(service, specs)
    (call_id,) = simulator.twentytwo.make_calls(1, status="completed")
    fetch(service, accept_rows(service, [call_id]))
    deliver(service, queued_ids(service), size=32)
    assert {row.state for row in delivery_rows(service)} == {"delivered"}
    assert len({receipt.webhook_id for receipt in simulator.crm.receipts("leads")}) == 1_000
