"""The webhook, inbound: who may send it, and which calls it names."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercall.twentytwo.inbound import (
    NoCallId,
    Notice,
    NotJson,
    check_call_id,
    is_right_token,
    is_signed,
    read_notice,
)

#: The documented example, in shape.
TWENTY2S_OWN = {
    "event": "call.completed",
    "event_id": "evt_1c0e9a52-0a51-4b7e-9f07-3d8f2d6f6a11",
    "timestamp": "2024-12-25T10:01:40Z",
    "workspace_id": "699ed3b91ee5bee389dcb6a3",
    "assistant_id": "69de483c68b23495c853b43a",
    "assistant_name": "Site visit follow-up",
    "call": {
        "call_id": "699ed3b91ee5bee389dcb6a4",
        "direction": "outbound",
        "status": "completed",
        "from_number": "9999999999",
        "to_number": "8888888888",
        "started_at": "2024-12-25T10:00:00Z",
        "answered_at": "2024-12-25T10:00:05Z",
        "ended_at": "2024-12-25T10:01:34Z",
        "duration_seconds": 94,
        "billed_duration_seconds": 94,
        "call_cost_inr": 15.67,
        "disconnection_reason": "user_hangup",
    },
    "campaign": {"campaign_id": "c", "campaign_name": "n"},
    "contact": {"phone_number": "8888888888", "input_variables": {"agentName": "Rohit"}},
    "output_variables": {"interested": "yes"},
    "recording": {"available": True, "url": "https://storage.example/1.mp3"},
    "transcript": {"available": True},
}


def body_of(value: object) -> bytes:
    return json.dumps(value).encode()


def read(value: object) -> Notice:
    return read_notice(body_of(value))


def refusal_of(value: object) -> str:
    with pytest.raises(NoCallId) as refusal:
        read(value)
    return str(refusal.value)


# ---- shapes ------------------------------------------------------------------


def test_twenty2s_own_webhook_names_its_call_its_workspace_and_its_event() -> None:
    assert read(TWENTY2S_OWN) == Notice(
        call_ids=("699ed3b91ee5bee389dcb6a4",),
        workspace_id="699ed3b91ee5bee389dcb6a3",
        type="call.completed",
        event_id="evt_1c0e9a52-0a51-4b7e-9f07-3d8f2d6f6a11",
    )


@pytest.mark.parametrize(
    ("body", "call_ids"),
    [
        ({"call_id": "a"}, ("a",)),
        ({"call_ids": ["a"]}, ("a",)),
        ({"call_ids": ["a", "b", "c"]}, ("a", "b", "c")),
        ({"call": {"call_id": "a"}}, ("a",)),
        ({"call": {"call_id": "a", "status": "failed"}}, ("a",)),
    ],
)
def test_every_shape_of_the_contract_is_read_with_a_workspace_or_without(
    body: dict[str, Any], call_ids: tuple[str, ...]
) -> None:
    assert read(body) == Notice(call_ids, None, None, None)
    assert read({**body, "workspace_id": None}) == Notice(call_ids, None, None, None)
    assert read({**body, "workspace_id": " w "}) == Notice(call_ids, "w", None, None)


@pytest.mark.parametrize(
    ("body", "call_ids"),
    [
        ({"call_ids": ["a"], "call_id": "b", "call": {"call_id": "c"}}, ("a",)),
        ({"call_id": "b", "call": {"call_id": "c"}}, ("b",)),
        ({"call_id": "b", "call": None}, ("b",)),
        ({"call_id": "b", "call": {"call_id": None}}, ("b",)),
    ],
)
def test_the_more_particular_spelling_goes_first(
    body: dict[str, Any], call_ids: tuple[str, ...]
) -> None:
    assert read(body).call_ids == call_ids


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "The body is not a JSON object with a call_id in it"),
        ([{"call_id": "a"}], "The body is not a JSON object with a call_id in it"),
        (None, "The body is not a JSON object with a call_id in it"),
        ("call_1", "The body is not a JSON object with a call_id in it"),
        (7, "The body is not a JSON object with a call_id in it"),
        ({}, "There is no call_id, call_ids or call.call_id in the body"),
        ({"call": {}}, "There is no call_id, call_ids or call.call_id in the body"),
        ({"call": "a"}, "There is no call_id, call_ids or call.call_id in the body"),
        ({"call": ["a"]}, "There is no call_id, call_ids or call.call_id in the body"),
        ({"CALL_ID": "a"}, "There is no call_id, call_ids or call.call_id in the body"),
        ({"call_ids": []}, "call_ids is not a list with at least one id in it"),
        ({"call_ids": None}, "call_ids is not a list with at least one id in it"),
        ({"call_ids": "a"}, "call_ids is not a list with at least one id in it"),
        ({"call_ids": {"0": "a"}}, "call_ids is not a list with at least one id in it"),
    ],
)
def test_a_body_that_names_no_call_is_told_so(body: object, message: str) -> None:
    assert refusal_of(body) == message


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"   ", "not JSON"),
        (b"call_id=a", "not JSON"),
        (b'{"call_id": "a"', "not JSON"),
        (b"{'call_id': 'a'}", "not JSON"),
        (b'{"call_id": "a"} {"call_id": "b"}', "not JSON"),
        (b'{"call_id": "\xff"}', "not JSON"),
        (b'{"call_id": "a\nb"}', "not JSON"),
        (b"\x00", "not JSON"),
        (b'{"call_id": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deeply"),
        (b"[" * 500_000, "too deeply"),
    ],
    ids=lambda value: f"{value[:30]!r}",
)
def test_a_body_that_is_not_json_is_told_so(body: bytes, says: str) -> None:
    with pytest.raises(NotJson, match=says):
        read_notice(body)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_may_come_in_any_of_its_encodings(encoding: str) -> None:
    assert read_notice('{"call_id": "कॉल"}'.encode(encoding)).call_ids == ("कॉल",)


def test_a_number_of_5000_digits_beside_the_id_does_not_cost_the_webhook() -> None:
    # It is JSON, so 400 would be wrong: only Python's int() refuses to read it.
    body = b'{"call_id": "a", "output_variables": {"odd": %s}}' % (b"9" * 5_000)
    assert read_notice(body).call_ids == ("a",)


# ---- ids ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_id", "read_as"),
    [
        ("a", "a"),
        ("699ed3b91ee5bee389dcb6a3", "699ed3b91ee5bee389dcb6a3"),
        ("call_9c4d7e12ab", "call_9c4d7e12ab"),
        ("x" * 128, "x" * 128),
        (" a ", "a"),
        ("a\n", "a"),
        ("a b", "a b"),
        ("a/b?c=d&e%20#f", "a/b?c=d&e%20#f"),
        ("कॉल-१", "कॉल-१"),
        ("\N{GRINNING FACE}" * 128, "\N{GRINNING FACE}" * 128),
        ("0", "0"),
        ("null", "null"),
    ],
)
def test_a_good_id_is_taken_without_the_space_around_it(given_id: str, read_as: str) -> None:
    for body in ({"call_id": given_id}, {"call_ids": [given_id]}, {"call": {"call_id": given_id}}):
        assert read(body).call_ids == (read_as,)
    assert check_call_id(given_id, at="line 1") == read_as


BAD_IDS = [
    pytest.param("", "is empty", id="empty"),
    pytest.param("   ", "is empty", id="blank"),
    pytest.param("\t\n", "is empty", id="blank, otherwise"),
    pytest.param("\u3000", "is empty", id="blank in Japanese"),
    pytest.param("x" * 129, "is longer than 128 characters", id="129 characters"),
    pytest.param("x" * 100_000, "is longer than 128 characters", id="100,000 characters"),
    pytest.param(5, "is not a string", id="a number"),
    pytest.param(0, "is not a string", id="zero"),
    pytest.param(1.5, "is not a string", id="a fraction"),
    pytest.param(float("nan"), "is not a string", id="NaN"),
    pytest.param(True, "is not a string", id="true"),
    pytest.param(None, "is not a string", id="null"),
    pytest.param([], "is not a string", id="a list"),
    pytest.param(["a"], "is not a string", id="a list with an id"),
    pytest.param({"id": "a"}, "is not a string", id="an object"),
    pytest.param("a\x00b", "has control characters in it", id="NUL"),
    pytest.param("\x00", "has control characters in it", id="NUL alone"),
    pytest.param("a\nb", "has control characters in it", id="a line break"),
    pytest.param("a\x1bb", "has control characters in it", id="escape"),
    pytest.param("a\x7fb", "has control characters in it", id="delete"),
    pytest.param("a\ud83db", "has control characters in it", id="half of a pair"),
    pytest.param("a\ude00", "has control characters in it", id="the other half"),
]


@pytest.mark.parametrize(("bad", "why"), BAD_IDS)
def test_a_bad_id_is_refused_and_the_message_names_its_place(bad: Any, why: str) -> None:
    assert refusal_of({"call_id": bad}) == f"call_id {why}"
    assert refusal_of({"call": {"call_id": bad}}) == f"call.call_id {why}"
    assert refusal_of({"call_ids": ["a", "b", bad]}) == f"call_ids[2] {why}"
    with pytest.raises(NoCallId, match=r"^line 3 ") as refusal:
        check_call_id(bad, at="line 3")
    assert str(refusal.value) == f"line 3 {why}"


@pytest.mark.parametrize(("bad", "why"), [row for row in BAD_IDS if row.id != "null"])
def test_a_bad_workspace_is_refused_like_a_bad_id(bad: Any, why: str) -> None:
    assert refusal_of({"call_id": "a", "workspace_id": bad}) == f"workspace_id {why}"


def test_half_of_a_pair_is_refused_when_it_comes_unescaped_too() -> None:
    with pytest.raises(NoCallId):
        read_notice(b'{"call_id": "a\xed\xa0\xbd"}')


def test_one_bad_id_among_many_refuses_them_all() -> None:
    # All or nothing: the sender is told, and sends all of them again.
    assert refusal_of({"call_ids": ["a", 5, "b"]}) == "call_ids[1] is not a string"


# ---- type and event id -------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "type_"),
    [
        ("call.completed", "call.completed"),
        ("call.failed", "call.failed"),
        ("something.new", "something.new"),
        ("x" * 100, "x" * 100),
        pytest.param("x" * 101, "x" * 100, id="too long for its column"),
        pytest.param("x" * 100_000, "x" * 100, id="far too long"),
        ("", None),
        (None, None),
        (5, None),
        (["call.completed"], None),
        ("a\x00b", None),
        ("a\ud83d", None),
        ("a\nb", None),
    ],
)
def test_an_odd_event_never_costs_the_webhook(event: Any, type_: str | None) -> None:
    assert read({"call_id": "a", "event": event}).type == type_


@pytest.mark.parametrize("odd", ["", None, 5, {}, "a\x00b", "a\ud83d"])
def test_an_odd_event_id_never_costs_the_webhook(odd: Any) -> None:
    assert read({"call_id": "a", "event_id": odd}).event_id is None


def test_an_event_id_that_is_too_long_is_cut() -> None:
    event_id = read({"call_id": "a", "event_id": "e" * 5_000}).event_id
    assert event_id is not None
    assert len(event_id) <= 200


# ---- tokens and signatures ---------------------------------------------------

TOKEN = "r7-hzJ2.Qw~token"


@pytest.mark.parametrize(
    ("given_tokens", "is_right"),
    [
        ((TOKEN,), True),
        ((TOKEN, None), True),
        ((None, TOKEN), True),
        (("wrong", TOKEN), True),
        ((TOKEN, TOKEN), True),
        ((), False),
        ((None, None), False),
        (("",), False),
        (("wrong", None), False),
        ((TOKEN[:-1],), False),
        ((TOKEN + "x",), False),
        ((" " + TOKEN,), False),
        ((TOKEN.upper(),), False),
        (("\udcff",), False),
        (("टोकन",), False),
    ],
)
def test_one_right_token_is_enough_and_nothing_less(
    given_tokens: tuple[str | None, ...], is_right: bool
) -> None:
    assert is_right_token(*given_tokens, token=TOKEN) is is_right


@given(st.text(), st.text(min_size=1))
def test_a_token_is_right_when_it_is_the_token(candidate: str, token: str) -> None:
    assert is_right_token(candidate, token=token) is (candidate == token)
    assert is_right_token(token, token=token)


SECRET = "the secret of the signature"
BODY = body_of(TWENTY2S_OWN)
GOOD = "sha256=" + hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("signature", [GOOD, f" {GOOD} ", GOOD.upper()])
def test_the_providers_signature_of_the_raw_body_is_accepted(signature: str) -> None:
    assert is_signed(BODY, signature=signature, secret=SECRET)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        " ",
        "sha256=",
        GOOD.removeprefix("sha256="),
        "sha1=" + GOOD.removeprefix("sha256="),
        GOOD[:-1],
        GOOD + "0",
        "sha256=" + "0" * 64,
        f"{GOOD},{GOOD}",
        "sha256=\udcff",
        "sha256=" + "٠" * 64,
    ],
)
def test_any_other_signature_is_not(signature: str | None) -> None:
    assert not is_signed(BODY, signature=signature, secret=SECRET)


@given(st.binary(), st.text(min_size=1), st.binary(), st.text(min_size=1))
def test_a_signature_fits_its_body_and_its_secret_alone(
    body: bytes, secret: str, other_body: bytes, other_secret: str
) -> None:
    signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert is_signed(body, signature=signature, secret=secret)
    assert is_signed(other_body, signature=signature, secret=secret) is (other_body == body)
    # HMAC pads a short key with NULs.
    if other_secret.rstrip("\0") != secret.rstrip("\0"):
        assert not is_signed(body, signature=signature, secret=other_secret)


# ---- laws --------------------------------------------------------------------

_any_text = st.text(st.characters(exclude_categories=()), max_size=140)
_any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_webhooks = st.fixed_dictionaries(
    {},
    optional={
        "call_ids": st.lists(_any_text | _any_json, max_size=3) | _any_json,
        "call_id": _any_text | _any_json,
        "call": st.fixed_dictionaries({}, optional={"call_id": _any_text}) | _any_json,
        "workspace_id": _any_text | _any_json,
        "event": _any_json,
        "event_id": _any_json,
    },
)


@given(
    st.binary(max_size=80)
    | _webhooks.map(body_of)
    | _webhooks.map(lambda body: json.dumps(body, ensure_ascii=False)).map(
        lambda written: written.encode("utf-8", "surrogatepass")
    )
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_notice_or_a_refusal_and_nothing_else(body: bytes) -> None:
    try:
        notice = read_notice(body)
    except (NotJson, NoCallId):
        return
    assert notice.call_ids
    given_words = (*notice.call_ids, notice.workspace_id, notice.type, notice.event_id)
    for word in given_words:
        if word is not None:
            assert 0 < len(word) <= 200
            assert "\x00" not in word
            word.encode()
    for id_ in (*notice.call_ids, notice.workspace_id or "w"):
        assert len(id_) <= 128
        assert id_ == id_.strip()
        assert check_call_id(id_, at="again") == id_
