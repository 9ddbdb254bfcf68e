"""Where a row goes after an outcome: the steps as tables, and the laws of every path."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercall.domain.outcomes import (
    Blocked,
    BlockKind,
    Dead,
    DeliveryOutcome,
    FetchOutcome,
    NotReady,
    Retry,
    Succeeded,
)
from aftercall.domain.plans import (
    CallStanding,
    CallStep,
    DeliveryStanding,
    plan_call,
    plan_delivery,
)
from aftercall.domain.states import (
    CALL_MOVES,
    DELIVERY_MOVES,
    CallState,
    DeliveryState,
    Priority,
)

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
DUE = NOW - timedelta(minutes=3)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

UNDER_WAY = NotReady("the call is still initiated", 48 * HOUR)
NOT_VISIBLE = NotReady("Twenty2 answered 404", 15 * MINUTE, is_unknown=True)
SERVER_FAULT = Retry("Twenty2 answered 500")
FORBIDDEN = Retry("Twenty2 answered 403", at_most=3, forbidden=True)
RATE_LIMITED = Blocked("Twenty2 answered 429", MINUTE, BlockKind.RATE_LIMIT)
REFUSED_CREDENTIALS = Blocked("Twenty2 answered 401", 3 * MINUTE, BlockKind.CREDENTIALS)
HOPELESS = Dead("Twenty2 answered 422")

FRESH_CALL = CallStanding(attempts=0, priority=Priority.FRESH, due_at=DUE, not_ready_since=None)
FRESH_DELIVERY = DeliveryStanding(attempts=0, due_at=DUE)


def after(outcome: FetchOutcome, standing: CallStanding, *, now: datetime = NOW) -> CallStep:
    return plan_call(outcome, standing, now=now, rng=random.Random(7))


def standing_at(step: CallStep) -> CallStanding:
    """How the call stands when it is claimed again."""
    return CallStanding(
        attempts=step.attempts,
        priority=step.priority,
        due_at=step.due_at,
        not_ready_since=step.not_ready_since,
        unknown_since=step.unknown_since,
    )


# ---- calls: the table --------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "attempts", "state", "attempts_after"),
    [
        (Succeeded(), 0, "fetched", 1),
        (Succeeded(), 9, "fetched", 10),
        (SERVER_FAULT, 0, "queued", 1),
        (SERVER_FAULT, 8, "queued", 9),
        (SERVER_FAULT, 9, "dead", 10),
        (SERVER_FAULT, 40, "dead", 41),
        (FORBIDDEN, 0, "queued", 1),
        (FORBIDDEN, 1, "queued", 2),
        (FORBIDDEN, 2, "dead", 3),
        (UNDER_WAY, 0, "queued", 0),
        (UNDER_WAY, 9, "queued", 9),
        (NOT_VISIBLE, 9, "queued", 9),
        (RATE_LIMITED, 9, "queued", 9),
        (REFUSED_CREDENTIALS, 9, "queued", 9),
        (HOPELESS, 0, "dead", 1),
        (HOPELESS, 9, "dead", 10),
    ],
)
def test_a_call_goes_where_its_outcome_sends_it(
    outcome: FetchOutcome, attempts: int, state: str, attempts_after: int
) -> None:
    step = after(outcome, replace(FRESH_CALL, attempts=attempts))
    assert (step.state, step.attempts) == (state, attempts_after)


def test_a_fetched_call_has_nothing_to_complain_of_and_waits_for_nothing() -> None:
    step = after(Succeeded(), replace(FRESH_CALL, not_ready_since=NOW - HOUR))
    assert (step.error, step.not_ready_since) == (None, None)


@pytest.mark.parametrize(
    "outcome", [SERVER_FAULT, UNDER_WAY, RATE_LIMITED, REFUSED_CREDENTIALS, HOPELESS]
)
def test_whatever_is_not_a_success_says_why(outcome: FetchOutcome) -> None:
    assert not isinstance(outcome, Succeeded)
    assert after(outcome, FRESH_CALL).error == outcome.reason


def test_the_last_retry_is_dead_and_says_how_often_it_was_tried() -> None:
    step = after(SERVER_FAULT, replace(FRESH_CALL, attempts=9))
    assert step.state is CallState.DEAD
    assert step.error == "gave up after 10 attempts: Twenty2 answered 500"


def test_a_retry_waits_at_least_as_long_as_twenty2_asked() -> None:
    step = after(Retry("Twenty2 answered 503", wait=2 * HOUR), FRESH_CALL)
    assert step.due_at >= NOW + 2 * HOUR


@pytest.mark.parametrize(
    ("outcome", "before", "priority"),
    [
        (SERVER_FAULT, Priority.FRESH, Priority.RETRY),
        (SERVER_FAULT, Priority.RETRY, Priority.RETRY),
        (SERVER_FAULT, Priority.BACKFILL, Priority.BACKFILL),
        (UNDER_WAY, Priority.FRESH, Priority.RETRY),
        (UNDER_WAY, Priority.BACKFILL, Priority.BACKFILL),
        (RATE_LIMITED, Priority.FRESH, Priority.FRESH),
        (RATE_LIMITED, Priority.BACKFILL, Priority.BACKFILL),
    ],
)
def test_who_is_tried_again_goes_behind_the_fresh_and_who_was_blocked_does_not(
    outcome: FetchOutcome, before: int, priority: int
) -> None:
    assert after(outcome, replace(FRESH_CALL, priority=before)).priority == priority


@pytest.mark.parametrize("outcome", [RATE_LIMITED, REFUSED_CREDENTIALS])
def test_a_blocked_call_keeps_its_place_in_the_line(outcome: FetchOutcome) -> None:
    before = CallStanding(
        attempts=4, priority=Priority.RETRY, due_at=DUE, not_ready_since=NOW - HOUR
    )
    assert standing_at(after(outcome, before)) == before


# ---- calls under way ---------------------------------------------------------


def look_until_it_ends(outcome: NotReady) -> tuple[CallStep, list[timedelta]]:
    """The same answer at every look, each exactly when it is due: the end, and the waits."""
    waits: list[timedelta] = []
    standing, now = FRESH_CALL, NOW
    for _ in range(10_000):
        step = after(outcome, standing, now=now)
        if step.state is not CallState.QUEUED:
            return step, waits
        waits.append(step.due_at - now)
        standing, now = standing_at(step), step.due_at
    raise AssertionError("it never ends")


@pytest.mark.parametrize("outcome", [UNDER_WAY, NOT_VISIBLE])
def test_looking_ends_when_the_patience_does(outcome: NotReady) -> None:
    end, waits = look_until_it_ends(outcome)
    assert end.state is CallState.DEAD
    assert outcome.patience <= sum(waits, timedelta(0)) <= outcome.patience + 15 * MINUTE
    assert end.attempts == 0
    assert end.error is not None
    assert outcome.reason in end.error


@pytest.mark.parametrize("outcome", [UNDER_WAY, NOT_VISIBLE])
def test_looks_come_first_after_15_seconds_and_later_never_more_often(outcome: NotReady) -> None:
    _, waits = look_until_it_ends(outcome)
    assert waits[0] == 15 * SECOND
    assert waits == sorted(waits)
    assert waits[-1] <= 15 * MINUTE


def test_two_days_of_looking_cost_a_few_hundred_requests_at_most() -> None:
    _, waits = look_until_it_ends(UNDER_WAY)
    assert len(waits) < 250


@pytest.mark.parametrize(
    ("patience", "age", "state"),
    [
        (15 * MINUTE, 15 * MINUTE - SECOND, "queued"),
        (15 * MINUTE, 15 * MINUTE, "dead"),
        (48 * HOUR, 48 * HOUR - SECOND, "queued"),
        (48 * HOUR, 48 * HOUR, "dead"),
    ],
)
def test_patience_counts_from_the_first_look(
    patience: timedelta, age: timedelta, state: str
) -> None:
    first = after(NotReady("not yet", patience), FRESH_CALL, now=NOW)
    step = after(NotReady("not yet", patience), standing_at(first), now=NOW + age)
    assert step.state == state


def test_a_server_fault_in_between_does_not_start_the_patience_anew() -> None:
    first = after(NOT_VISIBLE, FRESH_CALL)
    fault = after(SERVER_FAULT, standing_at(first), now=NOW + MINUTE)
    blocked = after(RATE_LIMITED, standing_at(fault), now=NOW + 2 * MINUTE)
    assert after(NOT_VISIBLE, standing_at(blocked), now=NOW + 15 * MINUTE).state is CallState.DEAD


def test_a_call_that_was_under_way_survives_a_404() -> None:
    # Twenty2 has shown the call for an hour: one 404 is the first such answer, not 15 min of them.
    first = after(UNDER_WAY, FRESH_CALL)
    step = after(NOT_VISIBLE, standing_at(first), now=NOW + HOUR)
    assert step.state is CallState.QUEUED


def test_a_call_that_was_not_visible_yet_may_then_be_under_way_for_long() -> None:
    first = after(NOT_VISIBLE, FRESH_CALL)
    step = after(UNDER_WAY, standing_at(first), now=NOW + 14 * MINUTE)
    later = after(UNDER_WAY, standing_at(step), now=NOW + 40 * HOUR)
    assert (step.state, later.state) == (CallState.QUEUED, CallState.QUEUED)


# ---- deliveries: the table ---------------------------------------------------

HOOK_FAULT = Retry("the hook answered 500")
GONE = Dead("the hook answered 410 (gone)", destination_is_gone=True)
REJECTED = Dead("the hook answered 422")
UNSEALED = Blocked("the secret does not open", MINUTE)


@pytest.mark.parametrize(
    ("outcome", "attempts", "state", "attempts_after"),
    [
        (Succeeded(), 0, "delivered", 1),
        (Succeeded(), 11, "delivered", 12),
        (HOOK_FAULT, 0, "queued", 1),
        (HOOK_FAULT, 10, "queued", 11),
        (HOOK_FAULT, 11, "dead", 12),
        (HOOK_FAULT, 50, "dead", 51),
        (UNSEALED, 0, "queued", 0),
        (UNSEALED, 11, "queued", 11),
        (GONE, 0, "held", 1),
        (REJECTED, 0, "dead", 1),
    ],
)
def test_a_delivery_goes_where_its_outcome_sends_it(
    outcome: DeliveryOutcome, attempts: int, state: str, attempts_after: int
) -> None:
    standing = replace(FRESH_DELIVERY, attempts=attempts)
    step = plan_delivery(outcome, standing, now=NOW, rng=random.Random(7))
    assert (step.state, step.attempts) == (state, attempts_after)
    assert (step.error is None) is isinstance(outcome, Succeeded)


def test_a_blocked_delivery_waits_for_as_long_as_it_is_blocked() -> None:
    step = plan_delivery(UNSEALED, FRESH_DELIVERY, now=NOW, rng=random.Random(7))
    assert step.due_at == NOW + MINUTE


def test_a_held_delivery_keeps_its_place_for_when_the_destination_is_enabled() -> None:
    step = plan_delivery(GONE, FRESH_DELIVERY, now=NOW, rng=random.Random(7))
    assert step.due_at == DUE


@given(st.integers(0, 2**32))
def test_a_delivery_that_always_fails_is_dead_after_twelve_attempts_and_three_days(
    seed: int,
) -> None:
    rng = random.Random(seed)
    standing, now, tries = FRESH_DELIVERY, NOW, 0
    while True:
        step = plan_delivery(HOOK_FAULT, standing, now=now, rng=rng)
        tries += 1
        assert step.attempts == tries
        if step.state is not DeliveryState.QUEUED:
            break
        assert step.due_at > now
        standing = DeliveryStanding(attempts=step.attempts, due_at=step.due_at)
        now = step.due_at
    assert (step.state, tries) == (DeliveryState.DEAD, 12)
    assert step.error == "gave up after 12 attempts: the hook answered 500"
    # 75 h 42 min 35 s, and a tenth of it either way.
    assert timedelta(hours=68) < now - NOW < timedelta(hours=84)


# ---- laws --------------------------------------------------------------------

waits = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=40_000))
reasons = st.text(max_size=30)
retries = st.builds(
    Retry,
    reasons,
    wait=st.none() | waits,
    at_most=st.none() | st.integers(1, 12),
    forbidden=st.booleans(),
)
fetch_outcomes: st.SearchStrategy[FetchOutcome] = st.one_of(
    st.just(Succeeded()),
    retries,
    st.builds(NotReady, reasons, st.timedeltas(timedelta(0), timedelta(days=3))),
    st.builds(Blocked, reasons, waits, st.none() | st.sampled_from(BlockKind)),
    st.builds(Dead, reasons),
)
delivery_outcomes: st.SearchStrategy[DeliveryOutcome] = st.one_of(
    st.just(Succeeded()),
    st.builds(Retry, reasons, wait=st.none() | waits),
    st.builds(Blocked, reasons, st.timedeltas(timedelta(0), timedelta(days=1))),
    st.builds(Dead, reasons, destination_is_gone=st.booleans()),
)
moments = st.timedeltas(timedelta(days=-400), timedelta(days=400)).map(lambda apart: NOW + apart)
call_standings = st.builds(
    CallStanding,
    attempts=st.integers(0, 30),
    priority=st.sampled_from([Priority.FRESH, Priority.RETRY, Priority.BACKFILL]),
    due_at=moments,
    not_ready_since=st.none() | moments,
)
delivery_standings = st.builds(DeliveryStanding, attempts=st.integers(0, 30), due_at=moments)
seeds = st.integers(0, 2**32).map(random.Random)


@given(fetch_outcomes, call_standings, moments, seeds)
def test_no_step_of_a_call_leaves_the_table(
    outcome: FetchOutcome, standing: CallStanding, now: datetime, rng: random.Random
) -> None:
    step = plan_call(outcome, standing, now=now, rng=rng)
    assert step.state in CALL_MOVES[CallState.FETCHING]
    assert standing.attempts <= step.attempts <= standing.attempts + 1
    assert step.priority >= standing.priority
    assert (step.state is CallState.FETCHED) is isinstance(outcome, Succeeded)
    assert (step.error is None) is isinstance(outcome, Succeeded)


@given(fetch_outcomes, call_standings, moments, seeds)
def test_a_call_waits_a_day_at_most_and_never_into_the_past(
    outcome: FetchOutcome, standing: CallStanding, now: datetime, rng: random.Random
) -> None:
    step = plan_call(outcome, standing, now=now, rng=rng)
    if isinstance(outcome, Retry | NotReady) and step.state is CallState.QUEUED:
        assert now <= step.due_at <= now + 24 * HOUR
    else:
        assert step.due_at == standing.due_at


@given(delivery_outcomes, delivery_standings, moments, seeds)
def test_no_step_of_a_delivery_leaves_the_table(
    outcome: DeliveryOutcome, standing: DeliveryStanding, now: datetime, rng: random.Random
) -> None:
    step = plan_delivery(outcome, standing, now=now, rng=rng)
    assert step.state in DELIVERY_MOVES[DeliveryState.SENDING]
    assert standing.attempts <= step.attempts <= standing.attempts + 1
    assert (step.attempts == standing.attempts) is isinstance(outcome, Blocked)
    assert (step.state is DeliveryState.DELIVERED) is isinstance(outcome, Succeeded)
    if step.state is DeliveryState.QUEUED:
        assert now <= step.due_at <= now + 1.1 * 24 * HOUR
    else:
        assert step.due_at == standing.due_at


@given(st.lists(retries, min_size=10, max_size=12))
def test_ten_retries_are_the_most_that_a_call_gets(outcomes: list[FetchOutcome]) -> None:
    steps: list[CallStep] = []
    standing, now = FRESH_CALL, NOW
    for outcome in outcomes:
        steps.append(after(outcome, standing, now=now))
        standing, now = standing_at(steps[-1]), steps[-1].due_at
    states = [step.state for step in steps]
    assert CallState.DEAD in states
    assert states.index(CallState.DEAD) < 10
