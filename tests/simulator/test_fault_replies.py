"""Every fault as a client meets it, on either side."""

import json

import pytest

from aftercall.simulator import CRM_FAULTS, TWENTYTWO_FAULTS, Fault, Hook, PlannedFault, Simulator
from aftercall.simulator.faults import CONTENT_FAULTS

from .raw_client import RawAnswer, detail, payload, raw_delivery, raw_detail

STATUSES = {
    Fault.BAD_REQUEST: 400,
    Fault.UNAUTHORIZED: 401,
    Fault.FORBIDDEN: 403,
    Fault.NOT_FOUND: 404,
    Fault.METHOD_NOT_ALLOWED: 405,
    Fault.REQUEST_TIMEOUT: 408,
    Fault.CONFLICT: 409,
    Fault.GONE: 410,
    Fault.CONTENT_TOO_LARGE: 413,
    Fault.UNSUPPORTED_MEDIA_TYPE: 415,
    Fault.UNPROCESSABLE: 422,
    Fault.TOO_EARLY: 425,
    Fault.RATE_LIMITED: 429,
    Fault.RATE_LIMITED_WITHOUT_RETRY_AFTER: 429,
    Fault.SERVER_ERROR: 500,
    Fault.BAD_GATEWAY: 502,
    Fault.UNAVAILABLE: 503,
    Fault.GATEWAY_TIMEOUT: 504,
    Fault.MOVED: 301,
    Fault.FOUND: 302,
}
BODIES = {
    Fault.NOT_JSON: b"<!DOCTYPE html>",
    Fault.EMPTY: b"",
    Fault.JSON_LIST: b"[",
    Fault.JSON_NULL: b"null",
}
WIRE = {
    Fault.SLOW,
    Fault.DRIP,
    Fault.HANG,
    Fault.RESET,
    Fault.LOST_ANSWER,
    Fault.TRUNCATED,
    Fault.HUGE,
}


def test_every_fault_is_looked_at_here() -> None:
    of_both_sides = {*STATUSES, *BODIES, *WIRE}
    assert of_both_sides == CRM_FAULTS
    assert of_both_sides | CONTENT_FAULTS | {Fault.SUCCESS_FALSE} == TWENTYTWO_FAULTS


def answer_to(
    simulator: Simulator,
    side: str,
    fault: PlannedFault | Fault,
    *,
    patience_seconds: float = 5.0,
) -> RawAnswer:
    """What the next request meets; the one after it must get the truth again."""
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    if side == "twentytwo":
        simulator.twentytwo.fail_next(call_id, fault)
        answer = raw_detail(simulator, call_id, patience_seconds=patience_seconds)
        assert detail(simulator, call_id).status_code == 200
        return answer
    simulator.crm.hook("leads").fail_next(fault)
    answer = raw_delivery(simulator, "leads", payload(call_id), patience_seconds=patience_seconds)
    assert raw_delivery(simulator, "leads", payload(call_id)).status == 200
    return answer


both_sides = pytest.mark.parametrize("side", ["twentytwo", "crm"])


@both_sides
@pytest.mark.parametrize(("fault", "status"), STATUSES.items())
def test_a_fault_of_status_has_that_status(
    simulator: Simulator, side: str, fault: Fault, status: int
) -> None:
    answer = answer_to(simulator, side, fault)
    assert answer.status == status
    assert isinstance(json.loads(answer.body), dict)


@both_sides
@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.UNAVAILABLE])
def test_retry_after_is_there_as_planned(simulator: Simulator, side: str, fault: Fault) -> None:
    answer = answer_to(simulator, side, PlannedFault(fault, retry_after="17"))
    assert b"\r\nRetry-After: 17\r\n" in answer.received


@both_sides
def test_a_429_can_do_without_retry_after(simulator: Simulator, side: str) -> None:
    answer = answer_to(simulator, side, Fault.RATE_LIMITED_WITHOUT_RETRY_AFTER)
    assert b"Retry-After" not in answer.received


@both_sides
def test_a_redirect_leads_to_where_followers_are_counted(simulator: Simulator, side: str) -> None:
    answer = answer_to(simulator, side, Fault.FOUND)
    assert b"\r\nLocation: /redirected\r\n" in answer.received
    assert "/redirected 200" not in simulator.report().requests


@both_sides
@pytest.mark.parametrize(("fault", "beginning"), BODIES.items())
def test_a_fault_of_body_is_a_200_with_that_body(
    simulator: Simulator, side: str, fault: Fault, beginning: bytes
) -> None:
    answer = answer_to(simulator, side, fault)
    assert answer.status == 200
    assert answer.body.startswith(beginning)
    assert bool(answer.body) == bool(beginning)


