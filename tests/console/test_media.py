"""A call's page: its recording is played from here, its transcript read, its links revoked."""

import re
from pathlib import Path

import pytest

from tests.api.server import Api
from tests.conftest import WORKSPACE
from tests.console.telling import Teller
from tests.console.visitor import READONLY_TOKEN, Visitor
from tests.flows.media import call_with_media, fetch_media

NAMED = {"call_id": "call_1", "workspace_id": WORKSPACE.id}


def kept(
    teller: Teller, *, transcript: str = "Agent: Namaste. Customer: My number is 9876543210."
) -> None:
    """A call whose media are stored."""
    teller.simulator.twentytwo.storage.say("call_1", transcript)
    teller.console.webhook({"call_id": call_with_media(teller.simulator)})
    teller.work()
    fetch_media(teller.service, store(teller.console))


def store(console: Api) -> Path:
    return console.log.parent / ".aftercall" / "media"


def player(page: str) -> str | None:
    found = re.search(r'<audio controls preload="none" src="([^"]+)"', page)
    return found[1] if found else None


def test_the_recording_is_played_from_our_own_link(admin: Visitor, teller: Teller) -> None:
    kept(teller)
    src = player(admin.get("/calls/call_1").text)
    assert src is not None
    assert src.startswith("/media/1/recording/")
    sound = teller.console.open(src)
    assert sound.content == teller.simulator.twentytwo.storage.file("recording", "call_1")


def test_pages_play_nothing_from_elsewhere(admin: Visitor) -> None:
    policy = admin.get("/calls").headers["content-security-policy"]
    assert "media-src 'self';" in policy


def test_the_transcript_is_on_the_page_and_its_numbers_are_masked(
    admin: Visitor, teller: Teller
) -> None:
    kept(teller)
    page = admin.get("/calls/call_1").text
    assert "Agent: Namaste." in page
    assert ">9876543210<" not in page
    assert ">9876543210<" in admin.get("/calls/call_1?phones=shown").text


def test_a_long_transcript_is_folded(admin: Visitor, teller: Teller) -> None:
    kept(teller, transcript="word " * 1_000 + "the very end")
    page = admin.get("/calls/call_1").text
    assert "Beginning of the transcript" in page
    folded = page.split("Show all of it")[1]
    assert "the very end" in folded
    assert "the very end" not in page.split("Show all of it")[0]


def test_a_transcript_that_is_hostile_is_only_text(admin: Visitor, teller: Teller) -> None:
    kept(teller, transcript="<script>alert(1)</script>")
    assert "<script>alert" not in admin.get("/calls/call_1").text


def test_revoking_gives_the_page_another_link(admin: Visitor, teller: Teller) -> None:
    kept(teller)
    before = player(admin.get("/calls/call_1").text)
    answer = admin.submit("/call/media/revoke", NAMED)
    assert answer.headers["location"].startswith("/calls/call_1")
    page = admin.get("/calls/call_1").text
    assert "lead nowhere any more" in page
    assert player(page) != before
    assert teller.console.open(str(before)).status_code == 404
    [entry] = teller.console.get("/audit", subject="call_1")["items"]
    assert (entry["action"], entry["via"]) == ("media.links_revoked", "console")


def test_what_could_not_be_fetched_says_why_and_is_fetched_again(
    admin: Visitor, teller: Teller
) -> None:
    teller.simulator.twentytwo.storage.leads_to = "ftp://elsewhere.example/1"
    kept(teller)
    assert "The recording could not be fetched: no valid request" in admin.get("/calls/call_1").text
    teller.simulator.twentytwo.storage.leads_to = None
    admin.submit("/call/media/refetch", NAMED)
    assert "Next: fetch the recording" in admin.get("/calls/call_1").text
    teller.work()
    fetch_media(teller.service, store(teller.console))
    assert player(admin.get("/calls/call_1").text) is not None


def test_without_media_the_buttons_say_why_not(admin: Visitor, teller: Teller) -> None:
    teller.tell("call_1")
    for action in ("refetch", "revoke"):
        admin.submit(f"/call/media/{action}", NAMED)
        assert "Call call_1 has no" in admin.get("/calls/call_1").text or action == "refetch"


@pytest.mark.parametrize("action", ["refetch", "revoke"])
def test_readers_listen_and_change_nothing(reader: Visitor, teller: Teller, action: str) -> None:
    kept(teller)
    page = reader.get("/calls/call_1").text
    assert player(page) is not None
    assert f"/call/media/{action}" not in page
    assert READONLY_TOKEN not in page
    assert reader.submit(f"/call/media/{action}", NAMED).status_code == 403


def test_the_story_says_when_twentytwo_is_looked_at_again(admin: Visitor, teller: Teller) -> None:
    teller.tell("call_1", recording=None)
    page = admin.get("/calls/call_1").text
    assert "Next: look at Twenty2 again" in page
    assert "Its recording or its transcript is not there yet" in page


def test_a_call_is_found_by_what_was_said_in_the_search_box(admin: Visitor, teller: Teller) -> None:
    kept(teller, transcript="Customer: I want a terrace garden.")
    assert "call_1" in admin.get("/calls?q=terrace+garden").text
    assert "/calls/call_1" not in admin.get("/calls?q=swimming+pool").text
