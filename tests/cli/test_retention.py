"""`aftercall retention`: what is kept, what goes next, and going now."""

import json
import os
from pathlib import Path

from sqlalchemy import text

from aftercall.db.session import Database
from aftercall.media_store import MediaStore
from tests.cli.command import Command, assert_one_line


def test_each_kind_is_shown_with_its_time_and_its_space(aftercall: Command) -> None:
    aftercall.ok("enqueue", "call_1")
    said = aftercall.ok("retention")
    for kind in ("raw_events", "attempts", "payloads", "media", "calls"):
        assert kind in said
    assert "90 days" in said
    assert "ever" in said
    found = {one["kind"]: one for one in json.loads(aftercall.ok("retention", "--json"))["items"]}
    assert (found["raw_events"]["keep_days"], found["calls"]["keep_days"]) == (90, None)
    assert found["calls"]["size_bytes"] > 0
    assert found["calls"]["oldest_at"] is not None


def test_what_is_past_its_time_goes_now_and_is_told(aftercall: Command, database: Database) -> None:
    aftercall.ok("enqueue", "call_1", "call_2")
    with database.transaction() as session:
        old = "now() - interval '40 days'"
        session.execute(
            text(
                "INSERT INTO activity_marks (name, done_id, seen_id, seen_xid, seen_at)"
                " VALUES ('calls', 99, 99, 0, now()), ('attempts', 99, 99, 0, now())"
            )
        )
        session.execute(
            text(f"UPDATE calls SET state = 'dead', received_at = {old} WHERE call_id = 'call_1'")  # noqa: S608
        )
    days = {"AFTERCALL_KEEP_CALLS_DAYS": "30"}
    shown = json.loads(aftercall.ok("retention", "--json", **days))["items"]
    assert {one["kind"]: one["due_rows"] for one in shown}["calls"] == 1
    done = aftercall("retention", "--run", "--json", **days)
    assert done.code == 0, done
    assert "removed: calls 1" in done.err
    assert {one["kind"]: one["due_rows"] for one in json.loads(done.out)["items"]}["calls"] == 0
    entry = json.loads(aftercall.ok("audit", "list", "--json"))["items"][0]
    assert (entry["actor"], entry["action"]) == ("cli", "retention.removed")
    assert entry["detail"] == {"calls": 1}


def test_files_that_no_row_names_are_told_and_go_when_they_are_asked_for(
    aftercall: Command, tmp_path: Path
) -> None:
    media = {"AFTERCALL_MEDIA_URL": str(tmp_path / "media")}
    file = tmp_path / "media" / MediaStore(media["AFTERCALL_MEDIA_URL"]).put(7, "recording", b"a")
    os.utime(file, (0, 0))
    assert "goes with --run" in aftercall("retention", "--unnamed-files", **media).err
    assert "left alone: 1 media files" in aftercall("retention", "--run", **media).err
    assert file.exists()
    done = aftercall("retention", "--run", "--unnamed-files", **media)
    assert "removed: files 1" in done.err
    assert not file.exists()


def test_times_that_contradict_each_other_are_named(aftercall: Command) -> None:
    days = {"AFTERCALL_KEEP_CALLS_DAYS": "30", "AFTERCALL_KEEP_MEDIA_DAYS": "forever"}
    assert_one_line(aftercall("retention", **days), "AFTERCALL_KEEP_MEDIA_DAYS is forever")
