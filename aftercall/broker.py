"""kombu's Redis transport, forgiving about messages whose connection is gone.

With kombu 5.7, a worker that loses Redis while a late-acknowledged task runs
either puts the message back or acknowledges it through the connection that is
gone, and dies of an AttributeError (found by `make chaos`). A message is a
doorbell here: neither matters, the row that it rang for is found by the sweep.
"""

from typing import Any

from kombu.transport import redis


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
