"""The frame of the console, as people see it: signing in, finding one's way, what is live."""

import re

from playwright.sync_api import expect

from tests.api.server import Api
from tests.browser.conftest import Look, Looked
from tests.console.visitor import READONLY_TOKEN


def test_signing_in_rightly_leads_to_where_one_wanted(look: Look) -> None:
    window = look()
    page = window.open("/audit")
    expect(page).to_have_url(re.compile(r"/sign-in\?next=/audit$"))
    expect(page.get_by_label("Token")).to_be_focused()
    page.get_by_label("Token").fill("the admin token of the tests")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{window.origin}/audit")
    expect(page.get_by_role("link", name="Audit")).to_have_attribute("aria-current", "page")
    window.check()


def test_signing_in_wrongly_says_so_at_the_field(look: Look) -> None:
    window = look()
    page = window.open("/sign-in")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    field = page.get_by_label("Token")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile("neither the admin token nor"))
    # The browser says so itself when an answer is 401.
    assert [one for one in window.complaints if "401" not in one] == []


def test_signing_out_leads_out(look: Look) -> None:
    window = look()
    page = window.sign_in()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{window.origin}/sign-in")
    window.open("/")
    expect(page).to_have_url(f"{window.origin}/sign-in")


def test_each_page_shuts_nobody_out_and_fits_every_screen(looked: Looked, console: Api) -> None:
    looked.open("/sign-in")
    looked.check()
    looked.shoot("sign-in")
    looked.sign_in()
    console.post("/calls", {"call_ids": ["call_9c4d7e12ab"]}, status=202)
    hook = {"name": "leads", "url": "http://127.0.0.1:9/hook"}
    made = console.post("/destinations", hook, status=201)
    console.patch(f"/destinations/{made['id']}", {"timeout_seconds": 20, "mapping": "call"})
    for path, what in (("/", "overview"), ("/audit", "audit"), ("/console/style", "style")):
        looked.open(path)
        looked.check()
        looked.shoot(what)


def test_the_keyboard_gets_everywhere(look: Look) -> None:
    page = look().sign_in(onward="/console/style")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    opener = page.get_by_role("button", name="Remove")
    opener.focus()
    page.keyboard.press("Space")
    dialog = page.get_by_role("dialog", name="Remove this call?")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()


def test_times_are_the_viewers_own_with_utc_on_hover(look: Look) -> None:
    page = look().sign_in(onward="/audit")
    time = page.locator("time").first
    expect(time).to_have_text(re.compile("just now|s ago"))
    expect(time).to_have_attribute("title", re.compile(r"(IST|GMT\+5:30)\n.* UTC$"))


def test_a_phone_number_is_out_of_sight_until_it_is_asked_for(look: Look) -> None:
    page = look().sign_in(onward="/console/style")
    number = page.locator(".phone").first
    expect(number).to_have_text("+91 •••• ••3210")
    page.get_by_role("button", name="Show phone numbers").click()
    expect(number).to_have_text("+919876543210")
    page.get_by_role("button", name="Hide phone numbers").click()
    expect(number).to_have_text("+91 •••• ••3210")


def test_what_happens_elsewhere_appears_by_itself(look: Look, console: Api) -> None:
    window = look()
    page = window.sign_in(onward="/audit")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    console.post("/calls", {"call_ids": ["call_9c4d7e12ab"]}, status=202)
    expect(page.get_by_role("link", name="call_9c4d7e12ab")).to_be_visible()
    assert window.complaints == []


def test_without_the_script_the_console_works(look: Look) -> None:
    window = look(scripts=False)
    page = window.sign_in(onward="/console/style")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("dialog", name="Remove this call?")).to_be_visible()
    page.get_by_text("Show all 9,900 characters").first.click()
    expect(page.get_by_text("Show less").first).to_be_visible()
    window.open("/audit")
    expect(page.locator("time").first).to_be_visible()


def test_a_reader_is_told_so_and_sees_no_button(look: Look) -> None:
    window = look()
    page = window.sign_in(READONLY_TOKEN, onward="/console/style")
    expect(page.get_by_text("Read only")).to_be_visible()
    expect(page.get_by_role("button", name="Remove")).to_have_count(0)
    window.check()
