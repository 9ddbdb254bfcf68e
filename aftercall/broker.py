"""kombu's Redis transport, forgiving about messages whose connection is gone.

With kombu 5.7, a worker that loses Redis while a late-acknowledged task runs
either puts the message back or acknowledges it through the connection that is
gone, and dies of an AttributeError (found by `make chaos`). A message is a
doorbell here: neither matters, the row that it rang for is found by the sweep.

With Sentinels, kombu wants one URL for each and, at a failed connection, goes on with the next
URL as its own transport, without the above. Here they come as an option beside a single URL.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kombu.transport import redis
from redis import ConnectionPool, Redis
from redis.sentinel import Sentinel


class QoS(redis.QoS):
    def ack(self, delivery_tag: Any) -> None:
        if self.channel.connection is not None:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        if self.channel.connection is not None:
            super().reject(delivery_tag, requeue=requeue)


class Channel(redis.Channel):
    QoS = QoS
    do_restore = False


class Transport(redis.Transport):
    Channel = Channel


class SentinelChannel(redis.SentinelChannel):
    QoS = QoS
    do_restore = False
    from_transport_options = (*redis.SentinelChannel.from_transport_options, "sentinels")

    sentinels: Sequence[tuple[str, int]] = ()
    master_name: str
    sentinel_kwargs: Mapping[str, Any]

    def _sentinel_managed_pool(self, asynchronous: bool = False) -> ConnectionPool:
        options: dict[str, Any] = self._connparams(asynchronous)  # type: ignore[attr-defined]
        del options["host"], options["port"]
        manager = Sentinel(  # type: ignore[no-untyped-call]
            self.sentinels, sentinel_kwargs=dict(self.sentinel_kwargs), **options
        )
        # kombu closes the connections to the Sentinels with the channel's.
        if asynchronous:
            self._async_sentinel_manager = manager
        else:
            self._sentinel_manager = manager
        client: Redis = manager.master_for(self.master_name)  # type: ignore[no-untyped-call]
        return client.connection_pool


class SentinelTransport(redis.SentinelTransport):
    Channel = SentinelChannel
