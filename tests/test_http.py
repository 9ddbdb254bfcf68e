"""`aftercall.http` against real sockets: every way an exchange can end is a value, and in time."""

import errno
import functools
import gzip
import itertools
import os
import socket
import ssl
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercall.domain.exchange import Answer, Exchange, Failure, NoAnswer
from aftercall.http import AddressGuard, HttpClient, Limits, Request, refused_addresses
from tests.raw_server import (
    Peer,
    RawServer,
    Script,
    always,
    answer,
    chunk,
    head,
    once,
    server_tls,
)

# No time in it: the tests have the same names in every process.
zipped = partial(gzip.compress, mtime=0)


LIMITS = Limits(
    connect=timedelta(seconds=3),
    deadline=timedelta(seconds=5),
    max_body_bytes=100_000,
)
#: Each with one limit that is short, and the other far away.
SHORT = replace(LIMITS, deadline=timedelta(seconds=0.25))
SHORT_CONNECT = replace(LIMITS, connect=timedelta(seconds=0.12))
#: How much later than its limit an exchange may end on a busy machine; before the other limit.
SLACK = 2.0
LOOPBACK_ALLOWED = AddressGuard(allowed_networks=(ip_network("127.0.0.0/8"),))
KEY = "sk_live_42"


def get(
    client: HttpClient,
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    params: Mapping[str, str] | None = None,
    limits: Limits = LIMITS,
) -> Exchange:
    return client.exchange(
        Request(
            method=method,
            url=url,
            headers=headers or {},
            body=body,
            params=params,
            limits=limits,
        )
    )


def get_answer(client: HttpClient, url: str, *, limits: Limits = LIMITS) -> Answer:
    outcome = get(client, url, limits=limits)
    assert isinstance(outcome, Answer), outcome
    return outcome


def failure_of(outcome: Exchange) -> Failure:
    assert isinstance(outcome, NoAnswer), outcome
    return outcome.failure


@pytest.fixture
def client() -> Iterator[HttpClient]:
    with HttpClient(guard=None, keep=4) as client:
        yield client


@pytest.fixture
def guarded() -> Iterator[HttpClient]:
    with HttpClient(guard=AddressGuard(), keep=4) as client:
        yield client


@dataclass
class Resolver:
    """The network's edge: what the names under `.example` resolve to, lookup by lookup."""

    answers: dict[str, Iterator[list[str]]] = field(default_factory=dict)
    lookups: list[str] = field(default_factory=list)

    def say(self, name: str, *answers: list[str]) -> None:
        """The last answer stays."""
        self.answers[name] = itertools.chain(answers, itertools.repeat(answers[-1]))


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver()
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, **hints: int) -> list[object]:
        resolver.lookups.append(host)
        if host not in resolver.answers:
            return list(real(host, port, **hints))
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in next(resolver.answers[host])
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return resolver


