"""One rate limit for every process on every machine: Redis's clock, one atomic script.

A lane is what a limit applies to: a workspace at Twenty2, a destination. Two
rules hold together (docs/decisions/0006):

- An exact sliding window: never more than `limit` permits in any `window`.
  Fresh work may use what is free at once.
- A pace (GCRA): everything else leaves evenly spaced, so that a backlog leaves
  a free place every moment for the fresh call that comes next.

A permit is taken just before the request that it is for. When the other side
counts that request only its answer tells: one that took long counts from its
end. Nobody sleeps here: who gets no permit leaves the row where it is.
"""

import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import redis

_KEY = "aftercall:limit:"
#: A request that is over so soon after its permit counts from the permit. A lane's window has to
#: be longer than the other side's by more than that.
PROMPT = timedelta(milliseconds=250)

# A script whose answer was lost is run once more (aftercall.stores): none may count twice then.

# KEYS: window (zset: member "count:nonce", score = microseconds), state (hash: the window's
#       sum, and the pace's theoretical arrival time), block, crowded
# ARGV: limit, window µs, fresh wanted, paced wanted, take (1) or only look (0), nonce
# The pace lags at most LAG behind, so that a late sweep loses no permits.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local fresh, paced = tonumber(ARGV[3]), tonumber(ARGV[4])
local blocked = redis.call('PTTL', KEYS[3])
if blocked > 0 then
  -- Longer than it was made: the clock was set back.
  local made_for = tonumber(redis.call('GET', KEYS[3]))
  if blocked > made_for then redis.call('PEXPIRE', KEYS[3], made_for) end
  return {0, 0, 1, now}
end
local crowded = redis.call('EXISTS', KEYS[4])
local used = 0
if redis.call('EXISTS', KEYS[1]) == 1 then
  used = tonumber(redis.call('HGET', KEYS[2], 'used') or '0')
end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - window)) do
  used = used - tonumber(string.match(member, '^%d+'))
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
redis.call('HSET', KEYS[2], 'used', used)
redis.call('PEXPIRE', KEYS[2], math.ceil(window / 1000) + 10000)
local after_now = string.format('(%.0f', now)
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], after_now, '+inf')) do
  -- Taken later than now: the clock was set back. As if taken now, which is never too early.
  redis.call('ZADD', KEYS[1], now, member)
end
local free = math.max(limit - used, 0)
local interval = window / limit
local lag = math.max(interval, math.min(window / 20, 3000000))
local tat = tonumber(redis.call('HGET', KEYS[2], 'tat') or '0')
tat = math.min(math.max(tat, now - lag), now + window)
local on_time = math.max(math.floor((now - tat) / interval + 0.000001), 0)
local take_fresh = math.min(fresh, free)
local take_paced = math.min(paced, free - take_fresh, math.max(on_time - take_fresh, 0))
if ARGV[5] == '1' then
  local taken = take_fresh + take_paced
  if taken > 0 then
    -- Nothing is added when they are there: the answer was lost, and they are asked for again.
    local added = taken * redis.call('ZADD', KEYS[1], now, string.format('%d:%s', taken, ARGV[6]))
    redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000) + 1000)
    redis.call('HSET', KEYS[2], 'used', used + added, 'tat',
               string.format('%.0f', tat + added * interval))
    redis.call('PEXPIRE', KEYS[2], math.ceil(window / 1000) + 10000)
  end
  if taken < fresh + paced then redis.call('SET', KEYS[4], '1', 'PX', 5000) end
end
return {take_fresh, take_paced, crowded, now}
"""

# What is left of a grant has, behind its nonce, by whom it was given back last.
# KEYS: window, state. ARGV: nonce of the permits, how many to give back, the pace's interval, by
#       whom.
_GIVE_BACK = """
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local count, nonce, last = string.match(member, '^(%d+):([^/]*)/?(.*)$')
  if nonce == ARGV[1] then
    if last == ARGV[4] then return 0 end
    local score = redis.call('ZSCORE', KEYS[1], member)
    local back = math.min(tonumber(count), tonumber(ARGV[2]))
    local left = tonumber(count) - back
    local ttl = redis.call('PTTL', KEYS[1])
    redis.call('ZREM', KEYS[1], member)
    redis.call('HINCRBY', KEYS[2], 'used', -back)
    local tat = redis.call('HGET', KEYS[2], 'tat')
    if tat then
      redis.call('HSET', KEYS[2], 'tat',
                 string.format('%.0f', tonumber(tat) - back * tonumber(ARGV[3])))
    end
    if left > 0 then
      redis.call('ZADD', KEYS[1], score, string.format('%d:%s/%s', left, nonce, ARGV[4]))
      if ttl > 0 then redis.call('PEXPIRE', KEYS[1], ttl) end
    end
    return 1
  end
end
return 0
"""

# KEYS: window, state. ARGV: nonce of the permits, when they were taken, how many count from later
#       on, how much later (µs), their new nonce, the window (µs).
_POSTPONE = """
if redis.call('ZSCORE', KEYS[1], ARGV[3] .. ':' .. ARGV[5]) then return 0 end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], ARGV[2])) do
  local count, rest = string.match(member, '^(%d+):(.*)$')
  if string.match(rest, '^[^/]*') == ARGV[1] then
    local moved = math.min(tonumber(count), tonumber(ARGV[3]))
    local left = tonumber(count) - moved
    redis.call('ZREM', KEYS[1], member)
    if left > 0 then
      redis.call('ZADD', KEYS[1], ARGV[2], string.format('%d:%s', left, rest))
    end
    local from = string.format('%.0f', tonumber(ARGV[2]) + tonumber(ARGV[4]))
    redis.call('ZADD', KEYS[1], from, string.format('%d:%s', moved, ARGV[5]))
    redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[6]) / 1000) + 1000)
    redis.call('PEXPIRE', KEYS[2], math.ceil(tonumber(ARGV[6]) / 1000) + 10000)
    return 1
  end
