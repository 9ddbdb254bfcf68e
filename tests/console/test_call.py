"""A call's page: its story, its values, what can be done; and that nothing hostile gets through."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html import escape, unescape
from typing import Any

import pytest
from sqlalchemy import text

from aftercall.db.session import Database
from aftercall.simulator import Fault
from api.console.call import media
from api.console.links import call_path
from api.console.words import iso, phone_parts, utc
from tests.api.server import Api
from tests.conftest import WORKSPACE
from tests.console.telling import HOSTILE, Teller, learned
from tests.console.visitor import Visitor

NAMED = {"workspace_id": WORKSPACE.id}
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def told(page: str) -> str:
    """The page as it reads: no tags, single spaces."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page))).replace(" .", ".")


def steps(page: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'class="step-title">([^<]*)<', page)]


# ---- the story ---------------------------------------------------------------


def test_a_delivered_call_says_so_and_how_it_came_there(admin: Visitor, teller: Teller) -> None:
    teller.destination()
    teller.tell("call_1", output_parameters=learned(), input_parameters={"name": "Meera"})
    page = admin.get("/calls/call_1").text
    assert "Yes Delivered to leads on" in told(page)
    assert steps(page) == [
        "Webhook received",
        "Fetched from Twenty2",
        "Saved",
        "Delivered to leads",
        "Next: look at Twenty2 again",
    ]
    for words in ("callback_time", "Tomorrow 11am", "15.67 INR", "1 min 34 s", "Meera"):
        assert words in page, words
    assert '"site": "Whitefield"' in unescape(page)
    assert "+919876543210" not in re.sub(r'data-phone="[^"]*"', "", page)
    # It is over: nothing to watch.
    assert "data-live=" not in page


def test_a_call_that_waits_says_why_and_until_when(admin: Visitor, teller: Teller) -> None:
    teller.simulator.twentytwo.fail_next("call_1", Fault.UNAVAILABLE)
    teller.tell("call_1")
    page = admin.get("/calls/call_1").text
    assert "Not yet Twenty2 answered 503" in told(page)
    assert "The next attempt comes on" in told(page)
    assert steps(page) == ["Webhook received", "Fetch failed", "Next: fetch"]
    assert "data-live=" in page


def test_a_refused_delivery_says_so_with_the_hooks_own_words(
    admin: Visitor, teller: Teller
) -> None:
    teller.destination()
    teller.refuse("leads", Fault.UNPROCESSABLE)
    teller.tell("call_1")
    page = admin.get("/calls/call_1").text
    assert "No leads did not take it. leads answered 422." in told(page)
    assert "compare its answer with the mapping" in page
    assert steps(page)[-2:] == ["Delivery to leads given up", "Next: look at Twenty2 again"]
    assert "Show the answer" in page


def test_duplicates_of_a_webhook_are_counted(admin: Visitor, teller: Teller) -> None:
    for _ in range(2):
        teller.console.webhook({"call_id": "call_1", "event": "call.completed"})
    teller.tell("call_1")
    assert "came 2 more times" in admin.get("/calls/call_1").text


def test_a_change_at_twenty2_is_a_save_of_its_own(admin: Visitor, teller: Teller) -> None:
    teller.destination()
    teller.tell("call_1", output_parameters={"interested": "no"})
    teller.tell("call_1", output_parameters={"interested": "yes"})
    admin.submit("/call/refetch", {"call_id": "call_1", **NAMED})
    teller.work()
    page = admin.get("/calls/call_1").text
    assert "Saved again, revision 2" in steps(page)
    assert steps(page).count("Delivered to leads") == 2
    assert "revision 1, an older one" in page


def test_a_skipped_call_names_the_filter(admin: Visitor, teller: Teller) -> None:
    teller.destination(filter="output_parameters.interested == 'yes'")
    teller.tell("call_1", output_parameters={"interested": "no"})
    page = admin.get("/calls/call_1").text
    assert "Not sent The filter of leads did not want it." in told(page)
    assert "Skipped for leads" in steps(page)


def test_no_such_call_says_what_to_do(admin: Visitor) -> None:
    page = admin.get("/calls/call_of_nobody")
    assert page.status_code == 404
    assert "There is no such call here" in page.text
    assert "/calls.add" in page.text


