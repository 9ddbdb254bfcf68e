"""Did the call reach the CRM? One word and a few sentences for a person. Pure.

Of several destinations the worst speaks first: what was given up, then what is held,
then what still waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from aftercall.domain.cures import cure_for
from aftercall.flows.views import CallStory, DeliveryView, NextAttemptView

_MOST_NAMES = 3
_MOST_REASON = 240

Part = str | datetime


@dataclass(frozen=True, slots=True)
class Reached:
    """`says`: pieces of text with moments between them, for the page to write in its own way."""

    tone: Literal["good", "bad", "warn", "note"]
    title: str
    says: tuple[Part, ...]
    cure: str | None = None


def reached(story: CallStory, *, has_destinations: bool) -> Reached:
    """Looks at the deliveries of the newest revision; without one, at the fetch."""
    if story.revision == 0:
        return _of_fetch(story)
    deliveries = [one for one in story.deliveries if one.revision == story.revision]
    found = _of_deliveries(deliveries, has_destinations=has_destinations)
    if story.next_attempt is None:
        return found
    again: Part = " The call is being fetched again."
    return Reached(found.tone, found.title, (*found.says, again), found.cure)


def _of_fetch(story: CallStory) -> Reached:
    if story.next_attempt is None:
        reason = _sentence(_short(story.last_error or "It was given up"))
        says = f"Its detail never came from Twenty2. {reason}"
        return Reached("bad", "No", (says,), cure_for(story.last_error))
    before = "" if story.last_error else "Its detail is still to be fetched from Twenty2."
    return Reached("note", "Not yet", _coming(story.last_error or before, story.next_attempt))


def _of_deliveries(deliveries: Sequence[DeliveryView], *, has_destinations: bool) -> Reached:
    delivered = [one for one in deliveries if one.state == "delivered"]
    dead = [one for one in deliveries if one.state == "dead"]
    held = [one for one in deliveries if one.state == "held"]
    waiting = [one for one in deliveries if one.state in ("queued", "sending")]
    skipped = [one for one in deliveries if one.state == "skipped"]
    so_far = f"{_names(delivered)} has it, but " if delivered else ""
    if len(delivered) > 1:
        so_far = f"{_names(delivered)} have it, but "
    if dead:
        worst = dead[0]
        says = f"{so_far}{_not_taken(dead)}. {_blame(worst)}"
        title = "Not everywhere" if delivered else "No"
        return Reached("bad", title, (_capital(says),), cure_for(worst.last_error))
    if held:
        why = "its destination is disabled" if len(held) == 1 else "they are disabled"
        says = f"{so_far}the delivery to {_names(held)} is held: {why}."
        title = "Not everywhere yet" if delivered else "Not yet"
        return Reached("warn", title, (_capital(says),), cure_for(None, held=True))
    if waiting:
        first = waiting[0]
        title = "Not everywhere yet" if delivered else "Not yet"
        says = f"{so_far}the delivery to {_names(waiting)} is under way."
        coming = _coming(_blame(first) if first.last_error else "", first.next_attempt)
        return Reached("note", title, (_capital(says), " ", *coming))
    if delivered:
        last = max((one.delivered_at for one in delivered if one.delivered_at), default=None)
        when: tuple[Part, ...] = (" on ", last) if last else ()
        return Reached("good", "Yes", (f"Delivered to {_names(delivered)}", *when, "."))
    if told := [one for one in skipped if one.last_error]:
        return Reached("note", "Not sent", (_blame(told[0]),), cure_for(told[0].last_error))
    if skipped:
        filters = "The filter of" if len(skipped) == 1 else "The filters of"
        says = f"{filters} {_names(skipped)} did not want it."
        return Reached(
            "note",
            "Not sent",
            (says,),
            "If it should go all the same, replay it to that destination.",
        )
    if not has_destinations:
        return Reached(
            "warn",
            "No",
            ("There is no destination to send it to.",),
            "Add a destination, then replay the call.",
        )
    return Reached(
        "note",
        "Not sent",
        ("No destination wanted it: none takes calls of this kind or of this workspace.",),
        "Look at what the destinations want, or send it to one of them by hand.",
    )


def _not_taken(dead: Sequence[DeliveryView]) -> str:
    return f"{_names(dead)} did not take it"


def _blame(delivery: DeliveryView) -> str:
    reason = _short(delivery.last_error or "it was given up")
    if reason.startswith("the hook answered"):
        return _sentence(reason.replace("the hook", delivery.destination, 1))
    if len(delivery.destination) < _MOST_REASON:
        return _sentence(f"{delivery.destination}: {reason}")
    return _sentence(reason)


def _coming(before: str, coming: NextAttemptView | None) -> tuple[Part, ...]:
    """Why it is as it is, and when the next attempt comes."""
    why = _sentence(coming.why) if coming else ""
    reason = _sentence(_short(before)) if before else ""
    # A block tells its reason itself.
    told = why if not reason or reason.rstrip(".") in why else f"{reason} {why}"
    if coming is None or coming.at is None:
        return (told,)
    return (f"{told} The next attempt comes on ", coming.at, ".")


def _names(deliveries: Sequence[DeliveryView]) -> str:
    names = [one.destination for one in deliveries]
    shown, more = names[:_MOST_NAMES], len(names) - _MOST_NAMES
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _short(text: str) -> str:
    return text if len(text) <= _MOST_REASON else f"{text[:_MOST_REASON]}…"


def _sentence(text: str) -> str:
    text = text.strip()
    return _capital(text if text.endswith((".", "…", "!", "?")) else f"{text}.") if text else ""


def _capital(text: str) -> str:
    # A destination's name stays as it was given.
    return text[:1].upper() + text[1:] if text.startswith(("the ", "it ", "gave ")) else text
