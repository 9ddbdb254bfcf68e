"""The shapes, against the provider's page, and what each content fault makes of them."""

import json
from typing import Any

import pytest

from aftercall.simulator.calls import SimulatedCall
from aftercall.simulator.faults import CONTENT_FAULTS, Fault
from aftercall.simulator.payloads import detail, encode, log_line, other_id, spoil, webhook

# The call of the provider's own example.
EXAMPLE = SimulatedCall(
    call_id="call_9c4d7e12ab",
    workspace_id="699ed3b91ee5bee389dcb6a3",
    input_parameters={"agentName": "Rohit"},
    output_parameters={
        "interested": "yes",
        "callback_requested": "yes",
        "callback_time": "Tomorrow 11am",
    },
    recording={
        "url": "https://storage.twentytwo.in/recordings/call_9c4d7e12ab.mp3",
        "expires_at": "2025-01-25T10:01:34Z",
    },
    transcript={
        "url": "https://storage.twentytwo.in/transcripts/call_9c4d7e12ab.txt",
        "expires_at": "2025-01-25T10:01:34Z",
    },
)


def spoiled(fault: Fault) -> dict[str, Any]:
    return spoil(detail(EXAMPLE), [fault])


def test_the_providers_example_comes_out_as_its_page_has_it() -> None:
    assert detail(EXAMPLE) == {
        "success": True,
        "call": {
            "call_id": "call_9c4d7e12ab",
            "agent_id": "69de483c68b23495c853b43a",
            "status": "completed",
            "direction": "outbound",
            "callee_phone": "9999999999",
            "caller_phone": "9999999999",
            "duration_seconds": 94,
            "billed_duration_seconds": 94,
            "cost": "15.67 INR",
            "started_at": "2024-12-25T10:00:00Z",
            "ended_at": "2024-12-25T10:01:34Z",
        },
        "input_parameters": EXAMPLE.input_parameters,
        "output_parameters": EXAMPLE.output_parameters,
        "recording": EXAMPLE.recording,
        "transcript": EXAMPLE.transcript,
    }


def test_a_call_under_way_has_no_end_and_no_outputs() -> None:
    answer = detail(EXAMPLE, status="connected")
    assert answer["call"]["status"] == "connected"
    assert answer["call"]["ended_at"] is None
    assert answer["output_parameters"] == {}
    assert answer["recording"] is None


def test_what_a_call_leaves_out_is_left_out() -> None:
    call = SimulatedCall(call_id="c", workspace_id="w", omitted=frozenset({"recording"}))
    assert "recording" not in detail(call)


def test_a_line_of_the_logs_lacks_the_billed_duration() -> None:
    line = log_line(EXAMPLE)
    assert set(detail(EXAMPLE)["call"]) - set(line) == {"billed_duration_seconds"}


def test_the_webhook_has_the_documented_members_in_the_older_spelling() -> None:
    payload = webhook(EXAMPLE, event=None, event_id="evt_1")
    assert set(payload) == {
        "event", "event_id", "timestamp", "workspace_id", "assistant_id", "assistant_name",
        "call", "campaign", "contact", "output_variables", "recording", "transcript",
    }  # fmt: skip
    assert set(payload["call"]) == {
        "call_id", "direction", "status", "from_number", "to_number", "started_at",
        "answered_at", "ended_at", "duration_seconds", "billed_duration_seconds",
        "call_cost_inr", "disconnection_reason",
    }  # fmt: skip
    assert payload["call"]["call_cost_inr"] == 15.67
    assert payload["event"] == "call.completed"
    assert payload["recording"]["available"] is True


@pytest.mark.parametrize(
    ("status", "event"),
    [("completed", "call.completed"), ("not_connected", "call.failed"), ("failed", "call.failed")],
)
def test_the_webhooks_event_fits_the_calls_status(status: str, event: str) -> None:
    call = SimulatedCall(call_id="c", workspace_id="w", status=status)
    assert webhook(call, event=None, event_id="evt_1")["event"] == event


def test_missing_fields_leave_the_id_and_the_status() -> None:
    call = {"call_id": "call_9c4d7e12ab", "status": "completed"}
    assert spoiled(Fault.MISSING_FIELDS) == {"success": True, "call": call}


def test_null_fields_are_there_and_null() -> None:
    answer = spoiled(Fault.NULL_FIELDS)
    assert answer["call"]["cost"] is None
    assert answer["call"]["status"] == "completed"
    assert answer["output_parameters"] is None
    assert set(answer) == set(detail(EXAMPLE))


def test_the_other_id_is_always_the_same_other_id() -> None:
    assert spoiled(Fault.OTHER_ID)["call"]["call_id"] == other_id("call_9c4d7e12ab")
    assert other_id("call_9c4d7e12ab") != "call_9c4d7e12ab"


def test_the_other_spelling_is_that_of_the_older_pages() -> None:
    answer = spoiled(Fault.OTHER_SPELLING)
    assert answer["input_variables"] == {"agentName": "Rohit"}
    assert answer["output_variables"]["interested"] == "yes"
    call = answer["call"]
    assert {"assistant_id", "to_number", "from_number"} <= set(call)
    assert call["call_cost_inr"] == 15.67
    assert not {"agent_id", "callee_phone", "caller_phone", "cost"} & set(call)


@pytest.mark.parametrize(
    ("fault", "ended_at"),
    [(Fault.UNKNOWN_STATUS, None), (Fault.UNKNOWN_STATUS_ENDED, "2024-12-25T10:01:34Z")],
)
def test_an_unknown_status_comes_with_and_without_an_end(
    fault: Fault, ended_at: str | None
) -> None:
    call = spoiled(fault)["call"]
    assert (call["status"], call["ended_at"]) == ("voicemail_left", ended_at)


def test_unknown_fields_come_on_top_of_the_known_ones() -> None:
    answer = spoiled(Fault.UNKNOWN_FIELDS)
    assert set(answer) > set(detail(EXAMPLE))
    assert set(answer["call"]) > set(detail(EXAMPLE)["call"])


def test_nul_and_a_lone_surrogate_survive_as_json() -> None:
    encoded = encode(spoiled(Fault.NUL_IN_TEXT))
    assert rb"before\u0000after" in encoded
    outputs = json.loads(encoded)["output_parameters"]
    assert outputs["reaction"] == "half \ud83d a smile"
    assert outputs["interested"] == "yes"


def test_deep_json_is_3000_levels_deep() -> None:
    assert b"[" * 3000 + b"]" * 3000 in encode(spoiled(Fault.DEEP_JSON))


def test_several_content_faults_go_together() -> None:
    encoded = encode(spoil(detail(EXAMPLE), [Fault.NUL_IN_TEXT, Fault.DEEP_JSON]))
    assert rb"\u0000" in encoded
    assert b"[" * 3000 in encoded


@pytest.mark.parametrize("fault", sorted(CONTENT_FAULTS))
def test_every_content_fault_changes_the_answer(fault: Fault) -> None:
    assert spoiled(fault) != detail(EXAMPLE)


@pytest.mark.parametrize("fault", sorted(CONTENT_FAULTS))
def test_every_content_fault_can_take_a_call_with_nothing_in_it(fault: Fault) -> None:
    bare = spoil(detail(EXAMPLE), [Fault.MISSING_FIELDS])
    empty = spoil(detail(EXAMPLE), [Fault.NULL_FIELDS])
    assert encode(spoil(bare, [fault]))
    assert encode(spoil(empty, [fault]))


def test_hindi_is_sent_as_utf_8() -> None:
    assert "हाँ".encode() in encode({"notes": "हाँ"})
