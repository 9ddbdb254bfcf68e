"""What one answer means: both tables of `design.md`, every row, and the laws over all of them."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercall.domain.exchange import Answer, Failure, NoAnswer
from aftercall.domain.outcomes import (
    MAX_RATE_LIMIT_WAIT,
    Blocked,
    BlockKind,
    Dead,
    FetchOutcome,
    Found,
    NotReady,
    Reading,
    Refused,
    Retry,
    Succeeded,
    Unreadable,
    classify_delivery,
    classify_fetch,
)
from aftercall.domain.plans import CallStanding, plan_call
from aftercall.domain.states import Priority

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NOTHING = timedelta(0)


def no_answer(failure: Failure, detail: str = "it did not work") -> NoAnswer:
    return NoAnswer(failure=failure, detail=detail, elapsed=NOTHING)


def hook_answer(status: int) -> Answer:
    return Answer(status=status, body=b"", body_was_cut=False, retry_after=None, elapsed=NOTHING)


def waits_of(outcome: FetchOutcome) -> timedelta | None:
    assert isinstance(outcome, Retry | Blocked), outcome
    return outcome.wait


# ---- fetch: the table --------------------------------------------------------


@pytest.mark.parametrize("has_ended", [True, False])
@pytest.mark.parametrize("status", ["completed", "not_connected", "failed"])
def test_a_final_status_is_saved(status: str, has_ended: bool) -> None:
    assert classify_fetch(Found(status, has_ended)) == Succeeded()


@pytest.mark.parametrize("has_ended", [True, False])
@pytest.mark.parametrize("status", ["initiated", "connected"])
def test_a_call_under_way_is_looked_at_again_for_two_days(status: str, has_ended: bool) -> None:
    outcome = classify_fetch(Found(status, has_ended))
    assert isinstance(outcome, NotReady)
    assert outcome.patience == timedelta(hours=48)
    assert status in outcome.reason


UNDOCUMENTED = ["voicemail_left", "COMPLETED", "Completed", " completed", "", "\N{SNOWMAN}" * 500]


@pytest.mark.parametrize("status", UNDOCUMENTED)
def test_an_undocumented_status_is_final_once_the_call_has_ended(status: str) -> None:
    assert classify_fetch(Found(status, has_ended=True)) == Succeeded()


@pytest.mark.parametrize("status", UNDOCUMENTED)
def test_an_undocumented_status_is_not_ready_before_the_call_has_ended(status: str) -> None:
    outcome = classify_fetch(Found(status, has_ended=False))
    assert isinstance(outcome, NotReady)
    assert outcome.patience == timedelta(hours=48)
    assert len(outcome.reason) < 200


#: Every error status that Twenty2 can answer, in either envelope, and what it means.
FETCH_BY_STATUS: dict[int, type[FetchOutcome]] = {
    **dict.fromkeys(range(300, 400), Retry),  # redirects
    **dict.fromkeys(range(400, 500), Dead),  # 400, 422 and other 4xx
    401: Blocked,
    403: Retry,
    404: NotReady,
    408: Retry,
    429: Blocked,
    **dict.fromkeys(range(500, 600), Retry),
}


@pytest.mark.parametrize("status", list(FETCH_BY_STATUS))
def test_every_error_status_of_twenty2_has_its_one_outcome(status: int) -> None:
    outcome = classify_fetch(Refused(status, "INVALID_NUMBER: that is none"))
    assert type(outcome) is FETCH_BY_STATUS[status]
    assert not isinstance(outcome, Succeeded)
    # A person reads it: the status, and what the provider said of it.
    assert str(status) in outcome.reason
    assert "INVALID_NUMBER: that is none" in outcome.reason


def test_a_401_blocks_the_workspace_and_is_probed_every_few_minutes() -> None:
    outcome = classify_fetch(Refused(401, ""))
    assert isinstance(outcome, Blocked)
    assert outcome.kind is BlockKind.CREDENTIALS
    assert MINUTE <= outcome.wait <= 10 * MINUTE


def test_a_403_is_tried_a_few_times_and_counted_as_forbidden() -> None:
    outcome = classify_fetch(Refused(403, ""))
    assert isinstance(outcome, Retry)
    assert outcome.forbidden
    assert outcome.at_most is not None
    assert 2 <= outcome.at_most <= 5


def test_no_other_status_is_forbidden() -> None:
    outcomes = {status: classify_fetch(Refused(status, "")) for status in FETCH_BY_STATUS}
    retried = {status: one for status, one in outcomes.items() if isinstance(one, Retry)}
    assert [status for status, retry in retried.items() if retry.forbidden] == [403]
    assert [status for status, retry in retried.items() if retry.at_most is not None] == [403]


def test_a_404_may_become_visible_for_a_quarter_of_an_hour() -> None:
    outcome = classify_fetch(Refused(404, ""))
    assert isinstance(outcome, NotReady)
    assert outcome.patience == 15 * MINUTE


@pytest.mark.parametrize(
    ("asked", "blocked_for"),
    [
        pytest.param(None, MINUTE, id="no Retry-After: a minute"),
        pytest.param(timedelta(seconds=5), timedelta(seconds=5), id="shorter than a minute"),
        pytest.param(45 * MINUTE, 45 * MINUTE, id="longer than a minute"),
        pytest.param(NOTHING, timedelta(seconds=1), id="at once is never at once"),
        pytest.param(30 * HOUR, MAX_RATE_LIMIT_WAIT, id="never for longer than the cap"),
    ],
)
def test_a_429_blocks_the_workspace_until_retry_after(
    asked: timedelta | None, blocked_for: timedelta
) -> None:
    outcome = classify_fetch(Refused(429, "", asked))
    assert isinstance(outcome, Blocked)
    assert (outcome.kind, outcome.wait) == (BlockKind.RATE_LIMIT, blocked_for)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 529])
def test_a_server_fault_waits_as_long_as_twenty2_asks(status: int) -> None:
    assert waits_of(classify_fetch(Refused(status, "", 7 * MINUTE))) == 7 * MINUTE
    assert waits_of(classify_fetch(Refused(status, ""))) is None


@pytest.mark.parametrize("failure", list(Failure))
def test_no_answer_from_twenty2_is_tried_again(failure: Failure) -> None:
    assert classify_fetch(no_answer(failure, "api.example:443 is silent")) == Retry(
        "Twenty2 did not answer: api.example:443 is silent"
    )


def test_an_answer_that_cannot_be_read_is_tried_again_like_a_server_fault() -> None:
    outcome = classify_fetch(Unreadable("there is no call in it"))
    assert isinstance(outcome, Retry)
    assert (outcome.wait, outcome.at_most, outcome.forbidden) == (None, None, False)
    assert "there is no call in it" in outcome.reason


# ---- deliver: the table ------------------------------------------------------

#: Every status that a hook can answer.
DELIVERY_BY_STATUS: dict[int, type[Succeeded | Retry | Dead]] = {
    **dict.fromkeys(range(200, 300), Succeeded),
    **dict.fromkeys(range(300, 400), Dead),
    # The table is silent on the other 4xx; giving up late loses less.
    **dict.fromkeys(range(400, 500), Retry),
    **dict.fromkeys([401, 403, 404, 408, 409, 425, 429], Retry),
    **dict.fromkeys([400, 405, 410, 413, 415, 422], Dead),
    **dict.fromkeys(range(500, 600), Retry),
}


@pytest.mark.parametrize("status", list(DELIVERY_BY_STATUS))
def test_every_status_of_a_hook_has_its_one_outcome(status: int) -> None:
    outcome = classify_delivery(hook_answer(status), retry_after=None)
    assert type(outcome) is DELIVERY_BY_STATUS[status]
    assert isinstance(outcome, Succeeded) or str(status) in outcome.reason


def test_only_410_takes_the_destination_away() -> None:
    outcomes = {
        status: classify_delivery(hook_answer(status), retry_after=None)
        for status in DELIVERY_BY_STATUS
    }
    assert [
        status
        for status, outcome in outcomes.items()
        if isinstance(outcome, Dead) and outcome.destination_is_gone
    ] == [410]


@pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 425, 429, 500, 503])
def test_a_hook_that_asks_for_time_is_given_it(status: int) -> None:
    outcome = classify_delivery(hook_answer(status), retry_after=3 * HOUR)
    assert isinstance(outcome, Retry)
    assert outcome.wait == 3 * HOUR


@pytest.mark.parametrize("failure", [Failure.TIMEOUT, Failure.CONNECTION, Failure.TLS])
def test_a_hook_that_cannot_be_reached_is_tried_again(failure: Failure) -> None:
    assert classify_delivery(no_answer(failure, "crm:443 is away"), retry_after=None) == Retry(
        "crm:443 is away"
    )


@pytest.mark.parametrize(
    ("failure", "advice"),
    [
        (Failure.FORBIDDEN_ADDRESS, "AFTERCALL_ALLOWED_PRIVATE_NETWORKS"),
        (Failure.INVALID_REQUEST, "Correct the destination"),
    ],
)
def test_a_destination_that_nobody_may_post_to_is_dead_and_says_what_to_do(
    failure: Failure, advice: str
) -> None:
    outcome = classify_delivery(no_answer(failure, "crm:443 it was"), retry_after=None)
    assert isinstance(outcome, Dead)
    assert not outcome.destination_is_gone
    assert "crm:443 it was" in outcome.reason
    assert advice in outcome.reason


# ---- laws --------------------------------------------------------------------

waits = st.none() | st.timedeltas(min_value=NOTHING, max_value=timedelta(days=40_000))
statuses = st.integers(100, 999)
readings: st.SearchStrategy[Reading] = st.one_of(
    st.builds(
        Found,
        st.text(max_size=80) | st.sampled_from(["completed", "initiated", "connected", "failed"]),
        st.booleans(),
    ),
    st.builds(Refused, statuses, st.text(max_size=80), waits),
    st.builds(Unreadable, st.text(max_size=80)),
    st.builds(no_answer, st.sampled_from(Failure), st.text(max_size=80)),
)


@given(readings)
def test_every_reading_has_an_outcome_and_always_the_same(reading: Reading) -> None:
    outcome = classify_fetch(reading)
    assert isinstance(outcome, Succeeded | Retry | NotReady | Blocked | Dead)
    assert classify_fetch(reading) == outcome


@given(statuses.map(hook_answer) | st.builds(no_answer, st.sampled_from(Failure)), waits)
def test_every_exchange_with_a_hook_has_an_outcome_and_always_the_same(
    exchange: Answer | NoAnswer, retry_after: timedelta | None
) -> None:
    outcome = classify_delivery(exchange, retry_after=retry_after)
    assert isinstance(outcome, Succeeded | Retry | Blocked | Dead)
    assert classify_delivery(exchange, retry_after=retry_after) == outcome


@given(readings, st.integers(0, 9))
def test_what_is_not_the_calls_own_fault_never_spends_its_attempts(
    reading: Reading, attempts: int
) -> None:
    outcome = classify_fetch(reading)
    standing = CallStanding(
        attempts=attempts, priority=Priority.FRESH, due_at=NOW, not_ready_since=None
    )
    step = plan_call(outcome, standing, now=NOW, rng=random.Random(1))
    spends = not isinstance(outcome, Blocked | NotReady)
    assert step.attempts == attempts + spends


@given(waits)
def test_a_block_is_never_empty_and_never_without_end(asked: timedelta | None) -> None:
    for status in (401, 429):
        outcome = classify_fetch(Refused(status, "", asked))
        assert isinstance(outcome, Blocked)
        assert timedelta(seconds=1) <= outcome.wait <= 24 * HOUR
