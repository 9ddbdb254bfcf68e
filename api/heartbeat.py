"""The api's sign of life: from its event loop, so that one that hangs shows none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import redis

from aftercall.flows.heartbeat import BEAT_EVERY, Heartbeat, note_webhook
from aftercall.flows.service import Service
from api.receiver import Receiver


@asynccontextmanager
async def heartbeat(service: Service, receiver: Receiver) -> AsyncIterator[None]:
    """Until the end of the block; with it goes when the last webhook was taken."""
    own = Heartbeat(service.redis, "api")
    noted: datetime | None = None

    def beat() -> None:
        nonlocal noted
        try:
            own.beat()
            last = receiver.last_at
            if last is not None and last != noted:
                note_webhook(service.redis, last)
                noted = last
        except redis.RedisError:
            pass  # whoever watches sees that Redis is away

    async def go_on() -> None:
        while True:
            await asyncio.to_thread(beat)
            await asyncio.sleep(BEAT_EVERY)

    beating = asyncio.create_task(go_on())
    try:
        yield
    finally:
        beating.cancel()
        try:
            await asyncio.to_thread(own.end)
        except redis.RedisError:
            pass  # it is forgotten after a while
