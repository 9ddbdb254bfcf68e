"""The rate limiter on a real Redis: its clock, its script, and windows short enough to watch."""

import itertools
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import cast
from urllib.parse import urlsplit

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercall.embedded import StoreUrls
from aftercall.rate_limit import PROMPT, Grant, Lane, Permit, RateLimiter, Wish
from aftercall.stores import redis_client
from aftercall.twentytwo.rate_limit import WINDOW, workspace_lane

#: So long that nothing of it passes during a test.
LONG = timedelta(minutes=10)
MINUTE = timedelta(minutes=1)


def milliseconds(count: float) -> timedelta:
    return timedelta(milliseconds=count)


@pytest.fixture(scope="module")
def client(stores: StoreUrls) -> "Iterator[redis.Redis]":
    with redis_client(stores.redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture(scope="module")
def limiter(client: "redis.Redis") -> RateLimiter:
    return RateLimiter(client)


@pytest.fixture
def name() -> str:
    """A lane that nobody has used."""
    return f"test:{secrets.token_hex(6)}"


def take(limiter: RateLimiter, lane: Lane, *, fresh: int = 0, paced: int = 0) -> Grant:
    [grant] = limiter.take([Wish(lane, fresh, paced)])
    return grant


def look(limiter: RateLimiter, lane: Lane, *, fresh: int = 0, paced: int = 0) -> Grant:
    [grant] = limiter.look([Wish(lane, fresh, paced)])
    return grant


def until(holds: Callable[[], bool], *, seconds: float = 5) -> None:
    """Ask Redis again and again; its clock is the one that counts here."""
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at, "it never came true"


def redis_now(client: "redis.Redis") -> timedelta:
    at, microseconds = client.time()
    return timedelta(seconds=int(at), microseconds=int(microseconds))


def let_pass(client: "redis.Redis", duration: timedelta) -> None:
    end = redis_now(client) + duration
    until(lambda: redis_now(client) >= end)


def keys_of(client: "redis.Redis", lane: Lane) -> list[str]:
    return [str(key) for key in client.keys("aftercall:limit:*") if lane.name in str(key)]


def set_back(client: "redis.Redis", lane: Lane, by: timedelta) -> None:
    """Redis's keys as they look once its clock was set back: all of their times lie ahead."""
    later = by / timedelta(microseconds=1)
    base = f"aftercall:limit:{{{lane.name}}}"
    for member, score in cast(list[tuple[str, float]], client.zrange(base, 0, -1, withscores=True)):
        client.zadd(base, {member: score + later})
    if (tat := client.hget(f"{base}:state", "tat")) is not None:
        client.hset(f"{base}:state", "tat", str(int(tat) + int(later)))
    for key in keys_of(client, lane):
        if (left := client.pttl(key)) > 0:
            client.pexpire(key, left + int(later / 1000))


def go_by(client: "redis.Redis", lane: Lane, duration: timedelta) -> None:
    """Redis's keys as they look after so long: nobody waits, and no slow machine is late."""
    set_back(client, lane, -duration)


# ---- one lane, at rest -------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "granted"),
    [
        pytest.param((0, 0), (0, 0), id="nothing"),
        pytest.param((1, 0), (1, 0), id="one"),
        pytest.param((20, 0), (20, 0), id="fresh may use all of the window at once"),
        pytest.param((500, 0), (20, 0), id="and no more"),
        # An idle lane's pace lags by a twentieth of its window at most: here one permit of 20.
        pytest.param((0, 20), (0, 1), id="paced leaves one by one"),
        pytest.param((1, 20), (1, 0), id="fresh goes before paced"),
        pytest.param((20, 20), (20, 0), id="fresh before paced, for the whole window"),
    ],
)
def test_an_idle_lane_grants(
    limiter: RateLimiter, name: str, wanted: tuple[int, int], granted: tuple[int, int]
) -> None:
    lane = Lane(name, 20, LONG)
    fresh, paced = wanted
    seen = look(limiter, lane, fresh=fresh, paced=paced)
    taken = take(limiter, lane, fresh=fresh, paced=paced)
    assert (seen.fresh, seen.paced) == (taken.fresh, taken.paced) == granted
    assert taken.total == sum(granted)


