"""Finding calls: by id, phone, agent and parameter; filters; pages both ways."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from aftercall.db import call_search
from aftercall.db.call_search import CallQuery, phone_digits
from aftercall.domain.states import CallState
from aftercall.flows.errors import Invalid
from aftercall.flows.look import list_calls, read_parameter
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.conftest import Clock
from tests.flows.work import accept, accept_rows, fetch


@pytest.fixture(params=[call_search.FEW, 0], ids=["looked up", "walked"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found must not depend on how it is found."""
    monkeypatch.setattr(call_search, "FEW", request.param)


@pytest.fixture
def known(service: Service, simulator: Simulator) -> list[str]:
    """Three saved calls, and one that waits."""
    ids = simulator.twentytwo.make_calls(3, status="completed")
    facts = (
        ("+91 62454 64433", "agent_1", {"interested": "yes", "budget": 4500000, "site": "Pune"}),
        ("06245464434", "agent_2", {"interested": "no", "budget": 4500000, "hot": True}),
        ("9000000001", "agent_2", {"interested": "Yes", "site": "LC_%"}),
    )
    for id_, (phone, agent, parameters) in zip(ids, facts, strict=True):
        simulator.twentytwo.add_call(
            replace(
                simulator.twentytwo.call(id_),
                callee_phone=phone,
                caller_phone="8000000000",
                agent_id=agent,
                output_parameters=parameters,
            )
        )
    fetch(service, accept_rows(service, ids))
    waiting = simulator.twentytwo.make_calls(1, status="completed")
    accept(service, waiting)
    return [*ids, *waiting]


def found(service: Service, known: Sequence[str], query: CallQuery) -> set[int]:
    """Which of the known calls, by their place."""
    return {known.index(call.call_id) for call in list_calls(service, query).items}


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(
    ("q", "calls"),
    [
        ("6245464433", {0}),
        ("+91 6245 464 433", {0}),
        ("006245464434", {1}),
        ("4433", {0}),
        ("000-0001", {2}),
        ("8000000000", {0, 1, 2}),
        ("433", set()),
        ("agent_2", {1, 2}),
        ("yes", {0, 2}),
        ("YES", {0, 2}),
        ("4500000", {0, 1}),
        ("true", {1}),
        ("Pune", {0}),
        ("LC_%", {2}),
        ("LC", set()),
        ("nothing of the kind", set()),
    ],
)
def test_one_box_finds_phones_agents_and_values(
    service: Service, known: list[str], q: str, calls: set[int]
) -> None:
    assert found(service, known, CallQuery(q=q)) == calls


@pytest.mark.usefixtures("_both_ways")
def test_a_call_is_found_by_its_id_and_by_the_beginning_of_it(
    service: Service, known: list[str]
) -> None:
    for place, call_id in enumerate(known):
        assert found(service, known, CallQuery(q=call_id)) == {place}
        assert found(service, known, CallQuery(q=f"  {call_id[:12]} ")) == {place}
        assert place not in found(service, known, CallQuery(q=call_id[1:]))


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(
    ("query", "calls"),
    [
        (CallQuery(state=(CallState.QUEUED,)), {3}),
        (CallQuery(state=(CallState.QUEUED, CallState.FETCHED)), {0, 1, 2, 3}),
        (CallQuery(state=(CallState.DEAD, CallState.QUEUED)), {3}),
        (CallQuery(status="completed"), {0, 1, 2}),
        (CallQuery(status="failed"), set()),
        (CallQuery(agent_id="agent_2"), {1, 2}),
        (CallQuery(agent_id="agent_2", parameter=("interested", "no")), {1}),
        (CallQuery(parameter=("budget", "4500000")), {0, 1}),
        (CallQuery(parameter=("site", "yes")), set()),
        (CallQuery(workspace_id="of nobody"), set()),
        (CallQuery(q="agent_2", parameter=("site", "LC_%"), state=(CallState.FETCHED,)), {2}),
    ],
)
def test_all_conditions_must_hold(
    service: Service, known: list[str], query: CallQuery, calls: set[int]
) -> None:
    assert found(service, known, query) == calls


def test_an_old_value_of_a_call_that_was_fetched_again_finds_nothing(
    service: Service, simulator: Simulator, known: list[str]
) -> None:
    changed = replace(simulator.twentytwo.call(known[0]), output_parameters={"site": "Mumbai"})
    simulator.twentytwo.add_call(changed)
    fetch(service, accept_rows(service, known[:1], type="call.updated"))
    assert found(service, known, CallQuery(q="Pune")) == set()
    assert found(service, known, CallQuery(q="Mumbai")) == {0}


@pytest.mark.parametrize(
    ("q", "digits"),
    [
        ("+91 62454-64433", "6245464433"),
        ("062454 64433", "6245464433"),
        ("(6245) 464.433", "6245464433"),
        ("1234", "1234"),
        ("123", None),
        ("call_1234", None),
        ("१२३४५", None),
        ("", None),
    ],
)
def test_the_spelling_of_a_phone_number_does_not_count(q: str, digits: str | None) -> None:
    assert phone_digits(q) == digits


@pytest.mark.parametrize("given", ["", "interested", ":yes"])
def test_a_parameter_is_a_name_and_a_value(given: str) -> None:
    with pytest.raises(Invalid, match="NAME:VALUE"):
        read_parameter(given)
    assert read_parameter("when:10:30") == ("when", "10:30")


@pytest.mark.parametrize("limit", [1, 3, 10])
def test_pages_lead_to_the_oldest_call_and_back(service: Service, clock: Clock, limit: int) -> None:
    for number in range(10):
        accept(service, [f"call_{number}"])
        # Two at a time: their ids decide.
        clock.now += timedelta(seconds=number % 2)
    newest_first = [f"call_{number}" for number in range(9, -1, -1)]
    there, cursor, page = [], None, None
    while page is None or cursor is not None:
        page = list_calls(service, CallQuery(limit=limit), cursor=cursor)
        there.append([call.call_id for call in page.items])
        cursor = page.next_cursor
    assert [call_id for ids in there for call_id in ids] == newest_first
    back = [there[-1]]
    while page.previous_cursor is not None:
        page = list_calls(service, CallQuery(limit=limit), cursor=page.previous_cursor)
        back.append([call.call_id for call in page.items])
    assert [call_id for ids in reversed(back) for call_id in ids] == newest_first
    assert page.next_cursor is not None or limit == 10


def test_what_arrived_since_is_the_page_before(service: Service, clock: Clock) -> None:
    accept(service, ["call_1", "call_2"])
    older = list_calls(service, CallQuery(limit=1))
    clock.now += timedelta(seconds=1)
    accept(service, ["call_3"])
    page = list_calls(service, CallQuery(limit=1), cursor=older.next_cursor)
    newer = list_calls(service, CallQuery(limit=5), cursor=page.previous_cursor)
    assert [call.call_id for call in newer.items] == ["call_3", "call_2"]
    assert newer.previous_cursor is None
