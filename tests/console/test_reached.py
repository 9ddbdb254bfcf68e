"""Did the call reach the CRM? A table of stories and what a person is told."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from aftercall.flows.views import CallStory, DeliveryView, NextAttemptView
from api.console.reached import Reached, reached

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
LATER = datetime(2026, 1, 5, 12, 5, tzinfo=UTC)
GROWS = "Attempt 2 failed; the wait grows each time."
_FIELDS: dict[str, Any] = {
    **dict.fromkeys(CallStory.model_fields),
    "call_id": "call_1",
    "workspace_id": "a",
    "state": "fetched",
    "revision": 1,
    "received_at": NOW,
    "attempts_spent": 1,
    "attempts": [],
    "events": [],
    "deliveries": [],
    "media": [],
    "not_kept": [],
}


def story(*deliveries: DeliveryView, **fields: Any) -> CallStory:
    return CallStory(**{**_FIELDS, "deliveries": list(deliveries), **fields})


def to(name: str, state: str, **fields: Any) -> DeliveryView:
    given: dict[str, Any] = {
        **dict.fromkeys(DeliveryView.model_fields),
        "id": uuid.UUID(int=1),
        "call_id": "call_1",
        "workspace_id": "a",
        "destination_id": uuid.UUID(int=2),
        "destination": name,
        "type": "call.completed",
        "revision": 1,
        "state": state,
        "created_at": NOW,
        "attempts": [],
        "kind": "webhook",
        "steps": [],
    }
    return DeliveryView(**{**given, **fields})


def coming(why: str, at: datetime | None = None) -> NextAttemptView:
    return NextAttemptView(at=at, why=why)


def told(found: Reached) -> str:
    """The sentences, with times as 12:05."""
    return "".join(part if isinstance(part, str) else f"{part:%H:%M}" for part in found.says)


DELIVERED = to("leads", "delivered", delivered_at=LATER)
DEAD = to("tasks", "dead", last_error="the hook answered 400")


@pytest.mark.parametrize(
    ("given", "tone", "title", "says"),
    [
        (story(DELIVERED), "good", "Yes", "Delivered to leads on 12:05."),
        (
            story(DELIVERED, to("b", "delivered", delivered_at=NOW), to("c", "skipped")),
            "good",
            "Yes",
            "Delivered to leads and b on 12:05.",
        ),
        (
            story(*(to(name, "delivered") for name in "abcde")),
            "good",
            "Yes",
            "Delivered to a, b, c and 2 more.",
        ),
        (story(DEAD), "bad", "No", "tasks did not take it. tasks answered 400."),
        (
            story(DELIVERED, DEAD),
            "bad",
            "Not everywhere",
            "leads has it, but tasks did not take it. tasks answered 400.",
        ),
        (
            story(to("leads", "dead", last_error="gave up after 8 attempts: no answer")),
            "bad",
            "No",
            "leads did not take it. leads: gave up after 8 attempts: no answer.",
        ),
        (
            story(to("leads", "held")),
            "warn",
            "Not yet",
            "The delivery to leads is held: its destination is disabled.",
        ),
        (
            story(
                to(
                    "leads",
                    "queued",
                    last_error="the hook answered 503",
                    next_attempt=coming(GROWS, LATER),
                )
            ),
            "note",
            "Not yet",
            f"The delivery to leads is under way. leads answered 503. {GROWS} "
            "The next attempt comes on 12:05.",
        ),
        (
            story(
                DELIVERED, to("b", "sending", next_attempt=coming("It is being sent right now."))
            ),
            "note",
            "Not everywhere yet",
            "leads has it, but the delivery to b is under way. It is being sent right now.",
        ),
        (
            story(to("leads", "skipped")),
            "note",
            "Not sent",
            "The filter of leads did not want it.",
        ),
        (
            story(to("HubSpot", "skipped", last_error="HubSpot knows nobody with this number")),
            "note",
            "Not sent",
            "HubSpot: HubSpot knows nobody with this number.",
        ),
        (
            story(),
            "note",
            "Not sent",
            "No destination wanted it: none takes calls of this kind or of this workspace.",
        ),
        (
            story(
                state="queued",
                revision=0,
                last_error="Twenty2 answered 503",
                next_attempt=coming(GROWS, LATER),
            ),
            "note",
            "Not yet",
            f"Twenty2 answered 503. {GROWS} The next attempt comes on 12:05.",
        ),
        (
            story(state="queued", revision=0, next_attempt=coming("It is not due yet.", LATER)),
            "note",
            "Not yet",
            "Its detail is still to be fetched from Twenty2. It is not due yet. "
            "The next attempt comes on 12:05.",
        ),
        (
            story(
                state="queued",
                revision=0,
                last_error="Twenty2 answered 401",
                next_attempt=coming("The workspace is blocked: Twenty2 answered 401", LATER),
            ),
            "note",
            "Not yet",
            "The workspace is blocked: Twenty2 answered 401. The next attempt comes on 12:05.",
        ),
        (
            story(state="dead", revision=0, last_error="Twenty2 answered 404"),
            "bad",
            "No",
            "Its detail never came from Twenty2. Twenty2 answered 404.",
        ),
        (
            story(DELIVERED, state="queued", next_attempt=coming("It is due.")),
            "good",
            "Yes",
            "Delivered to leads on 12:05. The call is being fetched again.",
        ),
        (
            # An older revision went there; the newest is what counts.
            story(
                to("leads", "delivered", revision=1),
                DEAD.model_copy(update={"revision": 2}),
                revision=2,
            ),
            "bad",
            "No",
            "tasks did not take it. tasks answered 400.",
        ),
    ],
)
def test_a_story_is_told_in_one_breath(given: CallStory, tone: str, title: str, says: str) -> None:
    found = reached(given, has_destinations=True)
    assert (found.tone, found.title, told(found)) == (tone, title, says)
    # What mends itself needs nobody.
    assert (found.cure is not None) == (tone in ("bad", "warn") or title == "Not sent")


def test_without_a_destination_it_says_so() -> None:
    found = reached(story(), has_destinations=False)
    assert found.title == "No"
    assert "no destination" in told(found)
    assert found.cure == "Add a destination, then replay the call."


def test_a_very_long_reason_is_cut() -> None:
    found = reached(story(to("leads", "dead", last_error="x" * 10_000)), has_destinations=True)
    assert len(told(found)) < 400


def test_a_failure_names_its_cure() -> None:
    found = reached(story(DEAD), has_destinations=True)
    assert found.cure is not None
    assert "mapping" in found.cure
