"""Which PostgreSQL and which Redis this process uses, and whether they are fit for it.

URLs that are set are used; where one is not set, the embedded store that
`aftercall up` keeps running on the data directory. Each problem is one line
that says what to do.
"""

from contextlib import closing

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from aftercall.db.session import Database, DatabaseError
from aftercall.embedded import StoreUrls, running_stores
from aftercall.settings import Settings, SettingsError

OLDEST_POSTGRESQL = 14
OLDEST_REDIS = (6, 2)


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


def check_database(database: Database) -> None:
    """StoreError unless it answers and is PostgreSQL, new enough."""
    where = f"{database.url.host or database.url.query.get('host', 'localhost')}"
    try:
        with database.engine.connect() as connection:
            version = str(connection.execute(text("SHOW server_version_num")).scalar_one())
    except (OperationalError, InterfaceError) as error:
        raise StoreError(
            f"PostgreSQL at {where} does not answer ({_first_line(error)}): "
            "start it, or correct AFTERCALL_DATABASE_URL"
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


def redis_client(url: str) -> "redis.Redis":
    """A client that gives up on a silent server after a few seconds."""
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=2,
            socket_connect_timeout=2,
            socket_keepalive=True,
            health_check_interval=30,
            # Once, for a connection that the server has closed meanwhile; the default waits long.
            retry=Retry(NoBackoff(), 1),
            decode_responses=True,
        )
    except ValueError:
        raise StoreError(
            "AFTERCALL_REDIS_URL is not a URL that Redis knows: expected redis://host:6379/0"
        ) from None


def check_redis(url: str) -> None:
    """StoreError unless it answers and speaks Redis, new enough."""
    try:
        with closing(redis_client(url)) as client:
            version = str(client.info("server").get("redis_version", "0"))
    except redis.exceptions.AuthenticationError:
        raise StoreError("Redis refuses the password: correct it in AFTERCALL_REDIS_URL") from None
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
