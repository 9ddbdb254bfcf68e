"""What is news, and the words of it: nothing of a person, nothing that a chat takes for its own."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercall.domain.notices import (
    KNOWN_REASONS,
    OTHER_REASONS,
    QUIET,
    SHOWN_REASONS,
    Links,
    add_reasons,
    dead_deliveries_grew,
    destination_disabled,
    is_news,
    plain_reason,
    workspace_blocked,
)

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
SOON, LATER = NOW - QUIET / 3, NOW - QUIET
NO_LINKS = Links(None)


@pytest.mark.parametrize(
    ("trouble", "told", "told_at", "news"),
    [
        pytest.param(None, None, None, False, id="all is well, as it was"),
        pytest.param("disabled", "disabled", SOON, False, id="the same trouble"),
        pytest.param("disabled", None, None, True, id="the first trouble"),
        pytest.param(None, "disabled", SOON, True, id="well again, at once"),
        pytest.param("disabled", None, SOON, False, id="trouble again, too soon"),
        pytest.param("disabled", None, LATER, True, id="trouble again, after a while"),
        pytest.param("credentials", "rate_limit", SOON, True, id="another trouble, at once"),
    ],
)
def test_what_is_news(
    trouble: str | None, told: str | None, told_at: datetime | None, news: bool
) -> None:
    assert is_news(trouble, told=told, told_at=told_at, now=NOW) is news


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_what_comes_and_goes_every_minute_is_told_once_in_a_while(is_bad: list[bool]) -> None:
    told: str | None = None
    told_at: datetime | None = None
    bad_news: list[datetime] = []
    for minute, bad in enumerate(is_bad):
        now = NOW + timedelta(minutes=minute)
        trouble = "disabled" if bad else None
        if is_news(trouble, told=told, told_at=told_at, now=now):
            told = trouble
            if bad:
                told_at = now
                bad_news.append(now)
    gaps = [after - before for before, after in pairwise(bad_news)]
    assert all(gap >= QUIET for gap in gaps)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("the hook answered 422", "the hook answered 422"),
        ("Twenty2 answered 404: CALL_NOT_FOUND: no call of Asha Rao", "Twenty2 answered 404"),
        (
            "gave up after 12 attempts: HubSpot answered 409: Contact asha@example.com exists",
            "gave up after 12 attempts: HubSpot answered 409",
        ),
        (
            "gave up after 0:15:00 of looking: Twenty2 answered 404: x",
            "gave up after 0:15:00 of looking: Twenty2 answered 404",
        ),
        ("the destination's mapping failed: 9414077000", "the destination's mapping failed"),
        ("no person has 94140 77000", "no person has ***"),
        ("no person has +91-94140-77000", "no person has ***"),
        ("no person has 2026-11-01-555", "no person has ***"),
        (
            "Every delivery has failed since 2026-11-01 10:00 UTC",
            "Every delivery has failed since 2026-11-01 10:00 UTC",
        ),
        ("since 2026-11-01T10:00:05Z or 2026-11-01", "since 2026-11-01T10:00:05Z or 2026-11-01"),
        ("asha@example.com is taken", "*** is taken"),
        (
            "no complete answer from 127.0.0.1:38239: IncompleteRead",
            "no complete answer from 127.0.0.1:38239",
        ),
        ("two\nlines", "two lines"),
        (None, "no reason was written down"),
        ("", "no reason was written down"),
    ],
)
def test_a_reason_is_told_without_what_the_other_side_said(reason: str | None, said: str) -> None:
    assert plain_reason(reason) == said


@given(st.text())
def test_any_reason_gives_a_short_line(reason: str) -> None:
    said = plain_reason(reason)
    assert 0 < len(said) <= 160
    assert "\n" not in said


@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers(1, 9), max_size=30), max_size=10))
def test_no_death_is_lost_however_many_reasons_there_are(batches: list[dict[str, int]]) -> None:
    known: dict[str, int] = {}
    for batch in batches:
        known = add_reasons(known, batch)
    assert sum(known.values()) == sum(sum(batch.values()) for batch in batches)
    assert len(known) <= KNOWN_REASONS + 1


def test_from_many_reasons_on_further_ones_are_one() -> None:
    known = {f"reason {number}": 1 for number in range(KNOWN_REASONS)}
    total = add_reasons(known, {"one more": 2, "reason 0": 3})
    assert total[OTHER_REASONS] == 2
    assert total["reason 0"] == 4


def test_a_name_calls_nobody_in_a_chat() -> None:
    notice = destination_disabled(
        "d1", name="<!channel> & <https://x|y>", reason="Disabled by hand", links=NO_LINKS
    )
    assert "&lt;!channel&gt; &amp; &lt;https://x|y&gt;" in notice.text
    assert "<" not in notice.text
    # A program reads the name as it is.
    assert notice.data["destination"] == "<!channel> & <https://x|y>"


def test_links_lead_to_the_console_once_its_address_is_known() -> None:
    links = Links("https://calls.example.com")
    told = workspace_blocked("a/b", kind="credentials", reason="x", until=None, links=links)
    assert told.data["url"] == "https://calls.example.com/workspaces/a%2Fb"
    assert told.text.endswith("https://calls.example.com/workspaces/a%2Fb")
    unlinked = workspace_blocked("a/b", kind="credentials", reason="x", until=None, links=NO_LINKS)
    assert "url" not in unlinked.body(at=NOW)["data"]


def test_dead_letters_are_counted_with_their_most_frequent_reasons() -> None:
    reasons = {f"the hook answered {status}": status - 399 for status in range(400, 410)}
    notice = dead_deliveries_grew(
        "d1",
        name="leads",
        subject="dead_delivery:d1",
        reasons=reasons,
        since=NOW,
        links=Links("https://calls.example.com"),
    )
    assert notice.text.startswith(
        "aftercall: 55 deliveries to leads were given up: 10 × the hook answered 409; 9 × "
    )
    assert (
        "; and more. Mend the reason, then replay. https://calls.example.com/deliv" in notice.text
    )
    assert notice.data["count"] == 55
    assert len(notice.data["reasons"]) == SHOWN_REASONS
    one = dead_deliveries_grew(
        "d1", name="leads", subject="s", reasons={"x": 1}, since=NOW, links=NO_LINKS
    )
    assert "1 delivery to leads was given up: 1 × x. " in one.text


def test_a_body_has_a_text_for_chats_and_no_word_that_mattermost_takes_for_its_own() -> None:
    notice = workspace_blocked(
        "w1", kind="rate_limit", reason="Twenty2 answered 429", until=NOW, links=NO_LINKS
    )
    body = notice.body(at=NOW)
    assert list(body) == ["notice", "timestamp", "text", "data"]
    assert body["notice"] == "workspace.blocked"
    assert body["timestamp"] == "2026-11-28T12:00:00.000+00:00"
    assert "It ends by itself at 12:00 UTC." in body["text"]
    json.dumps(body)