end
return 0
"""


# KEYS: block. ARGV: milliseconds.
_BLOCK = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[1])
end
"""


@dataclass(frozen=True, slots=True)
class Lane:
    """What a limit applies to: `limit` permits in any `window`."""

    name: str
    limit: int
    window: timedelta


@dataclass(frozen=True, slots=True)
class Wish:
    """How many permits somebody would like of a lane."""

    lane: Lane
    #: At once, as far as the window has room.
    fresh: int
    #: Evenly spaced.
    paced: int


@dataclass(frozen=True, slots=True)
class Grant:
    """How many permits there are."""

    fresh: int
    paced: int
    #: More was wanted than there was, within the last seconds: others wait in line.
    is_crowded: bool
    nonce: str
    #: By Redis's clock, in microseconds.
    taken_at: int
    #: By this process's monotonic clock.
    asked_at: float

    @property
    def total(self) -> int:
        return self.fresh + self.paced


@dataclass(frozen=True, slots=True)
class Permit:
    """One that is used for a request."""

    lane: Lane
    grant: Grant

    def age(self) -> timedelta:
        """Since it was asked for."""
        return timedelta(seconds=time.monotonic() - self.grant.asked_at)


class RateLimiter:
    """Permits, from Redis. Raises redis.RedisError when Redis does not answer."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._script = client.register_script(_SCRIPT)
        self._give_back = client.register_script(_GIVE_BACK)
        self._postpone = client.register_script(_POSTPONE)
        self._block = client.register_script(_BLOCK)

    def take(self, wishes: Sequence[Wish]) -> list[Grant]:
        """At most what was wished, for each lane, in one round trip."""
        return self._ask(wishes, take=True)

    def look(self, wishes: Sequence[Wish]) -> list[Grant]:
        """What `take` would grant now."""
        return self._ask(wishes, take=False)

    def give_back(self, lane: Lane, grant: Grant, count: int) -> None:
        """Permits that were not used: the rows had gone to somebody else.

        Never raises: what cannot be given back is free again when its window has passed.
        """
        if count > 0:
            interval = _microseconds(lane.window) / lane.limit
            with suppress(redis.RedisError):
                self._give_back(
                    keys=_keys(lane)[:2],
                    args=[grant.nonce, count, interval, secrets.token_hex(6)],
                )

    def end(self, used: Iterable[tuple[Permit, timedelta]]) -> None:
        """Permits whose requests are over, each with its age then.

        Until then the other side may not have counted them: unless that was soon, they count from
        there on. Never raises: what Redis does not hear of counts from its permit.
        """
        late: Counter[tuple[Lane, str, int]] = Counter()
        longest: dict[tuple[Lane, str, int], timedelta] = {}
        for permit, age in used:
            if age > PROMPT:
                key = permit.lane, permit.grant.nonce, permit.grant.taken_at
                late[key] += 1
                longest[key] = max(age, longest.get(key, age))
        if not late:
            return
        with suppress(redis.RedisError), self._client.pipeline(transaction=False) as pipeline:
            for (lane, nonce, taken_at), count in late.items():
                later = _microseconds(longest[lane, nonce, taken_at])
                window = _microseconds(lane.window)
                new_nonce = secrets.token_hex(6)
                self._postpone(
                    keys=_keys(lane)[:2],
                    args=[nonce, taken_at, count, later, new_nonce, window],
                    client=pipeline,
                )
            pipeline.execute()

    def block(self, lane_name: str, wait: timedelta) -> None:
        """No permits for this lane for so long; a longer block that is there already stays."""
        self._block(keys=[f"{_KEY}{{{lane_name}}}:block"], args=[max(_milliseconds(wait), 1)])

    def unblock(self, lane_name: str) -> None:
        self._client.delete(f"{_KEY}{{{lane_name}}}:block")

    def _ask(self, wishes: Sequence[Wish], *, take: bool) -> list[Grant]:
        if not wishes:
            return []
        nonces = [secrets.token_hex(6) for _ in wishes]
        asked_at = time.monotonic()
        with self._client.pipeline(transaction=False) as pipeline:
            for wish, nonce in zip(wishes, nonces, strict=True):
                self._script(
                    keys=_keys(wish.lane),
                    args=[
                        wish.lane.limit,
                        _microseconds(wish.lane.window),
                        wish.fresh,
                        wish.paced,
                        int(take),
                        nonce,
                    ],
                    client=pipeline,
                )
            answers = cast(list[list[int]], pipeline.execute())
        return [
            Grant(
                fresh=fresh,
                paced=paced,
                is_crowded=bool(crowded) or fresh < wish.fresh,
                nonce=nonce,
                taken_at=taken_at,
                asked_at=asked_at,
            )
            for wish, nonce, (fresh, paced, crowded, taken_at) in zip(
                wishes, nonces, answers, strict=True
            )
        ]


def _keys(lane: Lane) -> list[str]:
    base = f"{_KEY}{{{lane.name}}}"
    return [base, f"{base}:state", f"{base}:block", f"{base}:crowded"]


def _milliseconds(duration: timedelta) -> int:
    return int(duration / timedelta(milliseconds=1))


def _microseconds(duration: timedelta) -> int:
    return int(duration / timedelta(microseconds=1))
