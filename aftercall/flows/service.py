"""What one process holds open: the stores, the doorbell, the limiter, the keys, the clock.

Made once by an entry point, handed to every flow. Nothing here is global.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import redis
from celery import Celery

from aftercall.counters import Counters
from aftercall.db.session import Database
from aftercall.db.workspaces import Access
from aftercall.domain.work import Credentials
from aftercall.embedded import StoreUrls
from aftercall.http import AddressGuard
from aftercall.origins import Origins
from aftercall.queue import Doorbell, ringing_settings
from aftercall.rate_limit import RateLimiter
from aftercall.sealing import Sealer
from aftercall.settings import Settings
from aftercall.stores import redis_client
from aftercall.tracing import Traces, open_traces


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The parts that flows work with."""

    settings: Settings
    database: Database
    redis: redis.Redis
    limiter: RateLimiter
    doorbell: Doorbell
    sealer: Sealer
    clock: Callable[[], datetime] = utc_now
    rng: random.Random = field(default_factory=random.Random)
    #: This process's.
    counters: Counters = field(default_factory=Counters)
    origins: Origins = field(default_factory=Origins)
    traces: Traces = field(default_factory=Traces)

    @property
    def own_workspace(self) -> str | None:
        """The workspace whose credentials are in the environment."""
        settings = self.settings
        if settings.twentytwo_api_key is None or settings.twentytwo_api_secret is None:
            return None
        return settings.twentytwo_workspace_id

    def credentials(self, access: Access) -> Credentials | None:
        """The workspace's own, else the environment's; SealError when they do not open."""
        if access.api_key_sealed is not None and access.api_secret_sealed is not None:
            return Credentials(
                api_key=self.sealer.open(access.api_key_sealed),
                api_secret=self.sealer.open(access.api_secret_sealed),
            )
        settings = self.settings
        if access.workspace_id != self.own_workspace:
            return None
        if settings.twentytwo_api_key is None or settings.twentytwo_api_secret is None:
            return None
        return Credentials(
            api_key=settings.twentytwo_api_key.get_secret_value(),
            api_secret=settings.twentytwo_api_secret.get_secret_value(),
        )

    def guard(self) -> AddressGuard:
        return AddressGuard(self.settings.allowed_private_networks)

    def close(self) -> None:
        self.traces.close()
        self.database.close()
        self.redis.close()


def open_service(
    settings: Settings, stores: StoreUrls, *, celery: Celery | None = None, pool_size: int = 10
) -> Service:
    """Connects lazily: nothing is asked of a store yet."""
    if celery is None:
        celery = Celery("aftercall", set_as_current=False)
        celery.conf.update(ringing_settings(stores.redis_url))
    client = redis_client(stores.redis_url)
    key = settings.require("secret_key")
    return Service(
        settings=settings,
        database=Database(stores.database_url, pool_size=pool_size, is_pooled=settings.is_pooled),
        redis=client,
        limiter=RateLimiter(client),
        doorbell=Doorbell(celery),
        sealer=Sealer(key),
        traces=open_traces(settings, client=client, key=key),
    )
