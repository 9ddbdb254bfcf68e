"""Recordings and transcripts: fetched before they expire, checked, kept; links that last."""

import hashlib
import stat
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from aftercall.db.media import claim_media
from aftercall.domain.media import LATE_LOOKS, MOST_LINKS, MediaState
from aftercall.flows.errors import Conflict
from aftercall.flows.fetch_media import LEASE, MediaFetcher
from aftercall.flows.look import show_call
from aftercall.flows.media import refetch_media, revoke_links
from aftercall.flows.media_links import media_links
from aftercall.flows.service import Service
from aftercall.flows.sweep import sweep
from aftercall.media_store import MediaStore
from aftercall.simulator import Fault, PlannedFault, Simulator
from tests.conftest import Clock, make_settings
from tests.flows.media import (
    all_media,
    call_with_media,
    due_calls,
    fetch_media,
    media,
    saved,
    states,
)
from tests.flows.work import accept_rows, add_hook, call_row, deliver, delivery_rows, fetch

HOUR = timedelta(hours=1)


def swept(service: Service) -> None:
    sweep(service, waiting_messages=lambda _: 0)


def changed(service: Service, **settings: object) -> Service:
    """The same service with other settings, by the names of their fields."""
    return replace(service, settings=service.settings.model_copy(update=settings))


@pytest.fixture
def public(service: Service) -> Service:
    return changed(service, public_url="https://calls.example.com")


# ---- kept --------------------------------------------------------------------


def test_a_calls_recording_and_transcript_are_kept_as_they_were(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    row_id = saved(service, simulator)
    fetch_media(service, tmp_path)
    assert states(service) == {"recording": "stored", "transcript": "stored"}
    for kind, row in media(service).items():
        body = simulator.twentytwo.storage.file(kind, "call_1")
        assert row.path is not None
        assert Path(tmp_path, row.path).read_bytes() == body
        assert (row.size_bytes, row.sha256) == (len(body), hashlib.sha256(body).digest())
        assert (row.source_url, row.last_error) == (None, None)
        assert str(row_id) in row.path
    assert media(service)["recording"].content_type == "audio/wav"
    assert media(service)["transcript"].content_type == "text/plain"


def test_nobody_but_the_owner_can_read_what_is_kept(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    saved(service, simulator)
    kept = tmp_path / "kept"
    fetch_media(service, kept)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [kept, *kept.rglob("*")]}
    assert len(modes) == 4
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())


