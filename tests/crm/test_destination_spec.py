"""A destination as people write it: what is good, and what they are told of what is not."""

from ipaddress import ip_network
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aftercall.crm.destination_spec import (
    DestinationSpec,
    changed_spec,
    unreachable_reason,
)
from aftercall.http import AddressGuard

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLjSw"
LEAST: dict[str, Any] = {"name": "leads", "url": "https://crm.example/hook"}


def spec(**fields: Any) -> DestinationSpec:
    return DestinationSpec.model_validate({**LEAST, **fields})


def faults_of(fields: dict[str, Any]) -> dict[str, str]:
    """Place and message of everything that is wrong with these fields."""
    with pytest.raises(ValidationError) as refusal:
        DestinationSpec.model_validate(fields)
    return {
        ".".join(str(part) for part in fault["loc"]): fault["msg"]
        for fault in refusal.value.errors(include_input=False, include_url=False)
    }


def fault(field: str, value: Any) -> str:
    """What is said of this one bad field; the message is found under its name."""
    faults = faults_of({**LEAST, field: value})
    [place] = faults
    assert place.split(".")[0] == field
    assert faults[place]
    return faults[place]


# ---- what is good ------------------------------------------------------------


def test_a_name_and_a_url_are_enough() -> None:
    assert spec().model_dump() == {
        "name": "leads",
        "url": "https://crm.example/hook",
        "kind": "webhook",
        "workspace_id": None,
        "enabled": True,
        "events": ["call.completed", "call.failed", "call.updated"],
        "filter": None,
        "mapping": None,
        "headers": {},
        "secret": None,
        "timeout_seconds": 15,
        "max_in_flight": 32,
        "rate_limit_per_second": None,
        "sync": None,
        "credentials": {},
    }


def test_two_destinations_share_none_of_their_defaults() -> None:
    one, other = spec(), spec()
    one.events.pop()
    one.headers["X"] = "y"
    every = ["call.completed", "call.failed", "call.updated"]
    assert (other.events, other.headers) == (every, {})
    assert spec().events == every


def test_updates_alone_are_refused_since_an_update_comes_to_who_gets_the_call() -> None:
    with pytest.raises(ValidationError, match=r"add call\.completed or call\.failed"):
        spec(events=["call.updated"])


@pytest.mark.parametrize(
    ("fields", "read_as"),
    [
        ({"name": "  leads  "}, {"name": "leads"}),
        ({"name": "लीड"}, {"name": "लीड"}),
        ({"name": "x" * 100}, {"name": "x" * 100}),
        ({"events": ["call.failed"]}, {"events": ["call.failed"]}),
        ({"events": ["call.failed"] * 3}, {"events": ["call.failed"]}),
        ({"filter": ""}, {"filter": None}),
        ({"filter": "  "}, {"filter": None}),
        ({"mapping": ""}, {"mapping": None}),
        ({"mapping": "{id: call_id}"}, {"mapping": "{id: call_id}"}),
        ({"secret": SECRET}, {"secret": SECRET}),
        ({"headers": {"Authorization": "Bearer x"}}, {"headers": {"Authorization": "Bearer x"}}),
        ({"headers": {"X-Empty": ""}}, {"headers": {"X-Empty": ""}}),
        ({"timeout_seconds": 1}, {"timeout_seconds": 1}),
        ({"timeout_seconds": 30}, {"timeout_seconds": 30}),
        ({"max_in_flight": 1_000}, {"max_in_flight": 1_000}),
        ({"rate_limit_per_second": 1}, {"rate_limit_per_second": 1}),
        ({"rate_limit_per_second": None}, {"rate_limit_per_second": None}),
        ({"workspace_id": "w" * 128}, {"workspace_id": "w" * 128}),
        ({"enabled": False}, {"enabled": False}),
    ],
)
def test_a_good_field_is_taken(fields: dict[str, Any], read_as: dict[str, Any]) -> None:
    assert spec(**fields).model_dump(include=set(read_as)) == read_as


# ---- what is not -------------------------------------------------------------


