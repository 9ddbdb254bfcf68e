"""Traces: real processes send their spans to a real collector, and they are one trace."""

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from aftercall.db.session import Database
from aftercall.domain.work import Credentials
from aftercall.embedded import StoreUrls
from aftercall.flows.service import Service
from aftercall.simulator import Fault, Simulator
from aftercall.stores import redis_client
from aftercall.tracing import OtlpTraces, Place, Traces, open_traces, read_traceparent
from aftercall.twentytwo.client import Twenty2
from aftercall.twentytwo.inbound import read_notice
from api.receiver import Receipt, Receiver
from tests.api.server import ADMIN_TOKEN, WEBHOOK_TOKEN
from tests.api.tcp_proxy import Door, TcpProxy
from tests.conftest import WORKSPACE, make_settings
from tests.observe.collector import Collector, Span
from tests.observe.house import running_house, until
from tests.raw_server import Peer, RawServer

SERVER, CLIENT, INTERNAL = 2, 3, 1


def trace_of_receipt(simulator: Simulator, call_id: str) -> Place:
    [receipt] = [one for one in simulator.crm.receipts("leads") if one.call_id == call_id]
    place = read_traceparent(receipt.headers["traceparent"])
    assert place is not None
    return place


def the(spans: list[Span]) -> Span:
    assert len(spans) == 1, spans
    return spans[0]


def assert_is_the_chain(spans: dict[str, list[Span]], *, fetches: int = 1) -> None:
    """webhook → fetch → save → deliver, each the child of the one before it."""
    webhook, save, deliver = the(spans["webhook"]), the(spans["save"]), the(spans["deliver"])
    assert len(spans["fetch"]) == fetches
    assert {fetch.parent_id for fetch in spans["fetch"]} == {webhook.span_id}
    [fetch] = [one for one in spans["fetch"] if one.span_id == save.parent_id]
    assert deliver.parent_id == save.span_id
    assert (webhook.kind, fetch.kind, save.kind, deliver.kind) == (SERVER, CLIENT, INTERNAL, CLIENT)
    assert fetch.began < fetch.ended == save.began <= save.ended
    assert save.began <= deliver.began < deliver.ended
    assert {span.service for its in spans.values() for span in its} == {"aftercall"}


@pytest.mark.timeout(300)
def test_a_call_is_one_trace_from_the_webhook_to_the_hook(
    tmp_path: Path, stores: StoreUrls, database: Database, simulator: Simulator
) -> None:
    with (
        Collector() as collector,
        running_house(
            tmp_path,
            stores,
            simulator,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
            OTEL_BSP_SCHEDULE_DELAY="200",
        ) as house,
    ):
        house.open("api", "worker", "beat")
        made = house.api.post(
            "/destinations", {"name": "leads", "url": simulator.crm.hook_url("leads")}, status=201
        )
        simulator.crm.add_hook("leads", made["secret"])
        plain, retried, *many = simulator.twentytwo.make_calls(12, status="completed")
        [ours] = simulator.twentytwo.make_calls(1, status="completed")
        simulator.twentytwo.fail_next(retried, Fault.SERVER_ERROR)
        given = Place(secrets.randbits(128) | 1, secrets.randbits(64) | 1)
        assert house.api.webhook({"call_id": plain}).ok
        assert house.api.webhook({"call_id": retried}).ok
        assert house.api.webhook({"call_ids": many}).ok
        assert house.api.webhook({"call_id": ours}, headers={"traceparent": given.traceparent}).ok
        everyone = {plain, retried, ours, *many}
        until(lambda: simulator.crm.accepted_call_ids("leads") == everyone, "all are there")
        until(lambda: named(collector, "deliver") >= len(everyone), "the spans are there")

        traces = {call_id: trace_of_receipt(simulator, call_id) for call_id in everyone}
        assert len({place.trace_id for place in traces.values()}) == len(everyone)
        for call_id in (plain, *many):
            spans = collector.of_trace(f"{traces[call_id].trace_id:032x}")
            assert_is_the_chain(spans)
            assert the(spans["webhook"]).parent_id == ""
            # What the hook was told is the span that stands for its request.
            assert int(the(spans["deliver"]).span_id, 16) == traces[call_id].span_id
        spans = collector.of_trace(f"{traces[retried].trace_id:032x}")
        assert_is_the_chain(spans, fetches=2)
        assert sorted(fetch.is_error for fetch in spans["fetch"]) == [False, True]
        # The sender had a trace already: the call belongs to it.
        assert traces[ours].trace_id == given.trace_id
        spans = collector.of_trace(f"{given.trace_id:032x}")
        assert_is_the_chain(spans)
        assert the(spans["webhook"]).parent_id == f"{given.span_id:016x}"

        said = b"".join(collector.raw)
        people = json.dumps(house.api.calls())
        for secret in (WEBHOOK_TOKEN, ADMIN_TOKEN, WORKSPACE.api_secret, made["secret"], "token="):
            assert secret.encode() not in said
        for call in json.loads(people):
            for phone in (call["callee_phone"], call["caller_phone"]):
                assert phone is None or phone.lstrip("+").encode() not in said


def answer(peer: Peer) -> None:
    for _ in peer.requests():
        peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def named(collector: Collector, name: str) -> int:
    return sum(span.name == name for span in list(collector.spans))


def test_without_an_endpoint_nothing_is_made_and_nothing_is_sent_along(stores: StoreUrls) -> None:
    with redis_client(stores.redis_url) as client:
        traces = open_traces(make_settings(), client=client, key="key")
        assert type(traces) is Traces
        assert traces.begin(1, 0) is None


