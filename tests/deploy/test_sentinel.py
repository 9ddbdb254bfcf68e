"""Redis behind Sentinels: its primary is lost while calls flow, and no call is."""

import socket
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
from tests.deploy.parts import parts, settings_for
from tests.deploy.redis_servers import NAME, Group, group, until


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Group]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with group(folder) as found:
        yield found


@pytest.mark.timeout(240)
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