@both_sides
def test_a_huge_body_is_json_of_over_6_mib(simulator: Simulator, side: str) -> None:
    answer = answer_to(simulator, side, Fault.HUGE)
    assert len(answer.body) > 6 * 1024 * 1024
    assert "padding" in json.loads(answer.body)


@both_sides
def test_a_slow_answer_is_the_truth(simulator: Simulator, side: str) -> None:
    answer = answer_to(simulator, side, PlannedFault(Fault.SLOW, seconds=0.05))
    assert (answer.status, answer.end) == (200, "closed")


@both_sides
def test_a_dripped_answer_is_the_truth(simulator: Simulator, side: str) -> None:
    answer = answer_to(simulator, side, PlannedFault(Fault.DRIP, seconds=0.0001))
    assert answer.status == 200
    assert isinstance(json.loads(answer.body), dict)


@both_sides
@pytest.mark.parametrize("fault", [Fault.RESET, Fault.LOST_ANSWER])
def test_a_reset_says_nothing(simulator: Simulator, side: str, fault: Fault) -> None:
    assert answer_to(simulator, side, fault) == RawAnswer(b"", "reset")


@both_sides
def test_a_hang_says_nothing_for_as_long_as_the_client_waits(
    simulator: Simulator, side: str
) -> None:
    answer = answer_to(simulator, side, Fault.HANG, patience_seconds=0.3)
    assert answer == RawAnswer(b"", "silence")


@both_sides
def test_a_truncated_answer_breaks_off(simulator: Simulator, side: str) -> None:
    answer = answer_to(simulator, side, Fault.TRUNCATED)
    assert answer.status == 200
    with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
        json.loads(answer.body)


def test_twentytwo_reports_an_error_in_either_envelope(simulator: Simulator) -> None:
    first = answer_to(simulator, "twentytwo", Fault.SERVER_ERROR)
    second = answer_to(
        simulator, "twentytwo", PlannedFault(Fault.SERVER_ERROR, second_envelope=True)
    )
    error = json.loads(first.body)["error"]
    assert (error["code"], error["status"]) == ("INTERNAL_ERROR", 500)
    body = json.loads(second.body)
    assert (body["success"], body["statusCode"]) == (False, 500)
    assert "validationErrors" in body


@pytest.mark.parametrize("second_envelope", [False, True])
def test_a_200_can_say_success_false(simulator: Simulator, second_envelope: bool) -> None:
    fault = PlannedFault(Fault.SUCCESS_FALSE, status_inside=404, second_envelope=second_envelope)
    answer = answer_to(simulator, "twentytwo", fault)
    body = json.loads(answer.body)
    assert (answer.status, body["success"]) == (200, False)
    assert 404 in (body.get("statusCode"), body.get("error", {}).get("status"))


@pytest.mark.parametrize("fault", sorted(CONTENT_FAULTS - {Fault.DEEP_JSON}))
def test_a_fault_of_content_is_a_successful_answer(simulator: Simulator, fault: Fault) -> None:
    answer = answer_to(simulator, "twentytwo", fault)
    assert answer.status == 200
    assert json.loads(answer.body)["success"] is True


def test_deep_json_is_too_deep_for_pythons_own_reader(simulator: Simulator) -> None:
    answer = answer_to(simulator, "twentytwo", Fault.DEEP_JSON)
    with pytest.raises(RecursionError):
        json.loads(answer.body)


@pytest.mark.parametrize(
    ("fault", "looks"),
    [(Fault.SERVER_ERROR, 0), (Fault.RESET, 0), (Fault.LOST_ANSWER, 1), (Fault.NOT_JSON, 1)],
)
def test_a_look_counts_where_the_request_had_its_effect(
    simulator: Simulator, fault: Fault, looks: int
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, fault)
    raw_detail(simulator, call_id)
    assert simulator.twentytwo.looks(call_id) == looks


@pytest.mark.parametrize(
    ("fault", "accepted"),
    [
        (Fault.SERVER_ERROR, 0),
        (Fault.RESET, 0),
        (Fault.LOST_ANSWER, 1),
        (Fault.TRUNCATED, 1),
        (Fault.EMPTY, 1),
        (Fault.NOT_JSON, 1),
    ],
)
def test_the_crm_has_what_had_its_effect(
    simulator: Simulator, hook: Hook, fault: Fault, accepted: int
) -> None:
    hook.fail_next(fault)
    raw_delivery(simulator, "leads", payload("c"))
    assert simulator.report().crm_accepted == accepted
    assert simulator.report().crm_requests == 1
