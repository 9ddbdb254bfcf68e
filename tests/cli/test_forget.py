"""`aftercall forget` and `aftercall people …`, as processes on real stores."""

import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from aftercall.embedded import StoreUrls
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.cli.command import Command, assert_one_line, environment
from tests.flows.people import (
    LINE,
    NATIONAL,
    OTHER,
    PHONE,
    add_call,
    arrive,
    assert_not_in,
    assert_nowhere,
    call_ids,
    webhook,
)
from tests.flows.test_forget_person import tell_of_asha
from tests.flows.work import accept, add_hook, fetch


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def service(service: Service, data: Path) -> Service:
    settings = service.settings.model_copy(update={"data_dir": data})
    return replace(service, settings=settings)


@pytest.fixture
def aftercall(aftercall: Command, data: Path) -> Command:
    return replace(aftercall, settings={**aftercall.settings, "AFTERCALL_DATA_DIR": str(data)})


def saved(service: Service, simulator: Simulator, count: int) -> None:
    ids = [add_call(simulator, f"c{number}") for number in range(count)]
    fetch(service, arrive(service, *(webhook(id_) for id_ in ids)))


def test_nothing_is_left_of_a_person_after_the_command(
    aftercall: Command, service: Service, simulator: Simulator, stores: StoreUrls, data: Path
) -> None:
    add_hook(service, simulator)
    tell_of_asha(service, simulator, data / "media")
    report = aftercall.folder / "report.json"
    said = aftercall("forget", "098715 32305", "--yes", "--report", str(report))
    assert said.code == 0, said
    assert "0 places left" in said.out
    assert "leads (webhook): 1 deliveries" in said.out
    assert_not_in(said.said)
    assert_nowhere(stores, service, data, aftercall.folder)
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    view = json.loads(report.read_text())
    assert view["is_complete"]
    assert view["ending"] == NATIONAL[-4:]
    assert view["erased"]["calls"] == 6
    (entry,) = json.loads(aftercall.ok("audit", "list", "--json"))["items"][:1]
    assert (entry["action"], entry["subject"]) == ("person.forgotten", view["mark"])


def test_a_preview_and_a_no_erase_nothing(
    aftercall: Command, service: Service, simulator: Simulator
) -> None:
    saved(service, simulator, 2)
    shown = aftercall.ok("forget", PHONE, "--preview")
    assert "2 calls" in shown
    assert "call_payloads: 2" in shown
    assert_not_in(shown)
    view = json.loads(aftercall.ok("people", "show", "-", "--json", stdin=f"{NATIONAL}\n"))
    assert view["held"]["webhooks"] == 2
    answer = aftercall("forget", PHONE, stdin="n\n")
    assert answer.code == 130
    assert call_ids(service) == {"c0", "c1"}
    assert "0 places left" in aftercall.ok("forget", PHONE, stdin="y\n")
    assert call_ids(service) == set()


def test_what_cannot_be_done_is_one_line(
    aftercall: Command, service: Service, simulator: Simulator
) -> None:
    saved(service, simulator, 1)
    assert_one_line(aftercall("forget", "nobody", "--yes"), "no phone number")
    assert_one_line(aftercall("forget", PHONE, "--yes", "--region", "XX"), "no country")
    refused = aftercall("forget", LINE, "--yes")
    assert refused.code == 1
    assert "line of yours and no person" in refused.err
    folder = str(aftercall.folder / "none" / "report.json")
    assert "cannot be written" in aftercall("forget", PHONE, "--yes", "--report", folder).err
    assert call_ids(service) == {"c0"}


def test_what_is_left_is_told_with_exit_code_1(
    aftercall: Command, service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator, filter=f"call.callee_phone != '{NATIONAL}'")
    left = aftercall("forget", PHONE, "--yes", "--json")
    assert left.code == 1
    assert json.loads(left.out)["left"] == [
        {"where": "destinations", "column": "filter", "count": 1}
    ]


KILLED = {
    "as it waits for a worker": ("SELECT FROM calls WHERE call_id = 'retried' FOR UPDATE", 7, 4),
    # A lock that no change waits for, but a deletion does.
    "between the files and the rows": (
        "SELECT FROM calls WHERE call_id = 'retried' FOR KEY SHARE",
        7,
        2,
    ),
    "before what is others' is redacted": ("SELECT FROM transcripts FOR UPDATE", 1, 2),
}