def test_the_same_id_in_two_workspaces_is_a_choice(admin: Visitor, console: Api) -> None:
    console.put("/workspaces/other", {"api_key": "k", "api_secret": "s"})
    for workspace in (WORKSPACE.id, "other"):
        console.post("/calls", {"call_ids": ["a/b"], "workspace_id": workspace}, status=202)
    page = admin.get("/calls/a%2Fb")
    assert page.status_code == 409
    for workspace in (WORKSPACE.id, "other"):
        href = call_path("a/b", workspace)
        assert f'href="{href}"' in page.text
        assert admin.get(href).status_code == 200


# ---- values ------------------------------------------------------------------


def test_hostile_and_endless_values_are_only_text(admin: Visitor, teller: Teller) -> None:
    teller.destination(HOSTILE[:60], hook="leads")
    hostile = {HOSTILE: HOSTILE, "long": "x" * 10_000, "n" * 10_000: {"deep": [HOSTILE]}}
    teller.tell("call_1", output_parameters=hostile, input_parameters=hostile)
    for path in ("/calls", "/calls/call_1"):
        page = admin.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
    assert "Show all 10,000 characters" in admin.get("/calls/call_1").text


def test_the_raw_answer_is_shown_up_to_a_point_and_can_be_had_whole(
    admin: Visitor, teller: Teller
) -> None:
    teller.tell("a/b", output_parameters={"long": "é" * 300_000})
    page = admin.get(call_path("a/b")).text
    part = unescape(page.partition('data-loads="')[2].partition('"')[0])
    href = unescape(re.findall(r'<a href="(/call/answer[^"]*)"', page)[0])
    assert part == f"{href}&part=yes"
    shown = admin.get(part).text
    assert len(shown) < 210_000
    assert "This is the beginning of" in shown
    answer = admin.get(href)
    assert "attachment" in answer.headers["Content-Disposition"]
    assert json.loads(answer.content)["output_parameters"]["long"] == "é" * 300_000


@pytest.mark.parametrize(
    ("stored", "url", "is_over"),
    [
        ({"url": "https://a.example/1.mp3", "expires_at": None}, "https://a.example/1.mp3", False),
        ({"url": "https://a.example/1", "expires_at": "2026-01-05T13:00:00Z"}, "same", False),
        ({"url": "https://a.example/1", "expires_at": "2026-01-05T12:00:00Z"}, None, True),
        ({"url": "https://a.example/1", "expires_at": "nonsense"}, "same", False),
        ({"url": "http://a.example/1"}, None, False),
        ({"url": "javascript:alert(1)"}, None, False),
        ({"url": "https://["}, None, False),
    ],
)
def test_a_recording_is_linked_only_by_https_and_in_time(
    stored: dict[str, Any], url: str | None, is_over: bool
) -> None:
    found = media(stored, now=NOW)
    assert found is not None
    assert found["url"] == (stored["url"] if url == "same" else url)
    assert found["is_over"] is is_over


def test_the_recording_is_on_the_page(admin: Visitor, teller: Teller) -> None:
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    over = {"url": "https://media.example/1.txt", "expires_at": "2024-01-01T00:00:00Z"}
    recording = {"url": "https://media.example/1.mp3", "expires_at": until}
    teller.tell("call_1", recording=recording, transcript=over)
    page = admin.get("/calls/call_1").text
    assert "<audio" not in page
    assert '<a href="https://media.example/1.mp3"' in page
    assert "Next: fetch the recording" in steps(page)
    assert "The link to the transcript expired on" in told(page)


# ---- what can be done --------------------------------------------------------


def test_a_call_is_fetched_again(admin: Visitor, teller: Teller) -> None:
    teller.tell("a/b")
    answer = admin.submit("/call/refetch", {"call_id": "a/b", **NAMED})
    assert answer.headers["Location"] == call_path("a/b", WORKSPACE.id)
    page = admin.get(answer.headers["Location"]).text
    assert "fetched from Twenty2 again" in page
    assert "The call is being fetched again." in page
    teller.work()
    assert steps(admin.get(call_path("a/b")).text).count("Fetched from Twenty2") == 2


def test_a_call_is_replayed_to_all_and_to_one(admin: Visitor, teller: Teller) -> None:
    first, _ = teller.destination("first"), teller.destination("second")
    teller.tell("call_1")
    admin.submit("/call/replay", {"call_id": "call_1", **NAMED})
    assert "The call goes again to first, second." in told(admin.get("/calls/call_1").text)
    teller.work()
    one = {"call_id": "call_1", **NAMED, "destination_id": first["id"]}
    admin.submit("/call/replay", one)
    assert "The call goes again to first." in told(admin.get("/calls/call_1").text)
    teller.work()
    assert len(teller.simulator.crm.receipts("first")) == 3
    assert len(teller.simulator.crm.receipts("second")) == 2
    teller.console.post(f"/destinations/{first['id']}/disable")
    admin.submit("/call/replay", one)
    page = told(admin.get("/calls/call_1").text)
    assert "It is held: it goes when first is resumed." in page
    assert "goes again" not in page


