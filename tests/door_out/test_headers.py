"""What leaves us as headers: nothing that somebody wrote becomes a header more, or a line."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import update

from aftercall.crm.destination_spec import DestinationSpec
from aftercall.crm.sending import HookSender, prepare
from aftercall.db.models import Destination
from aftercall.db.session import Database
from aftercall.domain.exchange import Answer
from aftercall.domain.states import DeliveryState
from aftercall.embedded import StoreUrls
from aftercall.flows.configure_destinations import create_destination
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.errors import Invalid
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.api.server import Api, assert_problem
from tests.conftest import WORKSPACE, Clock, make_service, make_settings
from tests.crm.test_mapping import DELIVERY
from tests.crm.test_sending import LOOPBACK, SEALER, SECRET
from tests.flows.work import accept_rows, add_hook, deliver, delivery_rows, fetch, queued_ids
from tests.raw_server import RawServer, always, answer

#: All that a delivery has, in this order or another, beside a destination's own.
OURS = {
    "host",
    "user-agent",
    "accept",
    "accept-encoding",
    "content-type",
    "content-length",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "idempotency-key",
}


def lines(request: bytes) -> list[bytes]:
    """The head's lines, the request line first; split at whatever any server splits at."""
    return re.split(rb"\r\n|\r|\n", request.partition(b"\r\n\r\n")[0])


def headers_of(request: bytes) -> dict[str, str]:
    """By their names in small letters; each may be there once."""
    pairs = [line.decode("latin-1").split(":", 1) for line in lines(request)[1:]]
    found = {name.lower(): value.removeprefix(" ") for name, value in pairs}
    assert len(found) == len(pairs), request
    return found


@pytest.fixture
def hook() -> Iterator[RawServer]:
    with RawServer(always(answer())) as server:
        yield server


INJECTIONS = [
    "x\r\nX-Evil: 1",
    "x\nX-Evil: 1",
    "x\rX-Evil: 1",
    "x\r\n\r\nGET /evil HTTP/1.1",
    "x\r\n X-Evil: 1",
    "\r\nX-Evil: 1",
    "x\x00X-Evil: 1",
    "x\x0bX-Evil: 1",
    "x\u0085X-Evil: 1",
    "x\u2028X-Evil: 1",
    "x\u560d\u560aX-Evil: 1",  # its low bytes are a line's end
    "x\ud83d",
    " x",
    "☎",
]


@pytest.mark.parametrize("bad", INJECTIONS)
def test_the_operators_api_takes_no_header_that_would_be_two(api: Api, bad: str) -> None:
    for headers in ({"X-Key": bad}, {bad: "x"}):
        body = json.dumps({"name": "leads", "url": "http://8.8.8.8/", "headers": headers})
        answer_ = api.call(
            "POST",
            "/destinations",
            data=body.encode("utf-8", "surrogatepass"),
            headers={"Content-Type": "application/json"},
        )
        problem = assert_problem(answer_, answer_.status_code)
        # Half of a pair is no JSON at all when it comes unescaped.
        assert problem["status"] in (400, 422)
        assert "\n" not in problem["detail"]
    assert api.get("/destinations")["items"] == []


@pytest.mark.parametrize("bad", [each for each in INJECTIONS if each != "x\ud83d"])
@pytest.mark.parametrize("as_name", [True, False])
def test_a_stored_header_that_would_be_two_is_dead_and_reaches_nobody(
    service: Service,
    simulator: Simulator,
    hook: RawServer,
    bad: str,
    as_name: bool,
) -> None:
    """They are refused when they are saved; a row may be older than the check."""
    made = create_destination(service, DestinationSpec(name="old", url=hook.url("/hook")))
    add_hook(service, simulator)
    sealed = service.sealer.seal(json.dumps({bad: "x"} if as_name else {"X-Key": bad}))
    with service.database.transaction() as session:
        session.execute(
            update(Destination).where(Destination.id == made.id).values(headers_sealed=sealed)
        )
    [call_id] = simulator.twentytwo.make_calls(1)
    fetch(service, accept_rows(service, [call_id]))
    deliver(service, queued_ids(service))
    by_destination = {row.destination_id: row for row in delivery_rows(service)}
    odd = by_destination.pop(made.id)
    if odd.state is DeliveryState.DELIVERED:
        # It was one header all the same.
        [request] = hook.requests
        assert set(headers_of(request)) - OURS == {"x-key"}
    else:
        assert odd.state is DeliveryState.DEAD
        assert "no valid request" in (odd.last_error or "")
        assert "Evil" not in (odd.last_error or "")
        assert hook.requests == []
    # Its neighbour in the same batch is none the worse.
    [neighbour] = by_destination.values()
    assert neighbour.state is DeliveryState.DELIVERED
    assert simulator.crm.accepted_call_ids("leads") == {call_id}


