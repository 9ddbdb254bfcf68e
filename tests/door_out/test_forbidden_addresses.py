"""No spelling of an inner address, no name and no redirect leads a destination inside.

Seen from the operator's API, which refuses it, and from a real delivery of a row that is older
than the check, which is dead with its reason. What listens inside sees no connection.
"""

import uuid
from collections.abc import Callable, Iterator

import pytest

from aftercall.crm.destination_spec import DestinationSpec
from aftercall.db.models import Delivery
from aftercall.db.session import Database
from aftercall.domain.states import CallState, DeliveryState
from aftercall.embedded import StoreUrls
from aftercall.flows.configure_destinations import create_destination
from aftercall.flows.configure_destinations import test_destination as try_destination
from aftercall.flows.errors import Invalid
from aftercall.flows.service import Service
from tests.api.server import Api, assert_problem, running_api
from tests.conftest import Clock, make_service, make_settings
from tests.door_out.conftest import move_destination
from tests.flows.work import accept_rows, call_row, fetch
from tests.raw_server import RawServer, always, answer
from tests.test_http import Resolver

#: Hosts, as they stand in a URL between // and the port.
SPELLINGS = [
    *("127.0.0.1", "localhost", "LocalHost", "localhost.", "127.0.0.1."),
    # One number, octal, hexadecimal, fewer parts.
    *("2130706433", "017700000001", "0x7f000001", "0x7F.0.0.1", "0177.0.0.01", "127.1", "127.0.1"),
    *("0", "0.0.0.0", "0x0", "2130706433."),  # noqa: S104 - nobody binds
    # IPv6: loopback, unspecified, and what has an IPv4 address inside.
    *("[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]"),
    *("[2002:7f00:1::1]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[::ffff:0:7f00:1]"),
    *("[fe80::1%25lo]", "[fe80::1%lo]", "[::1%25lo]", "[::ffff:127.0.0.1%25lo]"),
    # Somebody in front of the address, or behind it.
    *("good.example@127.0.0.1", "good.example:x@127.0.0.1", "good.example%40127.0.0.1"),
    *("127.0.0.1\\@good.example", "good.example\\@127.0.0.1", "127.0.0.1%23@good.example"),
    # Digits, dots and letters that only look like them.
    *("１２７.0.0.1", "127。0。0。1", "①②⑦.⓪.⓪.①", "ⓛocalhost", "%31%32%37.0.0.1", "127.0.0.1%00"),
]
ELSEWHERE = [
    *("169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *(
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "0xA9FEA9FE",
        "2852039166",
        "[fe80::1]",
        "[fc00::1]",
    ),
    *("224.0.0.1", "255.255.255.255", "[ff02::1]"),
]
#: What a name may resolve to.
INNER = [
    *(["127.0.0.1"], ["10.0.0.8"], ["169.254.169.254"], ["0.0.0.0"], ["::1"], ["fe80::1"]),  # noqa: S104
    *(["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"], ["2002:7f00:1::1"], ["fd00::1"]),
    *(["8.8.8.8", "127.0.0.1"], ["2606:4700::1111", "::1"]),
]


@pytest.fixture(scope="module")
def _strict_api(stores: StoreUrls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_api(
        tmp_path_factory.mktemp("strict"),
        AFTERCALL_DATABASE_URL=stores.database_url,
        AFTERCALL_REDIS_URL=stores.redis_url,
        AFTERCALL_ALLOWED_PRIVATE_NETWORKS="",
    ) as api:
        yield api


@pytest.fixture
def api(_strict_api: Api, database: Database) -> Api:
    return _strict_api


@pytest.fixture
def destination_id(strict: Service, resolver: Resolver) -> uuid.UUID:
    """A destination that was good when it was saved."""
    resolver.say("crm.example", ["8.8.8.8"])
    spec = DestinationSpec(name="leads", url="http://crm.example/hook", timeout_seconds=2)
    return create_destination(strict, spec).id


# ---- the operator's API --------------------------------------------------------


@pytest.mark.parametrize("host", [*SPELLINGS, *ELSEWHERE])
def test_the_operators_api_makes_no_destination_of_it(
    api: Api, inner: RawServer, host: str
) -> None:
    url = f"http://{host}:{inner.port}/hook"
    made = api.call("POST", "/destinations", json={"name": "inside", "url": url})
    problem = assert_problem(made, 422)
    [error] = problem["errors"]
    assert error["at"].endswith("url")
    assert api.get("/destinations")["items"] == []
    assert inner.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "localhost."])
def test_the_operators_api_moves_no_destination_there(
    api: Api, inner: RawServer, host: str
) -> None:
    # An address of documentation: nobody is asked for its name.
    made = api.call("POST", "/destinations", json={"name": "leads", "url": "http://8.8.8.8/hook"})
    path = f"/destinations/{made.json()['id']}"
    answer = api.call("PATCH", path, json={"url": f"http://{host}:{inner.port}/hook"})
    assert_problem(answer, 422, "AFTERCALL_ALLOWED_PRIVATE_NETWORKS", at="url")
    assert api.get(path)["url"] == "http://8.8.8.8/hook"
    assert inner.connections == 0


