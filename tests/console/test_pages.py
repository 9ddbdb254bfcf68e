"""What pages are put together from: words, charts, and a message for the next page."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import HTMLResponse

from aftercall.db.models import Role
from aftercall.flows.sign_in import SignedIn
from api.console.charts import HEIGHT, WIDTH, Chart, Series, bars, ceiling, line
from api.console.gate import Viewer
from api.console.pages import redirect, render
from api.console.words import STATES, ago, as_text, masked_phone, milliseconds, plural, span
from tests.api.server import Api
from tests.console.visitor import Visitor

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


# ---- a message for the next page ---------------------------------------------


def request_of(csrf_token: str, *, cookie: str = "") -> Request:
    headers = [(b"cookie", cookie.encode())] if cookie else []
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "scheme": "http"}
    request = Request({**scope, "headers": headers, "server": ("127.0.0.1", 80)})
    signed_in = SignedIn(
        role=Role.ADMIN, id_hash=b"", csrf_token=csrf_token, expires_at=NOW + timedelta(hours=1)
    )
    request.state.viewer = Viewer(signed_in=signed_in, address=None)
    return request


def left_cookie(says: str) -> str:
    answer = redirect(request_of("mine"), "/", says=says)
    return answer.headers["set-cookie"].partition(";")[0]


def page_of(request: Request) -> HTMLResponse:
    return render(request, "error.html", code=404, title="A page", detail="")


def test_what_was_done_is_said_on_the_next_page_and_once() -> None:
    request = request_of("mine", cookie=left_cookie("3 <deliveries> go again."))
    page = page_of(request)
    assert "3 &lt;deliveries&gt; go again." in bytes(page.body).decode()
    assert 'aftercall_flash=""; expires' in page.headers["set-cookie"]


def test_a_message_that_is_not_of_this_session_is_not_said() -> None:
    cookie = left_cookie("Something")
    for request in (
        request_of("another's", cookie=cookie),
        request_of("mine", cookie=f"{cookie[:-8]}AAAAAAA="),
        request_of("mine", cookie="aftercall_flash=x"),
    ):
        assert "Something" not in bytes(page_of(request).body).decode()


# ---- words -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phone", "masked"),
    [
        ("+919876543210", "+91 •••• ••3210"),
        ("9876543210", "•••• ••3210"),
        ("+91 98765-43210", "+91 •••• ••3210"),
        ("12345", "••••"),
        ("unknown", "••••"),
    ],
)
def test_of_a_phone_number_the_country_and_four_digits_are_shown(phone: str, masked: str) -> None:
    assert masked_phone(phone) == masked


@pytest.mark.parametrize(
    ("before", "says"),
    [
        (1, "just now"),
        (45, "45 s ago"),
        (200, "3 min ago"),
        (7_200, "2 h ago"),
        (-600, "in 10 min"),
    ],
)
def test_how_long_ago(before: int, says: str) -> None:
    assert ago(NOW - timedelta(seconds=before), NOW) == says


def test_numbers_as_people_read_them() -> None:
    assert [milliseconds(840), milliseconds(1_240)] == ["840 ms", "1.2 s"]
    assert [span(59), span(86_400 * 3)] == ["59 s", "3 d"]
    assert [plural(1, "delivery", "deliveries"), plural(1_200, "call")] == [
        "1 delivery",
        "1,200 calls",
    ]
    assert [as_text(None), as_text("a"), as_text({"a": "ü"})] == ["", "a", '{"a": "ü"}']


def test_every_state_has_a_tone_and_a_meaning() -> None:
    assert all(tone and meaning for tone, meaning in STATES.values())


# ---- charts ------------------------------------------------------------------

NUMBERS = st.lists(st.integers(0, 10_000_000), min_size=1, max_size=60)


@given(NUMBERS, NUMBERS)
def test_no_bar_leaves_its_chart(good: list[int], bad: list[int]) -> None:
    size = min(len(good), len(bad))
    series = [Series("good", "good", good[:size]), Series("bad", "bad", bad[:size])]
    chart = Chart("A chart", [str(n) for n in range(size)], series)
    for bar in bars(chart):
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH + 0.01
        assert -0.02 <= bar.y <= bar.y + bar.height <= HEIGHT + 0.02
    assert ceiling(chart) >= max(sum(pair) for pair in zip(good, bad, strict=False))


def test_a_chart_of_nothing_can_be_drawn() -> None:
    empty = Chart("A chart", [], [Series("good", "good", [])])
    assert bars(empty) == []
    assert line(empty, empty.series[0]) == ""
    assert empty.is_empty
    assert empty.summary == "A chart: nothing yet"


def test_a_form_s_address_that_is_opened_is_a_page_for_people(admin: Visitor, console: Api) -> None:
    path = f"/destinations/{uuid.uuid4()}/test"
    answer = admin.get(path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "what a form sends" in answer.text
    assert "Content-Security-Policy" in answer.headers
    for_script = admin.get(path, headers={"Accept": "application/json"})
    assert for_script.headers["Content-Type"] == "application/problem+json"
    assert for_script.headers["Allow"] == "POST"
