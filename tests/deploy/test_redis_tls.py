"""Redis over TLS, with a certificate authority of our own: the client, and the queue."""

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from celery import Celery
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aftercall.embedded import StoreUrls
from aftercall.queue import celery_settings
from aftercall.stores import StoreError, check_redis, redis_client


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that signs others."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("an authority of the tests")
        certificate = (
            _builder(name, name, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        folder.mkdir()
        (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(key, certificate, folder)

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, *, address: str | None = None) -> Path:
        """A file with a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        given = x509.DNSName(name) if address is None else _address(address)
        certificate = (
            _builder(_name(name), self.certificate.subject, key)
            .add_extension(x509.SubjectAlternativeName([given]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
            .sign(self.key, hashes.SHA256())
        )
        file = self.folder / f"{name}.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return file


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _address(address: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_address(address))


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs, crl_sign=signs,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )


class TlsDoor:
    """Ends TLS before a server that has none, as managed stores' front doors do."""

    def __init__(self, target: tuple[str, int], context: ssl.SSLContext) -> None:
        self._target = target
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            client = self._context.wrap_socket(raw, server_side=True)
        except (OSError, ssl.SSLError):
            raw.close()
            return
        server = socket.create_connection(self._target)
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join()
        client.close()
        server.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


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