@pytest.mark.parametrize(
    ("limit", "window", "first"),
    [
        (1, LONG, 1),
        (20, LONG, 1),
        # 3 s of the pace: a sweep that comes late loses no permits.
        (60, timedelta(seconds=61), 2),
        (600, timedelta(seconds=60), 30),
        # A twentieth of the window, when that is less.
        (100, timedelta(seconds=1), 5),
        (40, timedelta(seconds=1), 2),
    ],
)
def test_a_late_sweep_may_catch_up_on_a_little(
    limiter: RateLimiter, name: str, limit: int, window: timedelta, first: int
) -> None:
    assert look(limiter, Lane(name, limit, window), paced=10_000).paced == first


def test_what_is_taken_is_gone_until_the_window_has_passed(
    limiter: RateLimiter, client: "redis.Redis", name: str
) -> None:
    lane = Lane(name, 5, LONG)
    assert take(limiter, lane, fresh=3).fresh == 3
    assert take(limiter, lane, fresh=3).fresh == 2
    go_by(client, lane, LONG - MINUTE)
    assert take(limiter, lane, fresh=3).fresh == 0
    go_by(client, lane, MINUTE)
    assert take(limiter, lane, fresh=9).fresh == 5


def test_the_sum_stays_right_while_permits_expire_one_after_the_other(
    limiter: RateLimiter, client: "redis.Redis", name: str
) -> None:
    lane = Lane(name, 10, LONG)
    take(limiter, lane, fresh=3)
    go_by(client, lane, 4 * MINUTE)
    take(limiter, lane, fresh=4)
    assert look(limiter, lane, fresh=99).fresh == 3
    go_by(client, lane, 5 * MINUTE)
    assert look(limiter, lane, fresh=99).fresh == 3
    go_by(client, lane, 2 * MINUTE)
    assert look(limiter, lane, fresh=99).fresh == 6
    take(limiter, lane, fresh=1)
    assert look(limiter, lane, fresh=99).fresh == 5
    go_by(client, lane, 4 * MINUTE)
    assert look(limiter, lane, fresh=99).fresh == 9
    go_by(client, lane, 7 * MINUTE)
    assert take(limiter, lane, fresh=99).fresh == 10


def test_a_lost_key_costs_no_permits_for_ever(
    limiter: RateLimiter, client: "redis.Redis", name: str
) -> None:
    lane = Lane(name, 5, LONG)
    take(limiter, lane, fresh=5)
    # Evicted, or its own expiry came before the sum's.
    client.delete(f"aftercall:limit:{{{name}}}")
    assert take(limiter, lane, fresh=9).fresh == 5


def test_a_look_takes_nothing_and_tells_nobody_of_a_crowd(limiter: RateLimiter, name: str) -> None:
    lane = Lane(name, 5, LONG)
    for _ in range(20):
        assert look(limiter, lane, fresh=99).fresh == 5
        assert look(limiter, lane, paced=99).paced == 1
    assert not look(limiter, lane, fresh=1).is_crowded


def test_nothing_wished_is_nothing_granted(limiter: RateLimiter) -> None:
    assert limiter.take([]) == []
    assert limiter.look([]) == []


def test_many_lanes_are_asked_in_one_go_and_answered_in_order(
    limiter: RateLimiter, name: str
) -> None:
    wishes = [Wish(Lane(f"{name}:{number}", number, LONG), 99, 0) for number in range(1, 30)]
    assert [grant.fresh for grant in limiter.look(wishes)] == list(range(1, 30))
    assert [grant.fresh for grant in limiter.take(wishes)] == list(range(1, 30))
    assert [grant.fresh for grant in limiter.take(wishes)] == [0] * 29


