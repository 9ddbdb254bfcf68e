"""How far a call is, and in which order calls are listed."""

from random import Random

import pytest

from aftercall.simulator.call_book import CallBook
from aftercall.simulator.calls import SimulatedCall


class Clock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(clock: Clock) -> CallBook:
    return CallBook(rng=Random(7), clock=clock)


def status_seen(book: CallBook) -> str:
    look = book.look("c", workspace_id="w")
    assert look is not None
    return look.status_under_way or look.call.status


def test_a_call_is_final_at_once_unless_told_otherwise(book: CallBook) -> None:
    book.add(SimulatedCall(call_id="c", workspace_id="w"))
    assert status_seen(book) == "completed"


def test_a_call_becomes_ready_with_time(book: CallBook, clock: Clock) -> None:
    book.add(SimulatedCall(call_id="c", workspace_id="w", ready_after_seconds=10))
    seen = []
    for clock.now in (1000.0, 1004.9, 1005.0, 1009.9, 1010.0):
        seen.append(status_seen(book))
    assert seen == ["initiated", "initiated", "connected", "connected", "completed"]


def test_a_call_becomes_ready_with_looks(book: CallBook) -> None:
    book.add(SimulatedCall(call_id="c", workspace_id="w", ready_after_looks=4))
    seen = [status_seen(book) for _ in range(5)]
    assert seen == ["initiated", "initiated", "connected", "connected", "completed"]
    assert book.looks("c") == 5


def test_with_both_the_later_counts(book: CallBook, clock: Clock) -> None:
    call = SimulatedCall(call_id="c", workspace_id="w", ready_after_seconds=10, ready_after_looks=1)
    book.add(call)
    assert [status_seen(book), status_seen(book)] == ["initiated", "initiated"]
    clock.now = 1010.0
    assert status_seen(book) == "completed"


def test_another_workspace_does_not_see_the_call(book: CallBook) -> None:
    book.add(SimulatedCall(call_id="c", workspace_id="w"))
    assert book.look("c", workspace_id="other") is None
    assert book.looks("c") == 0


def test_pages_list_the_newest_call_first_whatever_the_order_of_adding(book: CallBook) -> None:
    for day in (3, 1, 5, 2, 4):
        book.add(
            SimulatedCall(
                call_id=str(day), workspace_id="w", started_at=f"2026-01-0{day}T00:00:00Z"
            )
        )

    def ids_on(page: int) -> list[str]:
        looks = book.page(workspace_id="w", page=page, limit=2)
        return [look.call.call_id for look in looks]

    assert [ids_on(page) for page in (1, 2, 3, 4)] == [["5", "4"], ["3", "2"], ["1"], []]


def test_a_call_added_again_is_replaced_and_listed_once(book: CallBook) -> None:
    book.add(SimulatedCall(call_id="c", workspace_id="w", status="failed"))
    status_seen(book)
    book.add(SimulatedCall(call_id="c", workspace_id="w"))
    assert book.looks("c") == 0
    assert book.call("c").status == "completed"
    assert len(book.page(workspace_id="w", page=1, limit=10)) == 1
