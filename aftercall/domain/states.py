"""The states of a call and of a delivery, and the only moves between them.

One enum and one table each; `docs/architecture.md` has the diagram. The
database stores these words, the API and the pages show them.
"""

from enum import StrEnum


class CallState(StrEnum):
    QUEUED = "queued"
    """Waits for `due_at`, and then for the rate limit."""
    FETCHING = "fetching"
    """A worker holds the lease and is asking Twenty2."""
    FETCHED = "fetched"
    """The detail is saved, with one delivery per destination that wants it."""
    DEAD = "dead"
    """Given up, with the reason in `last_error`; a person can ask again."""


class DeliveryState(StrEnum):
    QUEUED = "queued"
    """Waits for `due_at`, and then for the destination's limits."""
    SENDING = "sending"
    """A worker holds the lease and is posting to the hook."""
    DELIVERED = "delivered"
    """The hook answered 2xx."""
    DEAD = "dead"
    """Given up, with the reason in `last_error`; a person can replay it."""
    HELD = "held"
    """The destination is disabled; goes on when it is enabled."""
    SKIPPED = "skipped"
    """The destination did not want this call: its filter, or its rule for unknown people."""


class Priority:
    """Who goes first when the rate limit is short. Lower goes first."""

    FRESH = 0
    RETRY = 1
    BACKFILL = 2


CALL_MOVES: dict[CallState, frozenset[CallState]] = {
    CallState.QUEUED: frozenset({CallState.FETCHING}),
    CallState.FETCHING: frozenset({CallState.FETCHED, CallState.QUEUED, CallState.DEAD}),
    # By hand, or because a newer event came.
    CallState.FETCHED: frozenset({CallState.QUEUED}),
    CallState.DEAD: frozenset({CallState.QUEUED}),
}

DELIVERY_MOVES: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.QUEUED: frozenset(
        # Dead straight from queued or held: its destination was removed.
        {DeliveryState.SENDING, DeliveryState.HELD, DeliveryState.DEAD}
    ),
    DeliveryState.SENDING: frozenset(
        # Held straight from sending: the answer (410, or five days of failure) disabled the hook.
        {
            DeliveryState.DELIVERED,
            DeliveryState.QUEUED,
            DeliveryState.DEAD,
            DeliveryState.HELD,
            DeliveryState.SKIPPED,
        }
    ),
    DeliveryState.HELD: frozenset({DeliveryState.QUEUED, DeliveryState.DEAD}),
    # By hand: a replay keeps the delivery's id.
    DeliveryState.DELIVERED: frozenset({DeliveryState.QUEUED, DeliveryState.HELD}),
    DeliveryState.DEAD: frozenset({DeliveryState.QUEUED, DeliveryState.HELD}),
    DeliveryState.SKIPPED: frozenset({DeliveryState.QUEUED, DeliveryState.HELD}),
}


def may_move(before: CallState | DeliveryState, after: CallState | DeliveryState) -> bool:
    """Whether the table allows it."""
    moves: dict[CallState, frozenset[CallState]] | dict[DeliveryState, frozenset[DeliveryState]]
    moves = CALL_MOVES if isinstance(before, CallState) else DELIVERY_MOVES
    return after in moves[before]  # type: ignore[index]
