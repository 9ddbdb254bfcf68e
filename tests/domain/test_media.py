"""What becomes of a recording or a transcript, as tables and laws."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercall.domain.exchange import Answer, Failure, NoAnswer
from aftercall.domain.media import (
    LATE_LOOKS,
    MEDIA_MOVES,
    MOST_LINKS,
    GiveUp,
    Kept,
    MediaKind,
    MediaOutcome,
    MediaStanding,
    MediaState,
    StaleLink,
    TryAgain,
    classify_media,
    late_look,
    plan_media,
)
from aftercall.domain.media_types import SERVED_TYPES, audio_type, is_page, is_text
from aftercall.domain.transcripts import as_utf8, text_of

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
RECORDING, TRANSCRIPT = MediaKind.RECORDING, MediaKind.TRANSCRIPT
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "


def answer(
    status: int = 200, body: bytes = WAV, type_: str | None = None, *, cut: bool = False
) -> Answer:
    return Answer(
        status=status,
        body=body,
        body_was_cut=cut,
        retry_after=None,
        elapsed=timedelta(),
        content_type=type_,
    )


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Kept), (206, Kept), (301, GiveUp), (400, GiveUp), (401, StaleLink),
        (403, StaleLink), (404, StaleLink), (408, TryAgain), (410, StaleLink), (413, GiveUp),
        (425, TryAgain), (429, TryAgain), (500, TryAgain), (503, TryAgain),
    ],
)  # fmt: skip
def test_each_status_has_its_outcome(status: int, outcome: type[MediaOutcome]) -> None:
    assert isinstance(classify_media(answer(status), RECORDING, max_bytes=99), outcome)


@given(st.integers(100, 599), st.binary(max_size=64), st.sampled_from(MediaKind))
def test_every_answer_has_an_outcome(status: int, body: bytes, kind: MediaKind) -> None:
    found = classify_media(answer(status, body), kind, max_bytes=99)
    assert isinstance(found, Kept | StaleLink | TryAgain | GiveUp)
    if isinstance(found, Kept):
        assert found.content_type in SERVED_TYPES
        assert body


@pytest.mark.parametrize("failure", Failure)
def test_no_answer_passes_unless_the_address_is_wrong(failure: Failure) -> None:
    said = NoAnswer(failure=failure, detail="storage:443 …", elapsed=timedelta())
    is_final = failure in (Failure.FORBIDDEN_ADDRESS, Failure.INVALID_REQUEST)
    found = classify_media(said, RECORDING, max_bytes=99)
    assert isinstance(found, GiveUp if is_final else TryAgain)


@pytest.mark.parametrize(
    ("body", "declared", "found"),
    [
        (WAV, "binary/octet-stream", "audio/wav"),
        (b"ID3\x04rest", None, "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "text/html", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac", "application/octet-stream"),
        (b"OggS\x00\x02", "audio/ogg", "audio/ogg"),
        (b"\x00\x00\x00\x20ftypM4A ", "video/mp4", "audio/mp4"),
        (b"fLaC\x00\x00", None, "audio/flac"),
        (b"\x1a\x45\xdf\xa3", "audio/webm; codecs=opus", "application/octet-stream"),
        (b"\xff\xf1\x50\x80", None, None),
        (b"RIFF\x24\x00\x00\x00AVI fmt ", None, None),
        (b'{"error": "none"}', "application/json", None),
        (b"", "text/plain", None),
    ],
)
def test_sound_is_told_by_its_first_bytes(
    body: bytes, declared: str | None, found: str | None
) -> None:
    assert audio_type(body, declared) == found


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html>", b"\xef\xbb\xbf\n <HTML lang=en>", b"<?xml version='1.0'?>"]
)
def test_a_page_is_neither_sound_nor_text_whatever_it_calls_itself(page: bytes) -> None:
    assert is_page(page)
    for kind, type_ in ((RECORDING, "audio/mpeg"), (TRANSCRIPT, "text/plain")):
        found = classify_media(answer(200, page, type_), kind, max_bytes=99)
        assert isinstance(found, TryAgain)


@pytest.mark.parametrize(
    ("body", "declared", "is_one"),
    [
        (b"Hello", None, True),
        (b"Hello", "text/vtt", True),
        (b"{}", "application/vnd.x+json", True),
        (b"Hello", "application/octet-stream", True),
        (b"Hello", "application/pdf", False),
        (b"a\x00b", "text/plain", False),
        ("Hello".encode("utf-16"), "text/plain", True),
    ],
)
def test_text_is_text_by_its_label_and_by_what_is_in_it(
    body: bytes, declared: str | None, is_one: bool
) -> None:
    assert is_text(body, declared) is is_one


@given(st.binary(max_size=200))
def test_any_bytes_are_read_as_text_that_postgresql_takes(body: bytes) -> None:
    text, _ = text_of(body)
    assert "\x00" not in text
    # No half of a surrogate pair is left in either.
    assert text.encode().decode() == text
    assert isinstance(as_utf8(body).decode(), str)


@given(
    st.sampled_from([Kept("audio/wav"), StaleLink("x"), TryAgain("x"), GiveUp("x")]),
    st.integers(0, 12),
    st.integers(0, 5),
    st.none() | st.integers(-1_000, 10_000_000),
)
def test_every_step_is_a_move_and_every_road_ends(
    outcome: MediaOutcome, attempts: int, links: int, seconds: int | None
) -> None:
    until = None if seconds is None else NOW + timedelta(seconds=seconds)
    standing = MediaStanding(
        attempts=attempts, links_asked=links, due_at=NOW, source_expires_at=until
    )
    step = plan_media(outcome, standing, now=NOW, rng=random.Random(1))
    assert step.state in MEDIA_MOVES[MediaState.FETCHING]
    assert (step.error is None) == (step.state is MediaState.STORED)
    if step.state is MediaState.QUEUED:
        # Each round spends an attempt or a link, and both are counted.
        assert step.links_asked > links or step.attempts < 10
        assert step.due_at >= NOW
    if links >= MOST_LINKS:
        assert not step.asks_for_link


def test_the_looks_grow_and_end() -> None:
    waits = [late_look(looks) for looks in range(len(LATE_LOOKS) + 1)]
    assert waits[-1] is None
    assert waits[:-1] == sorted(LATE_LOOKS)
