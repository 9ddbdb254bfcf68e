"""What was done for a call at a CRM, in words for a person. Pure.

The ledger's steps are `person`, `fields`, `call` and `task`; one that was sent and
is not done is in doubt: it is asked about before it is done again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

#: How the note of a step begins that a person has to look at.
FOR_REVIEW = "for review"

_DONE = {
    "person": "The person was found",
    "fields": "The fields were written",
    "call": "The call was logged",
    "task": "The follow-up task was made",
}
_IN_DOUBT = {
    "person": "Whether the person was made is not known yet",
    "fields": "Whether the fields were written is not known yet",
    "call": "Whether the call was logged is not known yet",
    "task": "Whether the follow-up task was made is not known yet",
}
_ASKED_FIRST = "No answer came. It is not done again before the CRM was asked whether it is there."


class AStep(Protocol):
    """As the ledger has it."""

    @property
    def step(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def note(self) -> str | None: ...
    @property
    def at(self) -> datetime: ...


T = TypeVar("T", bound=AStep)


@dataclass(frozen=True, slots=True)
class StepSaid:
    """`state`: `done`, `review`, or `doubt`."""

    title: str
    state: str
    text: str
    at: datetime


def say_step(step: AStep) -> StepSaid:
    """One step of the ledger."""
    if step.state != "done":
        return StepSaid(_IN_DOUBT.get(step.step, step.step), "doubt", _ASKED_FIRST, step.at)
    title, note = _DONE.get(step.step, step.step), step.note or ""
    if step.step == "person" and note:
        return StepSaid("Nobody had the number: the person was made", "done", "", step.at)
    if note.startswith(FOR_REVIEW):
        return StepSaid(title, "review", note.removeprefix(FOR_REVIEW).lstrip(": "), step.at)
    return StepSaid(title, "done", note, step.at)


def in_order(steps: Iterable[T]) -> list[T]:
    """As they happen: of two in the same moment the person comes first, the task last."""
    ranks = {name: rank for rank, name in enumerate(_DONE)}
    return sorted(steps, key=lambda step: (step.at, ranks.get(step.step, len(ranks))))
