"""Events in, due calls out: once each, whatever comes twice."""

import threading

import pytest
from sqlalchemy import text, update

from aftercall.db.models import Call
from aftercall.domain.ids import new_id
from aftercall.domain.states import CallState, Priority
from aftercall.domain.work import UNSPECIFIED
from aftercall.flows.accept_events import NoWorkspace, enqueue_calls
from aftercall.flows.service import Service
from tests.conftest import WORKSPACE
from tests.flows.work import accept, accept_rows, call_row


def set_state(service: Service, call_id: str, state: CallState) -> None:
    lease = new_id() if state is CallState.FETCHING else None
    with service.database.transaction() as session:
        session.execute(
            update(Call)
            .where(Call.call_id == call_id)
            .values(state=state, lease_token=lease, attempts=3)
        )


def test_a_new_event_makes_its_call_due(service: Service) -> None:
    (accepted,) = accept(service, ["c1"])
    call = call_row(service, "c1")
    assert not accepted.is_duplicate
    assert accepted.call_row_id == call.id
    assert (call.state, call.due_at, call.priority) == (
        CallState.QUEUED,
        service.clock(),
        Priority.FRESH,
    )
    assert call.workspace_id == WORKSPACE.id


def test_the_same_event_again_is_counted_and_makes_nothing_due(service: Service) -> None:
    accept(service, ["c1"])
    set_state(service, "c1", CallState.FETCHED)
    (again,) = accept(service, ["c1"])
    assert again.is_duplicate
    assert again.call_row_id is None
    assert call_row(service, "c1").state == CallState.FETCHED
    with service.database.transaction() as session:
        assert session.execute(text("SELECT duplicates FROM events")).scalar_one() == 1


def test_the_same_event_twice_in_one_batch_is_one_event(service: Service) -> None:
    first, second = accept(service, ["c1", "c1"])
    assert (first.is_duplicate, second.is_duplicate) == (False, True)
    with service.database.transaction() as session:
        assert session.execute(text("SELECT duplicates FROM events")).scalar_one() == 1
        assert session.execute(text("SELECT count(*) FROM webhooks")).scalar_one() == 1


@pytest.mark.parametrize("state", [CallState.FETCHED, CallState.DEAD])
def test_a_newer_event_type_makes_a_finished_call_due_again(
    service: Service, state: CallState
) -> None:
    accept(service, ["c1"], type="call.failed")
    set_state(service, "c1", state)
    (newer,) = accept(service, ["c1"], type="call.completed")
    assert newer.call_row_id is not None
    call = call_row(service, "c1")
    assert (call.state, call.attempts) == (CallState.QUEUED, 0)


def test_a_newer_event_type_during_the_fetch_wants_another_fetch_after_it(
    service: Service,
) -> None:
    accept(service, ["c1"], type="call.failed")
    set_state(service, "c1", CallState.FETCHING)
    (newer,) = accept(service, ["c1"], type="call.completed")
    assert not newer.is_duplicate
    assert newer.call_row_id is None
    call = call_row(service, "c1")
    assert (call.state, call.refetch_wanted) == (CallState.FETCHING, True)


def test_a_bare_id_of_a_known_call_says_nothing_new(service: Service) -> None:
    accept(service, ["c1"])
    (bare,) = accept(service, ["c1"], type=UNSPECIFIED)
    assert bare.is_duplicate


def test_an_unknown_workspace_is_accepted_and_waits_for_its_credentials(service: Service) -> None:
    accept(service, ["c1"], workspace_id="nobody-told-us")
    assert call_row(service, "c1").workspace_id == "nobody-told-us"


def test_the_same_id_in_two_workspaces_is_two_calls(service: Service) -> None:
    rows = accept_rows(service, ["c1"]) + accept_rows(service, ["c1"], workspace_id="other")
    assert len(set(rows)) == 2


def test_without_any_workspace_it_is_refused_and_not_guessed(
    service: Service,
) -> None:
    settings = service.settings.model_copy(update={"twentytwo_workspace_id": None})
    lost = _with_settings(service, settings)
    accept(service, ["c1"], workspace_id="w1")
    accept(service, ["c2"], workspace_id="w2")
    with pytest.raises(NoWorkspace, match="TWENTYTWO_WORKSPACE_ID"):
        enqueue_calls(lost, ["c3"], workspace_id=None, priority=0, body=b"")


def test_the_only_workspace_is_the_one_that_is_meant(service: Service) -> None:
    settings = service.settings.model_copy(update={"twentytwo_workspace_id": None})
    accept(service, ["c1"], workspace_id="w1")
    enqueue_calls(
        _with_settings(service, settings), ["c2"], workspace_id=None, priority=0, body=b""
    )
    assert call_row(service, "c2").workspace_id == "w1"


def test_many_writers_with_the_same_events_in_any_order_store_each_once(service: Service) -> None:
    ids = [f"c{number}" for number in range(60)]
    new: list[bool] = []
    lock = threading.Lock()

    def write(shift: int) -> None:
        order = ids[shift:] + ids[:shift]
        for type_ in ("call.failed", "call.completed"):
            accepted = accept(service, order if shift % 2 else order[::-1], type=type_)
            with lock:
                new.extend(not one.is_duplicate for one in accepted)

    threads = [threading.Thread(target=write, args=(shift,)) for shift in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(new) == 6 * 2 * 60
    assert sum(new) == 2 * 60


def _with_settings(service: Service, settings: object) -> Service:
    from dataclasses import replace

    return replace(service, settings=settings)  # type: ignore[arg-type]
