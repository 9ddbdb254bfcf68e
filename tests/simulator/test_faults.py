"""When a fault happens."""

import pytest

from aftercall.simulator.faults import (
    CRM_FAULTS,
    TWENTYTWO_FAULTS,
    Fault,
    FaultPlan,
    PlannedFault,
)


def plan(seed: str = "7") -> FaultPlan:
    return FaultPlan(seed=seed, allowed=TWENTYTWO_FAULTS)


def kinds_drawn(faults: FaultPlan, key: str, count: int) -> list[Fault | None]:
    drawn = [faults.draw(key) for _ in range(count)]
    return [None if fault is None else fault.kind for fault in drawn]


def test_without_a_plan_nothing_fails() -> None:
    assert kinds_drawn(plan(), "a", 3) == [None, None, None]


def test_queued_faults_come_one_per_request_in_order_then_the_truth() -> None:
    faults = plan()
    faults.fail_next_for("a", Fault.SERVER_ERROR, Fault.HANG)
    assert kinds_drawn(faults, "b", 1) == [None]
    assert kinds_drawn(faults, "a", 3) == [Fault.SERVER_ERROR, Fault.HANG, None]


def test_a_calls_own_faults_come_before_those_for_anybody() -> None:
    faults = plan()
    faults.fail_next(Fault.RESET)
    faults.fail_next_for("a", Fault.EMPTY)
    assert kinds_drawn(faults, "a", 3) == [Fault.EMPTY, Fault.RESET, None]


def test_particulars_of_a_planned_fault_are_kept() -> None:
    faults = plan()
    slow = PlannedFault(Fault.SLOW, seconds=2.5)
    faults.fail_next(slow)
    assert faults.draw("a") == slow


def test_a_rate_fails_about_that_share_evenly_over_the_kinds() -> None:
    faults = plan()
    faults.fail_at_rate(0.3, [Fault.RESET, Fault.SERVER_ERROR])
    drawn = [kind for key in range(1000) for kind in kinds_drawn(faults, str(key), 4)]
    assert 1080 <= sum(kind is not None for kind in drawn) <= 1320
    assert 480 <= drawn.count(Fault.RESET) <= 720


def test_what_a_call_meets_does_not_depend_on_the_order_of_the_calls() -> None:
    forward, backward = plan(), plan()
    for faults in (forward, backward):
        faults.fail_at_rate(0.5, [Fault.RESET, Fault.HANG, Fault.EMPTY])
    keys = [str(key) for key in range(50)]
    first = {key: kinds_drawn(forward, key, 4) for key in keys}
    second = {key: kinds_drawn(backward, key, 4) for key in reversed(keys)}
    assert first == second


def test_another_seed_fails_other_requests() -> None:
    one, other = plan("1"), plan("2")
    for faults in (one, other):
        faults.fail_at_rate(0.5, [Fault.RESET])
    assert kinds_drawn(one, "a", 64) != kinds_drawn(other, "a", 64)


def test_a_rate_of_zero_ends_the_failing() -> None:
    faults = plan()
    faults.fail_at_rate(1.0, [Fault.RESET])
    assert kinds_drawn(faults, "a", 1) == [Fault.RESET]
    faults.fail_at_rate(0.0, [])
    assert kinds_drawn(faults, "a", 1) == [None]


def test_a_fault_of_the_other_side_is_refused() -> None:
    crm = FaultPlan(seed="7", allowed=CRM_FAULTS)
    with pytest.raises(ValueError, match="missing_fields is no fault of this side"):
        crm.fail_next(Fault.MISSING_FIELDS)


@pytest.mark.parametrize(("rate", "kinds"), [(1.1, [Fault.RESET]), (-0.1, []), (0.5, [])])
def test_a_rate_that_makes_no_sense_is_refused(rate: float, kinds: list[Fault]) -> None:
    with pytest.raises(ValueError, match="fault rate"):
        plan().fail_at_rate(rate, kinds)
