"""Recordings and transcripts behind our own links, as a CRM's player and a stranger meet them."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from sqlalchemy import text

from aftercall.embedded import StoreUrls
from aftercall.flows.service import Service
from aftercall.link_signing import LinkSigner
from aftercall.simulator import Simulator
from api.media import read_range
from tests.api.server import Api, Json, assert_problem, running_api
from tests.api.working import work_off
from tests.conftest import SECRET_KEY, Clock
from tests.flows.media import call_with_media, fetch_media

PUBLIC = "https://calls.example.com/behind"


@pytest.fixture(scope="module")
def _api(stores: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(
        tmp_path_factory.mktemp("media-api"),
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
        AFTERCALL_PUBLIC_URL=PUBLIC,
        AFTERCALL_SECRET_KEY=f"the key that was added in front, {SECRET_KEY}",
    ) as api:
        yield api


class Media:
    """A call that has media, and the links to them."""

    def __init__(self, api: Api, simulator: Simulator, service: Service, clock: Clock) -> None:
        self.api, self.simulator, self.service, self.clock = api, simulator, service, clock

    def save(self, call_id: str = "call_1", **fields: object) -> None:
        self.api.webhook({"call_id": call_with_media(self.simulator, call_id, **fields)})
        work_off(self.service, self.clock)

    def fetch(self) -> None:
        fetch_media(self.service, self.api.log.parent / ".aftercall" / "media")

    def story(self, call_id: str = "call_1") -> Json:
        return self.api.get(f"/calls/{call_id}")

    def path(self, kind: str = "recording") -> str:
        (link,) = [one["link"] for one in self.story()["media"] if one["kind"] == kind]
        assert link.startswith(f"{PUBLIC}/media/")
        return str(urlsplit(link).path.removeprefix("/behind"))

    def file(self, kind: str = "recording") -> bytes:
        return self.simulator.twentytwo.storage.file(kind, "call_1")


@pytest.fixture
def media(api: Api, simulator: Simulator, service: Service, clock: Clock) -> Media:
    return Media(api, simulator, service, clock)


def moved(api: Api, method: str, path: str, **headers: str) -> requests.Response:
    return api.session.request(
        method, f"{api.origin}{path}", headers=headers, timeout=20, allow_redirects=False
    )


# ---- who has the link --------------------------------------------------------


def test_a_recording_is_served_with_what_a_player_needs(api: Api, media: Media) -> None:
    media.save()
    media.fetch()
    answer = api.open(media.path())
    assert answer.content == media.file()
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-length"] == str(len(media.file()))
    assert answer.headers["content-disposition"] == 'inline; filename="call-1-recording.wav"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "private" in answer.headers["cache-control"]


def test_a_transcript_is_text_and_nothing_that_runs(api: Api, media: Media) -> None:
    media.simulator.twentytwo.storage.say("call_1", "Hello <script>alert(1)</script> हाँ")
    media.save()
    media.fetch()
    answer = api.open(media.path("transcript"))
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.content.decode() == "Hello <script>alert(1)</script> हाँ"


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-9", slice(0, 10)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-20", slice(-20, None)),
    ],
)
def test_a_player_may_ask_for_a_part(api: Api, media: Media, asked: str, part: slice) -> None:
    media.save()
    media.fetch()
    answer = moved(api, "GET", media.path(), Range=asked)
    assert answer.status_code == 206
    assert answer.content == media.file()[part]
    first, last = answer.headers["content-range"].removeprefix("bytes ").split("/")[0].split("-")
    assert int(last) - int(first) + 1 == len(answer.content)


def test_a_part_that_is_not_there_is_416_with_the_size(api: Api, media: Media) -> None:
    media.save()
    media.fetch()
    answer = moved(api, "GET", media.path(), Range="bytes=99999999-")
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(media.file())}"


def test_head_says_the_same_without_the_body(api: Api, media: Media) -> None:
    media.save()
    media.fetch()
    answer = moved(api, "HEAD", media.path())
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(media.file()))


def test_what_a_browser_has_already_is_not_sent_again(api: Api, media: Media) -> None:
    media.save()
    media.fetch()
    etag = api.open(media.path()).headers["etag"]
    assert moved(api, "GET", media.path(), **{"If-None-Match": etag}).status_code == 304
    ranged = {"Range": "bytes=0-9", "If-Range": '"another"'}
    assert moved(api, "GET", media.path(), **ranged).status_code == 200


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=5-99", (5, 10)),
        ("bytes=9-", (9, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=10-", None),
        ("bytes=-0", None),
        ("bytes=0-1,3-4", (0, 10)),
        ("bytes=-", (0, 10)),
        ("bytes=5-2", (0, 10)),
        ("lines=1-2", (0, 10)),
        ("bytes=9999999999999999999999-", (0, 10)),
    ],
)
def test_ranges_are_read_as_the_standard_has_them(
    asked: str, found: tuple[int, int] | None
) -> None:
    assert read_range(asked, 10) == found


# ---- who has not -------------------------------------------------------------


def test_a_wrong_link_a_revoked_one_and_none_at_all_are_answered_alike(
    api: Api, media: Media
) -> None:
    media.save()
    media.fetch()
    path = media.path()
    assert api.open(path).status_code == 200
    api.post("/calls/call_1/revoke-links")
    signature = path.rpartition("/")[2]
    paths = [
        path,
        path[:-1] + ("A" if path[-1] != "A" else "B"),
        f"/media/1/transcript/{signature}",
        f"/media/2/recording/{signature}",
        f"/media/99999999999999999999999/recording/{signature}",
        "/media/1/recording/x",
        "/media/1/nonsense/x",
        f"/media/1/recording/{LinkSigner('some other key').sign(1, 'recording', 2)}",
    ]
    answers = [api.open(path) for path in paths]
    for answer in answers:
        assert_problem(answer, 404, "nothing behind this link")
    assert len({answer.text for answer in answers}) == 1
    assert api.open(media.path()).status_code == 200


def test_a_link_that_the_key_before_signed_lives_on(api: Api, media: Media) -> None:
    media.save()
    media.fetch()
    old = LinkSigner(SECRET_KEY).sign(1, "recording", 1)
    assert not media.path().endswith(old)
    assert api.open(f"/media/1/recording/{old}").status_code == 200


def test_until_it_is_stored_a_link_leads_to_twentytwos(api: Api, media: Media) -> None:
    url = "https://media.example/1.mp3?signature=x"
    media.save(recording={"url": url, "expires_at": "2999-01-01T00:00:00Z"})
    answer = moved(api, "GET", media.path())
    assert (answer.status_code, answer.headers["location"]) == (302, url)


@pytest.mark.parametrize(
    "recording",
    [
        {"url": "http://media.example/1.mp3", "expires_at": "2999-01-01T00:00:00Z"},
        {"url": "https://media.example/1.mp3", "expires_at": "2024-01-01T00:00:00Z"},
        {"url": "javascript:alert(1)"},
    ],
)
def test_a_link_of_twentytwos_that_is_not_good_is_followed_by_nobody(
    api: Api, media: Media, recording: Json
) -> None:
    media.save(recording=recording)
    assert_problem(moved(api, "GET", media.path()), 404, "not there yet")


def test_a_file_that_is_gone_is_a_404_and_in_the_log(api: Api, media: Media) -> None:
    media.save()
    media.fetch()
    for file in (api.log.parent / ".aftercall" / "media").rglob("*-recording-*"):
        file.unlink()
    assert_problem(api.open(media.path()), 404, "cannot be read")
    assert "media.unreadable" in Path(api.log).read_text()


# ---- the operator's API ------------------------------------------------------


def test_a_story_tells_where_the_media_are(api: Api, media: Media) -> None:
    media.save()
    waiting = {one["kind"]: one["state"] for one in media.story()["media"]}
    assert waiting == {"recording": "queued", "transcript": "queued"}
    media.fetch()
    recording, transcript = media.story()["media"]
    assert (recording["state"], recording["size_bytes"]) == ("stored", len(media.file()))
    assert transcript["content_type"] == "text/plain"
    assert "quiet balcony" in media.story()["transcript_text"]["text"]
    assert "source_url" not in str(media.story()["media"])


def test_media_are_fetched_again_on_request(api: Api, media: Media) -> None:
    media.save()
    media.fetch()
    story = api.post("/calls/call_1/refetch-media", status=202)
    assert {one["state"] for one in story["media"]} == {"queued"}
    # What is kept is served meanwhile.
    assert api.open(media.path()).content == media.file()
    entries = api.get("/audit", subject="call_1")["items"]
    assert entries[0]["action"] == "media.refetched"


def test_a_call_without_media_is_a_conflict(api: Api, media: Media) -> None:
    media.save(recording=None, transcript=None)
    assert_problem(api.call("POST", "/calls/call_1/refetch-media"), 409, "no recording")
    assert_problem(api.call("POST", "/calls/call_1/revoke-links"), 409, "no links")
    assert_problem(api.call("POST", "/calls/nobodys/refetch-media"), 404, "no call")


# ---- search ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("quiet balcony", ["call_1"]),
        ("BALCONY", ["call_1"]),
        ("balcony quiet", ["call_1"]),
        ("quiet garden", []),
        ("garden", ["call_2"]),
        ("& | ! :*", []),
    ],
)
def test_calls_are_found_by_what_was_said(
    api: Api, media: Media, words: str, found: list[str]
) -> None:
    media.save()
    media.save("call_2", output_parameters={"notes": "Asks for a garden."})
    media.fetch()
    assert [call["call_id"] for call in api.calls(transcript=words)] == found
    if found:
        assert [call["call_id"] for call in api.calls(q=words)] == found


def test_a_search_for_words_uses_its_index(service: Service) -> None:
    with service.database.transaction() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))
        rows = session.execute(
            text(
                "EXPLAIN SELECT call_row_id FROM transcripts "
                "WHERE words @@ plainto_tsquery('simple'::regconfig, 'balcony')"
            )
        )
        assert "ix_transcripts_words" in " ".join(rows.scalars())