_header_names = st.text(st.characters(max_codepoint=0x17F), min_size=1, max_size=12)
_header_values = st.text(st.characters(max_codepoint=0x2FF, exclude_categories=()), max_size=20)


@given(headers=st.dictionaries(_header_names, _header_values, max_size=4))
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_headers_that_are_taken_are_sent_as_one_line_each_and_no_other(
    wire: Callable[[dict[str, str]], bytes], headers: dict[str, str]
) -> None:
    try:
        DestinationSpec(name="leads", url="http://8.8.8.8/", headers=headers)
    except ValidationError:
        return
    sent = headers_of(wire(headers))
    assert set(sent) == OURS | {name.lower() for name in headers}
    for name, value in headers.items():
        if name.lower() not in OURS:
            assert sent[name.lower()].strip() == value.strip()


@pytest.fixture
def wire(hook: RawServer) -> Iterator[Callable[[dict[str, str]], bytes]]:
    """What a hook hears of a delivery with these headers."""
    sender = HookSender(guard=LOOPBACK, keep=1)

    def send(headers: dict[str, str]) -> bytes:
        heard = len(hook.requests)
        sealed = SEALER.seal(json.dumps(headers))
        delivery = replace(
            DELIVERY,
            url=hook.url("/hook"),
            secret_sealed=SEALER.seal(SECRET),
            headers_sealed=sealed,
            timeout_seconds=5,
        )
        said = sender.post(prepare(delivery, sealer=SEALER, now=datetime.now(UTC)))
        assert isinstance(said, Answer), said
        [request] = hook.requests[heard:]
        return request

    yield send
    sender.close()


# ---- ids -----------------------------------------------------------------------

ODD_IDS = [
    "call 1",
    "call: 1",
    "call_1%0d%0aX-Evil:%201",
    "call_1&workspace_id=other",
    "call_1#x?y=z",
    "कॉल",
    "call\u0085X-Evil: 1",
    "call\u2028X-Evil: 1",
    "../../evil",
    "call_1\u560d\u560aX-Evil: 1",
    '"; X-Evil: 1',
]


@pytest.mark.parametrize("call_id", ODD_IDS)
def test_an_odd_call_id_is_in_no_header_and_in_one_line_to_twenty2(
    database: Database, stores: StoreUrls, clock: Clock, call_id: str
) -> None:
    call = {
        "call": {"call_id": call_id, "status": "completed"},
        "output_parameters": {"a": call_id},
    }
    detail = answer(json.dumps({"success": True, **call}).encode())
    with RawServer(always(detail)) as twentytwo, RawServer(always(answer())) as hook:
        settings_ = make_settings(TWENTYTWO_BASE_URL=twentytwo.url("/api"))
        service = make_service(database, stores, settings_, clock)
        create_destination(service, DestinationSpec(name="leads", url=hook.url("/hook")))
        fetch(service, accept_rows(service, [call_id]))
        deliver(service, queued_ids(service))
        [delivery] = delivery_rows(service)
        service.redis.close()
        [asked] = twentytwo.requests
        [posted] = hook.requests
    assert delivery.state is DeliveryState.DELIVERED
    request_line = lines(asked)[0]
    assert re.fullmatch(rb"GET /api/call/detail\?call_id=[A-Za-z0-9%._~+-]+ HTTP/1.1", request_line)
    to_twenty2 = headers_of(asked)
    assert set(to_twenty2) - OURS == {"authorization", "x-workspace-id"}
    assert to_twenty2["x-workspace-id"] == WORKSPACE.id
    to_hook = headers_of(posted)
    assert set(to_hook) == OURS
    assert to_hook["webhook-id"] == to_hook["idempotency-key"] == str(uuid.UUID(str(delivery.id)))
    assert not [value for value in to_hook.values() if "evil" in value.lower()]


@pytest.mark.parametrize("workspace_id", ["w: 1", "w%0d%0aX-Evil: 1", 'w"; x=1', "w\tx", "w" * 128])
def test_a_workspaces_id_is_one_header_or_no_workspace(
    database: Database, stores: StoreUrls, clock: Clock, workspace_id: str
) -> None:
    with RawServer(always(answer(b"{}"))) as twentytwo:
        settings_ = make_settings(TWENTYTWO_BASE_URL=twentytwo.url("/api"))
        service = make_service(database, stores, settings_, clock)
        spec = WorkspaceSpec.model_validate({"api_key": "k", "api_secret": "s"})
        try:
            set_workspace(service, workspace_id, spec)
        except Invalid:
            assert "\t" in workspace_id
            return
        finally:
            service.redis.close()
        fetch(service, accept_rows(service, ["call_1"], workspace_id=workspace_id))
        [asked] = twentytwo.requests
    found = headers_of(asked)
    assert set(found) - OURS == {"authorization", "x-workspace-id"}
    assert found["x-workspace-id"] == workspace_id