@pytest.mark.parametrize("missing", ["name", "url"])
def test_without_its_name_or_its_url_it_is_none(missing: str) -> None:
    assert faults_of({k: v for k, v in LEAST.items() if k != missing}) == {
        missing: "Field required"
    }


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("name", ""),
        ("name", "  "),
        ("name", "a\nb"),
        ("name", "a\x00b"),
        ("name", "a\ud83d"),
        ("name", "x" * 101),
        ("name", 5),
        ("name", None),
        ("url", None),
        ("url", 5),
        ("kind", "email"),
        ("workspace_id", ""),
        ("workspace_id", "w" * 129),
        ("workspace_id", 5),
        ("enabled", "perhaps"),
        ("enabled", None),
        ("events", []),
        ("events", "call.completed"),
        ("events", ["call.other"]),
        ("events", None),
        ("filter", "a["),
        ("filter", "&&"),
        ("filter", 5),
        ("mapping", "{a}"),
        ("mapping", "x" * 10_001),
        ("headers", []),
        ("headers", None),
        ("headers", {"X-Key": 5}),
        ("headers", {"X-Key": None}),
        ("headers", {f"X-{number}": "v" for number in range(31)}),
        ("secret", ""),
        ("secret", "whsec_short"),
        ("secret", "hunter2hunter2hunter2hunter2hunter2"),
        ("secret", 5),
        ("timeout_seconds", 0),
        ("timeout_seconds", 31),
        ("timeout_seconds", 1.5),
        ("timeout_seconds", "soon"),
        ("timeout_seconds", None),
        ("max_in_flight", 0),
        ("max_in_flight", 1_001),
        ("max_in_flight", None),
        ("rate_limit_per_second", 0),
        ("rate_limit_per_second", 10_001),
        ("rate_limit_per_second", -1),
        ("sceret", SECRET),
        ("id", "x"),
    ],
)
def test_a_bad_field_is_told_by_its_name(field: str, bad: Any) -> None:
    assert fault(field, bad)


def test_all_that_is_wrong_is_told_at_once() -> None:
    faults = faults_of({"name": "", "url": "ftp://x", "timeout_seconds": 99, "bogus": 1})
    assert set(faults) == {"name", "url", "timeout_seconds", "bogus"}


# ---- URLs --------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://crm.example",
        "https://crm.example/",
        "http://crm.example:8080/hooks/1?key=a%20b&x=%2F",
        "HTTPS://CRM.example/Hook",
        "https://crm.example./hook",
        "https://my_crm.example/hook",
        "https://xn--11b4c3d.example/hook",
        "https://192.0.2.1/hook",
        "https://[2001:db8::1]:8443/hook",
        "https://localhost:9000/hook",
        "https://" + "a" * 63 + ".example/",
        "https://crm.example/" + "x" * 1_980,
    ],
)
def test_a_url_that_can_be_posted_to_is_taken_as_it_is(url: str) -> None:
    assert spec(url=url).url == url


URL_TRAPS = [
    ("", "https://"),
    ("crm.example/hook", "https://"),
    ("//crm.example/hook", "https://"),
    ("ftp://crm.example/hook", "https://"),
    ("file:///etc/passwd", "https://"),
    ("javascript:alert(1)", "https://"),
    ("https:", "no host"),
    ("https://", "no host"),
    ("https:///hook", "no host"),
    ("https:crm.example", "no host"),
    ("https://:443/", "no host"),
    ("https://?x=1", "no host"),
    ("https://user:password@crm.example/", "headers"),
    ("https://user@crm.example/", "headers"),
    ("https://:password@crm.example/", "headers"),
    ("https://@crm.example/", "headers"),
    ("https://crm.example\\@evil.example/", "headers"),
    ("https://crm.example:99999/", "not a URL"),
    ("https://crm.example:port/", "not a URL"),
    ("https://crm.example:-1/", "not a URL"),
    ("https://[::1/", "not a URL"),
    ("https://[zz]/", "not a URL"),
    ("https://crm.example/#top", "fragment"),
    (" https://crm.example/", "percent-encoded"),
    ("https://crm.example/ ", "percent-encoded"),
    ("https://crm.example/a b", "percent-encoded"),
    ("https://crm.example/a\tb", "percent-encoded"),
    ("https://crm.example/a\r\nHost: evil", "percent-encoded"),
    ("https://crm.example/\x00", "percent-encoded"),
    ("https://crm.example/\x7f", "percent-encoded"),
    ("https://crm.example/हुक", "percent-encoded"),
    ("https://क.example/", "percent-encoded"),
    ("https://crm.example/" + "x" * 2_000, "2000"),
]


@pytest.mark.parametrize(("url", "says"), URL_TRAPS)
def test_a_url_that_cannot_be_posted_to_is_told_why(url: str, says: str) -> None:
    assert says in fault("url", url)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://.crm.example/", id="a dot too many in front"),
        pytest.param("https://crm..example/", id="a dot too many within"),
        pytest.param("https://*.crm.example/", id="a pattern"),
        pytest.param("https://" + "a" * 64 + ".example/", id="a label of 64 characters"),
    ],
)
def test_a_host_that_no_name_can_be_is_refused_when_it_is_saved(url: str) -> None:
    # Else every delivery is dead at its first attempt.
    assert fault("url", url)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://crm.example:0/", id="port 0: requests would go to 443"),
        pytest.param("https://crm.example\\hook", id="a backslash: two parsers, two hosts"),
    ],
)
def test_a_url_that_leads_elsewhere_than_it_says_is_refused_when_it_is_saved(url: str) -> None:
    assert fault("url", url)