def test_one_lane_wished_for_twice_is_one_lane(limiter: RateLimiter, name: str) -> None:
    lane = Lane(name, 5, LONG)
    grants = limiter.take([Wish(lane, 3, 0), Wish(lane, 3, 0)])
    assert [grant.fresh for grant in grants] == [3, 2]
    assert grants[0].nonce != grants[1].nonce


@pytest.mark.parametrize(
    "other", ["{}x", "x{}", "{}:state", "{}:block", "{}:crowded", "{}}}:state", "{{{}}}"]
)
def test_lanes_are_independent_whatever_their_names(
    limiter: RateLimiter, name: str, other: str
) -> None:
    lane, neighbour = Lane(name, 5, LONG), Lane(other.format(name), 5, LONG)
    take(limiter, lane, fresh=99)
    limiter.block(lane.name, LONG)
    grant = take(limiter, neighbour, fresh=99)
    assert (grant.fresh, look(limiter, lane, fresh=1).fresh) == (5, 0)


def test_a_lane_whose_limit_was_lowered_grants_nothing_until_it_is_below_it(
    limiter: RateLimiter, name: str
) -> None:
    take(limiter, Lane(name, 10, LONG), fresh=10)
    assert take(limiter, Lane(name, 5, LONG), fresh=9).fresh == 0
    assert take(limiter, Lane(name, 12, LONG), fresh=9).fresh == 2


def test_twenty2s_lane_is_a_minute_and_a_little_for_each_workspace() -> None:
    one, other = (workspace_lane(id_, requests_per_minute=60) for id_ in ("w1", "w2"))
    assert (one.limit, one.window) == (60, WINDOW)
    assert timedelta(seconds=60) + PROMPT < WINDOW < timedelta(seconds=66)
    assert one.name != other.name


# ---- the law: never more than the limit in any window ------------------------


@dataclass(frozen=True)
class Granted:
    """Somewhere between these two moments so many permits were granted."""

    asked_at: float
    had_at: float
    count: int


def most_in_any(window: timedelta, grants: list[Granted]) -> int:
    """What certainly fell into one window: asked for after its start, had before its end."""
    return max(
        sum(
            other.count
            for other in grants
            if first.asked_at <= other.asked_at
            and other.had_at < first.asked_at + window.total_seconds()
        )
        for first in grants
    )


def hammer(
    stores: StoreUrls, lane: Lane, wishes: list[tuple[int, int]], *, seconds: float
) -> list[Granted]:
    """As many threads as wishes, each with a connection of its own, asking without a pause."""
    started = threading.Barrier(len(wishes))

    def ask(wish: tuple[int, int]) -> list[Granted]:
        granted = []
        with redis_client(stores.redis_url) as client:
            limiter = RateLimiter(client)
            look(limiter, lane)
            started.wait()
            end = time.monotonic() + seconds
            while (asked_at := time.monotonic()) < end:
                grant = take(limiter, lane, fresh=wish[0], paced=wish[1])
                if grant.total:
                    granted.append(Granted(asked_at, time.monotonic(), grant.total))
        return granted

    with ThreadPoolExecutor(len(wishes)) as threads:
        return list(itertools.chain(*threads.map(ask, wishes)))