@dataclass(frozen=True)
class Certificate:
    path: Path
    key_path: Path

    def tls(self) -> ssl.SSLContext:
        return server_tls(self.path, self.key_path)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For crm.example and 127.0.0.1, signed by itself."""
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "crm.example")])
    names = [x509.DNSName("crm.example"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    made.path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    made.key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


@pytest.fixture
def trusting(certificate: Certificate) -> Iterator[HttpClient]:
    with HttpClient(guard=None, ca_file=str(certificate.path)) as client:
        yield client


# Which addresses


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "223.255.255.254",
        "2001:4860:4860::8888",
        "2606:4700:4700::1111",
        "2a00:1450:4001:800::200e",
        "::ffff:8.8.8.8",
    ],
)
def test_a_public_address_is_permitted(address: str) -> None:
    assert AddressGuard().permits(address)


@pytest.mark.parametrize(
    "address",
    [
        # IPv4: this network, private, shared, loopback, link-local with the clouds' metadata
        *("0.0.0.1", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"),
        *("100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.1", "127.255.255.254"),
        *("169.254.0.1", "169.254.169.254", "168.63.129.16", "192.0.0.1", "192.0.0.192"),
        # IPv4: documentation, benchmarks, relays, multicast, reserved, broadcast
        *("192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255"),
        *("192.88.99.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        # IPv6: unspecified, loopback, unique local, link-local, site-local, multicast, discard
        *("::", "::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1"),
        *("100::1", "fe80::1%eth0", "fe80::1%1", "ff02::1%eth0", "::1%lo"),
        # IPv6: documentation, benchmarks, segment routing, unassigned
        *("2001:db8::1", "3fff::1", "3fff:fff:ffff::1", "2001:2::1", "5f00::1", "4000::1"),
        # IPv6 with an IPv4 address inside: mapped, compatible, translated, NAT64, 6to4, Teredo
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1"),
        *("::ffff:127.0.0.1%1", "::ffff:100.64.0.1", "::ffff:224.0.0.1", "::7f00:1", "::a00:1"),
        *("::127.0.0.1", "::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
        *("64:ff9b:1::", "64:ff9b:1::a00:1", "2002:7f00:1::1", "2002:a00:1::", "2001::1"),
        *("2001:0:53aa:64c:0:0:80ff:fffe",),
        # What is no numeric address at all
        *(
            "",
            "localhost",
            "example.com",
            "2130706433",
            "0x7f000001",
            "127.1",
            "[::1]",
            "8.8.8.8:80",
        ),
        *(" 8.8.8.8", "8.8.8.8/32", "８.8.8.8"),
    ],
)
def test_every_other_address_is_refused(address: str) -> None:
    assert not AddressGuard().permits(address)


@given(inside=st.ip_addresses(v=4))
def test_an_ipv4_address_inside_an_ipv6_one_opens_no_door(inside: IPv4Address) -> None:
    guard = AddressGuard()
    number = int(inside)
    mapped = IPv6Address(0xFFFF_0000_0000 + number)
    assert guard.permits(str(mapped)) == guard.permits(str(inside))
    compatible = IPv6Address(number)
    nat64 = IPv6Address((0x0064_FF9B << 96) + number)
    six_to_four = IPv6Address((0x2002 << 112) + (number << 80))
    assert not any(guard.permits(str(address)) for address in (compatible, nat64, six_to_four))


@pytest.mark.parametrize(
    ("network", "address", "permitted"),
    [
        ("10.1.0.0/16", "10.1.2.3", True),
        ("10.1.0.0/16", "::ffff:10.1.2.3", True),
        ("10.1.0.0/16", "10.2.0.1", False),
        ("10.1.0.0/16", "::ffff:10.2.0.1", False),
        ("10.1.0.0/16", "::a01:203", False),
        ("::ffff:10.1.0.0/112", "::ffff:10.1.2.3", True),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "10.1.2.3", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("64:ff9b::/96", "64:ff9b::808:808", True),
        ("::/0", "127.0.0.1", False),
    ],
)
def test_an_allowed_network_opens_for_its_addresses_in_either_spelling(
    network: str, address: str, permitted: bool
) -> None:
    guard = AddressGuard(allowed_networks=(ip_network(network),))
    assert guard.permits(address) is permitted
    assert guard.permits("8.8.8.8")


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "LOCALHOST", "user:pass@127.0.0.1", "0", "0.0"),
        *("2130706433", "0x7f000001", "0x7f.1", "017700000001", "127.1"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    ],
)
def test_no_spelling_of_an_inner_address_is_connected_to(guarded: HttpClient, host: str) -> None:
    with RawServer(always(answer())) as server:
        assert failure_of(get(guarded, server.url(host=host))) == Failure.FORBIDDEN_ADDRESS
    assert server.connections == 0


@pytest.mark.parametrize(
    "host",
    [
        *("localhost.", "127.0.0.1.", "１２７.0.0.1", "127。0。0。1", "127.0.0.1%00", "[::1"),
        *("[fe80::1%25lo]", "[fe80::1%25eth0]", "[fe80::1%lo]", "[::ffff:127.0.0.1%25lo]"),
    ],
)
def test_an_odd_spelling_is_connected_to_no_more_than_it_crashes(
    guarded: HttpClient, host: str
) -> None:
    with RawServer(always(answer())) as server:
        assert isinstance(get(guarded, server.url(host=host)), NoAnswer)
    assert server.connections == 0


def test_an_allowed_network_is_connected_to() -> None:
    with (
        RawServer(always(answer())) as server,
        HttpClient(guard=LOOPBACK_ALLOWED, keep=1) as client,
    ):
        for host in ("127.0.0.1", "2130706433", "localhost"):
            assert get_answer(client, server.url(host=host)).status == 200


@pytest.mark.parametrize("others", [["10.0.0.1"], ["::1"], ["8.8.8.8", "169.254.169.254"]])
def test_one_refused_address_of_several_refuses_the_name(
    resolver: Resolver, others: list[str]
) -> None:
    with (
        RawServer(always(answer())) as server,
        HttpClient(guard=LOOPBACK_ALLOWED, keep=1) as client,
    ):
        for order in (["127.0.0.1", *others], [*others, "127.0.0.1"]):
            resolver.say("crm.example", order)
            outcome = get(client, server.url(host="crm.example"))
            assert failure_of(outcome) == Failure.FORBIDDEN_ADDRESS
    assert server.connections == 0


def test_a_name_that_flips_after_its_check_is_still_connected_to_the_address_checked(
    resolver: Resolver,
) -> None:
    guard = AddressGuard(allowed_networks=(ip_network("127.0.0.1/32"),))
    with (
        RawServer(once(answer(b"checked"))) as server,
        HttpClient(guard=guard, remembered=0) as client,
    ):
        resolver.say("crm.example", ["127.0.0.1"], ["127.0.0.2"])
        url = server.url(host="crm.example")
        assert get_answer(client, url).body == b"checked"
        assert resolver.lookups == ["crm.example"]
        server.wait_until_finished(1)
        assert failure_of(get(client, url)) == Failure.FORBIDDEN_ADDRESS
        assert resolver.lookups == ["crm.example"] * 2


def test_a_kept_connection_is_used_without_another_lookup(
    client: HttpClient, resolver: Resolver
) -> None:
    with RawServer(always(answer())) as server:
        resolver.say("crm.example", ["127.0.0.1"])
        for _ in range(3):
            get_answer(client, server.url(host="crm.example"))
    assert resolver.lookups == ["crm.example"]


def test_the_addresses_of_a_name_are_tried_in_turn(client: HttpClient, resolver: Resolver) -> None:
    with RawServer(always(answer())) as server:
        resolver.say("crm.example", ["127.0.0.2", "::1", "127.0.0.1"])
        assert get_answer(client, server.url(host="crm.example")).status == 200


def test_an_address_of_a_family_that_this_machine_lacks_is_passed_over(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(_: str, port: int, **__: int) -> list[object]:
        families = (9999, socket.AF_INET)
        return [(each, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for each in families]

    with RawServer(always(answer())) as server, monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", getaddrinfo)
        assert get_answer(client, server.url(host="crm.example")).status == 200


def test_the_refused_addresses_of_a_host_can_be_told_beforehand(resolver: Resolver) -> None:
    guard = AddressGuard(allowed_networks=(ip_network("10.1.0.0/16"),))
    resolver.say("mixed.example", ["8.8.8.8", "10.0.0.1", "::1", "10.1.0.1", "10.0.0.1"])
    resolver.say("public.example", ["8.8.8.8", "2606:4700:4700::1111"])
    assert refused_addresses("mixed.example", 443, guard) == ["10.0.0.1", "::1"]
    assert refused_addresses("public.example", 443, guard) == []
    assert refused_addresses("2130706433", 80, guard) == ["127.0.0.1"]
    assert refused_addresses("[::1]", 80, guard) == ["::1"]


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "a" * 64, "a\0b", ""])
def test_a_host_that_does_not_resolve_has_no_addresses_to_tell(host: str) -> None:
    with pytest.raises(socket.gaierror):
        refused_addresses(host, 443, AddressGuard())


# Connections and what a client keeps


def test_requests_in_a_row_share_one_connection(client: HttpClient) -> None:
    with RawServer(always(answer(b"same"))) as server:
        for _ in range(5):
            assert get_answer(client, server.url()).body == b"same"
    assert server.connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        answer(b""),
        head(status="204 No Content"),
        answer(b"gone", status="410 Gone"),
        head("Location: /elsewhere", "Content-Length: 0", status="302 Found"),
        head("Transfer-Encoding: chunked") + chunk(b"one") + chunk(b"two") + b"0\r\n\r\n",
        answer(zipped(b"packed"), "Content-Encoding: gzip"),
        head("Content-Encoding: gzip", status="204 No Content"),
    ],
)
def test_a_body_that_was_read_whole_leaves_the_connection_to_the_next_request(
    client: HttpClient, reply: bytes
) -> None:
    with RawServer(always(reply)) as server:
        for _ in range(3):
            get_answer(client, server.url())
    assert server.connections == 1


def test_an_answer_to_head_has_no_body_and_keeps_the_connection(client: HttpClient) -> None:
    with RawServer(always(head("Content-Length: 5000"))) as server:
        for _ in range(3):
            outcome = get(client, server.url(), method="HEAD")
            assert isinstance(outcome, Answer)
            assert outcome.body == b""
    assert server.connections == 1


def test_threads_share_the_pool_and_get_their_own_answers() -> None:
    def echo(peer: Peer) -> None:
        for request in peer.requests():
            peer.say(answer(request.split(b" ")[1]))

    with (
        RawServer(echo) as server,
        HttpClient(guard=LOOPBACK_ALLOWED, keep=8) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        paths = [f"/{number}" for number in range(200)]
        answers = threads.map(lambda path: get_answer(client, server.url(path)), paths)
        assert [each.body.decode() for each in answers] == paths
    assert server.connections <= 8


def test_as_many_connections_are_kept_as_the_pool_has_places() -> None:
    all_are_here = threading.Barrier(12, timeout=5)

    def answer_all_at_once(peer: Peer) -> None:
        for _ in peer.requests():
            all_are_here.wait()
            peer.say(answer())

    with (
        RawServer(answer_all_at_once) as server,
        HttpClient(guard=None, keep=12) as client,
        ThreadPoolExecutor(12) as threads,
    ):
        for _ in range(2):
            list(threads.map(lambda url: get_answer(client, url), [server.url()] * 12))
    assert server.connections == 12


def test_a_connection_that_the_server_closed_meanwhile_is_not_used(
    client: HttpClient,
) -> None:
    with RawServer(once(answer())) as server:
        for round_number in (1, 2, 3):
            assert isinstance(get(client, server.url(), method="POST", body=b"{}"), Answer)
            server.wait_until_finished(round_number)
    assert server.connections == 3


def test_a_request_that_may_have_been_received_is_not_repeated(client: HttpClient) -> None:
    def answer_the_first_only(peer: Peer) -> None:
        if peer.request():
            peer.say(answer())
            peer.request()

    with RawServer(answer_the_first_only) as server:
        assert isinstance(get(client, server.url(), method="POST", body=b"1"), Answer)
        outcome = get(client, server.url(), method="POST", body=b"2")
        assert failure_of(outcome) == Failure.CONNECTION
    assert [request[-1:] for request in server.requests] == [b"1", b"2"]


def test_cookies_are_neither_kept_nor_sent(client: HttpClient) -> None:
    with RawServer(always(answer(b"ok", "Set-Cookie: a=b; Path=/"))) as server:
        for _ in range(2):
            get_answer(client, server.url())
    assert not any(b"cookie" in request.lower() for request in server.requests)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(client: HttpClient, status: int) -> None:
    with RawServer(always(answer(b"there", "Location: /there", status=f"{status} X"))) as server:
        found = get_answer(client, server.url())
    assert (found.status, found.body) == (status, b"there")
    assert len(server.requests) == 1


@pytest.mark.parametrize("location", ["http://[", "//", "file:///etc/passwd"])
def test_a_redirect_to_nonsense_is_an_answer(client: HttpClient, location: str) -> None:
    reply = answer(b"", f"Location: {location}", status="302 Found")
    with RawServer(always(reply)) as server:
        assert get_answer(client, server.url()).status == 302


def test_proxies_and_passwords_of_the_environment_are_ignored(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {KEY}")
    with RawServer(always(answer(b"proxy"))) as proxy, RawServer(always(answer())) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NETRC", str(netrc))
        assert get_answer(client, server.url()).body == b"ok"
    assert proxy.connections == 0
    assert b"authorization" not in server.requests[0].lower()


# What is sent


def test_a_request_arrives_as_it_was_asked_for(client: HttpClient) -> None:
    with RawServer(always(answer())) as server:
        url = server.url("/hooks/1?a=b")
        headers = {"Content-Type": "application/json", "X-Name": "naïve"}
        get(client, url, method="POST", headers=headers, body=b'{"a":1}', params={"c": "d e"})
    head_lines, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head_lines.decode("latin-1").split("\r\n")
    assert lines[0] == "POST /hooks/1?a=b&c=d+e HTTP/1.1"
    assert {
        f"Host: 127.0.0.1:{server.port}",
        "Accept-Encoding: gzip, deflate",
        "Content-Type: application/json",
        "Content-Length: 7",
        "X-Name: naïve",
    } <= set(lines)
    assert any(line.startswith("User-Agent: aftercall/") for line in lines)
    assert body == b'{"a":1}'


def test_a_caller_may_name_another_user_agent(client: HttpClient) -> None:
    with RawServer(always(answer())) as server:
        get(client, server.url(), headers={"user-agent": "mine"})
    assert b"user-agent: mine" in server.requests[0]
    assert b"aftercall" not in server.requests[0]


@pytest.mark.parametrize(
    ("method", "url", "headers"),
    [
        ("GET", f"ftp://127.0.0.1/{KEY}", {}),
        ("GET", f"file:///{KEY}", {}),
        ("GET", f"HTTPX://127.0.0.1/{KEY}", {}),
        ("GET", f"data:text/plain,{KEY}", {}),
        ("GET", KEY, {}),
        ("GET", "", {}),
        ("GET", f"//127.0.0.1/{KEY}", {}),
        ("GET", f"http:///{KEY}", {}),
        ("GET", f"http://[::1/{KEY}", {}),
        ("GET", f"http://127.0.0.1:99999/{KEY}", {}),
        ("GET", f"http://127.0.0.1:{KEY}/", {}),
        ("GET", f"http://user:{KEY}/x@127.0.0.1/", {}),
        ("GET", f"http://{'a' * 64}.example/{KEY}", {}),
        ("GET", f"http://a..example/{KEY}", {}),
        ("GET", f"http://*.example/{KEY}", {}),
        ("GET", f"http://a\nb.example/{KEY}", {}),
        ("GET", f"http://127.0.0.1:PORT/{KEY}", {"X-Key": f"{KEY}\r\nX-Other: 1"}),
        ("GET", f"http://127.0.0.1:PORT/{KEY}", {"X-Key": f"{KEY}\n"}),
        ("GET", f"http://127.0.0.1:PORT/{KEY}", {f"X-{KEY}\n": "1"}),
        ("GET", f"http://127.0.0.1:PORT/{KEY}", {f"X-{KEY}: ": "1"}),
        ("GET", f"http://127.0.0.1:PORT/{KEY}", {"X-Key": f"{KEY} कुंजी"}),
        ("GET", f"http://127.0.0.1:PORT/{KEY}", {"X-कुंजी": KEY}),
        ("GET", f"http://127.0.0.1:PORT/{KEY}", {"X-Key": f" {KEY}"}),
        (f"GET /{KEY} HTTP/1.1\r\nX: ", "http://127.0.0.1:PORT/", {}),
        ("GE T", "http://127.0.0.1:PORT/", {}),
        ("", "http://127.0.0.1:PORT/", {}),
    ],
)
def test_a_request_that_is_not_valid_is_not_sent_and_not_quoted(
    client: HttpClient, method: str, url: str, headers: dict[str, str]
) -> None:
    with RawServer(always(answer())) as server:
        outcome = get(client, url.replace("PORT", str(server.port)), method=method, headers=headers)
    assert isinstance(outcome, NoAnswer), outcome
    assert outcome.failure == Failure.INVALID_REQUEST, outcome.detail
    assert KEY not in outcome.detail
    assert "\n" not in outcome.detail
    assert not server.requests


# Bodies


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("identity", b"plain"),
        ("gzip", zipped(b"plain")),
        ("x-gzip", zipped(b"plain")),
        ("GZIP", zipped(b"plain")),
        ("gzip", zipped(b"pl") + zipped(b"ain")),
        ("gzip", zipped(b"plain") + b"\0\0 trailing"),
        ("deflate", zlib.compress(b"plain")),
        ("deflate", zlib.compress(b"plain")[2:-4]),
    ],
)
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_body_is_decoded(client: HttpClient, encoding: str, body: bytes, framing: str) -> None:
    pieces = [body[at : at + 3] for at in range(0, len(body), 3)]
    coding = f"Content-Encoding: {encoding}"
    reply = {
        "length": answer(body, coding),
        "chunked": head("Transfer-Encoding: chunked", coding)
        + b"".join(map(chunk, pieces))
        + b"0\r\nX-Trailer: 1\r\n\r\n",
        "close": head(coding) + body,
    }[framing]
    with RawServer(once(reply)) as server:
        assert get_answer(client, server.url()).body == b"plain"


def test_an_encoding_that_nobody_asked_for_is_left_as_it_is(client: HttpClient) -> None:
    for coding in ("compress", "gzip, gzip", ", ".join(["gzip"] * 50)):
        with RawServer(always(answer(b"packed", f"Content-Encoding: {coding}"))) as server:
            assert get_answer(client, server.url()).body == b"packed"


def test_retry_after_is_passed_through_as_it_came(client: HttpClient) -> None:
    replies = {
        answer(b"", "Retry-After: 120", status="429 Too Many Requests"): "120",
        answer(b"", "retry-after: Wed, 21 Oct 2026 07:28:00 GMT"): "Wed, 21 Oct 2026 07:28:00 GMT",
        answer(b"", "Retry-After: soon", status="503 Service Unavailable"): "soon",
        answer(b""): None,
    }
    for reply, retry_after in replies.items():
        with RawServer(always(reply)) as server:
            assert get_answer(client, server.url()).retry_after == retry_after
        assert len(server.requests) == 1


@pytest.mark.parametrize("cap", [0, 1, 1_000, 70_000])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_a_body_is_cut_only_when_there_is_more_than_the_cap(
    client: HttpClient, cap: int, coding: str
) -> None:
    limits = replace(LIMITS, max_body_bytes=cap)
    for length, was_cut in ((cap, False), (cap + 1, True), (cap * 3 + 1, True)):
        body = b"x" * length
        packed = zipped(body) if coding == "gzip" else body
        with RawServer(always(answer(packed, f"Content-Encoding: {coding}"))) as server:
            found = get_answer(client, server.url(), limits=limits)
        assert (len(found.body), found.body_was_cut) == (cap, was_cut)


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "500 Oops"])
@pytest.mark.parametrize(
    ("framing", "piece"),
    [
        ("Transfer-Encoding: chunked", chunk(b"x" * 1000)),
        ("Content-Length: 99999999999", b"x" * 1000),
        ("Connection: close", b"x" * 1000),
    ],
)
def test_an_endless_body_is_cut_and_the_connection_closed(
    client: HttpClient, status: str, framing: str, piece: bytes
) -> None:
    def flood(peer: Peer) -> None:
        peer.request()
        peer.say(head(framing, "Location: /there", status=status))
        peer.flood(piece)

    with RawServer(flood) as server:
        found = get_answer(client, server.url())
        assert (len(found.body), found.body_was_cut) == (LIMITS.max_body_bytes, True)
        server.wait_until_finished(1)
        get_answer(client, server.url())
    assert server.connections == 2


@functools.cache
def gzip_of_zeros(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(mebibytes)), packer.flush()])


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_gzip_bomb_is_cut_before_it_fills_the_memory(client: HttpClient, framing: str) -> None:
    bomb = gzip_of_zeros(200)
    coding = "Content-Encoding: gzip"
    reply = {
        "length": answer(bomb, coding),
        "chunked": head("Transfer-Encoding: chunked", coding) + chunk(bomb) + b"0\r\n\r\n",
    }[framing]
    with RawServer(always(reply)) as server:
        tracemalloc.start()
        try:
            found = get_answer(client, server.url())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (len(found.body), found.body_was_cut) == (LIMITS.max_body_bytes, True)
    assert peak < 3 * 2**20


# Answers that are none


def say_and_reset(data: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.request()
        peer.say(data)
        # Give the bytes time to be read: RST throws away what has not been.
        peer.sock.settimeout(0.05)
        try:
            peer.sock.recv(1)
        except TimeoutError:
            peer.reset()

    return script


GZIPPED = zipped(bytes(range(256)) * 40)
CHUNKED = "Transfer-Encoding: chunked"
GZIP = "Content-Encoding: gzip"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(once(b""), id="nothing at all"),
        pytest.param(once(b"HTTP/1.1 200"), id="half a status line"),
        pytest.param(once(b"HTTP/1.1 200 OK\r\nContent-Le"), id="half a head"),
        pytest.param(once(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), id="another protocol"),
        pytest.param(once(b"HTTP/2.0 200 OK\r\n\r\n"), id="another version"),
        pytest.param(once(b"HTTP/1.1 xyz OK\r\n\r\n"), id="no status"),
        pytest.param(once(b"x" * 100_000), id="an endless line"),
        pytest.param(once(head("Location: \0", "Content-Length: 0")), id="a NUL in the head"),
        pytest.param(once(head(*["A: b"] * 200)), id="too many headers"),
        pytest.param(once(head("Content-Length: 10") + b"short"), id="a short body"),
        pytest.param(once(head("Content-Length: 10")), id="no body"),
        pytest.param(
            once(head("Content-Length: 4", "Content-Length: 5") + b"five5"), id="two lengths"
        ),
        pytest.param(once(head(CHUNKED) + chunk(b"one")), id="no last chunk"),
        pytest.param(once(head(CHUNKED) + b"5\r\nab"), id="a short chunk"),
        pytest.param(once(head(CHUNKED) + b"zz\r\nab\r\n0\r\n\r\n"), id="a chunk of size zz"),
        pytest.param(once(head(CHUNKED) + b"-1\r\nab"), id="a chunk of size -1"),
        pytest.param(once(answer(b"not gzip at all", GZIP)), id="not gzip"),
        pytest.param(once(answer(GZIPPED[:40], GZIP)), id="half a gzip"),
        pytest.param(once(answer(GZIPPED[:5], GZIP)), id="half a gzip header"),
        pytest.param(once(answer(GZIPPED[:-1], GZIP)), id="gzip but its last byte"),
        pytest.param(once(answer(GZIPPED[:-8] + bytes(8), GZIP)), id="a wrong gzip checksum"),
        pytest.param(once(head(GZIP) + GZIPPED[:40]), id="half a gzip until the close"),
        pytest.param(
            once(head(CHUNKED, GZIP) + chunk(GZIPPED[:40]) + b"0\r\n\r\n"),
            id="half a gzip in chunks",
        ),
        pytest.param(
            once(answer(zlib.compress(b"x" * 99)[:9], "Content-Encoding: deflate")),
            id="half a deflate",
        ),
        pytest.param(once(head("Link: </a>", status="103 Early Hints")), id="an early hint only"),
        pytest.param(say_and_reset(b""), id="a reset"),
        pytest.param(say_and_reset(b"HTTP/1.1 200 OK\r\nContent-Le"), id="a reset in the head"),
        pytest.param(say_and_reset(head("Content-Length: 9") + b"x"), id="a reset in the body"),
        pytest.param(say_and_reset(head() + b"x"), id="a reset before the close"),
        pytest.param(say_and_reset(head(CHUNKED) + chunk(b"x")), id="a reset between chunks"),
    ],
)
def test_an_answer_that_is_not_whole_is_a_failed_connection(
    client: HttpClient, script: Script
) -> None:
    with RawServer(script) as server:
        outcome = get(client, server.url(f"/{KEY}?{KEY}"), headers={"Authorization": KEY})
    assert isinstance(outcome, NoAnswer), outcome
    assert outcome.failure == Failure.CONNECTION
    assert f"127.0.0.1:{server.port}" in outcome.detail
    assert KEY not in outcome.detail
    assert outcome.detail.isprintable()


HEADER_LINES = st.sampled_from(
    [
        *("Content-Length: 3", "Content-Length: -3", "Content-Length: x", "Content-Length: 3, 3"),
        *("Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Connection: close"),
        *("Content-Encoding: gzip", "Content-Encoding: deflate", "Content-Encoding: gzip, gzip"),
        *("Set-Cookie: =;;=", "Set-Cookie: a=b; Expires=9", "Location: http://[", "no colon"),
        *("Content-Type: x; charset=\xff", " folded", "Retry-After:", ": empty", "\xff: \x00"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    garbage=st.binary(max_size=40),
    status=st.sampled_from(["200 OK", "302 Found", "204", "100 Continue", "999", "099", "-1"]),
    headers=st.lists(HEADER_LINES, max_size=4),
    body=st.one_of(st.binary(max_size=40), st.sampled_from([chunk(b"abc"), GZIPPED, b"0\r\n\r\n"])),
)
def test_whatever_bytes_a_server_says_come_back_as_a_value(
    fuzzed: "Fuzzed", garbage: bytes, status: str, headers: list[str], body: bytes
) -> None:
    well_begun = "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1")
    for reply in (garbage + body, well_begun + garbage + body, well_begun + body):
        fuzzed.reply = reply
        outcome = get(fuzzed.client, fuzzed.server.url())
        if isinstance(outcome, NoAnswer):
            assert outcome.failure == Failure.CONNECTION


@dataclass
class Fuzzed:
    client: HttpClient
    server: RawServer = field(init=False)
    reply: bytes = b""

    def script(self, peer: Peer) -> None:
        peer.request()
        peer.say(self.reply)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    with HttpClient(guard=None, keep=1) as client:
        fuzzed = Fuzzed(client)
        fuzzed.server = RawServer(fuzzed.script)
        with fuzzed.server:
            yield fuzzed


def test_a_refused_connection_is_a_failed_connection(client: HttpClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = get(client, f"http://user:{KEY}@127.0.0.1:{port}/{KEY}?{KEY}#{KEY}")
    assert isinstance(outcome, NoAnswer)
    assert outcome.failure == Failure.CONNECTION
    assert outcome.detail == f"no complete answer from 127.0.0.1:{port}: Connection refused"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_does_not_resolve_is_a_failed_connection(
    client: HttpClient, scheme: str
) -> None:
    outcome = get(client, f"{scheme}://nowhere.invalid/{KEY}")
    assert isinstance(outcome, NoAnswer)
    assert outcome.failure == Failure.CONNECTION
    assert "nowhere.invalid:" in outcome.detail
    assert KEY not in outcome.detail


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.EPIPE, errno.ENETUNREACH])
def test_an_error_before_the_connection_is_a_failed_connection(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", getaddrinfo)
        for scheme in ("http", "https"):
            outcome = get(client, f"{scheme}://crm.example/")
            assert failure_of(outcome) == Failure.CONNECTION


# Time


LARGE = bytes(20_000_000)


def assert_in_time(outcome: Exchange, limit: timedelta) -> None:
    """It timed out at this limit: neither much later nor before."""
    assert isinstance(outcome, NoAnswer), outcome
    assert outcome.failure == Failure.TIMEOUT, outcome
    seconds = limit.total_seconds()
    assert seconds * 0.9 <= outcome.elapsed.total_seconds() <= seconds + SLACK


def after_the_request(do: Callable[[Peer], None]) -> Script:
    def script(peer: Peer) -> None:
        peer.request()
        do(peer)

    return script


def dripping(start: bytes, rest: bytes) -> Script:
    def drip(peer: Peer) -> None:
        peer.say(start)
        peer.drip(rest)

    return after_the_request(drip)


DRIPS = [
    pytest.param(dripping(b"", b"HTTP/1.1 200 " + b"x" * 1000), id="status line"),
    pytest.param(dripping(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 99), id="headers"),
    pytest.param(dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99), id="interim answers"),
    pytest.param(dripping(head("Content-Length: 1000"), b"x" * 1000), id="body"),
    pytest.param(dripping(head(), b"x" * 1000), id="body until the close"),
    pytest.param(dripping(head(CHUNKED), chunk(b"x") * 1000), id="chunks"),
    pytest.param(dripping(head(CHUNKED), chunk(b"x" * 1000)), id="one chunk"),
    pytest.param(dripping(head(CHUNKED), b"1;" + b"x" * 1000), id="chunk extension"),
    pytest.param(dripping(head(CHUNKED) + b"0\r\n", b"A: b\r\n" * 99), id="trailers"),
    pytest.param(
        dripping(head(CHUNKED, GZIP), b"".join(chunk(GZIPPED[i : i + 1]) for i in range(50))),
        id="gzip",
    ),
    pytest.param(dripping(head(GZIP) + zipped(b""), zipped(b"") * 99), id="empty gzip members"),
]


@pytest.mark.parametrize("script", DRIPS)
def test_a_server_that_drips_is_left_at_the_deadline(client: HttpClient, script: Script) -> None:
    with RawServer(script) as server:
        assert_in_time(get(client, server.url(), limits=SHORT), SHORT.deadline)


@pytest.mark.parametrize("script", [DRIPS[1], DRIPS[3], DRIPS[5]])
def test_a_server_that_drips_over_tls_is_left_at_the_deadline(
    trusting: HttpClient, certificate: Certificate, script: Script
) -> None:
    with RawServer(script, tls=certificate.tls()) as server:
        assert_in_time(get(trusting, server.url(), limits=SHORT), SHORT.deadline)


def test_a_server_that_drips_one_tls_record_is_left_at_the_deadline_too(
    trusting: HttpClient, certificate: Certificate
) -> None:
    def drip_a_record(peer: Peer) -> None:
        heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = certificate.tls().wrap_bio(heard, said, server_side=True)
        for step in (tls.do_handshake, tls.read):
            while True:
                try:
                    step()
                    break
                except ssl.SSLWantReadError:
                    peer.say(said.read())
                    heard.write(peer.sock.recv(65536))
        peer.say(said.read())
        tls.write(answer(b"x" * 1000))
        peer.drip(said.read())

    with RawServer(drip_a_record) as server:
        url = server.url().replace("http:", "https:")
        assert_in_time(get(trusting, url, limits=SHORT), SHORT.deadline)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(Peer.hang, id="says nothing"),
        pytest.param(lambda peer: peer.drip(b"\x16\x03\x03\x40\x00" + b"x" * 1000), id="drips"),
    ],
)
def test_a_tls_handshake_that_does_not_end_is_left_at_the_connect_limit(
    client: HttpClient, script: Script
) -> None:
    with RawServer(script) as server:
        url = server.url().replace("http:", "https:")
        assert_in_time(get(client, url, limits=SHORT_CONNECT), SHORT_CONNECT.connect)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", head("Content-Length: 9") + b"x"])
def test_a_server_that_falls_silent_is_left_at_the_deadline_too(
    client: HttpClient, said: bytes
) -> None:
    def fall_silent(peer: Peer) -> None:
        peer.say(said)
        peer.hang()

    with RawServer(after_the_request(fall_silent)) as server:
        assert_in_time(get(client, server.url(), limits=SHORT), SHORT.deadline)


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_server_that_does_not_listen_is_left_at_the_deadline(
    trusting: HttpClient, certificate: Certificate, over_tls: bool
) -> None:
    with RawServer(Peer.hang, tls=certificate.tls() if over_tls else None) as server:
        outcome = get(trusting, server.url(), method="POST", body=LARGE, limits=SHORT)
        assert_in_time(outcome, SHORT.deadline)


def test_a_server_that_listens_slowly_over_tls_is_left_at_the_deadline(
    trusting: HttpClient, certificate: Certificate
) -> None:
    def sip(peer: Peer) -> None:
        while peer.sock.recv(65536):
            threading.Event().wait(0.01)

    with RawServer(sip, tls=certificate.tls()) as server:
        outcome = get(trusting, server.url(), method="POST", body=LARGE, limits=SHORT)
        assert_in_time(outcome, SHORT.deadline)


def test_a_host_that_does_not_accept_is_left_at_the_connect_limit(
    client: HttpClient, resolver: Resolver
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(address)
        outcome = get(client, f"http://127.0.0.1:{address[1]}/", limits=SHORT_CONNECT)
        assert_in_time(outcome, SHORT_CONNECT.connect)
        resolver.say("crm.example", ["127.0.0.1"] * 5)
        outcome = get(client, f"http://crm.example:{address[1]}/", limits=SHORT_CONNECT)
        assert_in_time(outcome, SHORT_CONNECT.connect)
        for sock in waiting:
            sock.close()


def test_a_name_that_resolves_too_slowly_is_left_at_the_deadline(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_is_over = threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        test_is_over.wait(5)
        return []

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", getaddrinfo)
        outcome = get(client, "http://slow.example/", limits=SHORT)
    test_is_over.set()
    assert_in_time(outcome, SHORT.deadline)


def test_a_limit_of_one_exchange_does_not_stay_for_the_next_on_its_connection(
    client: HttpClient,
) -> None:
    def answer_late(peer: Peer) -> None:
        for number, _ in enumerate(peer.requests()):
            threading.Event().wait(0.0 if number == 0 else 0.75)
            peer.say(answer())

    with RawServer(answer_late) as server:
        hasty = replace(LIMITS, deadline=timedelta(seconds=0.6))
        get_answer(client, server.url(), limits=hasty)
        get_answer(client, server.url())
    assert server.connections == 1


def test_a_lookup_that_ends_after_the_close_writes_into_nobody_elses_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    may_end, has_ended = threading.Event(), threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[object]:
        may_end.wait(5)
        has_ended.set()
        return []

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", getaddrinfo)
        client = HttpClient(guard=None)
        assert isinstance(get(client, "http://slow.example/", limits=SHORT), NoAnswer)
        client.close()
        # They get the numbers that the client's own had.
        others = [(tmp_path / str(number)).open("w+b") for number in range(4)]
        before = set(threading.enumerate())
        may_end.set()
        assert has_ended.wait(5)
        for thread in before:
            if thread.name.startswith("Thread-"):
                thread.join(5)
    assert [other.seek(0, os.SEEK_END) for other in others] == [0] * 4
    for other in others:
        other.close()


def test_a_closed_client_says_so(client: HttpClient) -> None:
    client.close()
    assert failure_of(get(client, "http://127.0.0.1:9/")) == Failure.CONNECTION


def test_a_name_whose_lookup_could_not_even_begin_is_looked_up_the_next_time(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with RawServer(always(answer())) as server:
        url = server.url(host="localhost")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            assert failure_of(get(client, url)) == Failure.CONNECTION
        assert get_answer(client, url).status == 200


# TLS


def test_tls_keeps_the_name_in_the_handshake_the_host_header_and_the_check(
    trusting: HttpClient, certificate: Certificate, resolver: Resolver
) -> None:
    tls = certificate.tls()
    names: list[str | None] = []
    tls.sni_callback = lambda _, name, __: names.append(name)
    with RawServer(always(answer()), tls=tls) as server:
        resolver.say("crm.example", ["127.0.0.1"])
        for _ in range(3):
            assert get_answer(trusting, server.url(host="crm.example")).status == 200
        assert get_answer(trusting, server.url()).status == 200
    assert names == ["crm.example", None]
    assert server.connections == 2
    assert f"Host: crm.example:{server.port}".encode() in server.requests[0]


def test_a_certificate_for_another_name_is_refused(
    trusting: HttpClient, certificate: Certificate, resolver: Resolver
) -> None:
    with RawServer(always(answer()), tls=certificate.tls()) as server:
        resolver.say("other.example", ["127.0.0.1"])
        outcome = get(trusting, server.url(f"/{KEY}", host="other.example"))
    assert isinstance(outcome, NoAnswer)
    assert outcome.failure == Failure.TLS
    assert "other.example" in outcome.detail
    assert KEY not in outcome.detail
    assert not server.requests


def test_a_certificate_that_nobody_vouches_for_is_refused(
    client: HttpClient, certificate: Certificate
) -> None:
    with RawServer(always(answer()), tls=certificate.tls()) as server:
        assert failure_of(get(client, server.url())) == Failure.TLS
    assert not server.requests


def test_a_guard_watches_over_tls_too(certificate: Certificate) -> None:
    with (
        RawServer(always(answer()), tls=certificate.tls()) as server,
        HttpClient(guard=AddressGuard(), ca_file=str(certificate.path)) as client,
    ):
        assert failure_of(get(client, server.url())) == Failure.FORBIDDEN_ADDRESS
    assert server.connections == 0


def test_a_server_without_tls_is_a_tls_failure(client: HttpClient) -> None:
    with RawServer(lambda peer: peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        outcome = get(client, server.url().replace("http:", "https:"))
    assert failure_of(outcome) == Failure.TLS


@pytest.mark.parametrize("hang_up", [lambda peer: peer.sock.recv(9999), Peer.reset])
def test_a_server_that_hangs_up_in_the_handshake_gives_no_answer(
    client: HttpClient, hang_up: Script
) -> None:
    with RawServer(hang_up) as server:
        outcome = get(client, server.url().replace("http:", "https:"))
    assert failure_of(outcome) in {Failure.TLS, Failure.CONNECTION}


@pytest.mark.parametrize("reply", [b"", head("Content-Length: 9") + b"x", head(CHUNKED) + b"5\r\n"])
def test_a_body_that_breaks_off_over_tls_is_a_failed_connection(
    trusting: HttpClient, certificate: Certificate, reply: bytes
) -> None:
    with RawServer(once(reply), tls=certificate.tls()) as server:
        assert failure_of(get(trusting, server.url())) == Failure.CONNECTION
