"""The page of deliveries: groups, filters, pages, and sending again."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from sqlalchemy import text

from aftercall.db.session import Database
from aftercall.domain.states import DeliveryState
from aftercall.flows import replay
from aftercall.flows.service import Service
from aftercall.simulator import Fault
from tests.api.server import Api, Json
from tests.console.rows import make_deliveries
from tests.console.telling import Teller
from tests.console.test_destinations import plain
from tests.console.visitor import Visitor

REFUSED = "The hook answered 400 (Bad Request)"


@pytest.fixture
def add(console: Api) -> Callable[..., Json]:
    def make(name: str = "leads", **fields: object) -> Json:
        url = "http://127.0.0.1:9/hook"
        return console.post("/destinations", {"name": name, "url": url, **fields}, status=201)

    return make


def ids_in(page: str) -> list[str]:
    return re.findall(r'<td><a class="id" href="/deliveries/([0-9a-f-]+)"', page)


def link(page: str, rel: str) -> str:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', page)
    assert found, f"there is no {rel} page"
    return unescape(found[1])


def count(database: Database, state: DeliveryState) -> int:
    with database.transaction() as session:
        query = text("SELECT count(*) FROM deliveries WHERE state = :state")
        return int(session.execute(query, {"state": state}).scalar_one())


def test_without_anything_the_page_says_what_will_stand_there(admin: Visitor) -> None:
    page = admin.get("/deliveries")
    assert page.status_code == 200
    assert "Nothing is dead and nothing is held" in page.text
    assert "No deliveries yet" in page.text


def test_what_fails_says_why_and_what_to_do_before_it_is_given_up(
    console: Api, admin: Visitor, teller: Teller
) -> None:
    made = teller.destination()
    teller.refuse("leads", Fault.UNAUTHORIZED)
    teller.tell("call_1")
    [one] = console.get("/deliveries")["items"]
    cure = "What to do The CRM refuses our credentials"
    page = plain(admin.get(f"/deliveries/{one['id']}").text)
    assert "tried again by itself" in page
    assert cure in page
    page = plain(admin.get(f"/destinations/{made['id']}").text)
    assert "the hook answered 401" in page
    assert cure in page


def test_groups_have_their_reason_their_cure_and_what_can_be_done(
    console: Api, database: Database, admin: Visitor, add: Callable[..., Json]
) -> None:
    one, other = add(), add("others", enabled=False)
    make_deliveries(database, one["id"], 3)
    make_deliveries(database, other["id"], 2, state=DeliveryState.HELD, reason=None)
    page = admin.get("/deliveries").text
    assert "3 deliveries to leads, dead" in page
    assert "compare its answer with the mapping" in page
    assert "2 deliveries to others, held" in page
    assert "Resume the destination" in page
    see = re.findall(r'href="(/deliveries\?[^"#]+)#list">See them', page)
    for query, expected in zip(see, (3, 2), strict=True):
        assert len(ids_in(admin.get(unescape(query)).text)) == expected


def test_pages_lead_to_older_deliveries_and_back_without_a_gap(
    database: Database, admin: Visitor, add: Callable[..., Json]
) -> None:
    made = make_deliveries(database, add()["id"], 120)
    first = admin.get("/deliveries?state=dead").text
    second = admin.get(link(first, "next")).text
    third = admin.get(link(second, "next")).text
    seen = [*ids_in(first), *ids_in(second), *ids_in(third)]
    assert seen == [str(one) for one in sorted(made, reverse=True)]
    assert 'rel="next"' not in third
    assert ids_in(admin.get(link(third, "prev")).text) == ids_in(second)


def test_deliveries_are_found_by_call_reason_and_time(
    database: Database, admin: Visitor, add: Callable[..., Json]
) -> None:
    hook = add()["id"]
    make_deliveries(database, hook, 2)
    [other] = make_deliveries(database, hook, 1, reason="another reason")
    assert ids_in(admin.get("/deliveries?reason=another+reason").text) == [str(other)]
    soon = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")
    for query, expected in ((f"until={soon}", 3), (f"since={soon}", 0), ("call_id=no", 0)):
        assert len(ids_in(admin.get(f"/deliveries?{query}").text)) == expected, query


@pytest.mark.parametrize("query", ["state=nothing", "destination_id=x", "since=soon", "cursor=x"])
def test_a_filter_that_cannot_be_read_is_said_so(admin: Visitor, query: str) -> None:
    assert admin.get(f"/deliveries?{query}").status_code == 422


def test_a_replay_asks_first_and_says_what_would_be_held(
    console: Api, database: Database, admin: Visitor, add: Callable[..., Json]
) -> None:
    make_deliveries(database, add()["id"], 2)
    make_deliveries(database, add("others", enabled=False)["id"], 1)
    page = admin.get("/deliveries/replay?state=dead").text
    assert "Send again: 3 deliveries" in page
    assert "1 delivery would be held" in page
    assert count(database, DeliveryState.DEAD) == 3
    assert admin.submit("/deliveries/replay", {"state": "dead"}).headers["location"] == (
        "/deliveries"
    )
    assert "3 deliveries go again." in admin.get("/deliveries").text
    assert (count(database, DeliveryState.QUEUED), count(database, DeliveryState.HELD)) == (2, 1)


def test_a_group_without_a_reason_is_not_taken_for_all(
    database: Database, admin: Visitor, add: Callable[..., Json]
) -> None:
    hook = add()["id"]
    make_deliveries(database, hook, 2, reason=None)
    make_deliveries(database, hook, 3)
    admin.submit("/deliveries/replay", {"destination_id": hook, "reason": "(none)"})
    assert count(database, DeliveryState.QUEUED) == 2


def test_everything_is_never_replayed_at_once(admin: Visitor) -> None:
    assert admin.submit("/deliveries/replay").status_code == 422
    assert admin.get("/deliveries/replay").status_code == 422


def test_more_than_a_thousand_become_a_replay_that_can_be_watched_and_stopped(
    console: Api, service: Service, database: Database, admin: Visitor, add: Callable[..., Json]
) -> None:
    make_deliveries(database, add()["id"], 4_100)
    path = admin.submit("/deliveries/replay", {"state": "dead"}).headers["location"]
    assert path.startswith("/replays/")
    assert "0 of 4,100" in admin.get(path).text
    replay.step_replays(service, steps=1)
    assert "2,000 of 4,100" in admin.get(path).text
    assert "A replay is under way" in admin.get("/deliveries").text
    admin.submit(f"{path}/stop")
    page = admin.get(path).text
    assert "2,000 deliveries went again, the rest stays" in page
    assert "Canceled" in page
    assert admin.submit(f"{path}/stop").status_code == 409
    assert path in admin.get("/replays").text
    replay.step_replays(service)
    assert count(database, DeliveryState.DEAD) == 2_100


def test_one_delivery_is_sent_again_from_its_page(
    database: Database, admin: Visitor, add: Callable[..., Json]
) -> None:
    [one] = make_deliveries(database, add()["id"], 1)
    path = f"/deliveries/{one}"
    page = admin.get(path).text
    assert "It was given up" in page
    assert "What it would send is not there any more" not in page
    assert admin.submit(f"{path}/replay").headers["location"] == path
    assert "The delivery goes again." in admin.get(path).text
    assert count(database, DeliveryState.QUEUED) == 1


def test_a_delivery_whose_payload_is_gone_says_so_and_does_not_go_again(
    database: Database, admin: Visitor, add: Callable[..., Json]
) -> None:
    [one] = make_deliveries(database, add()["id"], 1)
    with database.transaction() as session:
        session.execute(text("DELETE FROM call_payloads"))
    path = f"/deliveries/{one}"
    assert "What it would send is not there any more" in admin.get(path).text
    said = admin.submit(f"{path}/replay")
    assert (said.status_code, said.headers.get("location")) == (409, None), said.text
    assert "would send was not kept any more" in unescape(said.text)
    assert count(database, DeliveryState.QUEUED) == 0


def test_what_goes_to_a_paused_destination_is_said_to_be_held(
    database: Database, admin: Visitor, add: Callable[..., Json]
) -> None:
    [one] = make_deliveries(database, add(enabled=False)["id"], 1)
    admin.submit(f"/deliveries/{one}/replay")
    page = admin.get(f"/deliveries/{one}").text
    assert "It is held: it goes when its destination is resumed." in page
    assert "Go to leads" in page


def test_a_delivery_that_is_not_there_is_not_found(admin: Visitor) -> None:
    for path in (f"/deliveries/{uuid.uuid4()}", f"/replays/{uuid.uuid4()}", "/deliveries/x"):
        assert admin.get(path).status_code == 404


def test_a_reader_sees_everything_and_no_button(
    database: Database, reader: Visitor, add: Callable[..., Json]
) -> None:
    [one, *_] = make_deliveries(database, add()["id"], 3)
    for path in ("/deliveries?state=dead", f"/deliveries/{one}", "/deliveries/replay?state=dead"):
        page = reader.get(path)
        assert page.status_code == 200
        buttons = re.findall(r'<form method="post" action="([^"]+)"', page.text)
        assert buttons == [], path
    assert "/deliveries/replay?" not in reader.get("/deliveries?state=dead").text
    assert reader.submit("/deliveries/replay", {"state": "dead"}).status_code == 403
    assert reader.submit(f"/deliveries/{one}/replay").status_code == 403


def test_a_hostile_reason_is_shown_as_it_is_and_clamped(
    database: Database, admin: Visitor, add: Callable[..., Json]
) -> None:
    reason = "<script>alert(1)</script>" + "x" * 10_000
    [one] = make_deliveries(database, add()["id"], 1, reason=reason)
    for path in ("/deliveries", f"/deliveries/{one}"):
        page = admin.get(path).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


def test_a_time_with_a_zone_is_shown_in_utc(admin: Visitor) -> None:
    page = admin.get("/deliveries", params={"since": "2026-01-01T00:00:00+05:30"}).text
    assert 'value="2025-12-31T18:30"' in page
