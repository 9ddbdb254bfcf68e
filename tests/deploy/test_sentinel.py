"""Redis behind Sentinels: its primary is lost while calls flow, and no call is."""

import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from celery import Celery

from aftercall.broker import SentinelChannel
from aftercall.embedded import StoreUrls
from aftercall.flows.heartbeat import last_sweep_at
from aftercall.queue import Doorbell, celery_settings, ringing_settings
from aftercall.simulator import Simulator
from aftercall.stores import StoreError, check_redis, redis_client
from tests.deploy.authority import Authority
from tests.deploy.parts import parts, settings_for
from tests.deploy.redis_servers import NAME, PASSWORD, Group, group, until


@pytest.fixture
def sentinels(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Group]:
    folder = tmp_path / "redis"
    folder.mkdir()
    is_tls = getattr(request, "param", None) == "TLS"
    with group(folder, Authority.make(tmp_path / "ca") if is_tls else None) as found:
        yield found


#: A Mac has one address of its own alone.
over_tls = pytest.param("TLS", marks=pytest.mark.skipif(sys.platform == "darwin", reason="Linux"))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("sentinels", ["plain", over_tls], indirect=True)
@pytest.mark.usefixtures("database")
def test_the_primary_is_lost_while_calls_flow_and_every_call_arrives(
    stores: StoreUrls, sentinels: Group, simulator: Simulator, tmp_path: Path
) -> None:
    given = settings_for(simulator, replace(stores, redis_url=sentinels.url))
    with parts(given, simulator, tmp_path) as running:
        call_ids = simulator.twentytwo.make_calls(400)
        stream, sending = running.send(call_ids, per_second=30)
        until(lambda: len(stream.accepted) > 80, "the first calls")
        lost = sentinels.kill_primary()
        until(lambda: sentinels.primary() != lost, "another primary")
        sending.join()
        assert stream.refused == 0
        assert stream.accepted == set(call_ids)
        running.wait_until_delivered(set(call_ids))
        swept_at = last_sweep_at(running.service)
        assert swept_at is not None
        until(lambda: last_sweep_at(running.service) != swept_at, "a sweep by the new primary")
        report = simulator.report()
        assert (report.ids_that_disagree, report.bad_signatures) == (0, 0)


def test_the_queue_goes_on_through_our_own_transport_after_the_primary_is_lost(
    sentinels: Group,
) -> None:
    # kombu's own way with Sentinels goes on as its own transport, which dies of a lost message.
    celery = Celery("sentinels", set_as_current=False)
    celery.conf.update(celery_settings(sentinels.url))
    with celery.connection_for_write() as connection:
        connection.SimpleQueue("before").put("ring")
        lost = sentinels.kill_primary()
        until(lambda: sentinels.primary() != lost, "another primary")

        def rings() -> bool:
            try:
                connection.ensure_connection(max_retries=1)
                connection.SimpleQueue("after").put("ring")
            except (OSError, *connection.connection_errors, *connection.channel_errors):
                connection.close()
                return False
            return True

        until(rings, "a message after the failover")
        assert isinstance(connection.default_channel, SentinelChannel)
    with redis_client(sentinels.url) as client:
        assert client.llen("after") >= 1


@pytest.mark.parametrize("sentinels", [over_tls], indirect=True)
def test_over_tls_neither_the_sentinels_nor_the_primary_are_spoken_to_in_plain(
    sentinels: Group, tmp_path: Path
) -> None:
    check_redis(sentinels.url)
    plain = sentinels.url.replace("sentinel+tls", "sentinel").partition("&ssl")[0]
    with pytest.raises(StoreError, match="No Sentinel answers"):
        check_redis(plain)
    with (
        redis.Redis(port=sentinels.primary(), password=PASSWORD, socket_timeout=2) as client,
        pytest.raises(redis.RedisError),
    ):
        client.ping()
    other = Authority.make(tmp_path / "other")
    assert sentinels.authority is not None
    with pytest.raises(StoreError):
        check_redis(sentinels.url.replace(str(sentinels.authority.file), str(other.file)))


def test_a_name_that_no_sentinel_knows_is_said(sentinels: Group) -> None:
    with pytest.raises(StoreError, match="No Sentinel answers that knows a working primary"):
        check_redis(sentinels.url.replace(NAME, "another"))


def test_a_silent_sentinel_is_not_asked_again_and_again() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        url = f"sentinel://127.0.0.1:{silent.getsockname()[1]}/{NAME}"
        began = time.monotonic()
        with redis_client(url) as client, pytest.raises(redis.RedisError):
            client.ping()
        assert time.monotonic() - began < 8
        celery = Celery("silent", set_as_current=False)
        celery.conf.update(ringing_settings(url))
        began = time.monotonic()
        Doorbell(celery).ring_fetch([1])
        assert time.monotonic() - began < 8


def test_the_password_of_the_sentinels_is_theirs(sentinels: Group) -> None:
    check_redis(sentinels.url)
    with pytest.raises(StoreError):
        check_redis(sentinels.url.partition("?")[0])