@pytest.mark.parametrize("addresses", INNER, ids=str)
def test_a_name_that_leads_inside_is_refused_when_it_is_saved(
    strict: Service, resolver: Resolver, inner: RawServer, addresses: list[str]
) -> None:
    resolver.say("crm.example", addresses)
    spec = DestinationSpec(name="leads", url=f"http://crm.example:{inner.port}/hook")
    with pytest.raises(Invalid) as refusal:
        create_destination(strict, spec)
    assert "crm.example resolves to" in str(refusal.value)
    assert "AFTERCALL_ALLOWED_PRIVATE_NETWORKS" in str(refusal.value)
    assert inner.connections == 0


# ---- a delivery ----------------------------------------------------------------


@pytest.mark.parametrize("host", SPELLINGS)
def test_a_delivery_goes_nowhere_inside_however_its_url_spells_it(
    strict: Service,
    destination_id: uuid.UUID,
    deliver_one: Callable[[Service], Delivery],
    inner: RawServer,
    host: str,
) -> None:
    move_destination(strict, destination_id, f"http://{host}:{inner.port}/hook")
    row = deliver_one(strict)
    # What resolves to nothing on this machine may resolve later: that is tried again.
    assert row.state in (DeliveryState.DEAD, DeliveryState.QUEUED)
    assert row.last_error
    if row.state is DeliveryState.QUEUED:
        assert "no complete answer" in row.last_error
    assert inner.connections == 0


@pytest.mark.parametrize("addresses", INNER, ids=str)
def test_a_name_that_was_public_when_it_was_saved_and_leads_inside_now_is_dead_with_its_reason(
    strict: Service,
    resolver: Resolver,
    destination_id: uuid.UUID,
    deliver_one: Callable[[Service], Delivery],
    inner: RawServer,
    addresses: list[str],
) -> None:
    move_destination(strict, destination_id, f"http://crm.example:{inner.port}/hook")
    resolver.say("crm.example", addresses)
    row = deliver_one(strict)
    assert row.state is DeliveryState.DEAD
    assert row.last_error is not None
    assert "at an address that is not allowed" in row.last_error
    assert "AFTERCALL_ALLOWED_PRIVATE_NETWORKS" in row.last_error
    assert inner.connections == 0


def test_a_test_of_a_destination_is_checked_as_a_delivery_is(
    strict: Service, resolver: Resolver, destination_id: uuid.UUID, inner: RawServer
) -> None:
    move_destination(strict, destination_id, f"http://crm.example:{inner.port}/hook")
    resolver.say("crm.example", ["127.0.0.1"])
    view = try_destination(strict, destination_id)
    assert view.outcome == "dead"
    assert "not allowed" in (view.reason or "")
    assert inner.connections == 0


def test_a_name_is_asked_for_once_and_what_was_checked_is_what_is_used(
    service: Service,
    resolver: Resolver,
    deliver_one: Callable[[Service], Delivery],
    inner: RawServer,
) -> None:
    """Of two lookups, one to check and one to connect, the second could lie."""
    with RawServer(always(answer())) as hook:
        resolver.say("crm.example", ["127.0.0.1"])
        url = f"http://crm.example:{hook.port}/hook"
        create_destination(service, DestinationSpec(name="leads", url=url))
        resolver.lookups.clear()
        resolver.say("crm.example", ["127.0.0.1"], ["169.254.169.254"])
        assert deliver_one(service).state is DeliveryState.DELIVERED
        assert resolver.lookups.count("crm.example") == 1
        assert deliver_one(service).state is DeliveryState.DEAD
        assert resolver.lookups.count("crm.example") == 2
        assert len(hook.requests) == 1


# ---- redirects -----------------------------------------------------------------

REDIRECTS = [
    "301 Moved Permanently",
    "302 Found",
    "303 See Other",
    "307 Temporary Redirect",
    "308 Permanent Redirect",
    "300 Multiple Choices",
]


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("target", ["http://127.0.0.1:{}/", "//localhost:{}/", "http://[::1]:{}/"])
def test_a_permitted_hook_that_redirects_inside_is_dead_and_not_followed(
    service: Service,
    deliver_one: Callable[[Service], Delivery],
    inner: RawServer,
    status: str,
    target: str,
) -> None:
    where = target.format(inner.port)
    said = answer(b"", f"Location: {where}", f"Refresh: 0; url={where}", status=status)
    with RawServer(always(said)) as hook:
        create_destination(service, DestinationSpec(name="leads", url=hook.url("/hook")))
        row = deliver_one(service)
        assert len(hook.requests) == 1
    assert row.state is DeliveryState.DEAD
    assert status[:3] in (row.last_error or "")
    assert inner.connections == 0


@pytest.mark.parametrize("status", REDIRECTS)
def test_twenty2s_redirect_takes_no_credentials_anywhere(
    database: Database,
    stores: StoreUrls,
    clock: Clock,
    inner: RawServer,
    status: str,
) -> None:
    said = answer(b"", f"Location: http://127.0.0.1:{inner.port}/", status=status)
    with RawServer(always(said)) as twentytwo:
        settings = make_settings(TWENTYTWO_BASE_URL=twentytwo.url("/api"))
        service = make_service(database, stores, settings, clock)
        fetch(service, accept_rows(service, ["call_1"]))
        row = call_row(service, "call_1")
        service.redis.close()
        assert len(twentytwo.requests) == 1
    assert row.state is CallState.QUEUED
    assert status[:3] in (row.last_error or "")
    assert inner.connections == 0