@pytest.mark.parametrize(
    "wishes",
    [
        pytest.param([(1, 0)] * 4, id="fresh, one by one"),
        pytest.param([(7, 0), (1, 0), (50, 0)], id="fresh, in batches"),
        pytest.param([(0, 3), (0, 50)], id="paced"),
        pytest.param([(1, 1), (3, 0), (0, 5), (0, 20)], id="both"),
    ],
)
def test_there_are_never_more_than_the_limit_in_any_window(
    stores: StoreUrls, name: str, wishes: list[tuple[int, int]]
) -> None:
    lane = Lane(name, 20, milliseconds(300))
    grants = hammer(stores, lane, wishes, seconds=1.3)
    assert most_in_any(lane.window, grants) <= 20
    # And not far fewer: four windows were there to be used, one and a half of them even by
    # threads that wait for a busy machine (a pace loses what nobody takes in time).
    assert sum(granted.count for granted in grants) >= 30


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["take", "look", "give back"]), st.integers(0, 9), st.integers(0, 9)
        ),
        max_size=25,
    )
)
@settings(max_examples=40, deadline=None)
def test_whatever_is_done_in_one_window_no_more_than_the_limit_is_out(
    limiter: RateLimiter, steps: list[tuple[str, int, int]]
) -> None:
    lane = Lane(f"law:{secrets.token_hex(6)}", 12, LONG)
    out: list[tuple[Grant, int]] = []
    for what, fresh, paced in steps:
        in_use = sum(kept for _, kept in out)
        if what == "give back" and out:
            grant, kept = out.pop(fresh % len(out))
            count = min(paced, kept)
            limiter.give_back(lane, grant, count)
            out.append((grant, kept - count))
            continue
        before = look(limiter, lane, fresh=fresh, paced=paced)
        assert before.fresh == min(fresh, 12 - in_use)
        assert before.paced <= min(paced, 12 - in_use - before.fresh)
        if what == "take":
            grant = take(limiter, lane, fresh=fresh, paced=paced)
            assert (grant.fresh, grant.paced) == (before.fresh, before.paced)
            out.append((grant, grant.total))


# ---- the pace ----------------------------------------------------------------


def test_paced_permits_leave_evenly(stores: StoreUrls, name: str) -> None:
    lane = Lane(name, 30, milliseconds(300))  # one each 10 ms; at most 15 ms behind
    # A busy machine loses some, which nobody took in time: not each time as many.
    for _ in range(5):
        grants = hammer(stores, lane, [(0, 5), (0, 5)], seconds=0.6)
        grants.sort(key=lambda granted: granted.had_at)
        for first, later in itertools.combinations(range(len(grants)), 2):
            count = sum(granted.count for granted in grants[first : later + 1])
            span = grants[later].had_at - grants[first].asked_at
            assert count <= span / 0.010 + 0.015 / 0.010 + 1
        if sum(granted.count for granted in grants) >= 40:
            return
    raise AssertionError("the pace is slower than its limit")


