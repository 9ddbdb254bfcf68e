"""Many deliveries again: previewed, a step at a time, resumed, canceled."""

from collections.abc import Sequence

import pytest
from sqlalchemy import text

from aftercall.db.delivery_search import DeliveryQuery
from aftercall.db.replays import ReplayConditions
from aftercall.domain.states import DeliveryState
from aftercall.flows import replay
from aftercall.flows.configure_destinations import disable_destination
from aftercall.flows.errors import Conflict, Invalid
from aftercall.flows.look import list_deliveries, list_groups
from aftercall.flows.service import Service
from aftercall.simulator import Fault, Simulator
from tests.flows.work import accept_rows, add_hook, deliver, delivery_rows, fetch, queued_ids

DEAD = ReplayConditions(state=DeliveryState.DEAD)


@pytest.fixture
def dead(service: Service, simulator: Simulator) -> Sequence[str]:
    """Six calls, whose deliveries to one hook are dead, for two reasons; to another delivered."""
    add_hook(service, simulator)
    add_hook(service, simulator, "others")
    call_ids = simulator.twentytwo.make_calls(6, status="completed")
    for number, call_id in enumerate(call_ids):
        fault = Fault.BAD_REQUEST if number < 4 else Fault.UNPROCESSABLE
        simulator.crm.hook("leads").fail_next_for_call(call_id, fault)
    fetch(service, accept_rows(service, call_ids))
    deliver(service, queued_ids(service))
    return call_ids


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if six were very many."""
    monkeypatch.setattr(replay, "AT_ONCE", 1)
    monkeypatch.setattr(replay, "_STEP", 2)


def queued(service: Service) -> int:
    return len(delivery_rows(service, state=DeliveryState.QUEUED))


@pytest.mark.usefixtures("dead")
def test_groups_are_by_destination_and_reason_with_a_cure(service: Service) -> None:
    first, second = list_groups(service).items
    assert [(one.destination, one.state, one.count) for one in (first, second)] == [
        ("leads", "dead", 4),
        ("leads", "dead", 2),
    ]
    assert "400" in first.reason
    assert first.cure
    page = list_deliveries(
        service,
        DeliveryQuery(
            state=DeliveryState.DEAD,
            destination_id=second.destination_id,
            reason=second.reason,
        ),
    )
    assert {one.last_error for one in page.items} == {second.reason}
    assert len(page.items) == second.count
    assert list_groups(service, state=DeliveryState.HELD).items == []


@pytest.mark.usefixtures("dead")
def test_of_very_many_the_newest_are_grouped_and_it_is_said(service: Service) -> None:
    assert list_groups(service).is_complete
    with service.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO deliveries (id, call_row_id, destination_id, revision, type, state, "
                "due_at, last_error, created_at) SELECT gen_random_uuid(), call_row_id, "
                "destination_id, n, type, 'dead', due_at, 'of many', created_at "
                "FROM (SELECT * FROM deliveries WHERE state = 'dead' LIMIT 1) AS d, "
                "generate_series(2, 10001) AS n"
            )
        )
    found = list_groups(service)
    assert not found.is_complete
    assert sum(group.count for group in found.items) == 10_000


def test_a_preview_says_how_many_and_where_to_and_changes_nothing(
    service: Service, dead: Sequence[str]
) -> None:
    view = replay.preview_replay(service, DEAD)
    assert view.total == 6
    assert [(one.destination, one.count) for one in view.destinations] == [("leads", 6)]
    assert replay.preview_replay(service, ReplayConditions(call_id=dead[0])).total == 2
    assert queued(service) == 0


@pytest.mark.usefixtures("dead")
def test_a_group_goes_again_and_no_other_delivery(service: Service) -> None:
    _, group = list_groups(service).items
    conditions = ReplayConditions(
        state=DeliveryState.DEAD, destination_id=group.destination_id, reason=group.reason
    )
    answer = replay.replay_matching(service, conditions)
    assert (answer.replayed, answer.replay) == (2, None)
    assert queued(service) == 2


@pytest.mark.usefixtures("dead", "_small")
def test_many_go_a_step_at_a_time_and_each_once(service: Service) -> None:
    answer = replay.replay_matching(service, DEAD)
    assert answer.replayed == 6
    assert answer.replay is not None
    assert queued(service) == 0
    done = []
    while (view := replay.show_replay(service, answer.replay.id)).state == "running":
        # A new service each time would do as well: all it knows is in the row.
        replay.step_replays(service, steps=1)
        done.append(view.done)
    assert done == [0, 2, 4, 6]
    assert (view.done, view.total, view.state) == (6, 6, "done")
    assert view.finished_at is not None
    assert queued(service) == 6


@pytest.mark.usefixtures("dead", "_small")
def test_what_is_dead_again_meanwhile_is_not_sent_again_and_again(service: Service) -> None:
    answer = replay.replay_matching(service, DEAD)
    assert answer.replay is not None
    for _ in range(5):
        replay.step_replays(service, steps=1)
        with service.database.transaction() as session:
            session.execute(text("UPDATE deliveries SET state = 'dead' WHERE state = 'queued'"))
    assert replay.show_replay(service, answer.replay.id).done == 6


@pytest.mark.usefixtures("dead", "_small")
def test_a_replay_that_is_canceled_goes_no_further(service: Service) -> None:
    answer = replay.replay_matching(service, DEAD)
    assert answer.replay is not None
    replay.step_replays(service, steps=1)
    assert replay.cancel_replay(service, answer.replay.id).state == "canceled"
    replay.step_replays(service)
    assert queued(service) == 2
    assert [one.state for one in replay.list_replays(service)] == ["canceled"]
    with pytest.raises(Conflict, match="canceled already"):
        replay.cancel_replay(service, answer.replay.id)


@pytest.mark.usefixtures("dead", "_small")
def test_to_a_disabled_destination_they_are_held(service: Service) -> None:
    [group, _] = list_groups(service).items
    assert group.destination_id is not None
    disable_destination(service, group.destination_id)
    [share] = replay.preview_replay(service, DEAD).destinations
    assert not share.enabled
    replay.replay_matching(service, DEAD)
    replay.step_replays(service)
    assert len(delivery_rows(service, state=DeliveryState.HELD)) == 6


def test_everything_is_never_meant(service: Service) -> None:
    for ask in (replay.preview_replay, replay.replay_matching):
        with pytest.raises(Invalid, match="at least one"):
            ask(service, ReplayConditions())
