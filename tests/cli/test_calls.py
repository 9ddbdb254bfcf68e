"""`aftercall enqueue` and `aftercall calls …`."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from aftercall.simulator import Fault, Simulator
from tests.api.server import Api
from tests.cli.command import Command, assert_one_line, environment
from tests.conftest import WORKSPACE
from tests.flows.media import call_with_media

# ---- enqueue -----------------------------------------------------------------


def test_ids_are_queued_and_those_that_are_known_are_counted(aftercall: Command, api: Api) -> None:
    assert "2 queued, 0 known" in aftercall.ok("enqueue", "call_1", "call_2")
    assert "1 queued, 2 known" in aftercall.ok("enqueue", "call_3", "call_1", "call_3")
    assert [call["call_id"] for call in api.calls()] == ["call_3", "call_2", "call_1"]
    assert {call["workspace_id"] for call in api.calls()} == {WORKSPACE.id}


def test_ids_are_read_from_standard_input_and_from_a_file(aftercall: Command, api: Api) -> None:
    assert "2 queued" in aftercall.ok("enqueue", "-", stdin="call_1\r\n\n  call_2  \n")
    file = aftercall.folder / "ids.txt"
    file.write_text("call_3\n\ncall_4")
    assert "2 queued" in aftercall.ok("enqueue", "--file", str(file))
    assert {call["call_id"] for call in api.calls()} == {f"call_{n}" for n in (1, 2, 3, 4)}


def test_a_file_as_windows_writes_it_gives_the_same_ids(aftercall: Command, api: Api) -> None:
    file = aftercall.folder / "ids.txt"
    file.write_bytes("\ufeffcall_1\r\ncall_2\r\n".encode())
    aftercall.ok("enqueue", "--file", str(file))
    assert {call["call_id"] for call in api.calls()} == {"call_1", "call_2"}


def test_a_long_file_shows_how_far_it_is(aftercall: Command, api: Api) -> None:
    ids = "\n".join(f"call_{number}" for number in range(2_500))
    result = aftercall("enqueue", "-", stdin=ids)
    assert (result.code, "2500 queued" in result.out) == (0, True)
    assert "1000 of 2500" in result.err
    assert api.get("/stats")["calls"]["queued"] == 2_500


def test_bad_lines_are_named_and_nothing_is_queued(aftercall: Command, api: Api) -> None:
    long = "x" * 129
    result = aftercall("enqueue", "-", stdin=f"call_1\n{long}\ncall_2\na\x01b\n")
    assert_one_line(result, "line 2", "128", "line 4", "control")
    assert api.calls() == []


def test_a_file_that_is_no_text_is_one_line(aftercall: Command) -> None:
    file = aftercall.folder / "ids.bin"
    file.write_bytes(b"call_1\n\xff\xfe\x00\n")
    assert_one_line(aftercall("enqueue", "--file", str(file)), "ids.bin")
    assert_one_line(aftercall("enqueue", "-", stdin=b"call_1\n\xff\xfe\n"))


def test_no_ids_at_all_are_said_so(aftercall: Command) -> None:
    assert_one_line(aftercall("enqueue", "-", stdin="\n\n"), "no call id")
    assert aftercall("enqueue").code == 2
    assert aftercall("enqueue", "call_1", "--file", __file__).code == 2
    missing = aftercall("enqueue", "--file", "no-such-file")
    assert (missing.code, "no-such-file" in missing.err) == (2, True)


def test_ids_go_to_the_workspace_that_is_named_if_there_is_one(
    aftercall: Command, api: Api
) -> None:
    result = aftercall("enqueue", "call_1", "--workspace", "ws_2")
    assert_one_line(result, "ws_2", "aftercall workspaces set")
    api.put("/workspaces/ws_2", {})
    aftercall.ok("enqueue", "call_1", "--workspace", "ws_2")
    assert [call["workspace_id"] for call in api.calls()] == ["ws_2"]


def test_ids_without_any_workspace_are_said_so(aftercall: Command) -> None:
    result = aftercall("enqueue", "call_1", TWENTYTWO_WORKSPACE_ID="")
    assert_one_line(result, "workspace")


# ---- list and show -----------------------------------------------------------


def test_an_empty_list_says_where_calls_come_from(aftercall: Command) -> None:
    assert "aftercall enqueue" in aftercall.ok("calls", "list")
    assert json.loads(aftercall.ok("calls", "list", "--json")) == {
        "items": [],
        "next_cursor": None,
        "previous_cursor": None,
    }


def test_a_filter_that_finds_nothing_does_not_say_that_there_are_no_calls(
    aftercall: Command, api: Api
) -> None:
    api.webhook({"call_id": "call_1"})
    assert "No calls yet" not in aftercall.ok("calls", "list", "--state", "dead")


def test_the_list_and_the_story_read_as_the_api_answers(
    aftercall: Command, api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    call_ids = simulator.twentytwo.make_calls(3, status="completed")
    api.webhook({"call_ids": call_ids})
    work()
    listed = json.loads(aftercall.ok("calls", "list", "--json", "--limit", "2"))
    assert listed == api.get("/calls", limit=2)
    rest = json.loads(aftercall.ok("calls", "list", "--json", "--cursor", listed["next_cursor"]))
    assert rest == api.get("/calls", cursor=listed["next_cursor"])
    story = json.loads(aftercall.ok("calls", "show", call_ids[0], "--json"))
    assert story == api.get(f"/calls/{call_ids[0]}")


def test_the_table_shows_whole_ids_and_how_to_go_on(
    aftercall: Command, api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, Fault.UNPROCESSABLE)
    long_id = "c" * 128
    api.webhook({"call_ids": [call_id, long_id]})
    work()
    result = aftercall("calls", "list")
    assert call_id in result.out
    assert "dead" in result.out
    assert "422" in result.out
    # What is cut or folded cannot be copied, nor found with grep.
    assert long_id in result.out
    result = aftercall("calls", "list", "--limit", "1")
    assert "--cursor" in result.err


def test_the_story_is_told_for_people(
    aftercall: Command, api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    simulator.crm.add_hook(
        "leads",
        api.post(
            "/destinations", {"name": "leads", "url": simulator.crm.hook_url("leads")}, status=201
        )["secret"],
    )
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    simulator.crm.hook("leads").fail_next(Fault.SERVER_ERROR)
    api.webhook({"call_id": call_id, "event": "call.completed"})
    work()
    told = aftercall.ok("calls", "show", call_id)
    for text in (call_id, "received call.completed", "fetch, attempt 1", "leads", "500"):
        assert text in told


def test_a_call_is_queued_to_be_fetched_again(
    aftercall: Command, api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    api.webhook({"call_id": call_id})
    work()
    assert call_id in aftercall.ok("calls", "refetch", call_id)
    assert api.get(f"/calls/{call_id}")["state"] == "queued"


def test_a_call_that_nobody_knows_is_one_line_whatever_it_is_called(aftercall: Command) -> None:
    names = ("call_nobody", "[/bold]", "[red]", ":warning:")
    started = [aftercall.start("calls", "show", name) for name in names]
    for name, running in zip(names, started, strict=True):
        assert_one_line(running.finish(), name)
    assert_one_line(aftercall("calls", "show", "\udcff"))


def test_a_time_may_be_given_as_the_json_shows_it(aftercall: Command, api: Api) -> None:
    api.webhook({"call_id": "call_1"})
    received_at = api.calls()[0]["received_at"]
    listed = json.loads(aftercall.ok("calls", "list", "--json", "--since", received_at))
    assert [call["call_id"] for call in listed["items"]] == ["call_1"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--state", "sleeping"), 2),
        (("--limit", "0"), 2),
        (("--limit", "501"), 2),
        (("--since", "yesterday"), 2),
        (("--cursor", "nonsense"), 1),
    ],
)
def test_a_filter_that_makes_no_sense_is_an_error(
    aftercall: Command, arguments: tuple[str, str], code: int
) -> None:
    result = aftercall("calls", "list", *arguments)
    assert result.code == code
    assert "Traceback" not in result.said


def test_a_reader_that_goes_away_early_is_no_failure_to_speak_of(
    aftercall: Command, api: Api
) -> None:
    api.webhook({"call_ids": [f"call_{number:04}" for number in range(500)]})
    command = f"{sys.executable} -m aftercall.cli.main calls list --limit 500 --json | head -1"
    shell = subprocess.run(
        ["sh", "-c", command],
        cwd=aftercall.folder,
        env=environment(**aftercall.settings),
        capture_output=True,
        check=False,
    )
    assert (shell.stdout, shell.stderr) == (b"{\n", b"")


# ---- media -------------------------------------------------------------------


def test_media_are_listed_fetched_again_and_their_links_revoked(
    aftercall: Command, api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    api.webhook({"call_id": call_with_media(simulator)})
    work()
    before = aftercall.ok("calls", "media", "call_1")
    assert "recording" in before
    assert "queued" in before
    assert aftercall.ok("calls", "media", "call_1", "--revoke") != before
    shown = json.loads(aftercall.ok("calls", "media", "call_1", "--refetch", "--json"))
    assert [one["state"] for one in shown["items"]] == ["queued", "queued"]
    actions = [entry["action"] for entry in api.get("/audit", subject="call_1")["items"]]
    assert actions == ["media.refetched", "media.links_revoked"]


def test_a_call_without_media_says_when_twentytwo_is_asked_again(
    aftercall: Command, api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    api.webhook({"call_id": call_with_media(simulator, recording=None, transcript=None)})
    work()
    result = aftercall("calls", "media", "call_1")
    assert "Nothing of it is kept here" in result.out
    assert "Twenty2 is asked again after" in result.err
    refused = aftercall("calls", "media", "call_1", "--refetch")
    assert_one_line(refused, "no recording and no transcript")


def test_calls_are_listed_by_what_was_said(aftercall: Command) -> None:
    assert "No calls match" in aftercall.ok("calls", "list", "--transcript", "terrace garden")