def test_a_call_id_that_is_a_path_names_no_file(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    saved(service, simulator, "../../etc/passwd")
    fetch_media(service, tmp_path / "kept")
    assert states(service) == {"recording": "stored", "transcript": "stored"}
    assert [path for path in tmp_path.rglob("*") if "passwd" in path.name] == []


def test_twentytwos_credentials_are_never_sent_to_the_storage(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    saved(service, simulator)
    fetch_media(service, tmp_path)
    assert not simulator.twentytwo.storage.has_seen_credentials


def test_a_refetch_of_the_call_fetches_nothing_that_is_kept(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    rows = accept_rows(service, [call_with_media(simulator)])
    fetch(service, rows)
    fetch_media(service, tmp_path)
    accept_rows(service, ["call_1"], type="call.failed")
    fetch(service, rows)
    assert states(service) == {"recording": "stored", "transcript": "stored"}


def test_with_media_off_no_row_is_made(service: Service, simulator: Simulator) -> None:
    service = changed(service, keep_media=False)
    saved(service, simulator)
    assert all_media(service) == []
    with pytest.raises(Conflict, match="AFTERCALL_KEEP_MEDIA"):
        refetch_media(service, "call_1")


def test_more_media_than_places_are_fetched_one_after_the_other(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    for number in range(5):
        saved(service, simulator, f"call_{number}")
    fetcher = MediaFetcher(service, MediaStore(str(tmp_path)), size=1)
    fetcher.fetch([1])
    end = time.monotonic() + 30
    while {row.state for row in all_media(service)} != {MediaState.STORED}:
        assert time.monotonic() < end
    assert fetcher.close(30)
    assert {row.state for row in all_media(service)} == {MediaState.STORED}


# ---- what storages do --------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault.NOT_JSON, "is a page"),
        (Fault.TRUNCATED, "closed the connection within its answer"),
        (Fault.EMPTY, "is empty"),
        (Fault.SERVER_ERROR, "answered 500"),
        (Fault.RESET, "no complete answer"),
        (Fault.JSON_LIST, "no recording"),
    ],
)
def test_what_may_pass_is_tried_again(
    service: Service,
    simulator: Simulator,
    clock: Clock,
    tmp_path: Path,
    fault: Fault,
    says: str,
) -> None:
    saved(service, simulator)
    simulator.twentytwo.storage.fail_next("call_1", "recording", fault)
    fetch_media(service, tmp_path)
    row = media(service)["recording"]
    assert (row.state, row.attempts) == (MediaState.QUEUED, 1)
    assert says in (row.last_error or "")
    clock.now += timedelta(seconds=6)
    fetch_media(service, tmp_path)
    assert states(service)["recording"] == "stored"


def test_a_retry_asked_for_is_not_before_its_time(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    saved(service, simulator)
    busy = PlannedFault(Fault.UNAVAILABLE, retry_after="600")
    simulator.twentytwo.storage.fail_next("call_1", "recording", busy)
    fetch_media(service, tmp_path)
    assert media(service)["recording"].due_at >= clock.now + timedelta(seconds=600)


def test_a_recording_that_is_too_large_is_given_up_with_the_reason(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    service = changed(service, media_max_bytes=100_000)
    saved(service, simulator)
    simulator.twentytwo.storage.fail_next("call_1", "recording", Fault.HUGE)
    fetch_media(service, tmp_path)
    row = media(service)["recording"]
    assert row.state is MediaState.DEAD
    assert "larger than 100,000 bytes" in (row.last_error or "")
    assert list(tmp_path.rglob("*recording*")) == []


def test_redirects_are_followed_three_times_and_no_more(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.twentytwo.storage.hops = 3
    saved(service, simulator)
    fetch_media(service, tmp_path)
    assert states(service) == {"recording": "stored", "transcript": "stored"}
    simulator.twentytwo.storage.hops = 4
    row_id = saved(service, simulator, "call_2")
    fetch_media(service, tmp_path)
    assert states(service, row_id) == {"recording": "dead", "transcript": "dead"}


def test_a_redirect_to_an_address_that_is_not_allowed_is_not_followed(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    storage = simulator.twentytwo.storage
    storage.leads_to = f"http://127.0.0.2:{simulator.twentytwo.server.port}/storage/recording"
    only_one = make_settings(AFTERCALL_ALLOWED_PRIVATE_NETWORKS="127.0.0.1/32")
    service = changed(service, allowed_private_networks=only_one.allowed_private_networks)
    saved(service, simulator)
    fetch_media(service, tmp_path)
    row = media(service)["recording"]
    assert row.state is MediaState.DEAD
    assert "not allowed" in (row.last_error or "")


@pytest.mark.parametrize("leads_to", ["file:///etc/passwd", "http://[", "ftp://127.0.0.1/x"])
def test_a_redirect_out_of_http_ends_there(
    service: Service, simulator: Simulator, tmp_path: Path, leads_to: str
) -> None:
    simulator.twentytwo.storage.leads_to = leads_to
    saved(service, simulator)
    fetch_media(service, tmp_path)
    assert states(service) == {"recording": "dead", "transcript": "dead"}


def test_a_store_that_cannot_be_written_is_tried_again(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    saved(service, simulator)
    (tmp_path / "kept").write_text("a file where the folder should be")
    fetch_media(service, tmp_path / "kept")
    row = media(service)["recording"]
    assert row.state is MediaState.QUEUED
    assert "media store cannot be written" in (row.last_error or "")


# ---- links that expire -------------------------------------------------------


def test_an_expired_link_is_replaced_by_asking_twentytwo_again(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    row_id = saved(service, simulator)
    simulator.twentytwo.storage.expire_links()
    fetch_media(service, tmp_path)
    assert states(service) == {"recording": "queued", "transcript": "queued"}
    swept(service)
    call = call_row(service, "call_1")
    assert (call.state, call.priority) == ("queued", 2)
    fetch(service, [row_id])
    fetch_media(service, tmp_path)
    assert states(service) == {"recording": "stored", "transcript": "stored"}
    assert call_row(service, "call_1").revision == 1
    assert simulator.twentytwo.looks("call_1") == 2


def test_a_link_whose_time_is_over_is_not_even_tried(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    until = clock.now + HOUR
    recording = {"url": "https://storage.twentytwo.in/r.wav", "expires_at": until.isoformat()}
    saved(service, simulator, recording=recording, transcript=None)
    clock.now = until
    fetch_media(service, tmp_path)
    assert "expired" in (media(service)["recording"].last_error or "")
    counts = simulator.twentytwo.server.request_counts()
    assert [path for path in counts if "/storage/" in path] == []


def test_links_that_stay_stale_are_given_up(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    row_id = saved(service, simulator)
    for _ in range(MOST_LINKS + 1):
        simulator.twentytwo.storage.expire_links()
        fetch_media(service, tmp_path)
        swept(service)
        fetch(service, due_calls(service))
    row = media(service, row_id)["recording"]
    assert row.state is MediaState.DEAD
    assert f"after {MOST_LINKS} fresh links" in (row.last_error or "")
    assert simulator.twentytwo.looks("call_1") == 1 + MOST_LINKS


def test_a_retry_comes_well_before_the_link_expires(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    recording = {
        "url": "https://storage.twentytwo.in/r.wav",
        "expires_at": (clock.now + HOUR).isoformat(),
    }
    saved(service, simulator, recording=recording, transcript=None)
    busy = PlannedFault(Fault.UNAVAILABLE, retry_after="7200")
    simulator.twentytwo.storage.fail_next("call_1", "recording", busy)
    fetch_media(service, tmp_path)
    assert media(service)["recording"].due_at <= clock.now + HOUR / 2


def test_a_look_that_fails_leaves_the_call_as_it_is(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    row_id = saved(service, simulator)
    simulator.twentytwo.storage.expire_links()
    fetch_media(service, tmp_path)
    swept(service)
    simulator.twentytwo.fail_next("call_1", Fault.BAD_REQUEST)
    fetch(service, [row_id])
    call = call_row(service, "call_1")
    assert (call.state, call.last_error) == ("fetched", None)


def test_a_look_waits_until_nothing_else_of_the_workspace_does(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    saved(service, simulator)
    simulator.twentytwo.storage.expire_links()
    fetch_media(service, tmp_path)
    fresh = accept_rows(service, simulator.twentytwo.make_calls(1, status="failed"))
    swept(service)
    assert call_row(service, "call_1").state == "fetched"
    fetch(service, fresh)
    swept(service)
    assert call_row(service, "call_1").state == "queued"


# ---- by hand -----------------------------------------------------------------


def test_a_person_can_have_it_fetched_again(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    service = changed(service, media_max_bytes=100_000)
    saved(service, simulator)
    simulator.twentytwo.storage.fail_next("call_1", "recording", Fault.HUGE)
    fetch_media(service, tmp_path)
    assert states(service)["recording"] == "dead"
    refetch_media(service, "call_1")
    fetch_media(service, tmp_path)
    assert states(service) == {"recording": "stored", "transcript": "stored"}


def test_what_is_replaced_goes_when_the_new_one_is_there(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    saved(service, simulator)
    fetch_media(service, tmp_path)
    recording, old = (media(service)[kind].path for kind in ("recording", "transcript"))
    simulator.twentytwo.storage.say("call_1", "Something else.")
    refetch_media(service, "call_1")
    fetch_media(service, tmp_path)
    new = media(service)["transcript"].path
    assert new != old
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {recording, new}


def test_a_call_from_before_media_were_kept_can_be_fetched_by_hand(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    saved(changed(service, keep_media=False), simulator)
    refetch_media(service, "call_1")
    fetch_media(service, tmp_path)
    assert states(service) == {"recording": "stored", "transcript": "stored"}


def test_a_call_without_media_has_nothing_to_fetch_or_revoke(
    service: Service, simulator: Simulator
) -> None:
    saved(service, simulator, recording=None, transcript=None)
    with pytest.raises(Conflict, match="no recording and no transcript"):
        refetch_media(service, "call_1")
    with pytest.raises(Conflict, match="no links"):
        revoke_links(service, "call_1")


# ---- leases ------------------------------------------------------------------


def test_what_a_lost_worker_had_in_hand_is_due_again_and_dead_at_the_third_time(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    row_id = saved(service, simulator)
    for _ in range(3):
        with service.database.transaction() as session:
            claimed = claim_media(session, [row_id], now=clock.now, lease=LEASE, count=9)
        assert len(claimed) == 2
        clock.now += LEASE + timedelta(seconds=1)
        swept(service)
    row = media(service)["recording"]
    assert row.state is MediaState.DEAD
    assert "worker was lost" in (row.last_error or "")


# ---- late media --------------------------------------------------------------


def test_media_that_appear_late_make_a_new_revision_which_is_delivered(
    service: Service, simulator: Simulator, clock: Clock, tmp_path: Path
) -> None:
    add_hook(service, simulator)
    row_id = saved(service, simulator, media_after_looks=2)
    assert states(service) == {}
    for wait in LATE_LOOKS[:2]:
        looks_at = call_row(service, "call_1").look_again_at
        assert looks_at == clock.now + wait
        assert show_call(service, "call_1").look_again_at == looks_at
        clock.now += wait - timedelta(seconds=1)
        swept(service)
        assert call_row(service, "call_1").state == "fetched"
        clock.now += timedelta(seconds=1)
        swept(service)
        fetch(service, [row_id])
    call = call_row(service, "call_1")
    assert (call.revision, call.look_again_at) == (2, None)
    assert [row.type for row in delivery_rows(service)] == ["call.completed", "call.updated"]
    fetch_media(service, tmp_path)
    assert states(service) == {"recording": "stored", "transcript": "stored"}


def test_after_the_last_look_there_is_none(
    service: Service, simulator: Simulator, clock: Clock
) -> None:
    row_id = saved(service, simulator, media_after_looks=99)
    for wait in LATE_LOOKS:
        clock.now += wait
        swept(service)
        fetch(service, [row_id])
    assert call_row(service, "call_1").look_again_at is None
    assert simulator.twentytwo.looks("call_1") == 1 + len(LATE_LOOKS)


@pytest.mark.parametrize(
    "fields",
    [{"duration_seconds": 0}, {"status": "not_connected"}, {"duration_seconds": None}],
    ids=str,
)
def test_a_call_in_which_nobody_talked_is_not_looked_at_again(
    service: Service, simulator: Simulator, fields: dict[str, object]
) -> None:
    saved(service, simulator, recording=None, transcript=None, **fields)
    assert call_row(service, "call_1").look_again_at is None


# ---- links -------------------------------------------------------------------


def test_a_destination_gets_our_link_beside_twentytwos(
    public: Service, simulator: Simulator
) -> None:
    add_hook(public, simulator)
    row_id = saved(public, simulator)
    deliver(public, [row.id for row in delivery_rows(public)])
    with public.database.transaction() as session:
        links = media_links(public, session, [row_id])[row_id]
    (receipt,) = simulator.crm.receipts("leads")
    first = receipt.body
    recording = first["data"]["recording"]
    assert recording["link"] == links.recording
    assert set(recording) == {"url", "expires_at", "link"}
    assert first["data"]["transcript"]["link"] == links.transcript
    assert str(links.recording).startswith(f"https://calls.example.com/media/{row_id}/recording/")


def test_without_a_public_url_there_are_no_links(service: Service, simulator: Simulator) -> None:
    add_hook(service, simulator)
    row_id = saved(service, simulator)
    deliver(service, [row.id for row in delivery_rows(service)])
    (receipt,) = simulator.crm.receipts("leads")
    body = receipt.body
    assert set(body["data"]["recording"]) == {"url", "expires_at"}
    with service.database.transaction() as session:
        found = media_links(service, session, [row_id])
    assert (found[row_id].recording, found[row_id].transcript) == (None, None)


def test_revoked_links_are_followed_by_others(public: Service, simulator: Simulator) -> None:
    row_id = saved(public, simulator)
    with public.database.transaction() as session:
        before = media_links(public, session, [row_id])[row_id]
    revoke_links(public, "call_1")
    with public.database.transaction() as session:
        after = media_links(public, session, [row_id])[row_id]
    assert before.recording != after.recording
    assert before.transcript != after.transcript


# ---- transcripts -------------------------------------------------------------


def said_in(service: Service, row_id: int = 1) -> str | None:
    query = text("SELECT text FROM transcripts WHERE call_row_id = :id")
    with service.database.transaction() as session:
        return session.execute(query, {"id": row_id}).scalar_one_or_none()


def test_a_transcript_is_read_into_the_database(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    saved(service, simulator)
    fetch_media(service, tmp_path)
    assert "quiet balcony" in (said_in(service) or "")
    shown = show_call(service, "call_1").transcript_text
    assert shown is not None
    assert not shown.is_cut


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('[{"speaker": "agent", "text": "Hello"}, {"role": "user", "content": "हाँ"}]',
         "agent: Hello\nuser: हाँ"),
        ('{"transcript": [{"text": "Hello"}]}', "Hello"),
        ('{"transcript": "Hello"}', "Hello"),
        ('{"other": 1}', '{"other": 1}'),
        ("before\x00after", None),
        ("\ufeffHello", "Hello"),
    ],
)  # fmt: skip
def test_a_transcript_is_read_whatever_its_form(
    service: Service, simulator: Simulator, tmp_path: Path, written: str, read: str | None
) -> None:
    simulator.twentytwo.storage.say("call_1", written)
    saved(service, simulator)
    fetch_media(service, tmp_path)
    assert said_in(service) == read


def test_a_long_transcript_is_cut_for_reading_and_whole_in_its_file(
    service: Service, simulator: Simulator, tmp_path: Path
) -> None:
    # Every word another: the hardest for the index.
    simulator.twentytwo.storage.say("call_1", " ".join(f"शब्द{n}" for n in range(120_000)))
    saved(service, simulator)
    fetch_media(service, tmp_path)
    assert states(service)["transcript"] == "stored"
    assert len((said_in(service) or "").encode()) <= 1_000_000
    shown = show_call(service, "call_1").transcript_text
    assert shown is not None
    assert shown.is_cut
    assert (media(service)["transcript"].size_bytes or 0) > 1_000_000
