"""Which PostgreSQL and which Redis this process uses, and whether they are fit for it.

URLs that are set are used; where one is not set, the embedded store that
`aftercall up` keeps running on the data directory. Each problem is one line
that says what to do.
"""

from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from aftercall.db.session import SESSION_DEFAULTS, Database, DatabaseError
from aftercall.embedded import StoreUrls, running_stores
from aftercall.redis_address import BadRedisUrl, read_redis_url
from aftercall.settings import Settings, SettingsError

OLDEST_POSTGRESQL = 14
OLDEST_REDIS = (6, 2)
_UTC = frozenset({"UTC", "Etc/UTC", "GMT"})


class StoreError(Exception):
    """A store cannot be used. The message says which, why, and what to do."""


def find_stores(settings: Settings) -> StoreUrls:
    """The URLs of both stores, without trying whether they answer."""
    database_url = settings.database_url and settings.database_url.get_secret_value()
    redis_url = settings.redis_url and settings.redis_url.get_secret_value()
    if database_url and redis_url:
        return StoreUrls(database_url=database_url, redis_url=redis_url)
    embedded = running_stores(settings.data_dir)
    database_url = database_url or (embedded.database_url if embedded else "")
    redis_url = redis_url or (embedded.redis_url if embedded else "")
    for variable, url in (
        ("AFTERCALL_DATABASE_URL", database_url),
        ("AFTERCALL_REDIS_URL", redis_url),
    ):
        if not url:
            raise SettingsError(
                f"{variable} is not set, and no embedded stores answer on {settings.data_dir}: "
                "set it, or start `aftercall up`"
            )
    return StoreUrls(database_url=database_url, redis_url=redis_url)


def direct_database_url(settings: Settings, database_url: str) -> str:
    """PostgreSQL itself, past any pooler: for what needs one session from beginning to end."""
    if settings.direct_database_url is not None:
        return settings.direct_database_url.get_secret_value()
    if settings.database_pooler is not None:
        raise SettingsError(
            "AFTERCALL_DIRECT_DATABASE_URL is not set: migrations, backups and the vacuum of a "
            "forgetting need one session from beginning to end, which a pooler does not keep; "
            "set it to PostgreSQL's address"
        )
    return database_url


def check_database(database: Database) -> None:
    """StoreError unless it answers and is PostgreSQL, new enough."""
    where = f"{database.url.host or database.url.query.get('host', 'localhost')}"
    try:
        with database.engine.connect() as connection:
            version = str(connection.execute(text("SHOW server_version_num")).scalar_one())
            missing = _missing_defaults(connection) if database.is_pooled else []
    except (OperationalError, InterfaceError) as error:
        # libpq tells no code of what was refused at the connect. It is a hint, nothing hangs on it.
        remedy = "start it, or correct AFTERCALL_DATABASE_URL"
        if "unsupported startup parameter" in str(error.orig):
            remedy = "it seems to be a pooler, so set AFTERCALL_DATABASE_POOLER=transaction"
        raise StoreError(
            f"PostgreSQL at {where} does not answer ({_first_line(error)}): {remedy}"
        ) from None
    except (DBAPIError, DatabaseError) as error:
        raise StoreError(
            f"What answers at {where} is not a usable PostgreSQL ({_first_line(error)}): "
            "correct AFTERCALL_DATABASE_URL"
        ) from None
    if int(version) // 10_000 < OLDEST_POSTGRESQL:
        raise StoreError(
            f"PostgreSQL at {where} is version {int(version) // 10_000}: "
            f"aftercall needs {OLDEST_POSTGRESQL} or newer"
        )
    if missing:
        raise StoreError(
            f"Through the pooler at {where} sessions begin without what aftercall sets itself on a "
            f"direct connection: run {' '.join(missing)} on PostgreSQL itself, as the role that "
            "aftercall uses, then RECONNECT in the pooler's console or restart it"
        )


def _missing_defaults(connection: Connection) -> list[str]:
    """The statements that give the role what a pooler does not let through at the connect."""
    found = {name: str(connection.scalar(text(f"SHOW {name}"))) for name in SESSION_DEFAULTS}
    return [
        f"ALTER ROLE CURRENT_USER SET {name} = '{SESSION_DEFAULTS[name]}';"
        for name, value in found.items()
        if (value not in _UTC if name == "timezone" else value == "0")
    ]


def redis_client(url: str) -> "redis.Redis":
    """A client that gives up on a silent server after a few seconds."""
    try:
        address = read_redis_url(url)
    except BadRedisUrl as error:
        raise StoreError(f"AFTERCALL_REDIS_URL is no URL of Redis's. {error}") from None
    patience: dict[str, Any] = {"socket_timeout": 2, "socket_connect_timeout": 2}
    options: dict[str, Any] = {
        **address.server_options(),
        **patience,
        "health_check_interval": 30,
        # Once, for a connection that the server has closed meanwhile; the default waits long.
        "retry": Retry(NoBackoff(), 1),
        "decode_responses": True,
    }
    if address.socket_path is not None:
        return redis.Redis(unix_socket_path=address.socket_path, **options)
    options["socket_keepalive"] = True
    if address.service is None:
        ((host, port),) = address.nodes
        return redis.Redis(host=host, port=port, **options)
    # Once each: by default a silent one is asked ten times, and whoever waits, waits for all.
    asking = {**address.sentinel_options(), **patience, "retry": Retry(NoBackoff(), 0)}
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        address.nodes, sentinel_kwargs=asking, **options
    )
    client: redis.Redis = sentinels.master_for(  # type: ignore[no-untyped-call]
        address.service, connection_pool_class=_SentinelPool
    )
    return client


def _check_tls_files(url: str) -> None:
    # redis-py says "does not answer" of a file that it does not find.
    try:
        tls = read_redis_url(url).tls
    except BadRedisUrl:
        return
    for name, path in () if tls is None else tls.options().items():
        if isinstance(path, str) and name != "ssl_cert_reqs" and not Path(path).is_file():
            raise StoreError(f"The {name} of AFTERCALL_REDIS_URL is no file: correct its path")


class _SentinelPool(SentinelConnectionPool):
    """Closed with its connections to the Sentinels, which redis-py leaves open."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        super().disconnect(inuse_connections)
        if inuse_connections:
            for sentinel in self.sentinel_manager.sentinels:
                sentinel.close()


def check_redis(url: str) -> None:
    """StoreError unless it answers and speaks Redis, new enough."""
    _check_tls_files(url)
    try:
        with closing(redis_client(url)) as client:
            version = str(client.info("server").get("redis_version", "0"))
    except redis.exceptions.AuthenticationError:
        raise StoreError("Redis refuses the password: correct it in AFTERCALL_REDIS_URL") from None
    except MasterNotFoundError:
        raise StoreError(
            "No Sentinel answers that knows a working primary by the name in AFTERCALL_REDIS_URL: "
            "start them, or correct it"
        ) from None
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
        raise StoreError(
            f"Redis does not answer ({_first_line(error)}): "
            "start it, or correct AFTERCALL_REDIS_URL"
        ) from None
    except redis.exceptions.RedisError as error:
        raise StoreError(
            f"What answers is not a usable Redis ({_first_line(error)}): "
            "correct AFTERCALL_REDIS_URL"
        ) from None
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        raise StoreError(f"Redis is version {version}: aftercall needs 6.2 or newer")


def _first_line(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, psycopg.Error) and cause.diag.message_primary:
        return cause.diag.message_primary
    lines = str(cause).strip().splitlines()
    return lines[0][:200] if lines else type(cause).__name__
