"""/api/v1/calls: finding calls, paging through them, one call's story, adding, fetching again."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aftercall.simulator import Fault, Simulator
from tests.api.server import Api, Json, assert_problem
from tests.conftest import WORKSPACE

#: As in contract.md.
FIELDS = {
    "call_id", "workspace_id", "state", "status", "direction", "callee_phone", "caller_phone",
    "duration_seconds", "billed_duration_seconds", "cost", "started_at", "ended_at",
    "input_parameters", "output_parameters", "recording", "transcript", "attempts", "due_at",
    "last_error",
}  # fmt: skip


def parse(moment: str) -> datetime:
    """An RFC 3339 time, in UTC."""
    assert moment.endswith("Z"), moment
    return datetime.fromisoformat(moment)


# ---- what a call reads like --------------------------------------------------


def test_a_call_reads_as_twenty2_told_it(
    api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    truth = replace(
        simulator.twentytwo.call(call_id),
        cost="15.67 INR",
        recording={"url": "https://media.example/1.mp3", "expires_at": "2999-01-01T00:00:00Z"},
        transcript={"url": "https://media.example/1.txt", "expires_at": "2999-01-01T00:00:00Z"},
        output_parameters={"note": "हाँ 🙂", "budget": 4500000, "nested": {"a": [1, None, "x"]}},
    )
    simulator.twentytwo.add_call(truth)
    api.webhook({"call_id": call_id})
    waiting = api.get("/calls")["items"][0]
    assert waiting.keys() >= FIELDS
    assert (waiting["state"], waiting["attempts"], waiting["status"]) == ("queued", 0, None)
    assert abs(parse(waiting["due_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    work()
    call = api.get("/calls")["items"][0]
    assert call.keys() >= FIELDS
    assert (call["state"], call["attempts"], call["due_at"]) == ("fetched", 1, None)
    assert call["last_error"] is None
    assert call["cost"] == {"amount": "15.67", "currency": "INR"}
    for name in (
        "status", "direction", "callee_phone", "caller_phone", "duration_seconds",
        "billed_duration_seconds", "input_parameters", "output_parameters",
    ):  # fmt: skip
        assert call[name] == getattr(truth, name), name
    for name in ("started_at", "ended_at"):
        assert parse(call[name]) == parse(getattr(truth, name))
    for name in ("recording", "transcript"):
        media = getattr(truth, name)
        assert call[name]["url"] == media["url"]
        assert parse(call[name]["expires_at"]) == parse(media["expires_at"])


def test_a_call_tells_its_whole_story(
    api: Api,
    simulator: Simulator,
    work: Callable[[], None],
    add_destination: Callable[..., Json],
) -> None:
    made = add_destination(simulator.crm.hook_url("leads"))
    simulator.crm.add_hook("leads", made["secret"])
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    body = {"call_id": call_id, "event": "call.completed", "event_id": "evt_1"}
    api.webhook(body)
    api.webhook(body)
    work()
    story = api.get(f"/calls/{call_id}")
    assert story.keys() >= (FIELDS | {"events", "deliveries"})
    [event] = story["events"]
    assert (event["type"], event["event_id"], event["duplicates"]) == (
        "call.completed",
        "evt_1",
        1,
    )
    parse(event["received_at"])
    [fetch] = story["attempts"]
    assert (fetch["number"], fetch["outcome"], fetch["status_code"]) == (1, "succeeded", 200)
    [delivery] = story["deliveries"]
    assert (delivery["state"], delivery["destination_id"]) == ("delivered", made["id"])
    [attempt] = delivery["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["status_code"]) == (1, "succeeded", 200)
    assert parse(attempt["started_at"]) <= datetime.now(UTC)
    assert [receipt.webhook_id for receipt in simulator.crm.receipts()] == [delivery["id"]]


def test_a_call_that_is_dead_says_why(
    api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, Fault.UNPROCESSABLE)
    api.webhook({"call_id": call_id})
    work()
    call = api.get("/calls", state="dead")["items"][0]
    assert "422" in call["last_error"]
    assert call["due_at"] is None


def test_a_call_that_nobody_knows_is_a_404(api: Api) -> None:
    assert_problem(api.call("GET", "/calls/call_nobody"), 404, "call_nobody")
    assert_problem(api.call("POST", "/calls/call_nobody/refetch"), 404, "call_nobody")
    api.webhook({"call_id": "call_1"})
    assert_problem(api.call("GET", "/calls/call_1", params={"workspace_id": "ws_2"}), 404)


@pytest.mark.parametrize(
    "call_id", ["a b", "ü☎", "100%", "a+b", "a?b", "a#b", "a&b=c", "..", "a/b"]
)
def test_a_call_is_found_by_its_id_whatever_characters_are_in_it(api: Api, call_id: str) -> None:
    from urllib.parse import quote

    api.webhook({"call_id": call_id})
    quoted = quote(call_id, safe="").replace(".", "%2E")
    assert api.get(f"/calls/{quoted}")["call_id"] == call_id


# ---- pages -------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 7, 50, 119, 120, 121])
def test_pages_over_120_calls_have_no_gap_and_no_repeat(api: Api, limit: int) -> None:
    call_ids = [f"call_{number:03}" for number in range(120)]
    for start in range(0, 120, 40):
        api.webhook({"call_ids": call_ids[start : start + 40]})
    pages = api.pages("/calls", limit=limit)
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert len(pages) == -(-120 // limit)
    found = [call["call_id"] for page in pages for call in page]
    assert len(found) == 120
    assert set(found) == set(call_ids)


def test_calls_come_newest_first(api: Api) -> None:
    for number in range(5):
        api.webhook({"call_id": f"call_{number}"})
    assert [call["call_id"] for call in api.calls()] == [f"call_{n}" for n in (4, 3, 2, 1, 0)]


def test_calls_that_come_in_while_somebody_pages_do_not_shift_the_pages(api: Api) -> None:
    call_ids = [f"call_{number:03}" for number in range(120)]
    api.webhook({"call_ids": call_ids})
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = api.get("/calls", limit=50, **cursor)
        found += [call["call_id"] for call in page["items"]]
        api.webhook({"call_id": f"late_{len(found)}"})
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(found) == 120
    assert set(found) == set(call_ids)


def test_an_empty_list_is_one_page(api: Api) -> None:
    assert api.get("/calls") == {
        "items": [],
        "next_cursor": None,
        "previous_cursor": None,
    }


def test_pages_keep_the_filter(api: Api) -> None:
    for number in range(30):
        api.webhook({"call_id": f"call_{number}", "workspace_id": f"ws_{number % 3}"})
    found = [call for page in api.pages("/calls", limit=4, workspace_id="ws_1") for call in page]
    assert len(found) == 10
    assert {call["workspace_id"] for call in found} == {"ws_1"}


# ---- filters -----------------------------------------------------------------


def test_calls_are_filtered_by_state_status_phone_id_and_time(
    api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    completed = simulator.twentytwo.make_calls(3, status="completed")
    failed = simulator.twentytwo.make_calls(2, status="failed")
    dead = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(dead[0], Fault.BAD_REQUEST)
    before = datetime.now(UTC)
    api.webhook({"call_ids": [*completed, *failed, *dead]})
    work()
    after = datetime.now(UTC)
    api.webhook({"call_id": "call_waiting"})

    def ids(**filters: str) -> set[str]:
        return {call["call_id"] for call in api.calls(**filters)}

    assert ids(state="fetched") == {*completed, *failed}
    assert ids(state="queued") == {"call_waiting"}
    assert ids(state="dead") == set(dead)
    assert ids(state="fetching") == set()
    assert ids(status="completed") == set(completed)
    assert ids(status="failed") == set(failed)
    assert ids(status="failed", state="dead") == set()
    assert ids(q=completed[0]) == {completed[0]}
    phone = simulator.twentytwo.call(completed[0]).callee_phone
    assert phone is not None
    assert completed[0] in ids(q=phone)
    assert completed[0] in ids(q=phone[-4:])
    assert ids(q="%") == ids(q="_") == ids(q="\\") == set()
    assert ids(since=after.isoformat()) == {"call_waiting"}
    assert ids(until=after.isoformat()) == {*completed, *failed, *dead}
    assert ids(since=before.isoformat(), until=after.isoformat(), state="dead") == set(dead)
    assert ids(until=before.isoformat()) == set()
    # The same moment, as another clock has it.
    there = after.astimezone(tz=None).astimezone(UTC).isoformat().replace("+00:00", "Z")
    assert ids(since=there) == {"call_waiting"}


@pytest.mark.parametrize(
    ("filters", "at"),
    [
        ({"state": "sleeping"}, "query.state.0"),
        ({"limit": "0"}, "query.limit"),
        ({"limit": "501"}, "query.limit"),
        ({"limit": "-1"}, "query.limit"),
        ({"limit": "many"}, "query.limit"),
        ({"since": "yesterday"}, "query.since"),
        ({"until": "2024-13-01T00:00:00Z"}, "query.until"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "!!!!"}, "cursor"),
        ({"cursor": "ключ"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "LTE"}, "cursor"),
        ({"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"}, "cursor"),
    ],
)
def test_a_filter_that_makes_no_sense_is_a_422_that_names_it(
    api: Api, filters: dict[str, str], at: str
) -> None:
    assert_problem(api.call("GET", "/calls", params=filters), 422, at=at)


@pytest.mark.parametrize(
    "path",
    [
        "/calls?q=%00",
        "/calls?status=%00",
        "/calls?workspace_id=%00",
        "/calls/%00",
        "/calls/call_1?workspace_id=%00",
        "/deliveries?call_id=%00",
        "/workspaces/%00",
        "/calls?q=%ED%A0%80",
        "/calls/%FF",
    ],
)
def test_characters_that_no_database_takes_find_nothing_and_break_nothing(
    api: Api, path: str
) -> None:
    answer = api.call("GET", path)
    assert answer.status_code in (200, 404, 422), answer.text
    if answer.status_code == 200:
        assert answer.json()["items"] == []


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00%2B14:00"]
)
def test_the_edges_of_time_are_moments_too(api: Api, moment: str) -> None:
    api.webhook({"call_id": "call_1"})
    for name in ("since", "until"):
        assert api.call("GET", f"/calls?{name}={moment}").status_code == 200


# ---- adding ------------------------------------------------------------------


def test_calls_are_added_by_id_as_a_webhook_would(
    api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    call_ids = simulator.twentytwo.make_calls(3)
    answer = api.post("/calls", {"call_ids": [*call_ids, call_ids[0]]}, status=202)
    assert answer == {"received": 4, "duplicates": 1}
    work()
    assert {call["call_id"] for call in api.calls(state="fetched")} == set(call_ids)
    again = api.post("/calls", {"call_ids": call_ids}, status=202)
    assert again == {"received": 3, "duplicates": 3}
    assert api.calls(state="queued") == []


def test_calls_may_be_added_to_another_workspace_that_exists(api: Api) -> None:
    body = {"call_ids": ["call_1"], "workspace_id": "ws_2"}
    assert_problem(api.call("POST", "/calls", json=body), 404, "ws_2")
    api.put("/workspaces/ws_2", {})
    api.post("/calls", body, status=202)
    assert [call["workspace_id"] for call in api.calls()] == ["ws_2"]


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({}, "body.call_ids"),
        ({"call_ids": []}, "body.call_ids"),
        ({"call_ids": "call_1"}, "body.call_ids"),
        ({"call_ids": None}, "body.call_ids"),
        ({"call_ids": ["x"] * 10_001}, "body.call_ids"),
        ({"call_ids": ["call_1"], "more": 1}, "body.more"),
        ({"call_ids": ["call_1"], "workspace_id": 17}, "body.workspace_id"),
        ({"call_ids": ["call_1", ""]}, "call_ids[1]"),
        ({"call_ids": ["call_1", "x" * 129]}, "call_ids[1]"),
        ({"call_ids": ["call_1", 17, None]}, "call_ids[2]"),
        ({"call_ids": ["a\u0000"]}, "call_ids[0]"),
        ([], "body"),
        ("call_1", "body"),
        (None, "body"),
    ],
)
def test_ids_that_make_no_sense_are_a_422_that_names_them_and_none_is_added(
    api: Api, body: object, at: str
) -> None:
    assert_problem(api.call("POST", "/calls", json=body), 422, at=at)
    assert api.calls() == []


# ---- fetching again ----------------------------------------------------------


def test_a_call_is_fetched_again_and_the_same_content_makes_no_second_delivery(
    api: Api,
    simulator: Simulator,
    work: Callable[[], None],
    add_destination: Callable[..., Json],
) -> None:
    simulator.crm.add_hook("leads", add_destination(simulator.crm.hook_url("leads"))["secret"])
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    api.webhook({"call_id": call_id})
    work()
    answer = api.post(f"/calls/{call_id}/refetch", status=202)
    assert (answer["call_id"], answer["state"]) == (call_id, "queued")
    work()
    story = api.get(f"/calls/{call_id}")
    assert (story["state"], len(story["attempts"]), len(story["deliveries"])) == ("fetched", 2, 1)
    assert len(simulator.crm.receipts()) == 1


def test_a_call_whose_content_is_new_is_delivered_again_under_a_new_id(
    api: Api,
    simulator: Simulator,
    work: Callable[[], None],
    add_destination: Callable[..., Json],
) -> None:
    simulator.crm.add_hook("leads", add_destination(simulator.crm.hook_url("leads"))["secret"])
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    api.webhook({"call_id": call_id})
    work()
    truth = simulator.twentytwo.call(call_id)
    simulator.twentytwo.add_call(replace(truth, output_parameters={"interested": "changed"}))
    api.post(f"/calls/{call_id}/refetch", status=202)
    work()
    bodies: list[Any] = [receipt.body for receipt in simulator.crm.receipts()]
    assert [body["data"]["output_parameters"].get("interested") for body in bodies][-1] == "changed"
    assert len({receipt.webhook_id for receipt in simulator.crm.receipts()}) == 2
    assert api.get(f"/calls/{call_id}")["output_parameters"] == {"interested": "changed"}


def test_a_dead_call_lives_again_when_it_is_fetched_again(
    api: Api, simulator: Simulator, work: Callable[[], None]
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, Fault.BAD_REQUEST)
    api.webhook({"call_id": call_id})
    work()
    assert api.get(f"/calls/{call_id}")["state"] == "dead"
    api.post(f"/calls/{call_id}/refetch", status=202)
    work()
    story = api.get(f"/calls/{call_id}")
    assert (story["state"], story["last_error"]) == ("fetched", None)


def test_a_refetch_of_an_id_that_two_workspaces_have_must_say_whose(api: Api) -> None:
    for workspace_id in ("ws_1", "ws_2"):
        api.webhook({"call_id": "call_1", "workspace_id": workspace_id})
    assert_problem(api.call("POST", "/calls/call_1/refetch"), 409, "workspace_id")
    api.post("/calls/call_1/refetch?workspace_id=ws_1", status=202)


def test_the_stats_count_what_is_there(
    api: Api, simulator: Simulator, work: Callable[[], None], add_destination: Callable[..., Json]
) -> None:
    simulator.crm.add_hook("leads", add_destination(simulator.crm.hook_url("leads"))["secret"])
    api.webhook({"call_ids": simulator.twentytwo.make_calls(3)})
    work()
    api.webhook({"call_id": "call_waiting", "workspace_id": WORKSPACE.id})
    stats = api.get("/stats")
    assert stats["calls"] == {"queued": 1, "fetching": 0, "fetched": 3, "dead": 0}
    assert stats["deliveries"]["delivered"] == 3
    assert (stats["due_calls"], stats["due_deliveries"]) == (1, 0)
    parse(stats["oldest_due_call_at"])
    parse(stats["newest_event_at"])
