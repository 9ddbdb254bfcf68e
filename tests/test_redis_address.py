"""AFTERCALL_REDIS_URL: its forms, and what is said of one that could never work."""

import pytest

from aftercall.queue import celery_settings
from aftercall.redis_address import BadRedisUrl, RedisAddress, Tls, read_redis_url

CA = Tls(ca_certs="/ca.pem")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://host", RedisAddress(nodes=(("host", 6379),))),
        ("redis://host:1/9", RedisAddress(nodes=(("host", 1),), database=9)),
        ("redis://host?db=9", RedisAddress(nodes=(("host", 6379),), database=9)),
        ("redis://[::1]:1", RedisAddress(nodes=(("::1", 1),))),
        ("redis://:p%40s@h", RedisAddress(nodes=(("h", 6379),), password="p@s")),
        ("redis://u:p@h", RedisAddress(nodes=(("h", 6379),), username="u", password="p")),
        ("rediss://h", RedisAddress(nodes=(("h", 6379),), tls=Tls())),
        ("rediss://h?ssl_ca_certs=/ca.pem", RedisAddress(nodes=(("h", 6379),), tls=CA)),
        (
            "rediss://h?ssl_cert_reqs=CERT_NONE",
            RedisAddress(nodes=(("h", 6379),), tls=Tls(checks_certificate=False)),
        ),
        ("unix:///run/redis.sock", RedisAddress(socket_path="/run/redis.sock")),
        ("unix://:p@/r.sock?db=2", RedisAddress(socket_path="/r.sock", database=2, password="p")),
        (
            "sentinel://:p@a:1,b,[::1]/calls/3?sentinel_password=s",
            RedisAddress(
                nodes=(("a", 1), ("b", 26379), ("::1", 26379)),
                service="calls",
                database=3,
                password="p",
                sentinel_password="s",
            ),
        ),
        ("sentinel://a;b/n", RedisAddress(nodes=(("a", 26379), ("b", 26379)), service="n")),
        ("sentinel+tls://a/n", RedisAddress(nodes=(("a", 26379),), service="n", tls=Tls())),
    ],
)
def test_every_form_is_read(url: str, address: RedisAddress) -> None:
    assert read_redis_url(url) == address


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("hunter2", "does not begin"),
        ("http://:hunter2@h", "does not begin"),
        ("redis://", "no host"),
        ("redis://:hunter2@h:port", "no host, or a port"),
        ("redis://:hunter2@h:0", "no host, or a port"),
        ("redis://:hunter2@h:99999", "no host, or a port"),
        ("redis://:hunter2@h/hunter2", "no number"),
        ("redis://:hunter2@a,b/0", "for Sentinels only"),
        ("redis://:hunter 2@a/0", "%XX"),
        ("redis://:hunter2\u200b@a/0", "%XX"),
        ("redis://:hunter2@h?socket_timeout=1", "socket_timeout"),
        ("redis://:hunter2@h?ssl_ca_certs=/ca.pem", "ssl_ca_certs"),
        ("rediss://:hunter2@h?ssl_cert_reqs=hunter2", "ssl_cert_reqs"),
        ("rediss://:hunter2@h?ssl_check_hostname=hunter2", "ssl_check_hostname"),
        ("rediss://:hunter2@h?ssl_keyfile=/key.pem", "ssl_certfile"),
        ("sentinel://:hunter2@a:1,b:2", "by which name"),
        ("sentinel://:hunter2@a:1,b:2/", "by which name"),
        ("sentinel://:hunter2@a:1,,b:2/n", "no host"),
        ("unix://:hunter2@", "no socket"),
    ],
)
def test_what_could_never_work_is_said_without_a_secret(url: str, says: str) -> None:
    with pytest.raises(BadRedisUrl, match=says) as failure:
        read_redis_url(url)
    assert "hunter" not in str(failure.value)


def test_no_repr_shows_a_password() -> None:
    shown = repr(read_redis_url("sentinel://hunter2:hunter2@a/n?sentinel_password=hunter2"))
    assert "hunter2" not in shown


def test_without_an_option_a_certificate_is_checked_by_the_queue_too() -> None:
    # kombu by itself takes rediss:// without options for a wish to check nothing.
    for url in ("rediss://h", "sentinel+tls://h/n"):
        tls = celery_settings(url)["broker_use_ssl"]
        assert (tls["ssl_cert_reqs"], tls["ssl_check_hostname"]) == ("required", True)
    assert celery_settings("redis://h")["broker_use_ssl"] is None
