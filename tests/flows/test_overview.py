"""The overview: what was counted and what was not yet add up; who is unwell, and why."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from aftercall.db import activity
from aftercall.db.activity import count_activity
from aftercall.domain.breaker import OPENS_AFTER
from aftercall.flows.configure_destinations import disable_destination
from aftercall.flows.overview import Window, show_overview
from aftercall.flows.service import Service
from aftercall.flows.views import ActivityView
from aftercall.simulator import Fault, Simulator
from tests.conftest import Clock
from tests.flows.work import accept, accept_rows, add_hook, deliver, fetch, queued_ids


def count_all(service: Service) -> None:
    """Twice over everything: once to see it, once to count it."""
    for _ in range(3):
        service.database.run(lambda executor: count_activity(executor, lag=timedelta(0)))


def numbers(view: ActivityView) -> tuple[int, int, int, int]:
    return view.received, view.saved, view.delivered, view.dead


def work(service: Service, simulator: Simulator) -> None:
    """Three calls are saved and go to one hook, which refuses one; a fourth waits."""
    add_hook(service, simulator)
    fetch(service, accept_rows(service, simulator.twentytwo.make_calls(3, status="completed")))
    simulator.crm.hook("leads").fail_next(Fault.BAD_REQUEST)
    deliver(service, queued_ids(service))
    accept(service, simulator.twentytwo.make_calls(1))


@pytest.mark.parametrize("counted", ["nothing", "all", "half"])
def test_what_happened_is_told_once_however_far_it_was_counted(
    service: Service, simulator: Simulator, counted: str
) -> None:
    if counted == "half":
        count_all(service)
    work(service, simulator)
    if counted == "half":
        service.database.run(lambda executor: count_activity(executor, lag=timedelta(0)))
    elif counted == "all":
        count_all(service)
        count_all(service)
    view = show_overview(service)
    for total in (view.last_24h, view.last_7d, view.last_30d):
        assert numbers(total) == (4, 3, 2, 1)
    assert numbers(view.series[-1]) == (4, 3, 2, 1) or sum(one.received for one in view.series) == 4
    assert view.is_complete
    assert view.waiting_calls.count == view.waiting_calls.due == 1
    [health] = view.destinations
    assert (health.attempts, health.succeeded, health.dead) == (3, 2, 1)
    assert health.p50_ms is not None
    [failure] = view.failures
    assert (failure.kind, failure.destination, failure.count) == ("delivery", "leads", 1)
    assert "400" in failure.reason
    assert "compare its answer" in failure.cure
    assert not view.is_well


def test_a_row_whose_transaction_is_still_open_is_not_passed_over(service: Service) -> None:
    """An id that is taken before another one may be committed after it."""
    slow = service.database.engine.connect()
    slow.execute(text("INSERT INTO workspaces (id) VALUES ('ws')"))
    slow.commit()
    insert = text(
        "INSERT INTO calls (workspace_id, call_id, state, due_at, received_at) "
        "VALUES ('ws', :id, 'queued', :now, :now)"
    )
    slow.execute(insert, {"id": "slow", "now": service.clock()})
    accept(service, ["fast"], workspace_id="ws")
    count_all(service)
    slow.commit()
    slow.close()
    count_all(service)
    assert show_overview(service).last_24h.received == 2


@pytest.mark.parametrize("window", list(Window))
def test_the_series_has_all_of_its_window(service: Service, clock: Clock, window: Window) -> None:
    accept(service, ["call_1"])
    count_all(service)
    view = show_overview(service, window=window, utc_offset=timedelta(minutes=330))
    total = {
        Window.TODAY: view.today,
        Window.DAY: view.last_24h,
        Window.WEEK: view.last_7d,
        Window.MONTH: view.last_30d,
    }[window]
    assert sum(one.received for one in view.series) == total.received == 1
    assert view.series[0].since == total.since
    assert view.series[-1].since <= clock.now


def test_days_begin_where_the_viewer_lives(service: Service, clock: Clock) -> None:
    # Half past six in the evening, UTC: midnight in India.
    clock.now = clock.now.replace(hour=18, minute=29)
    accept(service, ["yesterday"])
    clock.now += timedelta(minutes=2)
    accept(service, ["today"])
    count_all(service)
    assert show_overview(service).today.received == 2
    assert show_overview(service, utc_offset=timedelta(minutes=330)).today.received == 1


def test_while_much_is_uncounted_it_says_so(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(service, ["call_1", "call_2"])
    monkeypatch.setattr(activity, "MAX_TAIL", 1)
    view = show_overview(service)
    assert (view.is_complete, view.last_24h.received) == (False, 0)


def test_the_use_of_the_rate_limit_is_told_and_not_used(
    service: Service, simulator: Simulator
) -> None:
    fetch(service, accept_rows(service, simulator.twentytwo.make_calls(3)))
    for _ in range(2):
        [workspace] = show_overview(service).workspaces
        assert (workspace.used_now, workspace.is_blocked) == (3, False)


def test_a_destination_that_is_paused_or_disabled_is_not_well(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    hook = add_hook(service, simulator)
    assert show_overview(service).is_well
    with service.database.transaction() as session:
        session.execute(
            text("UPDATE destinations SET failures_in_a_row = :n, paused_until = :until"),
            {"n": OPENS_AFTER, "until": clock.now + timedelta(seconds=10)},
        )
    view = show_overview(service)
    assert (view.is_well, view.destinations[0].breaker) == (False, "open")
    clock.now += timedelta(seconds=11)
    assert show_overview(service).destinations[0].breaker == "probing"
    disable_destination(service, hook)
    assert not show_overview(service).is_well


def test_a_destination_that_takes_nothing_for_minutes_is_not_well_before_its_breaker_opens(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    add_hook(service, simulator)
    simulator.crm.hook("leads").fail_next(Fault.SERVER_ERROR)
    fetch(service, accept_rows(service, simulator.twentytwo.make_calls(1)))
    began = clock.now
    deliver(service, queued_ids(service))
    for passed, is_failing in ((timedelta(), False), (timedelta(minutes=5), True)):
        clock.now = began + passed
        view = show_overview(service)
        [one] = view.destinations
        assert (one.is_failing, view.is_well, one.breaker) == (is_failing, not is_failing, "closed")
    assert one.failing_since == began
    deliver(service, queued_ids(service))
    assert show_overview(service).is_well


def test_a_crm_whose_limit_is_waited_for_does_not_fail(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    add_hook(service, simulator)
    until = clock.now + timedelta(hours=1)
    with service.database.transaction() as session:
        session.execute(text("UPDATE destinations SET paused_until = :until"), {"until": until})
    view = show_overview(service)
    [one] = view.destinations
    assert (view.is_well, one.breaker, one.paused_until) == (True, "closed", until)


def test_counting_goes_on_after_a_restore_into_another_cluster(
    service: Service, simulator: Simulator
) -> None:
    """There transactions are counted from the beginning again."""
    count_all(service)
    with service.database.transaction() as session:
        session.execute(text("UPDATE activity_marks SET seen_xid = seen_xid + 1000000000"))
    work(service, simulator)
    count_all(service)
    with service.database.transaction() as session:
        behind = text(
            "SELECT (SELECT max(id) FROM calls) - done_id FROM activity_marks WHERE name = 'calls'"
        )
        assert session.execute(behind).scalar_one() == 0
    assert numbers(show_overview(service).last_24h) == (4, 3, 2, 1)
