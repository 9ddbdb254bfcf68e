"""The list of calls: finding them, paging, what a row says, the export, adding by id."""

import csv
import io
import re
from datetime import UTC, datetime
from html import unescape
from urllib.parse import quote

import pytest
import requests

from aftercall.domain.states import CallState
from aftercall.simulator import Fault
from api.console.call_filter import CallFilter, read_filter
from api.console.calls import highlights, length
from api.console.links import call_path
from tests.api.server import Api
from tests.conftest import WORKSPACE
from tests.console.telling import HOSTILE, Teller, learned
from tests.console.visitor import Visitor

NOW = datetime(2026, 1, 5, 20, tzinfo=UTC)


def ids(page: str) -> list[str]:
    """The calls of a page, in its order."""
    return [unescape(one) for one in re.findall(r'class="id call-id"[^>]*>([^<]*)<', page)]


def link(page: str, rel: str) -> str:
    return unescape(page.partition(f'rel="{rel}" href="')[2].partition('"')[0])


def lines(answer: requests.Response) -> list[dict[str, str]]:
    answer.encoding = "utf-8-sig"
    return list(csv.DictReader(io.StringIO(answer.text)))


# ---- finding -----------------------------------------------------------------


def test_an_empty_list_says_what_to_do(admin: Visitor) -> None:
    page = admin.get("/calls")
    assert page.status_code == 200
    assert "No calls yet" in page.text
    assert "No call matches" in admin.get("/calls?q=nothing").text


def test_a_row_says_who_what_and_whether_it_reached_the_crm(admin: Visitor, teller: Teller) -> None:
    teller.destination()
    teller.tell("call_1", output_parameters=learned())
    page = admin.get("/calls").text
    assert ids(page) == ["call_1"]
    for words in ("+91 •••• ••3210", "Completed", "1 min 34 s", "interested", "and 2 more"):
        assert words in page, words
    assert re.search(r'badge good"[^>]*>Delivered<', page)
    assert re.search(r'badge good"[^>]*>Fetched<', page)


@pytest.mark.parametrize(
    "q",
    [
        "call_1",
        "call_",
        "98765 43210",
        "+91-98765-43210",
        "3210",
        "Yes",
        "69de483c68b23495c853b43a",
    ],
)
def test_a_call_is_found_by(q: str, admin: Visitor, teller: Teller) -> None:
    teller.tell("call_1", output_parameters=learned())
    teller.tell("other", callee_phone="+918888888888", caller_phone=None, agent_id="another")
    assert ids(admin.get(f"/calls?q={quote(q)}").text) == ["call_1"]


def test_conditions_are_joined_and_stay_in_the_form(admin: Visitor, teller: Teller) -> None:
    teller.tell("call_1", output_parameters=learned())
    teller.tell("call_2", output_parameters=learned(interested="no"))
    teller.tell("call_3", is_worked=False)
    path = "/calls?state=fetched&state=dead&parameter=interested:yes&when=24h&status=completed"
    page = admin.get(f"{path}&workspace_id={WORKSPACE.id}").text
    assert ids(page) == ["call_1"]
    assert 'value="interested:yes"' in page
    assert re.search(r'value="fetched" checked', page)
    assert not re.search(r'value="queued" checked', page)
    assert ids(admin.get("/calls?state=queued").text) == ["call_3"]
    assert ids(admin.get("/calls?since=2001-01-01&until=2001-02-01").text) == []


def test_a_condition_that_cannot_be_read_is_named_at_its_field(admin: Visitor) -> None:
    for query, says in (
        ("parameter=interested", "Write it as name:value"),
        ("since=yesterday&when=dates", "Write it as a date"),
        ("until=9999-12-31&when=dates", "Write it as a date"),
    ):
        page = admin.get(f"/calls?{query}")
        assert page.status_code == 422, query
        assert says in page.text
        assert 'aria-invalid="true"' in page.text
    assert admin.get("/calls?cursor=nonsense").status_code == 422


def test_pages_go_both_ways_and_keep_the_conditions(admin: Visitor, console: Api) -> None:
    names = [f"call_{number:03}" for number in range(120)]
    console.post("/calls", {"call_ids": [*names, "other"]}, status=202)
    first = admin.get("/calls?q=call_&state=queued").text
    second = admin.get(link(first, "next")).text
    third = admin.get(link(second, "next")).text
    assert [len(ids(one)) for one in (first, second, third)] == [50, 50, 20]
    assert set(ids(first) + ids(second) + ids(third)) == set(names)
    assert link(third, "next") == ""
    assert ids(admin.get(link(third, "prev")).text) == ids(second)
    # Only the first page is told of arrivals.
    assert "data-live=" in first
    assert "data-live=" not in second


def test_strange_ids_lead_to_their_calls(admin: Visitor, console: Api) -> None:
    strange = ["a/b", "../x", "..", ".", "a?b#c", "50%2F", "a b&c=d", HOSTILE, "मेरा"]
    console.post("/calls", {"call_ids": strange}, status=202)
    page = admin.get("/calls").text
    assert set(ids(page)) == set(strange)
    assert "<script>alert" not in page
    for href in re.findall(r'data-href="([^"]*)"', page):
        found = admin.get(unescape(href))
        assert found.status_code == 200, href
        name = re.search(r'<h1>Call <span class="id">([^<]*)</span>', found.text)
        assert name
        assert call_path(unescape(name[1]), WORKSPACE.id) == unescape(href)


def test_a_call_that_did_not_get_there_stands_out(admin: Visitor, teller: Teller) -> None:
    teller.destination()
    teller.refuse("leads", Fault.BAD_REQUEST)
    teller.tell("call_1")
    assert re.search(r'badge bad"[^>]*>Not delivered<', admin.get("/calls").text)


