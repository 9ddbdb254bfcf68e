"""Redis over TLS, with a certificate authority of our own: the client, and the queue."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from celery import Celery

from aftercall.embedded import StoreUrls
from aftercall.queue import celery_settings
from aftercall.stores import StoreError, check_redis, redis_client
from tests.deploy.authority import Authority
from tests.deploy.tls_door import TlsDoor


@dataclass(frozen=True, slots=True)
class Door:
    """A server that wants a certificate of its clients too, and shows one of its own."""

    authority: Authority
    url: str
    client_file: Path


@pytest.fixture
def door(stores: StoreUrls, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Door]:
    address = getattr(request, "param", "127.0.0.1")
    authority = Authority.make(tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("server", address=address))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    store = urlsplit(stores.redis_url)
    inner = TlsDoor((store.hostname or "", store.port or 0), context)
    url = f"rediss://:{store.password}@127.0.0.1:{inner.port}/0"
    yield Door(authority, url, authority.issue("client"))
    inner.close()


def complete(door: Door) -> str:
    return (
        f"{door.url}?ssl_ca_certs={door.authority.file}"
        f"&ssl_certfile={door.client_file}&ssl_keyfile={door.client_file}"
    )


@pytest.mark.usefixtures("database")
def test_the_client_and_the_queue_speak_tls_and_show_their_certificate(door: Door) -> None:
    url = complete(door)
    check_redis(url)
    celery = Celery("tls", set_as_current=False)
    celery.conf.update(celery_settings(url))
    with celery.connection_for_write() as connection:
        queue = connection.SimpleQueue("over-tls")
        queue.put("ring")
        message = queue.get(timeout=10)
        assert message.payload == "ring"
        message.ack()
        queue.close()
    with redis_client(url) as client:
        client.set("over", "tls")
        assert client.get("over") == "tls"


def test_a_server_that_another_authority_vouches_for_is_refused(door: Door, tmp_path: Path) -> None:
    other = Authority.make(tmp_path / "other")
    url = complete(door).replace(str(door.authority.file), str(other.file))
    with pytest.raises(StoreError, match="certificate verify failed"):
        check_redis(url)


@pytest.mark.parametrize("door", ["127.0.0.2"], indirect=True)
def test_a_server_of_another_name_is_refused_unless_names_do_not_matter(door: Door) -> None:
    with pytest.raises(StoreError, match="not valid for"):
        check_redis(complete(door))
    check_redis(f"{complete(door)}&ssl_check_hostname=false")


def test_without_an_authority_nobody_is_trusted(door: Door) -> None:
    with pytest.raises(StoreError, match="certificate verify failed"):
        check_redis(door.url)


def test_a_file_that_is_not_there_is_said(door: Door, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.pem"
    with pytest.raises(StoreError, match="ssl_"):
        check_redis(f"{door.url}?ssl_ca_certs={missing}")
