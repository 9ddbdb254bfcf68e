"""HubSpot's fake, and its form as a browser would send it."""

from typing import Any

from aftercall.simulator import Simulator
from aftercall.simulator.calls import SimulatedCall
from aftercall.simulator.crms.hubspot import FakeHubSpot
from tests.conftest import WORKSPACE

TOKEN = "pat-typed-into-the-form"


def fake_hubspot() -> FakeHubSpot:
    fake = FakeHubSpot(token=TOKEN)
    fake.add_property("is_interested", type_="bool")
    fake.add_property("agent_notes")
    return fake


def add_call(simulator: Simulator, **output: str) -> str:
    """To somebody in India, who wants a brochure and a call back."""
    call = SimulatedCall(
        call_id="call_9c4d7e12ab",
        workspace_id=WORKSPACE.id,
        callee_phone="9871532305",
        caller_phone="8040000000",
        input_parameters={"name": "Asha Menon"},
        output_parameters={
            "interested": "yes",
            "note": "Wants a brochure",
            "callback_time": "Tomorrow 11am",
            **output,
        },
    )
    simulator.twentytwo.add_call(call)
    return call.call_id


def typed(fake: FakeHubSpot, **more: Any) -> dict[str, Any]:
    """Two fields, a call and a task."""
    fields = {
        "name": "HubSpot of sales",
        "url": fake.url,
        "events": ["call.completed", "call.failed"],
        "filter": "",
        "credential_key": ["token"],
        "credential": [fake.token],
        "option_key": ["owner_id", "outcome"],
        "option": ["", ""],
        "object": "contact",
        "when_none": "create",
        "when_many": "newest",
        "log_call": "yes",
        "follow_up": "yes",
        "follow_time": "output_parameters.callback_time",
        "follow_wanted": "",
        "follow_subject": "Call back",
        "timeout_seconds": "15",
        "max_in_flight": "4",
        "rate_limit_per_second": "",
        **rows(
            ("output_parameters.interested", "is_interested", "yes_no", "overwrite", "", ""),
            ("output_parameters.note", "agent_notes", "text", "append", "", ""),
        ),
    }
    return {**fields, **more}


def rows(*rows: tuple[str, str, str, str, str, str]) -> dict[str, list[str]]:
    """The table of fields, column by column, with an empty line at its end."""
    names = ("source", "field", "type", "mode", "default", "choices")
    whole = [*rows, ("", "", "text", "overwrite", "", "")]
    return {f"map_{name}": [row[at] for row in whole] for at, name in enumerate(names)}