def test_a_messages_text_never_has_the_password_of_a_url() -> None:
    assert "hunter2" not in fault("url", "https://user:hunter2@crm.example/")


# ---- headers -----------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Content-Type",
        "content-length",
        "HOST",
        "Transfer-Encoding",
        "Connection",
        "webhook-id",
        "Webhook-Timestamp",
        "WEBHOOK-SIGNATURE",
        "idempotency-key",
    ],
)
def test_a_header_of_ours_cannot_be_replaced(name: str) -> None:
    assert name in fault("headers", {name: "x"})


@pytest.mark.parametrize("name", ["", " ", "X Key", "X-Key:", "X-Kéy", "X-Key\r\nHost", "x" * 101])
def test_a_name_that_no_header_can_have_is_refused(name: str) -> None:
    assert "not a header's name" in fault("headers", {name: "x"})


@pytest.mark.parametrize(
    "value",
    ["a\nb", "a\r\nHost: evil", "a\x00", "a\x7f", "कुंजी", "\u2028", "x" * 4_001],
)
def test_a_value_that_no_header_can_carry_is_refused_without_showing_it(value: str) -> None:
    said = fault("headers", {"X-Key": value})
    assert "X-Key" in said
    assert value not in said


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(" Bearer x", id="space in front, as pasted"),
        pytest.param("\tBearer x", id="a tab in front"),
        pytest.param("\xa0Bearer x", id="a no-break space in front"),
        pytest.param("\x85x", id="a control character of Latin 1"),
        pytest.param(" ", id="blank"),
    ],
)
def test_a_value_is_refused_or_can_be_sent(value: str) -> None:
    # requests refuses space in front: every delivery would be dead.
    try:
        headers = spec(headers={"Authorization": value}).headers
    except ValidationError:
        return
    requests.Request("POST", LEAST["url"], headers=headers).prepare()


def test_one_header_cannot_be_given_twice_in_different_case() -> None:
    # Only one of the two would be sent, and not the one that people think.
    assert fault("headers", {"X-Key": "one", "x-key": "two"})


def sendable(url: str, headers: dict[str, str]) -> None:
    requests.Request("POST", url, headers=headers, data=b"{}").prepare()


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2))
def test_whatever_headers_are_taken_can_be_sent(headers: dict[str, str]) -> None:
    try:
        taken = spec(headers=headers).headers
    except ValidationError:
        return
    sendable(LEAST["url"], taken)


@given(
    st.text("abAB.*-_:/?#@[]%\\ 019é", max_size=20).map("https://{}".format) | st.text(max_size=20)
)
def test_whatever_url_is_taken_can_be_sent_to(url: str) -> None:
    try:
        taken = spec(url=url).url
    except ValidationError:
        return
    sendable(taken, {})


# ---- secrets -----------------------------------------------------------------


def test_what_is_secret_in_a_destination_shows_in_no_repr() -> None:
    destination = spec(secret=SECRET, headers={"Authorization": "Bearer hunter2"})
    for shown in (repr(destination), str(destination)):
        assert SECRET not in shown
        assert "hunter2" not in shown


def test_a_bad_secret_is_not_shown_to_whoever_reads_the_message() -> None:
    assert "hunter2" not in fault("secret", "whsec_hunter2")


# ---- changes -----------------------------------------------------------------


def test_a_change_changes_what_it_names_and_nothing_else() -> None:
    current = spec(mapping="{id: call_id}", timeout_seconds=5).model_dump()
    changed = changed_spec(current, {"timeout_seconds": 9, "mapping": None})
    assert changed.model_dump() == {**current, "timeout_seconds": 9, "mapping": None}


@pytest.mark.parametrize("change", [{"timeout_seconds": 99}, {"url": None}, {"bogus": 1}])
def test_a_bad_change_is_told_like_a_bad_destination(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        changed_spec(spec().model_dump(), change)


# ---- reachability ------------------------------------------------------------

NOWHERE_PRIVATE = AddressGuard()
LOOPBACK = AddressGuard(allowed_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "https://127.0.0.1:8443/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fd00::1]/",
        "http://localhost/",
    ],
)
def test_a_private_address_is_told_with_what_to_do(url: str) -> None:
    reason = unreachable_reason(url, NOWHERE_PRIVATE)
    assert reason is not None
    assert "AFTERCALL_ALLOWED_PRIVATE_NETWORKS" in reason


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://localhost/", "https://8.8.8.8/"])
def test_a_public_or_an_allowed_address_is_fine(url: str) -> None:
    assert unreachable_reason(url, LOOPBACK) is None


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 64 + ".invalid"])
def test_a_name_that_does_not_resolve_may_do_so_later(host: str) -> None:
    assert unreachable_reason(f"https://{host}/", NOWHERE_PRIVATE) is None