def test_a_wrong_variable_of_the_librarys_turns_traces_off_and_nothing_else(
    stores: StoreUrls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-31337")
    settings = make_settings(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    with redis_client(stores.redis_url) as client:
        assert type(open_traces(settings, client=client, key="key")) is Traces
    said = "".join(capsys.readouterr())
    assert "traces.off" in said
    assert "ValueError" in said
    assert "31337" not in said


def test_twenty2_is_told_the_span_of_its_request() -> None:
    place = Place(0xABC, 0xDEF)
    for traceparent in (place.traceparent, None):
        with RawServer(answer) as server:
            twentytwo = Twenty2(server.url("/api"))
            said: list[object] = []
            twentytwo.ask_for_detail(
                "call_1",
                workspace_id="ws",
                credentials=Credentials(api_key="k", api_secret="s"),
                then=said.append,
                traceparent=traceparent,
            )
            until(lambda said=said: bool(said), "it answers")  # type: ignore[misc]
            twentytwo.close()
        [request] = server.requests
        line = f"traceparent: {place.traceparent}".encode()
        assert (line in request) == (traceparent is not None)
        assert (b"traceparent" in request) == (traceparent is not None)


@pytest.fixture
def traces(stores: StoreUrls, database: Database) -> Iterator[tuple[OtlpTraces, ...]]:
    with redis_client(stores.redis_url) as client:
        made = OtlpTraces("http://127.0.0.1:1", client=client, key="a key")
        other = OtlpTraces("http://127.0.0.1:1", client=client, key="a key")
        stranger = OtlpTraces("http://127.0.0.1:1", client=client, key="another key")
        yield made, other, stranger
        for each in (made, other, stranger):
            each.close()


def test_every_process_knows_a_rows_trace_and_nobody_elses(
    traces: tuple[OtlpTraces, OtlpTraces, OtlpTraces],
) -> None:
    here, there, elsewhere = (each.begin(7, 0) for each in traces)
    assert here
    assert there
    assert elsewhere
    assert here.trace_id == there.trace_id != elsewhere.trace_id
    assert here.span_id != there.span_id
    again = traces[0].begin(7, 1)
    assert again
    assert again.trace_id != here.trace_id


def test_a_trace_that_was_given_is_known_to_other_processes(
    traces: tuple[OtlpTraces, OtlpTraces, OtlpTraces],
) -> None:
    here, there, _ = traces
    given = Place(0xABC, 0xDEF, is_sampled=False)
    here.adopt({(7, 0): given})
    here.share({(7, 0): given})
    there.recall([(7, 0), (8, 0)])
    begun, other = there.begin(7, 0), there.begin(8, 0)
    assert begun
    assert other
    assert (begun.trace_id, begun.is_sampled) == (0xABC, False)
    assert (other.trace_id == 0xABC, other.is_sampled) == (False, True)


def test_webhooks_that_bring_traces_wait_for_no_silent_redis(
    service: Service, stores: StoreUrls
) -> None:
    redis = urlsplit(stores.redis_url)
    with TcpProxy((str(redis.hostname), int(redis.port or 0))) as door:
        door.set(Door.SILENT)
        with redis_client(f"redis://:{redis.password}@127.0.0.1:{door.port}/0") as client:
            traces = OtlpTraces("http://127.0.0.1:1", client=client, key="a key")
            began = time.monotonic()
            receipts = asyncio.run(receive_many(replace(service, traces=traces), 20))
            assert time.monotonic() - began < 2
            assert {one.kept_in for one in receipts} == {"database"}
            # Here they are known all the same.
            begun = traces.begin(receipts[0].accepted[0].call_row_id or 0, 0)
            assert begun
            assert begun.trace_id == 1
            traces.close()


async def receive_many(service: Service, count: int) -> list[Receipt]:
    """Webhooks, each with a trace of its own."""
    receiver = Receiver(service)
    return await asyncio.gather(
        *(
            receiver.receive(read_notice(body), body, trace=Place(number, number))
            for number in range(1, count + 1)
            for body in [json.dumps({"call_id": f"call_{number}"}).encode()]
        )
    )


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (f"00-{'a' * 32}-{'b' * 16}-01", True),
        (f"00-{'a' * 32}-{'b' * 16}-00", True),
        # A later version may say more behind it.
        (f"01-{'a' * 32}-{'b' * 16}-01-more", True),
        (f"00-{'a' * 32}-{'b' * 16}-01-more", False),
        (f"ff-{'a' * 32}-{'b' * 16}-01", False),
        (f"00-{'0' * 32}-{'b' * 16}-01", False),
        (f"00-{'a' * 32}-{'0' * 16}-01", False),
        (f"00-{'A' * 32}-{'b' * 16}-01", False),
        (f"00-{'a' * 31}-{'b' * 16}-01", False),
        ("", False),
        (None, False),
        ("x" * 10_000, False),
    ],
)
def test_a_traceparent_is_read_as_w3c_has_it(given: str | None, read: bool) -> None:
    place = read_traceparent(given)
    assert (place is not None) == read
    if place is not None:
        assert place.is_sampled == (given is not None and given[53:55] == "01")


def test_a_place_is_written_as_it_is_read() -> None:
    place = Place(0xABC, 0xDEF, is_sampled=False)
    assert read_traceparent(place.traceparent) == place