@pytest.mark.parametrize("killed", KILLED)
def test_killed_in_the_middle_and_done_again_it_is_whole(
    aftercall: Command,
    service: Service,
    simulator: Simulator,
    stores: StoreUrls,
    data: Path,
    killed: str,
) -> None:
    add_hook(service, simulator)
    tell_of_asha(service, simulator, data / "media")
    lock, calls, files = KILLED[killed]
    report = aftercall.folder / "report.json"
    arguments = ["forget", PHONE, "--yes", "--report", str(report)]
    if calls == 1:
        # Only the lock of somebody else's row, which is the last of them.
        lock = lock.replace("transcripts", "transcripts WHERE text LIKE 'Ask%'")

    def is_there() -> bool:
        kept = [path for path in (data / "media").rglob("*") if path.is_file()]
        return bool(forgotten(service)) and len(call_ids(service)) == calls and len(kept) == files

    with service.database.engine.connect() as connection:
        connection.execute(text(lock))
        process = subprocess.Popen(
            [sys.executable, "-m", "aftercall.cli.main", *arguments],
            env=environment(**aftercall.settings),
            cwd=aftercall.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 60
        while not is_there() and time.monotonic() < end:
            time.sleep(0.05)
        assert is_there()
        assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    again = aftercall(*arguments)
    assert again.code == 0, again
    assert_nowhere(stores, service, data, aftercall.folder)
    assert call_ids(service) == {"other"}
    assert [answer.is_duplicate for answer in accept(service, ["delivered"])] == [True]
    # What others have is known from the turn that was broken off.
    view = json.loads(report.read_text())
    assert view["is_complete"]
    assert len(view["elsewhere"][0]["delivered"]) == 1


def forgotten(service: Service) -> int:
    with service.database.transaction() as session:
        return session.scalar(text("SELECT count(*) FROM forgotten_calls")) or 0


# ---- handing out -------------------------------------------------------------


def test_an_export_has_all_that_is_held_and_nothing_of_others(
    aftercall: Command, service: Service, simulator: Simulator, data: Path
) -> None:
    add_hook(service, simulator)
    tell_of_asha(service, simulator, data / "media")
    said = json.loads(aftercall.ok("people", "export", PHONE))
    assert said["phone"] == PHONE
    assert {call["call_id"] for call in said["calls"]} == call_ids(service) - {"other"}
    first = next(call for call in said["calls"] if call["call_id"] == "delivered")
    assert first["output_parameters"] == {"note": f"is {PHONE}"}
    assert first["transcript_text"]["text"] == "My number is 98715, 32305."
    assert first["webhooks"][0]["body"] == webhook("delivered").decode()
    assert first["revisions"][0]["revision"] == 1
    assert first["deliveries"][0]["destination"] == "leads"
    assert said["sent_to"][0]["destination"] == "leads"
    assert "Ask my wife" not in json.dumps(said)
    assert OTHER.removeprefix("+91") not in json.dumps(said["calls"])
    assert {"where": "transcripts", "column": "text", "count": 1} in said["mentioned_in"]


def test_a_zip_has_the_recordings_in_it(
    aftercall: Command, service: Service, simulator: Simulator, data: Path
) -> None:
    add_hook(service, simulator)
    tell_of_asha(service, simulator, data / "media")
    target = aftercall.folder / "person.zip"
    aftercall.ok("people", "export", PHONE, "--to", str(target))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with zipfile.ZipFile(io.BytesIO(target.read_bytes())) as archive:
        names = archive.namelist()
        assert json.loads(archive.read("person.json"))["phone"] == PHONE
        kinds = {name.split("-")[1] for name in names if name.startswith("media/")}
        assert kinds == {"recording", "transcript"}
        (words,) = [name for name in names if "-transcript-" in name]
        assert archive.read(words) == b"My number is 98715, 32305."


def test_an_export_of_nobody_is_empty(aftercall: Command) -> None:
    said = json.loads(aftercall.ok("people", "export", PHONE))
    assert (said["calls"], said["sent_to"], said["mentioned_in"]) == ([], [], [])
