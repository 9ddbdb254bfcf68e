"""What becomes of a recording or a transcript: kinds, states, what an answer means, when again.

Pure. A link of Twenty2's expires; one that is refused is replaced by asking
for the call's detail once more, and that is bounded.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from aftercall.domain.exchange import Answer, Exchange, Failure
from aftercall.domain.media_types import audio_type, is_page, is_text
from aftercall.domain.schedules import fetch_wait


class MediaKind(StrEnum):
    RECORDING = "recording"
    TRANSCRIPT = "transcript"


class MediaState(StrEnum):
    QUEUED = "queued"
    """Waits for `due_at`."""
    FETCHING = "fetching"
    """A worker holds the lease and is fetching it."""
    STORED = "stored"
    """It is kept here."""
    DEAD = "dead"
    """Given up, with the reason in `last_error`; a person can have it fetched again."""


MEDIA_MOVES: dict[MediaState, frozenset[MediaState]] = {
    MediaState.QUEUED: frozenset({MediaState.FETCHING}),
    MediaState.FETCHING: frozenset({MediaState.STORED, MediaState.QUEUED, MediaState.DEAD}),
    # By hand.
    MediaState.STORED: frozenset({MediaState.QUEUED}),
    # By hand, or because Twenty2 gave a new link.
    MediaState.DEAD: frozenset({MediaState.QUEUED}),
}

#: Of the fresh links that are asked for, one after the other.
MOST_LINKS = 3
#: While Twenty2 is asked: after that the old link is tried once more. A new one makes it due.
LINK_WAITS = (timedelta(hours=1), timedelta(hours=4), timedelta(hours=24))
_SOON = timedelta(seconds=5)
#: Storage services answer so when a link has expired or was withdrawn.
_STALE = frozenset({401, 403, 404, 410})
_PASSING = frozenset({408, 425, 429})

# | look | after the one before |
# |------|----------------------|
# | 1    | 2 min                |
# | 2    | 10 min               |
# | 3    | 1 h                  |
# | 4    | 6 h                  |
# | 5    | 24 h                 |
LATE_LOOKS = (
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(hours=24),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """It is what it should be."""

    content_type: str


@dataclass(frozen=True, slots=True)
class StaleLink:
    """The link does not lead to it any more: Twenty2 has to give another."""

    reason: str


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Failed in a way that may pass. Spends an attempt."""

    reason: str
    wait: timedelta | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Fetching it again would give the same."""

    reason: str


MediaOutcome = Kept | StaleLink | TryAgain | GiveUp


def classify_media(
    said: Exchange, kind: MediaKind, *, max_bytes: int, retry_after: timedelta | None = None
) -> MediaOutcome:
    """Total: whatever the storage said has one outcome."""
    if not isinstance(said, Answer):
        if said.failure in (Failure.FORBIDDEN_ADDRESS, Failure.INVALID_REQUEST):
            return GiveUp(said.detail)
        return TryAgain(said.detail)
    if 200 <= said.status < 300:
        return _of_body(said, kind, max_bytes=max_bytes)
    reason = f"the storage answered {said.status}"
    if said.status in _STALE:
        return StaleLink(f"{reason}: the link has expired or does not lead there any more")
    if said.status in _PASSING or said.status >= 500:
        return TryAgain(reason, retry_after)
    if 300 <= said.status < 400:
        return GiveUp(f"{reason}: it leads from one address to the next")
    return GiveUp(reason)


def _of_body(said: Answer, kind: MediaKind, *, max_bytes: int) -> MediaOutcome:
    if said.body_was_cut:
        return GiveUp(f"the {kind.value} is larger than {max_bytes:,} bytes")
    if not said.body:
        return TryAgain(f"the {kind.value} is empty")
    # Whatever a storage shows in place of a file may be gone in a moment.
    if is_page(said.body):
        return TryAgain(f"what came is a page, no {kind.value}")
    match kind:
        case MediaKind.RECORDING:
            found = audio_type(said.body, said.content_type)
        case MediaKind.TRANSCRIPT:
            found = "text/plain" if is_text(said.body, said.content_type) else None
        case _:
            assert_never(kind)
    return TryAgain(f"what came is no {kind.value}") if found is None else Kept(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaStanding:
    """Where it stood when it was claimed."""

    attempts: int
    links_asked: int
    due_at: datetime
    source_expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaStep:
    """Where it goes. `asks_for_link`: the call's detail is to be fetched again."""

    state: MediaState
    attempts: int
    links_asked: int
    due_at: datetime
    error: str | None
    asks_for_link: bool = False


def plan_media(
    outcome: MediaOutcome, standing: MediaStanding, *, now: datetime, rng: random.Random
) -> MediaStep:
    """The step after one try."""
    spent, links = standing.attempts + 1, standing.links_asked
    state, due_at, error, asks = MediaState.DEAD, standing.due_at, None, False
    match outcome:
        case Kept():
            state = MediaState.STORED
        case StaleLink(reason=reason) if links < MOST_LINKS:
            state, due_at, error, asks = MediaState.QUEUED, now + LINK_WAITS[links], reason, True
            links += 1
        case StaleLink(reason=reason):
            error = f"gave up after {links} fresh links: {reason}"
        case TryAgain(reason=reason):
            wait = fetch_wait(spent, asked=outcome.wait, at_most=None, rng=rng)
            error = reason if wait else f"gave up after {spent} attempts: {reason}"
            if wait is not None:
                state, due_at = MediaState.QUEUED, now + _in_time(wait, standing, now=now)
        case GiveUp(reason=reason):
            error = reason
        case _:
            assert_never(outcome)
    return MediaStep(
        state=state,
        attempts=spent,
        links_asked=links,
        due_at=due_at,
        error=error,
        asks_for_link=asks,
    )


def _in_time(wait: timedelta, standing: MediaStanding, *, now: datetime) -> timedelta:
    """No longer than half of what the link has left."""
    if standing.source_expires_at is None or standing.source_expires_at <= now:
        return wait
    return max(min(wait, (standing.source_expires_at - now) / 2), _SOON)


def late_look(looks: int) -> timedelta | None:
    """The wait before look `looks + 1` for media that are not there; None after the last."""
    return LATE_LOOKS[looks] if looks < len(LATE_LOOKS) else None