def test_a_fresh_call_overtakes_a_backlog_that_never_ends(
    stores: StoreUrls, limiter: RateLimiter, name: str
) -> None:
    lane = Lane(name, 30, milliseconds(300))
    waits: list[float] = []
    with ThreadPoolExecutor(1) as threads:
        backlog = threads.submit(hammer, stores, lane, [(0, 5), (0, 50)], seconds=0.7)
        while not backlog.done():
            began = time.monotonic()
            until(lambda: backlog.done() or bool(take(limiter, lane, fresh=1).fresh))
            waits.append(time.monotonic() - began)
            # The next comes a while later, as calls do.
            next_at = began + 0.06
            while not backlog.done() and time.monotonic() < next_at:
                look(limiter, lane, fresh=1)
        backlog.result()
    # Without the pace, the backlog would take the whole window at its start.
    assert len(waits) >= 3
    assert sorted(waits)[len(waits) // 2] < 0.15


def test_fresh_work_slows_the_backlog_down_by_as_much(
    limiter: RateLimiter, client: "redis.Redis", name: str
) -> None:
    lane = Lane(name, 20, milliseconds(400))  # one each 20 ms
    started = redis_now(client)
    take(limiter, lane, fresh=5)
    until(lambda: bool(look(limiter, lane, paced=1).paced))
    assert redis_now(client) - started >= milliseconds(5 * 20 - 25)


# ---- giving back -------------------------------------------------------------


def test_what_is_given_back_can_be_taken_by_others(limiter: RateLimiter, name: str) -> None:
    lane = Lane(name, 10, LONG)
    first, second = take(limiter, lane, fresh=6), take(limiter, lane, fresh=4)
    limiter.give_back(lane, first, 4)
    assert take(limiter, lane, fresh=9).fresh == 4
    limiter.give_back(lane, first, 2)
    limiter.give_back(lane, second, 4)
    assert take(limiter, lane, fresh=9).fresh == 6


def test_giving_back_nothing_or_what_is_gone_changes_nothing(
    limiter: RateLimiter, client: "redis.Redis", name: str
) -> None:
    lane = Lane(name, 10, LONG)
    grant = take(limiter, lane, fresh=6)
    limiter.give_back(lane, grant, 0)
    limiter.give_back(lane, grant, -3)
    assert look(limiter, lane, fresh=99).fresh == 4
    go_by(client, lane, LONG)
    assert take(limiter, lane, fresh=3).fresh == 3
    limiter.give_back(lane, grant, 6)
    assert look(limiter, lane, fresh=99).fresh == 7


def test_what_has_been_given_back_is_not_given_back_again(limiter: RateLimiter, name: str) -> None:
    lane = Lane(name, 10, LONG)
    grant, _other = take(limiter, lane, fresh=6), take(limiter, lane, fresh=4)
    for _ in range(3):
        limiter.give_back(lane, grant, 6)
        assert look(limiter, lane, fresh=99).fresh == 6


def test_more_than_was_granted_cannot_be_given_back(limiter: RateLimiter, name: str) -> None:
    lane = Lane(name, 10, LONG)
    take(limiter, lane, fresh=7)
    limiter.give_back(lane, take(limiter, lane, fresh=2), 50)
    assert look(limiter, lane, fresh=99).fresh == 3


def test_a_stranger_gives_nothing_back(limiter: RateLimiter, name: str) -> None:
    lane = Lane(name, 10, LONG)
    take(limiter, lane, fresh=6)
    forged = Grant(fresh=6, paced=0, is_crowded=False, nonce="nobody's", taken_at=0, asked_at=0.0)
    limiter.give_back(lane, forged, 6)
    limiter.give_back(Lane(f"{name}:other", 10, LONG), forged, 6)
    assert look(limiter, lane, fresh=99).fresh == 4


def test_permits_that_were_given_back_do_not_hold_the_backlog_up(
    limiter: RateLimiter, name: str
) -> None:
    # The rows had gone to somebody else: no request was made, and nobody need wait for it.
    lane = Lane(name, 10, LONG)
    free_before = look(limiter, lane, paced=99).paced
    limiter.give_back(lane, take(limiter, lane, fresh=10), 10)
    assert look(limiter, lane, paced=99).paced == free_before
    limiter.give_back(lane, take(limiter, lane, paced=1), 1)
    assert look(limiter, lane, paced=99).paced == free_before


# ---- requests that took long -------------------------------------------------


def test_a_request_counts_from_its_end_when_it_took_long(
    client: "redis.Redis", limiter: RateLimiter, name: str
) -> None:
    lane = Lane(name, 5, LONG)
    grant = take(limiter, lane, fresh=5)
    go_by(client, lane, 6 * MINUTE)
    permit = Permit(lane, replace(grant, taken_at=grant.taken_at - 6 * 60 * 1_000_000))
    limiter.end([(permit, milliseconds(100)), (permit, PROMPT), (permit, 6 * MINUTE)])
    limiter.end([(permit, 3 * MINUTE)])
    for minutes, free in ((3, 0), (2, 3), (1, 3), (2, 4), (1, 4), (2, 5)):
        go_by(client, lane, minutes * MINUTE)
        assert look(limiter, lane, fresh=99).fresh == free


def test_no_more_requests_end_late_than_were_granted(
    client: "redis.Redis", limiter: RateLimiter, name: str
) -> None:
    lane = Lane(name, 5, LONG)
    take(limiter, lane, fresh=2)
    permit = Permit(lane, take(limiter, lane, fresh=1))
    let_pass(client, milliseconds(300))
    limiter.end([(permit, milliseconds(300))] * 4)
    limiter.end([(permit, milliseconds(300))])
    assert look(limiter, lane, fresh=99).fresh == 2
    stored = client.zrange(f"aftercall:limit:{{{name}}}", 0, -1)
    assert sorted(int(str(member).partition(":")[0]) for member in stored) == [1, 2]


def test_a_stranger_postpones_nothing(limiter: RateLimiter, name: str) -> None:
    lane = Lane(name, 5, milliseconds(400))
    grant = take(limiter, lane, fresh=5)
    for forged in (replace(grant, nonce="nobody's"), replace(grant, taken_at=1)):
        limiter.end([(Permit(lane, forged), LONG)])
    until(lambda: look(limiter, lane, fresh=99).fresh == 5)


def test_without_redis_a_request_ends_all_the_same(limiter: RateLimiter, name: str) -> None:
    lane = Lane(name, 5, LONG)
    permit = Permit(lane, take(limiter, lane, fresh=1))
    with redis_client("redis://127.0.0.1:1/0") as away:
        RateLimiter(away).end([(permit, LONG)])


# ---- the crowd ---------------------------------------------------------------


def test_a_lane_is_crowded_once_somebody_wanted_more_than_there_was(
    limiter: RateLimiter, name: str
) -> None:
    lane = Lane(name, 5, LONG)
    assert not take(limiter, lane, fresh=3).is_crowded
    assert take(limiter, lane, fresh=3).is_crowded
    assert look(limiter, lane, fresh=1).is_crowded
    assert not look(limiter, Lane(f"{name}:other", 5, LONG), fresh=1).is_crowded


def test_a_backlog_that_waits_makes_a_crowd_too(limiter: RateLimiter, name: str) -> None:
    lane = Lane(name, 5, LONG)
    take(limiter, lane, paced=3)
    assert take(limiter, lane, fresh=1).is_crowded


def test_a_crowd_is_forgotten_within_seconds(
    limiter: RateLimiter, client: "redis.Redis", name: str
) -> None:
    lane = Lane(name, 5, LONG)
    take(limiter, lane, fresh=9)
    lifetime = int(client.pttl(f"aftercall:limit:{{{name}}}:crowded"))
    assert 0 < lifetime <= 5_000


# ---- blocks ------------------------------------------------------------------


def test_a_blocked_lane_grants_nothing_until_it_is_unblocked(
    limiter: RateLimiter, name: str
) -> None:
    lane = Lane(name, 5, LONG)
    limiter.block(name, timedelta(hours=1))
    for grant in (look(limiter, lane, fresh=1, paced=1), take(limiter, lane, fresh=1, paced=1)):
        assert (grant.fresh, grant.paced, grant.is_crowded) == (0, 0, True)
    limiter.unblock(name)
    assert take(limiter, lane, fresh=9).fresh == 5
    limiter.unblock(name)


def test_a_block_ends_by_itself_and_has_used_nothing_up(
    limiter: RateLimiter, client: "redis.Redis", name: str
) -> None:
    lane = Lane(name, 5, LONG)
    started = redis_now(client)
    limiter.block(name, milliseconds(60))
    until(lambda: bool(take(limiter, lane, fresh=5).fresh))
    assert redis_now(client) - started >= milliseconds(59)
    assert look(limiter, lane, fresh=5).fresh == 0


@pytest.mark.parametrize("wait", [timedelta(0), timedelta(microseconds=1), timedelta(hours=-1)])
def test_a_block_for_no_time_does_no_harm(limiter: RateLimiter, name: str, wait: timedelta) -> None:
    limiter.block(name, wait)
    until(lambda: look(limiter, Lane(name, 5, LONG), fresh=1).fresh == 1)


def test_a_shorter_block_does_not_cut_a_longer_one_short(
    limiter: RateLimiter, client: "redis.Redis", name: str
) -> None:
    # Two answers under way at once: one 429 says an hour, the next says nothing. The database
    # keeps the later end (block_workspace: greatest); the limiter must not let go before it.
    limiter.block(name, timedelta(hours=1))
    limiter.block(name, timedelta(minutes=1))
    left = int(client.pttl(f"aftercall:limit:{{{name}}}:block"))
    assert left > 3_500_000


def test_a_longer_block_makes_a_shorter_one_longer(
    limiter: RateLimiter, client: "redis.Redis", name: str
) -> None:
    limiter.block(name, timedelta(minutes=1))
    limiter.block(name, timedelta(hours=1))
    left = int(client.pttl(f"aftercall:limit:{{{name}}}:block"))
    assert left > 3_500_000


# ---- what stays in Redis -----------------------------------------------------


def use(limiter: RateLimiter, lane: Lane, how: str) -> None:
    match how:
        case "look":
            look(limiter, lane, fresh=3, paced=3)
        case "take":
            take(limiter, lane, fresh=3, paced=3)
        case "take nothing":
            take(limiter, lane)
        case "take too much":
            take(limiter, lane, fresh=99, paced=99)
        case "give back":
            limiter.give_back(lane, take(limiter, lane, fresh=3), 3)
        case "give some back":
            limiter.give_back(lane, take(limiter, lane, fresh=3), 1)
        case "block":
            limiter.block(lane.name, timedelta(hours=1))
            take(limiter, lane, fresh=3)


@pytest.mark.parametrize(
    "how",
    ["look", "take", "take nothing", "take too much", "give back", "give some back", "block"],
)
def test_nothing_stays_in_redis_for_ever(
    limiter: RateLimiter, client: "redis.Redis", name: str, how: str
) -> None:
    lane = Lane(name, 10, timedelta(minutes=1))
    use(limiter, lane, how)
    look(limiter, lane, fresh=1)
    lifetimes = {key: int(client.ttl(key)) for key in keys_of(client, lane)}
    assert {key for key, seconds in lifetimes.items() if seconds < 0} == set()
    assert all(seconds <= 3_600 for seconds in lifetimes.values())


def idle_for_long(client: "redis.Redis", lane: Lane) -> None:
    """The window passes; then all that is to expire by itself has done so."""
    let_pass(client, lane.window + milliseconds(1))
    for key in keys_of(client, lane):
        if int(client.pttl(key)) > 0:
            client.delete(key)


def test_a_clock_that_was_set_back_costs_a_lane_one_window_and_no_more(
    client: "redis.Redis", limiter: RateLimiter, name: str
) -> None:
    lane = Lane(name, 10, LONG)
    assert take(limiter, lane, fresh=6).fresh == 6
    set_back(client, lane, timedelta(hours=1))
    assert take(limiter, lane, fresh=10).fresh == 4
    assert take(limiter, lane, fresh=1).fresh == 0
    go_by(client, lane, lane.window)
    assert take(limiter, lane, fresh=5).fresh == 5
    go_by(client, lane, lane.window)
    assert take(limiter, lane, paced=1).paced == 1


def test_a_clock_that_was_set_back_makes_no_block_longer(
    client: "redis.Redis", limiter: RateLimiter, name: str
) -> None:
    lane = Lane(name, 10, LONG)
    limiter.block(name, timedelta(seconds=1))
    set_back(client, lane, timedelta(hours=1))
    assert take(limiter, lane, fresh=1).total == 0
    until(lambda: take(limiter, lane, fresh=1).fresh == 1)


def test_a_clock_that_was_set_forward_frees_what_its_windows_have_passed(
    client: "redis.Redis", limiter: RateLimiter, name: str
) -> None:
    lane = Lane(name, 10, LONG)
    assert take(limiter, lane, fresh=10).fresh == 10
    set_back(client, lane, -timedelta(hours=1))
    assert take(limiter, lane, fresh=20).fresh == 10


@pytest.mark.parametrize(
    "how",
    ["look", "take", "take nothing", "take too much", "give back", "give some back"],
)
def test_a_lane_that_was_idle_for_long_has_its_limit_and_no_more(
    limiter: RateLimiter, client: "redis.Redis", name: str, how: str
) -> None:
    lane = Lane(name, 10, milliseconds(50))
    use(limiter, lane, how)
    idle_for_long(client, lane)
    assert take(limiter, lane, fresh=99).fresh == 10


# ---- Redis itself ------------------------------------------------------------


def test_a_redis_that_has_forgotten_the_scripts_is_told_them_again(
    limiter: RateLimiter, client: "redis.Redis", name: str
) -> None:
    lane = Lane(name, 5, LONG)
    grant = take(limiter, lane, fresh=3)
    client.script_flush()
    limiter.give_back(lane, grant, 3)
    client.script_flush()
    assert take(limiter, lane, fresh=9).fresh == 5


class LosesAnAnswer:
    """A way to Redis on which the first answer to a script is lost, and with it the connection."""

    def __init__(self, url: str) -> None:
        at = urlsplit(url)
        assert at.hostname is not None
        assert at.port is not None
        self._target = (at.hostname, at.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = url.replace(f"{at.hostname}:{at.port}", f"127.0.0.1:{port}")
        self.is_armed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _run(self) -> None:
        # One connection after the other: who lost one makes another.
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, socket.create_connection(self._target) as server:
                self._carry(client, server)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        while asked := client.recv(65_536):
            server.sendall(asked)
            said = server.recv(65_536)
            if self.is_armed and b"EVALSHA" in asked:
                self.is_armed = False
                return
            client.sendall(said)


@pytest.fixture
def loses(stores: StoreUrls) -> Iterator[LosesAnAnswer]:
    way = LosesAnAnswer(stores.redis_url)
    yield way
    way.close()


@pytest.fixture
def unlucky(loses: LosesAnAnswer) -> Iterator[RateLimiter]:
    with redis_client(loses.url) as client:
        yield RateLimiter(client)


def counted(client: "redis.Redis", lane: Lane) -> tuple[int, int]:
    """The window's sum: of its members, and as it is kept beside them."""
    base = f"aftercall:limit:{{{lane.name}}}"
    members = cast(list[str], client.zrange(base, 0, -1))
    kept = cast(str, client.hget(f"{base}:state", "used"))
    return sum(int(member.partition(":")[0]) for member in members), int(kept)


def test_permits_whose_answer_was_lost_are_taken_once(
    client: "redis.Redis", unlucky: RateLimiter, loses: LosesAnAnswer, name: str
) -> None:
    lane = Lane(name, 20, LONG)
    take(unlucky, lane, fresh=2)
    loses.is_armed = True
    assert take(unlucky, lane, fresh=5).fresh == 5
    assert not loses.is_armed
    assert counted(client, lane) == (7, 7)


def test_permits_are_given_back_once_although_the_answer_was_lost(
    client: "redis.Redis", unlucky: RateLimiter, loses: LosesAnAnswer, name: str
) -> None:
    lane = Lane(name, 20, LONG)
    grant = take(unlucky, lane, fresh=10)
    for given_back, left in ((4, 6), (1, 5)):
        loses.is_armed = True
        unlucky.give_back(lane, grant, given_back)
        assert not loses.is_armed
        assert counted(client, lane) == (left, left)
    assert take(unlucky, lane, fresh=99).fresh == 15


def test_requests_that_took_long_are_put_off_once_although_the_answer_was_lost(
    client: "redis.Redis", unlucky: RateLimiter, loses: LosesAnAnswer, name: str
) -> None:
    lane = Lane(name, 20, LONG)
    permit = Permit(lane, take(unlucky, lane, fresh=10))
    unlucky.give_back(lane, permit.grant, 1)
    let_pass(client, milliseconds(300))
    loses.is_armed = True
    unlucky.end([(permit, milliseconds(300))] * 4)
    assert not loses.is_armed
    assert counted(client, lane) == (9, 9)
    stored = cast(list[str], client.zrange(f"aftercall:limit:{{{name}}}", 0, -1))
    assert [int(member.partition(":")[0]) for member in stored] == [5, 4]


def test_a_redis_that_is_away_is_a_redis_error() -> None:
    with redis_client("redis://127.0.0.1:1/0") as client:
        limiter = RateLimiter(client)
        with pytest.raises(redis.RedisError):
            take(limiter, Lane("any", 5, LONG), fresh=1)
