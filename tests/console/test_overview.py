"""The overview tells in words whether all is well, and where what is not is mended."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from sqlalchemy import text

from aftercall.db.delivery_search import DeliveryQuery
from aftercall.domain.states import DeliveryState
from aftercall.flows.configure_destinations import disable_destination, remove_destination
from aftercall.flows.look import list_deliveries, list_groups
from aftercall.flows.overview import Window
from aftercall.flows.service import Service
from aftercall.flows.views import FailureView
from aftercall.simulator import Fault, Simulator
from api.console.overview import failure_path, failure_title
from tests.api.server import Api
from tests.conftest import WORKSPACE, Clock
from tests.console.visitor import Visitor
from tests.flows.work import accept, accept_rows, add_hook, deliver, fetch, queued_ids


@pytest.fixture
def flow(service: Service, simulator: Simulator) -> Callable[..., None]:
    """Calls that are saved and go to one hook; the first ones are refused there."""

    def go(count: int, *, refused: int = 0) -> None:
        fetch(
            service, accept_rows(service, simulator.twentytwo.make_calls(count, status="completed"))
        )
        if refused:
            simulator.crm.hook("leads").fail_next(*[Fault.UNPROCESSABLE] * refused)
        deliver(service, queued_ids(service))

    return go


def text_of(visitor: Visitor, path: str = "/") -> str:
    answer = visitor.get(path)
    assert answer.status_code == 200, answer.text
    return unescape(answer.text)


def received(page: str) -> str:
    """What the tile says."""
    return page.partition(">Received</p>")[2].partition('tile-value">')[2].partition("<")[0]


def test_when_all_is_well_one_line_says_so(
    admin: Visitor, service: Service, simulator: Simulator, flow: Callable[..., None]
) -> None:
    add_hook(service, simulator)
    flow(3)
    page = text_of(admin)
    assert "All is well." in page
    assert "Not all is well" not in page


def test_what_is_not_well_is_said_with_its_cure_and_where_it_is_mended(
    admin: Visitor, service: Service, simulator: Simulator, flow: Callable[..., None]
) -> None:
    id_ = add_hook(service, simulator)
    flow(4, refused=2)
    page = text_of(admin)
    assert "2 deliveries dead." in page
    assert "2 deliveries to leads dead" in page
    assert "compare its answer with the mapping" in page
    assert f"/deliveries?state=dead&destination_id={id_}&reason=" in page
    assert f'href="/destinations/{id_}"' in page
    assert "50.0 %" in page


def test_a_disabled_destination_is_not_well(
    admin: Visitor, service: Service, simulator: Simulator, flow: Callable[..., None]
) -> None:
    disable_destination(service, add_hook(service, simulator))
    flow(2)
    page = text_of(admin)
    assert "1 destination disabled, 2 deliveries held." in page


def test_a_destination_that_takes_nothing_for_minutes_is_told(
    admin: Visitor, service: Service, simulator: Simulator
) -> None:
    add_hook(service, simulator)
    fetch(service, accept_rows(service, simulator.twentytwo.make_calls(1)))
    simulator.crm.hook("leads").fail_next(Fault.SERVER_ERROR)
    deliver(service, queued_ids(service))
    assert "All is well." in text_of(admin)
    # The console's own process has the time of day.
    with service.database.transaction() as session:
        session.execute(
            text("UPDATE destinations SET failing_since = now() - interval '6 minutes'")
        )
    page = text_of(admin)
    assert "1 destination failing" in page
    assert ">Failing</span><br>" in page


def test_a_blocked_workspace_is_told_with_its_reason_and_cure(
    admin: Visitor, service: Service, simulator: Simulator
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1)
    simulator.twentytwo.fail_next(call_id, Fault.UNAUTHORIZED)
    fetch(service, accept_rows(service, [call_id]))
    page = text_of(admin)
    assert "1 workspace blocked." in page
    assert "Twenty2 answered 401" in page
    assert "the calls that wait go on at once" in page


@pytest.mark.parametrize("window", list(Window))
def test_each_window_has_its_numbers(
    admin: Visitor, service: Service, simulator: Simulator, window: Window
) -> None:
    accept(service, simulator.twentytwo.make_calls(7))
    page = text_of(admin, f"/?window={window.value}")
    assert received(page) == "7"
    assert f'?window={window.value}" aria-current="true"' in page


def test_a_window_that_there_is_not_is_refused_with_a_page(admin: Visitor) -> None:
    assert admin.get("/?window=century").status_code == 422


def test_days_begin_where_the_viewer_lives(
    admin: Visitor, service: Service, simulator: Simulator, clock: Clock
) -> None:
    """Two hours ago is yesterday for who lives where midnight was an hour ago."""
    now = datetime.now(UTC)
    minutes_since_midnight = now.hour * 60 + now.minute
    # A zone in which it is one o'clock at night.
    offset = (60 - minutes_since_midnight + 720) % 1440 - 720
    clock.now = now - timedelta(hours=2)
    accept(service, simulator.twentytwo.make_calls(5))
    admin.session.cookies.set("utc_offset", str(offset))
    assert received(text_of(admin, "/?window=today")) == "0"
    assert received(text_of(admin, "/?window=24h")) == "5"


@pytest.mark.parametrize("offset", ["", "x", "99999999999999", "-841", "\u0663"])
def test_an_offset_that_is_nonsense_is_none(
    admin: Visitor, service: Service, simulator: Simulator, offset: str
) -> None:
    accept(service, simulator.twentytwo.make_calls(1))
    answer = admin.get("/", params={"utc_offset": offset})
    assert answer.status_code == 200


def test_a_reader_sees_the_same_without_what_changes(
    reader: Visitor, service: Service, simulator: Simulator, flow: Callable[..., None]
) -> None:
    add_hook(service, simulator)
    flow(3, refused=1)
    page = text_of(reader)
    assert "1 delivery to leads dead" in page
    assert page.count("<form") == 1  # to sign out


def test_names_and_reasons_of_any_length_and_kind_are_shown_as_they_are(
    admin: Visitor, console: Api
) -> None:
    console.webhook({"call_id": "call_1"})
    hook = {"name": "<b>" + "n" * 90, "url": "http://127.0.0.1:9/hook"}
    console.post("/destinations", hook, status=201)
    page = admin.get("/").text
    assert "&lt;b&gt;nnn" in page
    assert "<b>n" not in page


def test_what_is_live_comes_as_the_parts_of_the_page(admin: Visitor, console: Api) -> None:
    console.webhook({"call_id": "call_1"})
    with admin.get("/live/overview?window=7d", stream=True) as answer:
        lines = answer.iter_lines(decode_unicode=True)
        found = next(line for line in lines if 'id="overview-verdict"' in line)
    assert found.startswith("data: ")


def failure(**fields: object) -> FailureView:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    given = {
        "kind": "call",
        "state": "dead",
        "workspace_id": WORKSPACE.id,
        "destination_id": None,
        "destination": None,
        "reason": "Twenty2 answered 404",
        "count": 1,
        "oldest_at": at,
        "newest_at": at,
        "cure": "",
    }
    return FailureView.model_validate({**given, **fields})


def test_a_failure_leads_to_its_list() -> None:
    assert failure_path(failure()) == f"/calls?state=dead&workspace_id={WORKSPACE.id}"
    assert failure_title(failure(count=1200)) == "1,200 calls dead"
    of_hook = failure(
        kind="delivery",
        state="held",
        destination="leads",
        destination_id="019ab3c4-0000-7000-8000-000000000000",
        reason="a & b",
        count=2,
    )
    assert failure_path(of_hook).endswith("000000000000&reason=a+%26+b")
    assert failure_title(of_hook) == "2 deliveries to leads held"


def test_a_failure_without_a_reason_leads_to_those_without_one() -> None:
    of_hook = failure(
        kind="delivery", destination_id="019ab3c4-0000-7000-8000-000000000000", reason=""
    )
    assert failure_path(of_hook).endswith("&reason=%28none%29")


def test_what_died_with_a_destination_that_was_removed_is_well(
    admin: Visitor, service: Service, simulator: Simulator, flow: Callable[..., None]
) -> None:
    id_ = add_hook(service, simulator)
    flow(4, refused=2)
    assert "2 deliveries dead." in text_of(admin)
    remove_destination(service, id_)
    page = text_of(admin)
    assert "All is well." in page
    [group] = list_groups(service).items
    assert (group.count, group.is_removed) == (2, True)
    for path in ("/deliveries", f"/deliveries?destination_id={id_}"):
        page = text_of(admin, path)
        assert "leads" in page
        assert "(removed)" in page
        assert f"/destinations/{id_}" not in page
        assert "Send all again" not in page
        assert "Send again" not in page
        assert "Send all that fit again" not in page
    [dead, *_] = list_deliveries(service, DeliveryQuery(state=DeliveryState.DEAD)).items
    page = text_of(admin, f"/deliveries/{dead.id}")
    assert f"/destinations/{id_}" not in page
    assert "Send again" not in page