def test_a_call_can_be_sent_where_it_never_went(admin: Visitor, teller: Teller) -> None:
    teller.tell("call_1")
    admin.submit("/call/replay", {"call_id": "call_1", **NAMED})
    assert "Nothing was sent" in admin.get("/calls/call_1").text
    made = teller.destination("late")
    page = admin.get("/calls/call_1").text
    assert "Send it to another destination" in page
    admin.submit("/call/replay", {"call_id": "call_1", **NAMED, "destination_id": made["id"]})
    teller.work()
    assert "Delivered to late on" in told(admin.get("/calls/call_1").text)


def test_what_is_not_saved_yet_cannot_be_replayed(admin: Visitor, teller: Teller) -> None:
    teller.tell("call_1", is_worked=False)
    admin.submit("/call/replay", {"call_id": "call_1", **NAMED})
    assert "is not saved yet: there is nothing to send." in admin.get("/calls/call_1").text


def test_the_request_is_shown_without_secrets(admin: Visitor, teller: Teller) -> None:
    teller.destination(headers={"X-Key": "a-secret"}, mapping="{phone: call.callee_phone}")
    teller.tell("call_1")
    page = admin.get("/calls/call_1").text
    part = unescape(re.findall(r'data-loads="(/call/request/[^"]*)"', page)[0])
    shown = unescape(admin.get(part).text)
    assert '"phone": "+91 •••• ••3210"' in re.sub(r"<[^>]*>", "", shown)
    assert "X-Key" in shown
    assert "a-secret" not in shown
    assert "<html" not in shown
    assert "<html" in admin.get(part.partition("?")[0]).text


def test_readers_see_everything_and_no_button(
    reader: Visitor, console: Api, teller: Teller
) -> None:
    teller.destination()
    teller.tell("call_1")
    page = reader.get("/calls/call_1").text
    assert "Delivered to leads" in page
    for words in ("Fetch again", "Replay", 'action="/call/'):
        assert words not in page
    for path in ("/call/refetch", "/call/replay"):
        assert reader.submit(path, {"call_id": "call_1", **NAMED}).status_code == 403


# ---- live --------------------------------------------------------------------


@contextmanager
def watching(visitor: Visitor, path: str) -> Iterator[Iterator[str]]:
    with visitor.session.get(
        f"{visitor.origin}{path}",
        headers={"Accept": "text/event-stream"},
        stream=True,
        timeout=20,
    ) as answer:
        assert answer.status_code == 200, answer.text
        yield answer.iter_lines(chunk_size=1, decode_unicode=True)


def test_a_page_follows_its_call_until_all_is_done(admin: Visitor, teller: Teller) -> None:
    teller.destination()
    teller.tell("a&b", is_worked=False)
    href = unescape(admin.get("/calls/a%26b").text.partition('data-live="')[2].partition('"')[0])
    with watching(admin, href) as lines:
        assert next(line for line in lines if "Not yet" in line)
        teller.work()
        assert next(line for line in lines if "Delivered to leads" in line)
        assert "event: over" in list(lines)
    with watching(admin, "/call/live?call_id=nobody&workspace_id=x") as lines:
        assert "event: over" in list(lines)


def test_an_open_list_is_told_of_new_calls_and_of_what_became_of_them(
    admin: Visitor, teller: Teller
) -> None:
    with watching(admin, "/calls.live?q=call_") as lines:
        assert next(line for line in lines if line.startswith("event: prepend"))
        teller.tell("other_1", is_worked=False)
        teller.tell("call_1", is_worked=False)
        seen = []
        for line in lines:
            seen.append(line)
            if 'title="call_1"' in line:
                break
        assert not any("other_1" in line for line in seen)
        teller.work()
        assert next(line for line in lines if ">Fetched<" in line)


