"""Finding a call and making it go, as people do it: by mouse, by keyboard, on a phone."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import expect

from aftercall.simulator import Fault
from tests.browser.conftest import Look, Looked
from tests.conftest import WORKSPACE
from tests.console.telling import HOSTILE, Teller, learned
from tests.console.visitor import READONLY_TOKEN
from tests.flows.media import call_with_media, fetch_media

DAY = timedelta(days=1)


def populated(teller: Teller) -> None:
    """Calls of every kind, the newest last."""
    teller.destination("leads")
    teller.destination("tasks", mapping="{phone: call.callee_phone}")
    teller.simulator.twentytwo.fail_next("call_waits_for_twenty2", Fault.UNAVAILABLE)
    teller.tell("call_waits_for_twenty2", callee_phone="+919000000001")
    teller.tell(
        "call_nobody_answered",
        status="not_connected",
        callee_phone="+919000000002",
        duration_seconds=None,
        output_parameters=None,
    )
    teller.refuse("tasks", Fault.BAD_REQUEST)
    until = (datetime.now(UTC) + DAY).isoformat()
    teller.tell(
        "call_9c4d7e12ab",
        output_parameters=learned(summary="Wants to see the site with the family. " * 40),
        input_parameters={"name": "Meera Iyer", "project": "Whitefield"},
        recording={"url": "https://media.example/1.mp3", "expires_at": until},
        transcript={"url": "https://media.example/1.txt", "expires_at": "2024-01-01T00:00:00Z"},
    )
    teller.refuse("leads", Fault.UNAVAILABLE)
    teller.tell("call_77aa01bc23", callee_phone="9123456780", output_parameters=learned())
    teller.tell("call_of_today_1", callee_phone="+14155550123", output_parameters=learned())
    teller.tell("call_just_in", is_worked=False)


def test_a_call_is_found_by_its_phone_in_another_spelling(look: Look, teller: Teller) -> None:
    teller.tell("call_1", output_parameters=learned())
    teller.tell("call_2", callee_phone="+918888888888")
    window = look()
    page = window.sign_in(onward="/calls")
    page.get_by_label("Search").fill("098765-43210")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_role("link", name="call_1").click()
    expect(page.get_by_role("heading", name="Call call_1")).to_be_visible()
    expect(page.get_by_text("What the agent learned")).to_be_visible()
    window.check()


def test_the_keyboard_alone_leads_from_the_search_to_the_call(look: Look, teller: Teller) -> None:
    teller.tell("call_1")
    page = look().sign_in(onward="/calls")
    page.get_by_label("Search").focus()
    page.keyboard.type("call_1")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/calls\?q=call_1$"))
    link = page.get_by_role("link", name="call_1")
    page.get_by_label("Search").focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if link.evaluate("element => element === document.activeElement"):
            break
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Call call_1")).to_be_visible()


def test_a_row_is_as_good_as_its_link(look: Look, teller: Teller) -> None:
    teller.tell("call_1")
    page = look().sign_in(onward="/calls")
    page.get_by_role("row").nth(1).locator("td").nth(3).click()
    expect(page.get_by_role("heading", name="Call call_1")).to_be_visible()


def test_filters_are_chosen_and_cleared(look: Look, teller: Teller) -> None:
    teller.tell("call_1", output_parameters=learned())
    teller.tell("call_2", is_worked=False)
    window = look()
    page = window.sign_in(onward="/calls")
    page.get_by_label("Queued").check()
    page.get_by_role("button", name="Search").click()
    expect(page).to_have_url(re.compile(r"/calls\?state=queued$"))
    expect(page.get_by_role("link", name="call_2")).to_be_visible()
    expect(page.get_by_role("link", name="call_1")).to_have_count(0)
    page.get_by_role("link", name="Clear").click()
    page.get_by_text("More filters").click()
    page.get_by_label("Parameter").fill("interested:yes")
    page.get_by_label("Received").select_option("Between dates…")
    expect(page.get_by_label("From")).to_be_focused()
    page.get_by_label("From").fill("2024-01-01")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("link", name="call_1")).to_be_visible()
    expect(page.get_by_role("link", name="call_2")).to_have_count(0)
    expect(page.get_by_label("From")).to_have_value("2024-01-01")
    assert "zone=Asia" in page.url
    window.check()


def test_a_call_arrives_while_one_looks(look: Look, teller: Teller) -> None:
    window = look()
    page = window.sign_in(onward="/calls")
    expect(page.get_by_text("No calls yet")).to_be_visible()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    teller.tell("call_1", is_worked=False)
    expect(page.get_by_role("link", name="call_1")).to_be_visible()
    expect(page.get_by_text("No calls yet")).to_be_hidden()
    teller.work()
    expect(page.get_by_role("row").nth(1).get_by_text("Fetched")).to_be_visible()
    assert window.complaints == []


def test_the_export_is_what_is_filtered(look: Look, teller: Teller, tmp_path: Path) -> None:
    teller.tell("call_1", output_parameters=learned())
    teller.tell("call_2", output_parameters=learned(interested="no"))
    page = look().sign_in(READONLY_TOKEN, onward="/calls?parameter=interested:yes")
    page.get_by_text("Export CSV").click()
    with page.expect_download() as masked:
        page.get_by_role("link", name="With masked phone numbers").click()
    masked.value.save_as(tmp_path / "calls.csv")
    text = (tmp_path / "calls.csv").read_text("utf-8-sig")
    assert masked.value.suggested_filename == "calls.csv"
    assert text.splitlines()[0].startswith("call_id,")
    assert [line.partition(",")[0] for line in text.splitlines()[1:]] == ["call_1"]
    assert "9876543210" not in text


def test_a_call_is_fetched_again_and_replayed_while_one_looks(look: Look, teller: Teller) -> None:
    teller.destination()
    teller.refuse("leads", Fault.BAD_REQUEST)
    teller.tell("call_1")
    window = look()
    page = window.sign_in(onward="/calls/call_1")
    verdict = page.locator("#call-reached")
    expect(verdict).to_contain_text("leads did not take it. leads answered 400.")
    page.get_by_role("button", name="Fetch again").click()
    expect(page.get_by_text("is fetched from Twenty2 again")).to_be_visible()
    teller.work()
    expect(page.get_by_text("Fetched from Twenty2")).to_have_count(2)
    page.get_by_role("button", name="Replay to all").click()
    dialog = page.get_by_role("dialog", name="Send this call again?")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("The call goes again to leads.")).to_be_visible()
    expect(verdict).to_contain_text("Not yet")
    # The first answer of the stream puts the header anew; the sign stays.
    page.wait_for_timeout(2_500)
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    teller.work()
    expect(verdict).to_contain_text("Delivered to leads")
    expect(page.get_by_text("Live", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Replay", exact=True).click()
    teller.work()
    expect(verdict).to_contain_text("Delivered to leads")
    assert len(teller.simulator.crm.receipts("leads")) == 2
    window.check()


def test_the_request_and_the_answer_are_loaded_when_asked_for(look: Look, teller: Teller) -> None:
    teller.destination(mapping="{who: call.callee_phone}")
    teller.tell("call_1", output_parameters=learned())
    window = look()
    page = window.sign_in(onward="/calls/call_1")
    page.get_by_text("Show the request").click()
    expect(page.get_by_text("3210")).not_to_have_count(0)
    expect(page.get_by_text("+919876543210")).to_have_count(0)
    page.get_by_text("Show it as it came").click()
    expect(page.get_by_text('"callback_time": "Tomorrow 11am"')).to_be_visible()
    page.get_by_role("button", name="Show phone numbers").first.click()
    expect(page.locator(".request").get_by_text("+919876543210")).to_be_visible()
    window.check()


def test_hostile_and_endless_values_break_nothing(looked: Looked, teller: Teller) -> None:
    teller.destination()
    nasty = {
        HOSTILE: HOSTILE,
        "long": "x" * 10_000,
        "n" * 10_000: "words " * 2_000,
        "nested": {"deep": [HOSTILE, {"and": ["y" * 10_000]}]},
    }
    call_id = "<b>/" + "w" * 124
    teller.tell(call_id, output_parameters=nasty, input_parameters=nasty, agent_id="a" * 300)
    looked.sign_in(onward="/calls")
    looked.check()
    looked.page.get_by_role("link", name=call_id).click()
    expect(looked.page.get_by_role("heading", name=call_id)).to_be_visible()
    looked.page.get_by_text("Show all 10,000 characters").first.click()
    looked.check()
    looked.shoot("call-hostile")


def test_both_pages_shut_nobody_out_and_fit_every_screen(looked: Looked, teller: Teller) -> None:
    looked.sign_in(onward="/calls")
    looked.check()
    looked.shoot("calls-none")
    populated(teller)
    looked.open("/calls")
    expect(looked.page.get_by_text("Live", exact=True)).to_be_visible()
    looked.check()
    looked.shoot("calls")
    looked.open("/calls?status=failed&when=dates&since=2024-01-01&state=dead")
    looked.check()
    looked.shoot("calls-no-match")
    looked.open("/calls?parameter=wrong")
    looked.complaints.clear()
    looked.check()
    for call_id in ("call_9c4d7e12ab", "call_77aa01bc23", "call_waits_for_twenty2"):
        looked.open(f"/calls/{call_id}?workspace_id={WORKSPACE.id}")
        looked.check()
        looked.shoot(call_id)
    looked.open("/calls.add")
    looked.check()
    looked.shoot("calls-add")


def test_without_the_script_a_call_is_found_and_replayed(look: Look, teller: Teller) -> None:
    teller.destination()
    teller.tell("call_1")
    window = look(scripts=False)
    page = window.sign_in(onward="/calls")
    page.get_by_label("Search").fill("98765 43210")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="call_1").click()
    page.get_by_role("button", name="Replay", exact=True).click()
    expect(page.get_by_text("The call goes again to leads.")).to_be_visible()
    page.get_by_text("Show the request").click()
    page.get_by_role("link", name="The request on a page of its own").click()
    expect(page.get_by_role("heading", name="Request of a delivery")).to_be_visible()


def test_a_reader_finds_everything_but_buttons(look: Look, teller: Teller) -> None:
    teller.destination()
    teller.tell("call_1")
    window = look()
    page = window.sign_in(READONLY_TOKEN, onward="/calls")
    expect(page.get_by_role("link", name="Add calls")).to_have_count(0)
    page.get_by_role("link", name="call_1").click()
    expect(page.get_by_text("Delivered to leads").first).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Replay|Fetch again"))).to_have_count(0)
    window.check()


def test_the_recording_plays_and_the_transcript_is_read(looked: Looked, teller: Teller) -> None:
    storage = teller.simulator.twentytwo.storage
    storage.say("call_1", "Agent: Namaste.\nCustomer: Call me on 9876543210. " + "And then? " * 300)
    teller.console.webhook({"call_id": call_with_media(teller.simulator)})
    teller.work()
    fetch_media(teller.service, teller.console.log.parent / ".aftercall" / "media")
    page = looked.sign_in(onward="/calls/call_1")
    player = page.get_by_label("Recording of the call")
    # Loaded through our own link, under the page's policy: its length is known then.
    length = player.evaluate(
        "sound => new Promise((done, failed) => {"
        " sound.onloadedmetadata = () => done(sound.duration);"
        " sound.onerror = () => failed(new Error('not played'));"
        " sound.load(); sound.preload = 'metadata'; })"
    )
    assert 0.2 < length < 0.3
    said = page.locator("#call-transcript")
    expect(said.get_by_text("Agent: Namaste.").first).to_be_visible()
    expect(said.get_by_text("9876543210")).to_have_count(0)
    said.get_by_text("Show all of it").click()
    expect(said.locator("details")).to_have_attribute("open", "")
    looked.check()
    looked.shoot("transcript")