# ---- export ------------------------------------------------------------------


def test_the_export_has_what_is_filtered_and_masks_phones(admin: Visitor, teller: Teller) -> None:
    teller.tell("call_1", output_parameters=learned())
    teller.tell("call_2", output_parameters=learned(interested="no"))
    page = admin.get("/calls?parameter=interested:yes").text
    masked, clear = [
        unescape(one) for one in re.findall(r'<a href="(/calls\.csv[^"]*)" download', page)
    ]
    answer = admin.get(masked)
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert "calls.csv" in answer.headers["Content-Disposition"]
    [line] = lines(answer)
    assert (line["call_id"], line["output.interested"]) == ("call_1", "yes")
    assert "43210" not in line["callee_phone"]
    [line] = lines(admin.get(clear))
    assert line["callee_phone"].endswith("+919876543210")


def test_readers_may_export_and_see_no_button_that_changes(
    reader: Visitor, visitor: Visitor, teller: Teller
) -> None:
    teller.tell("call_1")
    page = reader.get("/calls").text
    assert "Export CSV" in page
    assert "/calls.add" not in page
    assert [line["call_id"] for line in lines(reader.get("/calls.csv"))] == ["call_1"]
    assert visitor.get("/calls.csv").status_code == 303
    assert reader.submit("/calls.add", {"call_ids": "a"}).status_code == 403


# ---- adding ------------------------------------------------------------------


def test_calls_are_added_by_id(admin: Visitor, console: Api) -> None:
    answer = admin.submit("/calls.add", {"call_ids": "call_1\n call_2,\n\ncall_1\n"})
    assert answer.headers["Location"] == "/calls"
    page = admin.get("/calls").text
    assert "2 calls were added" in page
    assert sorted(ids(page)) == ["call_1", "call_2"]
    alone = admin.submit("/calls.add", {"call_ids": "a/b", "workspace_id": WORKSPACE.id})
    assert alone.headers["Location"] == call_path("a/b", WORKSPACE.id)
    assert "calls.added" in str(console.get("/audit"))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"call_ids": " \n"}, "Paste at least one call id"),
        ({"call_ids": "x" * 200}, "Id 1 is longer than 128 characters"),
        ({"call_ids": "ok\na\x07b"}, "Id 2 has control characters"),
        ({"call_ids": "a", "workspace_id": "nowhere"}, "Choose the workspace"),
    ],
)
def test_what_is_wrong_with_ids_is_said_at_the_field(
    fields: dict[str, str], says: str, admin: Visitor, console: Api
) -> None:
    answer = admin.submit("/calls.add", fields)
    assert answer.status_code == 422
    assert says in answer.text
    assert console.calls() == []


# ---- decisions ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "since", "until"),
    [
        ({"when": "24h"}, "2026-01-04T20:00+00:00", None),
        ({"when": "7d"}, "2025-12-29T20:00+00:00", None),
        ({"when": "today"}, "2026-01-05T00:00+00:00", None),
        # In India it is the sixth already.
        ({"when": "today", "zone": "Asia/Kolkata"}, "2026-01-05T18:30+00:00", None),
        ({"when": "today", "zone": "../../etc/passwd"}, "2026-01-05T00:00+00:00", None),
        ({"since": "2026-01-02"}, "2026-01-02T00:00+00:00", None),
        (
            {"since": "2026-01-02", "until": "2026-01-02", "zone": "Asia/Kolkata"},
            "2026-01-01T18:30+00:00",
            "2026-01-02T18:30+00:00",
        ),
        ({"since": "2026-01-02T10:00:00Z"}, "2026-01-02T10:00+00:00", None),
        ({"since": "2026-01-02", "when": "24h"}, "2026-01-04T20:00+00:00", None),
        ({"when": "dates"}, None, None),
        ({"when": "nonsense"}, None, None),
    ],
)
def test_times_are_those_of_the_viewer(
    given: dict[str, str], since: str | None, until: str | None
) -> None:
    found = read_filter(**given).query(NOW)  # type: ignore[arg-type]
    assert found.since == (datetime.fromisoformat(since) if since else None)
    assert found.until == (datetime.fromisoformat(until) if until else None)


def test_a_filter_is_written_into_a_url_without_what_is_empty() -> None:
    given = CallFilter(q="+91 98", state=(CallState.DEAD, CallState.QUEUED))
    assert given.href("/calls", cursor="x") == "/calls?q=%2B91+98&state=dead&state=queued&cursor=x"
    assert CallFilter().href("/calls") == "/calls"
    assert CallFilter(zone="Asia/Kolkata").is_empty


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (94, "1 min 34 s"), (3_720, "1 h 2 min")],
)
def test_how_long_a_call_was(seconds: int, says: str) -> None:
    assert length(seconds) == says


def test_what_reads_well_in_a_line_comes_first() -> None:
    found = highlights({"n" * 30: {"a": 1}, "yes": True, "long": "word " * 40, "none": None})
    assert found == [("yes", "true"), ("long", "word " * 10 + "w…"), ("none", "")]


@pytest.mark.parametrize(
    "asked",
    [
        "since=0001-01-01T00:00:00Z&zone=America/New_York",
        "since=0001-01-01T00:00:00%2B05:30",
        "until=9999-12-31T23:59:59-05:00",
        "until=9999-12-31T23:59:59Z&zone=Asia/Kolkata",
    ],
)
def test_times_at_the_ends_of_the_calendar_are_a_page(admin: Visitor, asked: str) -> None:
    # Beyond the calendar in UTC it is a fault at its field.
    is_beyond = asked.endswith(("05:30", "05:00"))
    assert admin.get(f"/calls?{asked}").status_code == (422 if is_beyond else 200)
