"""A ledger's steps, in words."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from aftercall.domain.crm_words import in_order, say_step

NOW = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Step:
    step: str
    state: str = "done"
    note: str | None = None
    at: datetime = NOW


@pytest.mark.parametrize(
    ("step", "title", "state", "text"),
    [
        (Step("person"), "was found", "done", ""),
        (Step("person", note="was not there, and was made"), "was made", "done", ""),
        (Step("fields"), "fields were written", "done", ""),
        (Step("fields", note="for review: score: no number"), "fields", "review", "score: no"),
        (Step("call", note="somebody has removed it there"), "logged", "done", "removed it"),
        (Step("task", note="for review: no certain time (x)"), "task", "review", "no certain"),
        (Step("call", state="sent"), "not known yet", "doubt", "No answer came"),
        (Step("something new"), "something new", "done", ""),
    ],
)
def test_every_step_is_said_in_words(step: Step, title: str, state: str, text: str) -> None:
    said = say_step(step)
    assert title in said.title
    assert said.state == state
    assert said.text.startswith(text) or text in said.text


def test_the_person_comes_before_what_is_done_to_them_in_the_same_moment() -> None:
    steps = [Step(name) for name in ("task", "call", "fields", "person")]
    late = Step("person", at=NOW + timedelta(seconds=1))
    found = [one.step for one in in_order([late, *steps])]
    assert found == ["person", "fields", "call", "task", "person"]