def test_what_is_not_known_has_a_dash_and_no_gap(admin: Visitor, teller: Teller) -> None:
    nothing = {"duration_seconds": None, "billed_duration_seconds": None, "cost": None}
    teller.tell("call_1", **nothing, callee_phone=None, caller_phone=None, agent_id=None)
    teller.tell("call_2", is_worked=False)
    page = admin.get("/calls/call_1").text
    assert "Length –" in told(page)
    assert "Cost –" in told(page)
    assert not re.search(r"<dd>\s*</dd>", page)
    assert "Length" not in admin.get("/calls/call_2").text


# ---- the ends of the calendar, odd ids, phone numbers ------------------------


@pytest.mark.parametrize("at", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:30"])
def test_a_link_that_expires_beyond_the_calendar_is_a_page_all_the_same(
    admin: Visitor, teller: Teller, at: str
) -> None:
    media = {"url": "https://example.com/a.mp3", "expires_at": at}
    teller.tell("call_1", recording=media)
    assert admin.get("/calls/call_1").status_code == 200
    moment = datetime.fromisoformat(at)
    assert utc(moment).endswith("UTC")
    assert iso(moment).endswith("Z")


@pytest.mark.parametrize("call_id", ["..", ".", "a/../b"])
def test_every_page_leads_to_a_call_whatever_its_id(
    admin: Visitor, teller: Teller, call_id: str
) -> None:
    made = teller.destination()
    teller.tell(call_id)
    deliveries = teller.console.get("/deliveries", destination_id=made["id"])["items"]
    href = escape(call_path(call_id, WORKSPACE.id))
    for path in ("/set-up", *(f"/deliveries/{one['id']}" for one in deliveries)):
        assert f'href="{href}"' in admin.get(path).text
    assert deliveries


def test_the_latest_failures_of_a_workspace_lead_to_calls_whatever_their_ids(
    admin: Visitor, teller: Teller
) -> None:
    teller.simulator.twentytwo.fail_next("..", Fault.BAD_REQUEST)
    teller.tell("..")
    href = escape(call_path("..", WORKSPACE.id))
    assert f'href="{href}"' in admin.get(f"/workspaces/{WORKSPACE.id}").text


def test_phone_numbers_in_requests_and_answers_are_masked_until_asked_for(
    admin: Visitor, teller: Teller
) -> None:
    made = teller.destination()
    teller.tell("call_1", output_parameters={"other": "+91 98765 43210", "third": "98765-43219"})
    [delivery] = teller.console.get("/deliveries", destination_id=made["id"])["items"]
    for path in (
        f"/call/request/{delivery['id']}?",
        f"/call/request/{delivery['id']}?part=yes",
        f"/call/answer?call_id=call_1&workspace_id={WORKSPACE.id}&part=yes",
    ):
        hidden = re.sub(r'data-phone="[^"]*"', "", admin.get(path).text)
        shown = admin.get(f"{path}&phones=shown").text
        for number in ("+919876543210", "+91 98765 43210", "98765-43219"):
            assert number not in hidden, path
            assert number in unescape(shown), path


@pytest.mark.parametrize("text", ["+91 98765 43210", "98765-43210", "098765 43210", "+14155550123"])
def test_phone_numbers_are_found_as_people_write_them(text: str) -> None:
    assert phone_parts(f"at {text}, or") == [("at ", False), (text, True), (", or", False)]


@pytest.mark.parametrize("text", ["2026-01-05 12:00:00", "12345-6789", "+1 23", "550e8400-41d4"])
def test_dates_and_ids_are_no_phone_numbers(text: str) -> None:
    assert phone_parts(text) == [(text, False)]


# ---- what is not kept any more -----------------------------------------------


def test_what_was_removed_by_retention_is_said_and_is_no_error(
    admin: Visitor, teller: Teller, database: Database
) -> None:
    teller.destination()
    teller.tell("call_1", output_parameters=learned())
    with database.transaction() as session:
        session.execute(text("DELETE FROM call_payloads"))
    page = told(admin.get("/calls/call_1").text)
    gone = "Twenty2's answer and the parameters were not kept any more: fetch the call again"
    assert page.count(gone) == 3
    assert "Delivered to leads" in page
    assert "call_1" in admin.get("/calls").text
    answer = admin.get("/call/answer", params={"call_id": "call_1", **NAMED})
    assert (answer.status_code, gone in unescape(answer.text)) == (404, True)
    form = {"call_id": "call_1", **NAMED}
    admin.submit("/call/replay", form)
    said = told(admin.get("/calls/call_1").text)
    assert "What call call_1 would send was not kept any more" in said
