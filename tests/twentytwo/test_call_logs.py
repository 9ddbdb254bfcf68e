"""Reading `GET /call/logs`: shapes, hints, errors; and asking for it over real HTTP."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercall.domain.call_log import PAGE_SIZE, LogPage, Manner, Position
from aftercall.domain.exchange import Answer, Exchange, Failure, NoAnswer
from aftercall.domain.outcomes import Refused, Unreadable
from aftercall.domain.work import Credentials
from aftercall.simulator import Fault, Simulator
from aftercall.twentytwo.call_logs import parameters_of, read_logs
from aftercall.twentytwo.client import Twenty2
from tests.conftest import WORKSPACE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = Credentials(api_key=WORKSPACE.api_key, api_secret=WORKSPACE.api_secret)


def answer(body: object, *, status: int = 200) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(
        status=status, body=raw, body_was_cut=False, retry_after=None, elapsed=timedelta(0)
    )


def page(body: object) -> LogPage:
    found = read_logs(answer(body), now=NOW)
    assert isinstance(found, LogPage), found
    return found


def ids(body: object) -> list[str]:
    return [line.call_id for line in page(body).lines]


# ---- shapes ------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"success": True, "calls": [{"call_id": "a"}]},
        {"calls": [{"call_id": "a"}]},
        {"success": True, "data": [{"call_id": "a"}]},
        {"success": True, "data": {"calls": [{"call_id": "a"}]}},
    ],
)
def test_the_list_is_found_where_it_stands(body: object) -> None:
    assert ids(body) == ["a"]


def test_an_entry_that_is_no_call_is_counted_and_costs_nothing_else() -> None:
    entries = [
        {"call_id": "good"},
        {"call_id": ""},
        {"call_id": 7},
        {"call_id": "x" * 129},
        {"call_id": "a\x00b"},
        {"other": "thing"},
        None,
        "call_1",
        ["call_1"],
    ]
    found = page({"success": True, "calls": entries})
    assert [line.call_id for line in found.lines] == ["good"]
    assert found.unreadable == len(entries) - 1


def test_odd_values_of_a_line_do_not_cost_the_call() -> None:
    [line] = page(
        {"calls": [{"call_id": "a", "status": 5, "started_at": "soon", "ended_at": {"x": 1}}]}
    ).lines
    assert (line.at, line.ended_at, line.is_under_way) == (None, None, False)


def test_a_line_tells_when_it_began_when_it_ended_and_whether_it_has() -> None:
    began, ended = "2025-12-31T10:00:00Z", "2025-12-31T10:02:00Z"
    both, end, odd = page(
        {
            "calls": [
                {"call_id": "a", "status": "completed", "started_at": began, "ended_at": ended},
                {"call_id": "b", "status": "connected", "ended_at": ended},
                {"call_id": "c", "status": "initiated", "started_at": "0001-01-01T00:00:00+05:30"},
            ]
        }
    ).lines
    assert (both.at, both.ended_at) == (
        datetime(2025, 12, 31, 10, tzinfo=UTC),
        datetime(2025, 12, 31, 10, 2, tzinfo=UTC),
    )
    assert (both.is_under_way, end.is_under_way, odd.is_under_way) == (False, True, True)
    assert end.at == end.ended_at
    assert odd.at is None


@pytest.mark.parametrize(
    ("hints", "cursor", "more", "total"),
    [
        ({}, None, None, None),
        ({"next_cursor": "abc", "has_more": True, "total": 12}, "abc", True, 12),
        ({"next_cursor": None, "hasMore": False}, None, False, None),
        ({"pagination": {"nextCursor": "x", "totalCount": 3}}, "x", None, 3),
        ({"meta": {"has_next": False, "total": -1}}, None, False, None),
        ({"next_cursor": "x" * 2_001, "has_more": "yes", "total": True}, None, None, None),
        ({"next_cursor": "", "total": 10**12}, None, None, None),
    ],
)
def test_hints_of_further_pages_are_read_in_the_usual_spellings(
    hints: dict[str, object], cursor: str | None, more: bool | None, total: int | None
) -> None:
    found = page({"calls": [], **hints})
    assert (found.next_cursor, found.has_more, found.total) == (cursor, more, total)


# ---- errors ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "means"),
    [
        ({"success": False, "error": {"status": 401, "message": "no"}}, 200, 401),
        ({"success": False, "error": {"code": "RATE_LIMIT_EXCEEDED"}}, 200, 429),
        ({"success": False, "statusCode": 422, "message": "page"}, 200, 422),
        ({"success": False, "statusCode": 422, "message": "page"}, 422, 422),
        (b"<html>", 503, 503),
    ],
)
def test_both_envelopes_are_refusals(body: object, status: int, means: int) -> None:
    found = read_logs(answer(body, status=status), now=NOW)
    assert isinstance(found, Refused)
    assert found.status == means


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", {"success": True}, {"calls": {}}, {"success": False}]
)
def test_what_is_no_page_is_unreadable(body: object) -> None:
    assert isinstance(read_logs(answer(body), now=NOW), Unreadable)


def test_no_answer_stays_none() -> None:
    said = NoAnswer(failure=Failure.TIMEOUT, detail="slow", elapsed=timedelta(0))
    assert read_logs(said, now=NOW) is said


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "calls",
                        "data",
                        "call_id",
                        "started_at",
                        "status",
                        "pagination",
                        "has_more",
                        "success",
                        "next_cursor",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_whatever_is_answered_is_a_page_or_a_reason(body: object) -> None:
    found = read_logs(answer(json.dumps(body).encode()), now=NOW)
    assert isinstance(found, LogPage | Refused | Unreadable)


# ---- asking ------------------------------------------------------------------


def test_each_manner_asks_for_less() -> None:
    assert parameters_of(Position(page=3)) == {"page": "3", "limit": str(PAGE_SIZE)}
    assert parameters_of(Position(page=3, manner=Manner.PAGE)) == {"page": "3"}
    assert parameters_of(Position(manner=Manner.PLAIN)) == {}
    assert parameters_of(Position(page=4, cursor="x")) == {"cursor": "x", "limit": str(PAGE_SIZE)}


@pytest.fixture
def twentytwo(simulator: Simulator) -> Iterator[Twenty2]:
    client = Twenty2(simulator.twentytwo.base_url, keep=1)
    yield client
    client.close()


def ask(client: Twenty2, position: Position) -> Exchange:
    return client.call_logs(parameters_of(position), workspace_id=WORKSPACE.id, credentials=KEYS)


def test_the_simulators_pages_are_read(twentytwo: Twenty2, simulator: Simulator) -> None:
    made = simulator.twentytwo.make_calls(PAGE_SIZE + 5)
    first = read_logs(ask(twentytwo, Position()), now=NOW)
    second = read_logs(ask(twentytwo, Position(page=2)), now=NOW)
    assert isinstance(first, LogPage)
    assert isinstance(second, LogPage)
    assert (len(first.lines), len(second.lines), first.unreadable) == (PAGE_SIZE, 5, 0)
    assert {line.call_id for line in first.lines + second.lines} == set(made)
    simulator.twentytwo.fail_next_logs(Fault.UNAUTHORIZED)
    assert isinstance(read_logs(ask(twentytwo, Position()), now=NOW), Refused)
