"""Who may press a button, what a page may load, what becomes of what is hostile."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.api.server import Api, assert_problem
from tests.console.visitor import READONLY_TOKEN, Visitor

#: Every page of the console that needs no id.
PAGES = ["/", "/audit", "/console/style"]
HOSTILE = '<script>alert("1")</script>\'"&'


# ---- posting -----------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"csrf_token": ""}, {"csrf_token": "wrong"}])
def test_a_form_without_the_sessions_token_does_nothing(
    admin: Visitor, fields: dict[str, str]
) -> None:
    answer = admin.post("/sign-out", fields)
    assert answer.status_code == 403
    assert "load the page again" in answer.text
    assert admin.is_in()


def test_the_token_of_another_session_is_wrong(admin: Visitor, reader: Visitor) -> None:
    answer = admin.post("/sign-out", {"csrf_token": reader.csrf_token()})
    assert answer.status_code == 403
    assert admin.is_in()


def test_a_script_sends_the_token_in_a_header(admin: Visitor) -> None:
    assert admin.post("/sign-out", {}, headers={"X-CSRF-Token": "wrong"}).status_code == 403
    token = admin.csrf_token()
    assert admin.post("/sign-out", {}, headers={"X-CSRF-Token": token}).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/sign-out", "/sign-in"])
def test_a_form_on_another_site_does_nothing(
    admin: Visitor, path: str, headers: dict[str, str]
) -> None:
    fields = {"csrf_token": admin.csrf_token(), "token": READONLY_TOKEN}
    answer = admin.post(path, fields, headers=headers)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers
    assert admin.is_in()


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "OURS"}])
def test_a_form_on_our_own_page_does_what_it_says(admin: Visitor, headers: dict[str, str]) -> None:
    given = {name: value.replace("OURS", admin.origin) for name, value in headers.items()}
    fields = {"csrf_token": admin.csrf_token()}
    assert admin.post("/sign-out", fields, headers=given).status_code == 303


def test_nobody_who_is_not_signed_in_makes_us_read_a_form(console: Api) -> None:
    # The body never comes: whoever waited for it would not answer.
    where = urlsplit(console.origin)
    with socket.create_connection((where.hostname, where.port), timeout=5) as connection:
        connection.sendall(
            b"POST /sign-out HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 303")


def test_the_sign_in_reads_no_more_than_a_token(visitor: Visitor) -> None:
    assert visitor.sign_in("a" * 10_000).status_code == 413


def test_a_file_is_no_field_of_ours(admin: Visitor) -> None:
    answer = admin.session.post(
        f"{admin.origin}/sign-out", files={"csrf_token": b"a"}, timeout=20, allow_redirects=False
    )
    assert answer.status_code == 400
    assert admin.is_in()


# ---- reading only ------------------------------------------------------------


def test_a_reader_sees_the_pages_and_no_button_that_changes_something(
    admin: Visitor, reader: Visitor
) -> None:
    for path in PAGES:
        page = reader.get(path)
        assert page.status_code == 200
        # Signing out is all that a reader can send.
        assert page.text.count('method="post"') == 1
        assert "Read only" in page.text
    assert admin.get("/console/style").text.count('method="post"') > 1


def test_a_reader_signs_out(reader: Visitor) -> None:
    assert reader.submit("/sign-out").status_code == 303
    assert not reader.is_in()


def test_with_the_readers_token_the_api_answers_and_changes_nothing(console: Api) -> None:
    headers = {"Authorization": f"Bearer {READONLY_TOKEN}"}
    assert console.call("GET", "/destinations", headers=headers).status_code == 200
    for method, path in [
        ("POST", "/destinations"),
        ("POST", "/calls"),
        ("PUT", "/workspaces/a"),
        ("DELETE", f"/destinations/{'0' * 8}-0000-0000-0000-{'0' * 12}"),
    ]:
        answer = console.call(method, path, headers=headers, json={})
        assert_problem(answer, 403, f"for reading only: {method} wants AFTERCALL_ADMIN_TOKEN")


# ---- what pages are made of --------------------------------------------------


@pytest.mark.parametrize("path", [*PAGES, "/sign-in", "/no-such-page", "/calls/no-such-call"])
def test_every_page_says_what_it_may_load_and_is_kept_nowhere(admin: Visitor, path: str) -> None:
    headers = admin.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", [*PAGES, "/sign-in"])
def test_no_page_has_a_script_or_a_style_in_it(admin: Visitor, path: str) -> None:
    page = admin.get(path).text
    assert "<style" not in page
    assert " style=" not in page
    assert " onclick=" not in page
    assert page.count("<script") == page.count('<script src="/static/')
    assert "https://" not in page.replace("https://calls.example.com", "")


def test_our_files_are_kept_for_ever_under_the_hash_of_their_content(visitor: Visitor) -> None:
    page = visitor.get("/sign-in").text
    path = page.partition('<link rel="stylesheet" href="')[2].partition('"')[0]
    answer = visitor.get(path)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Type"].startswith("text/css")
    name, _, rest = path.rpartition("/")[2].partition(".")
    assert visitor.get(f"/static/{name}.{'0' * 12}.{rest.partition('.')[2]}").status_code == 404
    assert visitor.get("/static/..%2fgate.py").status_code == 404


@pytest.mark.parametrize(
    "path", ["/audit?subject={}", "/audit?cursor={}", "/{}", "/sign-in?next={}"]
)
def test_what_is_hostile_is_shown_and_not_obeyed(visitor: Visitor, path: str) -> None:
    visitor.sign_in()
    page = visitor.get(path.format(HOSTILE)).text
    assert "<script>alert" not in page
    visitor.submit("/sign-out")
    assert "<script>alert" not in visitor.get(path.format(HOSTILE)).text


def test_a_page_that_is_not_there_says_so_to_people_and_to_scripts(
    admin: Visitor, console: Api
) -> None:
    page = admin.get("/no-such-page")
    assert page.status_code == 404
    assert "There is no such page" in page.text
    assert_problem(console.open("/no-such-page"), 404)
    assert_problem(console.call("GET", "/no-such", headers={"Accept": "text/html"}), 404)


def test_what_was_asked_wrongly_is_a_page_too(admin: Visitor) -> None:
    page = admin.get("/audit?cursor=!")
    assert page.status_code == 422
    assert "<h1>" in page.text
    assert "next_cursor" in page.text
