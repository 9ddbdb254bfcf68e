"""Who changed what: written down whichever way it came, read page by page, no secret in it."""

from typing import Any

from tests.api.server import Api, Json
from tests.conftest import WORKSPACE
from tests.console.visitor import Visitor


def actions(console: Api, **params: Any) -> list[tuple[str, str, str]]:
    """Oldest first."""
    found = console.get("/audit", **params)["items"]
    return [(one["actor"], one["via"], one["action"]) for one in reversed(found)]


def made(console: Api) -> Json:
    fields = {"name": "leads", "url": "http://127.0.0.1:9/hook?key=hidden-in-the-url"}
    return console.post("/destinations", {**fields, "headers": {"X-Key": "a-header"}}, status=201)


def test_signing_in_and_out_and_failing_to(console: Api, visitor: Visitor) -> None:
    visitor.sign_in("wrong")
    visitor.sign_in()
    visitor.submit("/sign-out")
    assert actions(console) == [
        ("nobody", "console", "session.refused"),
        ("admin", "console", "session.opened"),
        ("admin", "console", "session.closed"),
    ]
    assert console.get("/audit")["items"][0]["address"] == "127.0.0.1"


def test_guesses_beyond_the_limit_are_not_written_down(console: Api, visitor: Visitor) -> None:
    for _ in range(35):
        visitor.sign_in("wrong")
    assert len(actions(console)) == 30


def test_every_change_by_the_api_is_written_down(console: Api) -> None:
    id_ = made(console)["id"]
    console.patch(f"/destinations/{id_}", {"timeout_seconds": 20, "mapping": "call"})
    for verb in ("disable", "enable", "rotate-secret", "test"):
        console.post(f"/destinations/{id_}/{verb}")
    console.call("DELETE", f"/destinations/{id_}")
    console.put(f"/workspaces/{WORKSPACE.id}", {"api_key": "k-1", "api_secret": "s-1"})
    console.post("/calls", {"call_ids": ["call_1"]}, status=202)
    console.post("/calls/call_1/refetch", status=202)
    console.post("/deliveries/replay", {"state": "dead"}, status=202)
    assert [action for _, _, action in actions(console)] == [
        "destination.created",
        "destination.changed",
        "destination.disabled",
        "destination.enabled",
        "destination.secret_rotated",
        "destination.tested",
        "destination.removed",
        "workspace.set",
        "calls.added",
        "call.refetched",
        "deliveries.replayed",
    ]
    assert len(actions(console, subject=id_)) == 7
    changed = console.get("/audit", subject=id_)["items"][-2]
    assert changed["detail"] == {"name": "leads", "fields": ["mapping", "timeout_seconds"]}


def test_no_entry_holds_a_secret(console: Api) -> None:
    one = made(console)
    new = console.post(f"/destinations/{one['id']}/rotate-secret")["secret"]
    console.patch(f"/destinations/{one['id']}", {"headers": {"X-Key": "another-header"}})
    console.put(f"/workspaces/{WORKSPACE.id}", {"api_key": "k-12345", "api_secret": "s-12345"})
    log = str(console.get("/audit"))
    for secret in (one["secret"], new, "a-header", "another", "hidden", "k-12345", "s-12345"):
        assert secret not in log


def test_what_changed_nothing_is_not_written_down(console: Api) -> None:
    console.call("POST", "/calls/no-such-call/refetch")
    console.call("POST", "/destinations", json={"name": "a", "url": "http://10.0.0.1/"})
    assert actions(console) == []


def test_the_log_comes_page_by_page(console: Api, admin: Visitor) -> None:
    for _ in range(120):
        console.post("/deliveries/replay", {"state": "dead"}, status=202)
    pages = console.pages("/audit", limit=50)
    assert [len(page) for page in pages] == [50, 50, 21]
    ids = [one["id"] for page in pages for one in page]
    assert ids == sorted(ids, reverse=True)
    first = admin.get("/audit").text
    older = first.partition('rel="next" href="')[2].partition('"')[0]
    assert first.count("<tr id=") == 50
    assert admin.get(older).text.count("<tr id=") == 50


def test_a_hostile_call_id_is_shown_as_it_is(console: Api, admin: Visitor) -> None:
    console.post("/calls", {"call_ids": ["<script>alert(1)</script>"]}, status=202)
    page = admin.get("/audit").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
