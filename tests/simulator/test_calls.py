"""The calls that are made up."""

import re
from datetime import UTC, datetime
from random import Random

import pytest

from aftercall.simulator.calls import SimulatedCall, random_call
from aftercall.simulator.faults import Fault

ENDED_AT = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


def many(seed: int, *, status: str | None = None, count: int = 300) -> list[SimulatedCall]:
    rng = Random(seed)
    return [
        random_call(rng, workspace_id="w", ended_at=ENDED_AT, status=status) for _ in range(count)
    ]


def test_the_same_seed_makes_the_same_calls() -> None:
    assert many(7) == many(7)
    assert many(7) != many(8)


def test_most_calls_are_completed_and_some_are_not() -> None:
    statuses = {call.status for call in many(7)}
    assert statuses == {"completed", "not_connected", "failed"}
    assert 0.7 < sum(call.connected for call in many(7)) / 300 < 0.9


def test_a_calls_facts_look_like_the_providers() -> None:
    for call in many(7):
        assert re.fullmatch(r"[0-9a-f]{24}", call.call_id)
        assert re.fullmatch(r"[6-9]\d{9}", call.callee_phone or "")
        assert re.fullmatch(r"\d+\.\d\d INR", call.cost or "")
        assert call.ended_at == "2026-07-01T12:00:00Z"


def test_a_completed_call_has_outputs_a_recording_and_a_transcript() -> None:
    for call in many(7, status="completed"):
        assert call.output_parameters is not None
        assert {"interested", "callback_requested", "callback_time"} <= set(call.output_parameters)
        assert call.recording is not None
        assert call.transcript is not None


def test_a_call_that_did_not_connect_has_none_of_them() -> None:
    calls = many(7, status="not_connected")
    assert all(not call.output_parameters for call in calls)
    assert all(call.recording is None and call.transcript is None for call in calls)
    ways = {
        "missing"
        if "output_parameters" in call.omitted
        else "null"
        if call.output_parameters is None
        else "empty"
        for call in calls
    }
    assert ways == {"missing", "null", "empty"}


def test_some_outputs_are_in_hindi() -> None:
    outputs = [str(call.output_parameters) for call in many(7, status="completed")]
    assert any(re.search("[\u0900-\u097f]", text) for text in outputs)


def test_a_quirk_that_is_no_content_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="a quirk is a content fault"):
        SimulatedCall(call_id="c", workspace_id="w", quirks=(Fault.RESET,))
