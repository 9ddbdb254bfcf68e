"""Who gets in, how long they stay, and that out means out."""

import pytest
from sqlalchemy import text

from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from tests.api.server import Api, running_api
from tests.conftest import ADMIN_TOKEN
from tests.console.visitor import READONLY_TOKEN, Visitor


def test_whoever_is_not_signed_in_is_led_to_the_sign_in_and_back(visitor: Visitor) -> None:
    led = visitor.get("/audit?subject=a%26b")
    assert led.status_code == 303
    assert led.headers["Location"] == "/sign-in?next=/audit%3Fsubject%3Da%2526b"
    page = visitor.get(led.headers["Location"])
    assert 'name="next" value="/audit?subject=a%26b"' in page.text
    back = visitor.sign_in(onward="/audit?subject=a%26b")
    assert (back.status_code, back.headers["Location"]) == (303, "/audit?subject=a%26b")
    assert visitor.get(back.headers["Location"]).status_code == 200


def test_a_form_that_came_after_its_session_says_that_it_was_not_saved(visitor: Visitor) -> None:
    page = f"{visitor.origin}/destinations/new"
    led = visitor.post("/destinations/new", {"name": "leads"}, headers={"Referer": page})
    assert led.headers["Location"] == "/sign-in?lost=yes&next=/destinations/new"
    shown = visitor.get(led.headers["Location"]).text
    assert "It was not saved" in shown
    assert 'name="next" value="/destinations/new"' in shown
    other = {"Referer": "https://elsewhere.example/destinations/new"}
    led = visitor.post("/destinations/new", {"name": "leads"}, headers=other)
    assert led.headers["Location"] == "/sign-in?lost=yes&next="
    assert visitor.post("/sign-out", {}).headers["Location"] == "/sign-in"
    assert "It was not saved" not in visitor.get("/sign-in").text


@pytest.mark.parametrize("token", [ADMIN_TOKEN, READONLY_TOKEN, f"  {ADMIN_TOKEN}\n"])
def test_either_token_opens_the_console(visitor: Visitor, token: str) -> None:
    assert visitor.sign_in(token).status_code == 303
    assert visitor.is_in()


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(visitor: Visitor) -> None:
    cookie = visitor.sign_in().headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    assert "Max-Age=43200" in cookie
    assert "Secure" not in cookie


def test_over_https_the_cookie_never_goes_out_in_clear(visitor: Visitor) -> None:
    # What a proxy on this machine says of the connection is believed.
    answer = visitor.post(
        "/sign-in", {"token": ADMIN_TOKEN}, headers={"X-Forwarded-Proto": "https"}
    )
    assert "Secure" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("token", ["", "wrong", ADMIN_TOKEN[:-1], "ü", "\x00"])
def test_a_wrong_token_is_told_so_and_opens_nothing(visitor: Visitor, token: str) -> None:
    answer = visitor.sign_in(token)
    assert answer.status_code == 401
    assert "neither the admin token nor the read-only one" in answer.text
    assert "Set-Cookie" not in answer.headers
    assert not visitor.is_in()


def test_after_thirty_wrong_tokens_there_is_a_pause_in_which_the_right_one_still_opens(
    visitor: Visitor,
) -> None:
    answers = [visitor.sign_in("wrong").status_code for _ in range(32)]
    assert answers == [401] * 30 + [429] * 2
    assert visitor.sign_in().status_code == 303


def test_guesses_at_the_console_and_at_the_api_count_together(
    visitor: Visitor, console: Api
) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    for _ in range(30):
        console.call("GET", "/stats", headers=wrong)
    assert visitor.sign_in("wrong").status_code == 429


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "\t//evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/ok\r\nSet-Cookie: a=b",
        "",
    ],
)
def test_the_sign_in_leads_to_no_other_site(visitor: Visitor, elsewhere: str) -> None:
    assert visitor.sign_in(onward=elsewhere).headers["Location"] == "/"
    # The same for somebody who is in already.
    answer = visitor.session.get(
        f"{visitor.origin}/sign-in", params={"next": elsewhere}, allow_redirects=False, timeout=20
    )
    assert answer.headers["Location"] == "/"


def test_out_is_out_even_for_who_kept_the_cookie(admin: Visitor, database: Database) -> None:
    kept = admin.session.cookies.copy()
    assert admin.submit("/sign-out").headers["Location"] == "/sign-in"
    with database.transaction() as session:
        assert session.execute(text("SELECT count(*) FROM sessions")).scalar_one() == 0
    admin.session.cookies = kept
    assert not admin.is_in()


def test_a_session_ends_after_twelve_hours(admin: Visitor, database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("UPDATE sessions SET expires_at = now()"))
    assert not admin.is_in()


def test_what_has_expired_is_gone_with_the_next_sign_in(admin: Visitor, database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("UPDATE sessions SET expires_at = now()"))
    admin.sign_in()
    with database.transaction() as session:
        assert session.execute(text("SELECT count(*) FROM sessions")).scalar_one() == 1


def test_the_database_holds_nothing_to_sign_in_with(admin: Visitor, database: Database) -> None:
    cookie = admin.session.cookies["aftercall_session"]
    with database.transaction() as session:
        row = str(session.execute(text("SELECT * FROM sessions")).one())
    assert cookie not in row
    assert ADMIN_TOKEN not in row


def test_another_token_ends_the_sessions_of_the_old_one(
    admin: Visitor,
    reader: Visitor,
    stores: StoreUrls,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_api(
        tmp_path_factory.mktemp("console"),
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
        AFTERCALL_ADMIN_TOKEN="another admin token",
        AFTERCALL_READONLY_TOKEN=READONLY_TOKEN,
    ) as restarted:
        admin.origin = reader.origin = restarted.origin
        assert not admin.is_in()
        assert reader.is_in()


@pytest.mark.parametrize("cookie", ["", "wrong", "ü", "a" * 5_000])
def test_a_cookie_that_is_none_of_ours_is_nobody(visitor: Visitor, cookie: str) -> None:
    answer = visitor.get("/", headers={"Cookie": f"aftercall_session={cookie}".encode()})
    assert answer.status_code == 303
