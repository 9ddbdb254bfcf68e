"""A call's story as steps of a timeline, in the order in which things happened. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from aftercall.domain.crm_words import say_step
from aftercall.domain.work import BARE_TYPES, FOUND_IN_LOG
from aftercall.flows.call_pages import CallPageView
from aftercall.flows.views import AttemptView, DeliveryView, EventView, MediaView

_LAST = datetime.max.replace(tzinfo=UTC)
_FETCHES = {
    "succeeded": "Fetched from Twenty2",
    "retry": "Fetch failed",
    "not_ready": "Not ready at Twenty2",
    "blocked": "Fetch blocked",
    "dead": "Fetch given up",
}
_DELIVERIES = {
    "succeeded": "Delivered to {}",
    "retry": "Delivery to {} failed",
    "not_ready": "Delivery to {} waits",
    "blocked": "Delivery to {} blocked",
    "dead": "Delivery to {} given up",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened. `state` colours it; `at` is None for what is to come, some time."""

    at: datetime | None
    title: str
    state: str
    text: str = ""
    duration_ms: int | None = None
    #: When it is tried again.
    next_at: datetime | None = None
    #: What the other side said.
    answer: str | None = None
    is_to_come: bool = False


def steps_of(page: CallPageView) -> list[Step]:
    """Oldest first; what is to come is last."""
    happened = [
        *(_of_event(event) for event in page.story.events),
        *(_of_fetch(attempt) for attempt in page.story.attempts),
        *_of_saves(page),
        *(step for one in page.story.deliveries for step in _of_delivery(one)),
        *_of_media(page.story.media),
        *_at_crms(page.story.deliveries),
    ]
    # Stable: what happened in the same moment stays in the order above.
    return [*sorted(happened, key=_when), *_to_come(page)]


def _when(step: Step) -> datetime:
    return step.at or _LAST


def _of_event(event: EventView) -> Step:
    title = "Webhook received" if event.type not in BARE_TYPES else "Call id received"
    said = [event.type] if event.type not in BARE_TYPES else []
    if event.type == FOUND_IN_LOG:
        title, said = "Found in Twenty2's log", ["no webhook had come"]
    if event.event_id:
        said.append(f"event {event.event_id}")
    if event.duplicates:
        times = "once more" if event.duplicates == 1 else f"{event.duplicates:,} more times"
        said.append(f"came {times}")
    return Step(
        event.received_at,
        title,
        "quiet",
        ", ".join(said),
    )


def _of_fetch(attempt: AttemptView) -> Step:
    return _of_attempt(attempt, _FETCHES.get(attempt.outcome, "Fetch"))


def _of_attempt(attempt: AttemptView, title: str) -> Step:
    # One that is not counted shares its number with the next.
    if attempt.outcome in ("succeeded", "retry", "dead") and attempt.number > 1:
        title = f"{title}, attempt {attempt.number}"
    said = attempt.reason
    if not said:
        said = f"It answered {attempt.status_code}" if attempt.status_code else ""
    return Step(
        attempt.started_at,
        title,
        attempt.outcome,
        said[:1].upper() + said[1:],
        duration_ms=attempt.duration_ms,
        next_at=attempt.next_due_at,
        answer=attempt.response_excerpt,
    )


def _of_saves(page: CallPageView) -> Iterator[Step]:
    for revision, at in page.saves:
        if revision == 1:
            yield Step(at, "Saved", "fetched", "The call's detail and parameters are stored")
        else:
            text = "Twenty2 told something else than before"
            yield Step(at, f"Saved again, revision {revision}", "fetched", text)


def _of_delivery(delivery: DeliveryView) -> Iterator[Step]:
    name = delivery.destination
    if delivery.state == "skipped" and not delivery.attempts:
        text = delivery.last_error or "Its filter did not want this call"
        yield Step(delivery.created_at, f"Skipped for {name}", "skipped", text)
    for attempt in delivery.attempts:
        step = _of_attempt(attempt, _DELIVERIES.get(attempt.outcome, "{}").format(name))
        if attempt.is_skip:
            step = replace(step, title=f"Skipped for {name}", state="skipped")
        yield step


def _of_media(media: Sequence[MediaView]) -> Iterator[Step]:
    for one in media:
        if one.stored_at is not None:
            text = f"{one.size_bytes or 0:,} bytes, behind a link that lasts"
            yield Step(one.stored_at, f"The {one.kind} is kept", "succeeded", text)


def _at_crms(deliveries: Sequence[DeliveryView]) -> Iterator[Step]:
    """A CRM's ledger is of the call: every revision's delivery has the same steps."""
    told = set()
    for delivery in deliveries:
        if delivery.destination_id in told:
            continue
        told.add(delivery.destination_id)
        for step in delivery.steps:
            said = say_step(step)
            text = f"For review: {said.text}" if said.state == "review" else said.text
            state = {"done": "succeeded", "review": "retry"}.get(said.state, "probing")
            yield Step(said.at, f"{delivery.destination}: {said.title}", state, text)


def _to_come(page: CallPageView) -> Iterator[Step]:
    coming = page.story.next_attempt
    if coming is not None:
        yield Step(coming.at, "Next: fetch", "wait", coming.why, is_to_come=True)
    if page.story.look_again_at is not None:
        text = "Its recording or its transcript is not there yet"
        yield Step(
            page.story.look_again_at, "Next: look at Twenty2 again", "wait", text, is_to_come=True
        )
    for medium in page.story.media:
        if medium.state in ("queued", "fetching"):
            why = (medium.last_error or "")[:300]
            why = why[:1].upper() + why[1:]
            title = f"Next: fetch the {medium.kind}"
            yield Step(medium.due_at, title, "wait", why, is_to_come=True)
    for one in page.story.deliveries:
        if one.next_attempt is not None:
            title = f"Next: delivery to {one.destination}"
            if one.state == "held":
                title = f"Held: delivery to {one.destination}"
            yield Step(one.next_attempt.at, title, one.state, one.next_attempt.why, is_to_come=True)
