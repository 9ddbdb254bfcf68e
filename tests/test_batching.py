"""Natural batching: alone, nothing waits; under load, what waits travels together."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from aftercall.batching import Batcher, Crew

PATIENCE = 5.0
Said = int | BaseException


class Gate:
    """Holds whoever passes until it is opened; tells when somebody stands before it."""

    def __init__(self) -> None:
        self._reached = threading.Semaphore(0)
        self._opened = threading.Event()

    def pass_through(self) -> None:
        self._reached.release()
        assert self._opened.wait(PATIENCE), "nobody opened the gate"

    def wait_for_somebody(self) -> None:
        assert self._reached.acquire(timeout=PATIENCE), "nobody came to the gate"

    def open(self) -> None:
        self._opened.set()


class Written:
    """What has been written, batch by batch."""

    def __init__(self) -> None:
        self._batches: queue.SimpleQueue[list[int]] = queue.SimpleQueue()

    def __call__(self, batch: list[int]) -> None:
        self._batches.put(list(batch))

    def next(self) -> list[int]:
        return self._batches.get(timeout=PATIENCE)

    def rest(self) -> list[list[int]]:
        return [self._batches.get() for _ in range(self._batches.qsize())]


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


# ---- the batcher -------------------------------------------------------------


def test_a_lone_item_waits_for_nobody() -> None:
    written = Written()
    batcher = Batcher(written, name="test")
    for item in range(3):
        batcher.put(item)
        assert written.next() == [item]
    assert batcher.close(PATIENCE)


def test_what_came_meanwhile_is_written_together(gate: Gate) -> None:
    written = Written()

    def write(batch: list[int]) -> None:
        if batch == [0]:
            gate.pass_through()
        written(batch)

    batcher = Batcher(write, name="test")
    batcher.put(0)
    gate.wait_for_somebody()
    for item in range(1, 8):
        batcher.put(item)
    assert batcher.size() == 7
    gate.open()
    assert written.next() == [0]
    assert written.next() == [1, 2, 3, 4, 5, 6, 7]
    assert batcher.close(PATIENCE)


@pytest.mark.parametrize("waiting", [4, 5, 6, 10, 11])
def test_a_batch_is_no_longer_than_its_limit_and_keeps_the_order(gate: Gate, waiting: int) -> None:
    written = Written()

    def write(batch: list[int]) -> None:
        if batch == [0]:
            gate.pass_through()
        written(batch)

    batcher = Batcher(write, name="test", limit=5)
    batcher.put(0)
    gate.wait_for_somebody()
    for item in range(1, waiting + 1):
        batcher.put(item)
    gate.open()
    assert batcher.close(PATIENCE)
    batches = written.rest()
    assert [item for batch in batches for item in batch] == list(range(waiting + 1))
    assert max(len(batch) for batch in batches) <= 5
    assert len(batches) == 1 + -(-waiting // 5)


@pytest.mark.parametrize("waiting", [0, 1, 4, 5, 6])
def test_closing_writes_what_waits(gate: Gate, waiting: int) -> None:
    written = Written()

    def write(batch: list[int]) -> None:
        if 0 in batch:
            gate.pass_through()
        written(batch)

    batcher = Batcher(write, name="test", limit=5)
    batcher.put(0)
    gate.wait_for_somebody()
    for item in range(1, waiting + 1):
        batcher.put(item)
    with ThreadPoolExecutor(1) as threads:
        closed = threads.submit(batcher.close, PATIENCE)
        gate.open()
        assert closed.result(PATIENCE)
    assert sorted(item for batch in written.rest() for item in batch) == list(range(waiting + 1))


def test_closing_an_idle_batcher_writes_nothing() -> None:
    written = Written()
    batcher = Batcher(written, name="test")
    assert batcher.close(PATIENCE)
    assert batcher.close(PATIENCE)
    assert written.rest() == []


def test_closing_says_whether_it_was_done_in_time(gate: Gate) -> None:
    batcher: Batcher[int] = Batcher(lambda _: gate.pass_through(), name="test")
    batcher.put(1)
    gate.wait_for_somebody()
    assert not batcher.close(0.01)
    gate.open()
    assert batcher.close(PATIENCE)


def test_an_exception_costs_its_batch_and_nothing_after_it() -> None:
    written = Written()

    def write(batch: list[int]) -> None:
        if batch == [13]:
            raise RuntimeError("the database is on fire")
        written(batch)

    batcher = Batcher(write, name="test")
    batcher.put(13)
    batcher.put(1)
    while 1 not in (batch := written.next()):
        pass
    batcher.put(2)
    assert 2 in (batch if 2 in batch else written.next())
    assert batcher.close(PATIENCE)


def test_items_from_many_threads_are_each_written_once() -> None:
    written = Written()
    batcher = Batcher(written, name="test", limit=50)

    def put_many(first: int) -> None:
        for item in range(first, first + 500):
            batcher.put(item)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put_many, range(0, 4_000, 500)))
    assert batcher.close(PATIENCE)
    items = [item for batch in written.rest() for item in batch]
    assert sorted(items) == list(range(4_000))
    for first in range(0, 4_000, 500):
        its = [item for item in items if first <= item < first + 500]
        assert its == sorted(its)


# ---- the crew ----------------------------------------------------------------


@pytest.fixture
def recorded() -> Written:
    return Written()


def make_crew(
    work: Callable[[int], int], record: Callable[[list[int]], None], *, size: int = 3
) -> Crew[int, Said, int]:
    return Crew(name="test", size=size, send=in_a_thread(work), read=said_or_raised, record=record)


def in_a_thread(work: Callable[[int], int]) -> Callable[[int, Callable[[Said], None]], None]:
    """Somebody else works, and says what came of it."""

    def work_on(job: int, then: Callable[[Said], None]) -> None:
        try:
            said: Said = work(job)
        except BaseException as error:
            said = error
        then(said)

    return lambda job, then: threading.Thread(target=work_on, args=(job, then)).start()


def said_or_raised(_: int, said: Said) -> int:
    if isinstance(said, BaseException):
        raise said
    return said


def until_there_is_room(crew: Crew[int, Said, int], places: int) -> None:
    """Reserve them all, one by one as they come free, and give them back."""
    reserved = 0
    while reserved < places:
        taken = crew.reserve(places - reserved, timeout=PATIENCE)
        assert taken, f"only {reserved} places of {places} came free"
        reserved += taken
    crew.cancel(reserved)


def test_what_is_worked_on_is_recorded_and_frees_its_place(recorded: Written) -> None:
    crew = make_crew(lambda job: job * 10, recorded)
    assert crew.room() == 3
    assert crew.reserve(2) == 2
    assert crew.room() == 1
    crew.start([1, 2])
    until_there_is_room(crew, 3)
    assert sorted(item for batch in recorded.rest() for item in batch) == [10, 20]
    assert crew.close(PATIENCE)


@pytest.mark.parametrize(("wanted", "taken"), [(0, 0), (1, 1), (3, 3), (4, 3), (1_000, 3)])
def test_no_more_places_are_reserved_than_there_are(
    recorded: Written, wanted: int, taken: int
) -> None:
    crew = make_crew(lambda job: job, recorded)
    assert crew.reserve(wanted) == taken
    assert crew.room() == 3 - taken
    crew.cancel(taken)
    assert crew.room() == 3
    assert crew.close(PATIENCE)


def test_a_full_crew_has_no_place_to_reserve(recorded: Written) -> None:
    crew = make_crew(lambda job: job, recorded)
    assert crew.reserve(3) == 3
    assert crew.room(timeout=0.01) == 0
    assert crew.reserve(1, timeout=0.01) == 0
    crew.cancel(0)
    assert crew.room() == 0
    crew.cancel(3)
    assert crew.close(PATIENCE)


def test_whoever_waits_for_a_place_gets_the_first_that_is_free(
    gate: Gate, recorded: Written
) -> None:
    def work(job: int) -> int:
        gate.pass_through()
        return job

    crew = make_crew(work, recorded, size=1)
    crew.reserve(1)
    crew.start([1])
    gate.wait_for_somebody()
    with ThreadPoolExecutor(2) as threads:
        room = threads.submit(crew.room, PATIENCE)
        place = threads.submit(crew.reserve, 5, PATIENCE)
        gate.open()
        assert place.result(PATIENCE) == 1
        assert room.result(PATIENCE) in (0, 1)
    crew.cancel(1)
    assert crew.close(PATIENCE)


def test_a_place_is_taken_until_the_result_is_recorded(gate: Gate) -> None:
    crew = make_crew(lambda job: job, lambda _: gate.pass_through(), size=1)
    crew.reserve(1)
    crew.start([1])
    gate.wait_for_somebody()
    assert crew.room() == 0
    gate.open()
    until_there_is_room(crew, 1)
    assert crew.close(PATIENCE)


def test_a_straggler_holds_its_own_place_and_no_other(gate: Gate, recorded: Written) -> None:
    def work(job: int) -> int:
        if job == 0:
            gate.pass_through()
        return job

    crew = make_crew(work, recorded)
    crew.reserve(1)
    crew.start([0])
    gate.wait_for_somebody()
    seen: list[int] = []
    for job in range(1, 20):
        assert crew.reserve(1, timeout=PATIENCE) == 1
        crew.start([job])
    while len(seen) < 19:
        seen += recorded.next()
    assert sorted(seen) == list(range(1, 20))
    until_there_is_room(crew, 2)
    assert crew.room() == 2
    gate.open()
    assert recorded.next() == [0]
    assert crew.close(PATIENCE)


def test_results_that_wait_for_the_record_are_recorded_together(gate: Gate) -> None:
    batches: queue.SimpleQueue[list[int]] = queue.SimpleQueue()

    def record(results: list[int]) -> None:
        batches.put(list(results))
        if results == [0]:
            gate.pass_through()

    worked = threading.Semaphore(0)

    def work(job: int) -> int:
        worked.release()
        return job

    crew = make_crew(work, record, size=5)
    assert crew.reserve(5) == 5
    crew.start([0])
    gate.wait_for_somebody()
    crew.start([1, 2, 3, 4])
    for _ in range(5):
        assert worked.acquire(timeout=PATIENCE)
    gate.open()
    until_there_is_room(crew, 5)
    assert batches.get() == [0]
    together = [batches.get() for _ in range(batches.qsize())]
    assert sorted(item for batch in together for item in batch) == [1, 2, 3, 4]
    assert crew.close(PATIENCE)


@pytest.mark.parametrize("failure", [RuntimeError("a bug"), SystemExit(1), KeyboardInterrupt()])
def test_work_that_raises_frees_its_place_and_records_nothing(
    recorded: Written, failure: BaseException
) -> None:
    def work(job: int) -> int:
        if job == 13:
            raise failure
        return job

    crew = make_crew(work, recorded, size=2)
    for job in (13, 13, 13, 1):
        assert crew.reserve(1, timeout=PATIENCE) == 1
        crew.start([job])
    until_there_is_room(crew, 2)
    assert recorded.rest() == [[1]]
    assert crew.close(PATIENCE)


def test_a_job_that_cannot_even_be_sent_frees_its_place(recorded: Written) -> None:
    def send(job: int, then: Callable[[Said], None]) -> None:
        if job == 13:
            raise RuntimeError("a bug")
        then(job)

    crew: Crew[int, Said, int] = Crew(
        name="test", size=2, send=send, read=said_or_raised, record=recorded
    )
    for job in (13, 13, 13, 1):
        assert crew.reserve(1, timeout=PATIENCE) == 1
        crew.start([job])
    until_there_is_room(crew, 2)
    assert recorded.rest() == [[1]]
    assert crew.under_way() == 0
    assert crew.close(PATIENCE)


def test_a_job_that_is_given_up_and_answers_all_the_same_costs_no_neighbour(
    recorded: Written,
) -> None:
    def send(job: int, then: Callable[[Said], None]) -> None:
        then(job)
        if job == 13:
            raise RuntimeError("a bug")

    crew: Crew[int, Said, int] = Crew(
        name="test", size=3, send=send, read=said_or_raised, record=recorded
    )
    for _ in range(20):
        until_there_is_room(crew, 3)
        assert crew.reserve(3) == 3
        crew.start([1, 13, 2])
    assert crew.close(PATIENCE)
    items = [item for batch in recorded.rest() for item in batch if item != 13]
    assert items == [1, 2] * 20
    assert crew.under_way() == 0


def test_a_record_that_raises_frees_its_places_and_the_next_is_recorded() -> None:
    recorded = Written()

    def record(results: list[int]) -> None:
        if 13 in results:
            raise RuntimeError("the database is on fire")
        recorded(results)

    crew = make_crew(lambda job: job, record, size=1)
    for job in (13, 13, 1):
        assert crew.reserve(1, timeout=PATIENCE) == 1
        crew.start([job])
    assert recorded.next() == [1]
    assert crew.close(PATIENCE)


def test_going_on_comes_after_the_record_when_the_places_are_free_again() -> None:
    recorded, gone_on = Written(), Written()
    rooms: list[int] = []

    def go_on(results: list[int]) -> None:
        rooms.append(crew.room())
        gone_on(results)

    crew: Crew[int, Said, int] = Crew(
        name="test",
        size=1,
        send=in_a_thread(lambda job: job),
        read=said_or_raised,
        record=recorded,
        go_on=go_on,
    )
    for job in (1, 2):
        assert crew.reserve(1, timeout=PATIENCE) == 1
        crew.start([job])
        assert gone_on.next() == [job]
        assert recorded.next() == [job]
    assert rooms == [1, 1]
    assert crew.close(PATIENCE)


def test_going_on_with_more_work_from_the_recording_thread_is_done_before_the_close() -> None:
    recorded = Written()

    def go_on(results: list[int]) -> None:
        if results == [1]:
            crew.start([2] * crew.reserve(1))

    crew: Crew[int, Said, int] = Crew(
        name="test",
        size=1,
        send=in_a_thread(lambda job: job),
        read=said_or_raised,
        record=recorded,
        go_on=go_on,
    )
    crew.reserve(1)
    crew.start([1])
    assert (recorded.next(), recorded.next()) == ([1], [2])
    assert crew.close(PATIENCE)


@pytest.mark.parametrize("fails", ["record", "go on"])
def test_a_failure_while_going_on_costs_no_place_and_no_later_record(fails: str) -> None:
    recorded, gone_on = Written(), Written()

    def record(results: list[int]) -> None:
        if results == [13] and fails == "record":
            raise RuntimeError("the database is on fire")
        recorded(results)

    def go_on(results: list[int]) -> None:
        if results == [13] and fails == "go on":
            raise RuntimeError("the queue is on fire")
        gone_on(results)

    crew: Crew[int, Said, int] = Crew(
        name="test",
        size=1,
        send=in_a_thread(lambda job: job),
        read=said_or_raised,
        record=record,
        go_on=go_on,
    )
    for job in (13, 1):
        assert crew.reserve(1, timeout=PATIENCE) == 1
        crew.start([job])
    # Nobody goes on with what was not recorded.
    assert gone_on.next() == [1]
    until_there_is_room(crew, 1)
    assert recorded.rest() == ([[1]] if fails == "record" else [[13], [1]])
    assert crew.close(PATIENCE)


def test_closing_waits_for_what_is_under_way_and_records_it(gate: Gate, recorded: Written) -> None:
    def work(job: int) -> int:
        gate.pass_through()
        return job

    crew = make_crew(work, recorded)
    crew.reserve(2)
    crew.start([1, 2])
    gate.wait_for_somebody()
    with ThreadPoolExecutor(1) as threads:
        closed = threads.submit(crew.close, PATIENCE)
        gate.open()
        assert closed.result(PATIENCE)
    assert sorted(item for batch in recorded.rest() for item in batch) == [1, 2]


def test_closing_waits_for_places_that_are_reserved_but_not_started(recorded: Written) -> None:
    # Between the claim and the start a worker may be told to stop: what is leased is worked on.
    crew = make_crew(lambda job: job, recorded)
    crew.reserve(2)
    with ThreadPoolExecutor(1) as threads:
        closed = threads.submit(crew.close, PATIENCE)
        while crew.room():
            pass
        crew.start([1])
        crew.cancel(1)
        assert closed.result(PATIENCE)
    assert recorded.rest() == [[1]]


def test_a_closed_crew_takes_nothing_new(recorded: Written) -> None:
    crew = make_crew(lambda job: job, recorded)
    assert crew.close(PATIENCE)
    assert crew.room(timeout=PATIENCE) == 0
    assert crew.reserve(1, timeout=PATIENCE) == 0


def test_closing_lets_go_of_whoever_waits_for_a_place(gate: Gate, recorded: Written) -> None:
    def work(job: int) -> int:
        gate.pass_through()
        return job

    crew = make_crew(work, recorded, size=1)
    crew.reserve(1)
    crew.start([1])
    gate.wait_for_somebody()
    with ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(crew.reserve, 1, PATIENCE)
        closed = threads.submit(crew.close, PATIENCE)
        # Before the straggler is done: nobody need wait for it to hear that it is over.
        assert waiting.result(PATIENCE) == 0
        gate.open()
        assert closed.result(PATIENCE)


def test_a_straggler_that_outlives_the_patience_makes_the_close_say_no(
    gate: Gate, recorded: Written
) -> None:
    def work(job: int) -> int:
        gate.pass_through()
        return job

    crew = make_crew(work, recorded, size=1)
    crew.reserve(1)
    crew.start([1])
    gate.wait_for_somebody()
    assert not crew.close(0.01)


def test_a_thousand_jobs_are_each_recorded_once() -> None:
    recorded = Written()
    crew = make_crew(lambda job: job, recorded, size=8)
    waiting = list(range(1_000))
    while waiting:
        places = crew.reserve(len(waiting), timeout=PATIENCE)
        assert places
        now, waiting = waiting[:places], waiting[places:]
        crew.start(now)
    assert crew.close(PATIENCE)
    assert sorted(item for batch in recorded.rest() for item in batch) == list(range(1_000))
