"""Reading `GET /call/detail`: both spellings, both envelopes, and anything else that may come."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from aftercall.db.session import Database
from aftercall.domain.exchange import Answer, Failure, NoAnswer
from aftercall.domain.outcomes import (
    Blocked,
    Dead,
    FetchOutcome,
    Found,
    NotReady,
    Reading,
    Refused,
    Retry,
    Succeeded,
    Unreadable,
    classify_fetch,
)
from aftercall.domain.work import CallDetail, Media
from aftercall.twentytwo.answers import _parse_any, parse_json, read_answer

NOW = datetime(2026, 1, 1, tzinfo=UTC)

#: The provider's page, word for word.
DOCUMENTED = """{
"success": true,
"call": {
"call_id": "call_9c4d7e12ab",
"agent_id": "69de483c68b23495c853b43a",
"status": "completed",
"direction": "outbound",
"callee_phone": "9999999999",
"caller_phone": "9999999999",
"duration_seconds": 94,
"billed_duration_seconds": 94,
"cost": "15.67 INR",
"started_at": "2024-12-25T10:00:00Z",
"ended_at": "2024-12-25T10:01:34Z"
},
"input_parameters": {
"agentName": "Rohit"
},
"output_parameters": {
"interested": "yes",
"callback_requested": "yes",
"callback_time": "Tomorrow 11am"
},
"recording": {
"url": "https://storage.twentytwo.in/recordings/call_9c4d7e12ab.mp3",
"expires_at": "2025-01-25T10:01:34Z"
},
"transcript": {
"url": "https://storage.twentytwo.in/transcripts/call_9c4d7e12ab.txt",
"expires_at": "2025-01-25T10:01:34Z"
}
}"""
DOCUMENTED_401 = """{
"success": false,
"error": {
"code": "UNAUTHORIZED",
"message": "Invalid or missing credentials.",
"status": 401
}
}"""
DOCUMENTED_404 = """{
"success": false,
"error": {
"code": "CALL_NOT_FOUND",
"message": "No call found for the given call_id.",
"status": 404
}
}"""


def answer(
    body: object, *, status: int = 200, retry_after: str | None = None, was_cut: bool = False
) -> Answer:
    """An answer with these bytes, or with this as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(
        status=status,
        body=content,
        body_was_cut=was_cut,
        retry_after=retry_after,
        elapsed=timedelta(0),
    )


def read(body: object, **particulars: Any) -> Reading:
    return read_answer(answer(body, **particulars), now=NOW)[0]


def detail_of(body: object) -> CallDetail:
    reading, detail = read_answer(answer(body), now=NOW)
    assert isinstance(reading, Found), reading
    assert detail is not None
    return detail


def a_call(more: dict[str, Any] | None = None, /, **facts: Any) -> dict[str, Any]:
    call = {"call_id": "call_1", "status": "completed", **facts}
    return {"success": True, "call": call, **(more or {})}


def with_output(json_value: bytes) -> bytes:
    """A completed call with one output parameter, spelled in JSON."""
    return (
        b'{"success":true,"call":{"call_id":"call_1","status":"completed"},'
        b'"output_parameters":{"odd":%s,"interested":"yes"}}' % json_value
    )


# ---- the call ----------------------------------------------------------------


def test_the_documented_example_is_read_whole() -> None:
    reading, detail = read_answer(answer(DOCUMENTED.encode()), now=NOW)
    assert reading == Found("completed", has_ended=True)
    expires_at = datetime(2025, 1, 25, 10, 1, 34, tzinfo=UTC)
    assert detail == CallDetail(
        answered_call_id="call_9c4d7e12ab",
        status="completed",
        direction="outbound",
        agent_id="69de483c68b23495c853b43a",
        callee_phone="9999999999",
        caller_phone="9999999999",
        duration_seconds=94,
        billed_duration_seconds=94,
        cost_amount=Decimal("15.67"),
        cost_currency="INR",
        started_at=datetime(2024, 12, 25, 10, 0, tzinfo=UTC),
        ended_at=datetime(2024, 12, 25, 10, 1, 34, tzinfo=UTC),
        input_parameters={"agentName": "Rohit"},
        output_parameters={
            "interested": "yes",
            "callback_requested": "yes",
            "callback_time": "Tomorrow 11am",
        },
        recording=Media(
            url="https://storage.twentytwo.in/recordings/call_9c4d7e12ab.mp3",
            expires_at=expires_at,
        ),
        transcript=Media(
            url="https://storage.twentytwo.in/transcripts/call_9c4d7e12ab.txt",
            expires_at=expires_at,
        ),
        raw=json.loads(DOCUMENTED),
    )


def test_the_answer_may_name_the_call_otherwise() -> None:
    assert detail_of(a_call(call_id="call_9c4d7e12ab")).answered_call_id == "call_9c4d7e12ab"


@pytest.mark.parametrize(
    ("name", "older_name"),
    [
        ("agent_id", "assistant_id"),
        ("callee_phone", "to_number"),
        ("caller_phone", "from_number"),
    ],
)
def test_a_fact_is_read_under_either_name(name: str, older_name: str) -> None:
    for body in (
        a_call(**{name: "x"}),
        a_call(**{older_name: "x"}),
        a_call(**{name: None, older_name: "x"}),
        a_call(**{name: "x", older_name: None}),
        a_call(**{name: "x", older_name: "the documented name wins"}),
    ):
        assert getattr(detail_of(body), name) == "x"


@pytest.mark.parametrize(
    ("name", "older_name"),
    [("input_parameters", "input_variables"), ("output_parameters", "output_variables")],
)
def test_parameters_are_read_under_either_name(name: str, older_name: str) -> None:
    its = {"agentName": "Rohit"}
    for more in (
        {name: its},
        {older_name: its},
        {name: None, older_name: its},
        {name: its, older_name: {"the documented name": "wins"}},
    ):
        assert getattr(detail_of(a_call(more)), name) == its


@pytest.mark.parametrize("odd", [["9876543210"], {}, "9" * 501, True])
def test_what_cannot_be_read_under_one_spelling_hides_nothing_under_the_other(odd: Any) -> None:
    told = {"success": True, "call": {"callee_phone": odd, "to_number": "9876543210"}}
    _, detail = read_answer(answer(told), now=NOW)
    assert detail is not None
    assert detail.callee_phone == "9876543210"
    assert detail.raw == told


@pytest.mark.parametrize("older", [{}, {"to_number": "2", "output_variables": {}}])
@pytest.mark.parametrize("nothing", [{}, {"call_id": None, "status": None}])
def test_a_call_with_next_to_nothing_in_it_is_a_call(
    nothing: dict[str, None], older: dict[str, Any]
) -> None:
    reading, detail = read_answer(answer({"success": True, "call": {**nothing, **older}}), now=NOW)
    assert reading == Found("", has_ended=False)
    assert detail is not None
    assert (detail.answered_call_id, detail.cost_amount, detail.ended_at) == (None, None, None)
    assert (detail.input_parameters, detail.output_parameters) == ({}, {})


@pytest.mark.parametrize("parameters", [None, [], "", "none", 0, False, [{"a": 1}]])
def test_parameters_that_are_no_object_are_empty(parameters: Any) -> None:
    detail = detail_of(a_call({"output_parameters": parameters, "input_parameters": parameters}))
    assert (detail.input_parameters, detail.output_parameters) == ({}, {})


@pytest.mark.parametrize(
    ("media", "expected"),
    [
        (None, None),
        ({}, None),
        ({"url": None, "expires_at": None}, None),
        ({"url": "", "expires_at": "2025-01-25T10:01:34Z"}, None),
        ({"available": False, "url": None}, None),
        ("https://storage.example/1.mp3", None),
        ([], None),
        ({"url": []}, None),
        ({"url": "x" * 9_000}, None),
        ({"url": "https://s/1.mp3"}, Media(url="https://s/1.mp3", expires_at=None)),
        (
            {"url": "https://s/1.mp3", "expires_at": "soon"},
            Media(url="https://s/1.mp3", expires_at=None),
        ),
        (
            {"url": "https://s/1.mp3", "expires_at": "2025-01-25T15:31:34+05:30"},
            Media(url="https://s/1.mp3", expires_at=datetime(2025, 1, 25, 10, 1, 34, tzinfo=UTC)),
        ),
    ],
)
def test_a_recording_is_its_url_or_nothing(media: Any, expected: Media | None) -> None:
    detail = detail_of(a_call({"recording": media, "transcript": media}))
    assert (detail.recording, detail.transcript) == (expected, expected)


def test_what_nobody_documented_is_kept_in_raw() -> None:
    body = a_call({"analysis": [{"turn": 1}], "schema_version": 7}, sentiment={"score": 0.8})
    assert detail_of(body).raw == body


@pytest.mark.parametrize(
    ("cost", "amount", "currency"),
    [
        ("15.67 INR", "15.67", "INR"),
        ("15.67INR", "15.67", "INR"),
        ("  15.67   INR ", "15.67", "INR"),
        ("INR 15.67", "15.67", "INR"),
        ("0 INR", "0", "INR"),
        ("0.00 INR", "0.00", "INR"),
        ("120 USD", "120", "USD"),
        ("15.67", "15.67", None),
        (15.67, "15.67", None),
        (15, "15", None),
        (0, "0", None),
        ("", None, None),
        ("free", None, None),
        ("INR", None, None),
        ("15.67 rupees", None, None),
        ("15.67 INR 3 USD", None, None),
        ("9" * 400 + " INR", None, None),
        ("1e400 INR", None, None),
        (1e300, None, None),
        ("NaN INR", None, None),
        ("Infinity", None, None),
        (True, None, None),
        ([15.67], None, None),
        ({"amount": 15.67}, None, None),
    ],
)
def test_a_cost_is_an_amount_and_a_currency(
    cost: Any, amount: str | None, currency: str | None
) -> None:
    detail = detail_of(a_call(cost=cost))
    assert detail.cost_amount == (None if amount is None else Decimal(amount))
    assert detail.cost_currency == currency


@pytest.mark.parametrize(
    "facts",
    [
        {"call_cost_inr": 15.67},
        {"call_cost_inr": "15.67"},
        {"call_cost_inr": 15.67, "cost": None},
        {"call_cost_inr": 15.67, "cost": "free"},
        {"call_cost_inr": 99, "cost": "15.67 INR"},
    ],
)
def test_the_older_cost_is_in_rupees_and_stands_in_for_the_other(facts: dict[str, Any]) -> None:
    detail = detail_of(a_call(**facts))
    assert (detail.cost_amount, detail.cost_currency) == (Decimal("15.67"), "INR")


@pytest.mark.parametrize(
    ("given_time", "read_as"),
    [
        ("2024-12-25T10:01:34Z", datetime(2024, 12, 25, 10, 1, 34, tzinfo=UTC)),
        ("2024-12-25T10:01:34.5Z", datetime(2024, 12, 25, 10, 1, 34, 500_000, tzinfo=UTC)),
        ("2024-12-25T15:31:34+05:30", datetime(2024, 12, 25, 10, 1, 34, tzinfo=UTC)),
        ("2024-12-25T10:01:34", datetime(2024, 12, 25, 10, 1, 34, tzinfo=UTC)),
        ("2024-12-25 10:01:34", datetime(2024, 12, 25, 10, 1, 34, tzinfo=UTC)),
        ("", None),
        ("yesterday", None),
        ("2024-13-45T10:01:34Z", None),
        ([], None),
        ({}, None),
        (True, None),
        (10**30, None),
        (-(10**30), None),
    ],
)
def test_times_are_in_utc_or_none(given_time: Any, read_as: datetime | None) -> None:
    detail = detail_of(a_call(started_at=given_time, ended_at=given_time))
    assert (detail.started_at, detail.ended_at) == (read_as, read_as)
    assert read_as is None or (detail.started_at and detail.started_at.tzinfo is UTC)


@pytest.mark.parametrize(
    "unset",
    [
        pytest.param("0001-01-01T00:00:00+05:30", id="an unset time of .NET, in India"),
        "9999-12-31T23:59:59-05:00",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
    ],
)
@pytest.mark.parametrize("field", ["started_at", "ended_at"])
def test_a_time_at_the_calendars_end_does_not_cost_the_call(field: str, unset: str) -> None:
    # As UTC the first two lie outside what datetime can hold.
    assert detail_of(a_call(**{field: unset}, direction="outbound")).direction == "outbound"


@pytest.mark.parametrize("unset", ["0001-01-01T00:00:00+05:30", "9999-12-31T23:59:59-05:00"])
def test_a_link_that_never_expires_does_not_cost_the_call(unset: str) -> None:
    detail = detail_of(a_call({"recording": {"url": "https://s/1.mp3", "expires_at": unset}}))
    assert detail.recording is not None
    assert detail.recording.url == "https://s/1.mp3"


@pytest.mark.parametrize(
    "ended_at", ["25/12/2024 10:01", "Wed Dec 25 2024 10:01:34 GMT+0530", "2024-12-25T10:01:34 IST"]
)
def test_a_call_with_an_unknown_status_has_ended_when_ended_at_is_set_however_it_is_spelled(
    ended_at: str,
) -> None:
    # design.md: final if `ended_at` is set. Not being able to read it must not kill the call.
    assert read(a_call(status="voicemail_left", ended_at=ended_at)) == Found(
        "voicemail_left", has_ended=True
    )


ODD_VALUES: list[Any] = [[], {}, [1], {"a": 1}, True, "x" * 9_000, "\u0000", 10**4_000, -1e300, ""]


@pytest.mark.parametrize(
    "field",
    [
        "call_id",
        "agent_id",
        "direction",
        "callee_phone",
        "caller_phone",
        "duration_seconds",
        "billed_duration_seconds",
        "cost",
        "call_cost_inr",
        "started_at",
        "ended_at",
    ],
)
@pytest.mark.parametrize("odd", ODD_VALUES, ids=lambda odd: f"{type(odd).__name__} {odd!r:.12}")
def test_one_odd_value_never_costs_the_call_nor_another_value(field: str, odd: Any) -> None:
    detail = detail_of(a_call({"output_parameters": {"interested": "yes"}}, **{field: odd}))
    assert detail.status == "completed"
    assert detail.output_parameters == {"interested": "yes"}


@pytest.mark.parametrize(
    ("given_value", "read_as"),
    [
        (0, 0),
        (94, 94),
        ("94", 94),
        (94.0, 94),
        (2**31 - 1, 2**31 - 1),
        (94.5, None),
        (-1, None),
        (2**31, None),
        (10**4_000, None),
        ("a while", None),
        ("", None),
        pytest.param(True, None, id="true is no number of seconds"),
        ([94], None),
    ],
)
def test_a_duration_is_a_whole_number_of_seconds_or_none(
    given_value: Any, read_as: int | None
) -> None:
    detail = detail_of(a_call(duration_seconds=given_value, billed_duration_seconds=given_value))
    assert (detail.duration_seconds, detail.billed_duration_seconds) == (read_as, read_as)


@pytest.mark.parametrize(
    ("given_value", "read_as"),
    [
        ("9999999999", "9999999999"),
        (9999999999, "9999999999"),
        ("+91 99999 99999", "+91 99999 99999"),
        (True, None),
        ([], None),
        ("9" * 501, None),
    ],
)
def test_a_phone_may_come_as_a_number(given_value: Any, read_as: str | None) -> None:
    assert detail_of(a_call(callee_phone=given_value)).callee_phone == read_as


# ---- what cannot be stored as it comes ---------------------------------------

STORED_OTHERWISE = [
    pytest.param(rb'"before\u0000after"', "before\ufffdafter", id="NUL"),
    pytest.param(rb'"half \ud83d a smile"', "half \ufffd a smile", id="first half of a pair"),
    pytest.param(rb'"half \uDE00"', "half \ufffd", id="second half, in capitals"),
    pytest.param(rb'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600", id="a half before a pair"),
    pytest.param(rb'"\ud83d\ude00"', "\U0001f600", id="a pair"),
    pytest.param(rb'"\ude00\ud83d"', "\ufffd\ufffd", id="a pair the wrong way round"),
    pytest.param(rb'"\\ud83d \\u0000"', r"\ud83d \u0000", id="escaped backslashes are text"),
    pytest.param(rb'["a\u0000"]', ["a\ufffd"], id="in a list"),
    pytest.param(rb'{"k\u0000": {"l\ud83d": 1}}', {"k\ufffd": {"l\ufffd": 1}}, id="in keys"),
    pytest.param(b'"half \xed\xa0\xbd a smile"', "half \ufffd a smile", id="half, unescaped"),
    pytest.param(b"NaN", None, id="NaN"),
    pytest.param(b"-Infinity", None, id="-Infinity"),
    pytest.param(b"1e999", "1e999", id="1e999"),
    pytest.param(b"[-1e999]", ["-1e999"], id="-1e999"),
    pytest.param(b"9" * 3_000, int("9" * 3_000), id="3,000 digits"),
    pytest.param(b"0." + b"3" * 5_000, 1 / 3, id="5,000 digits behind the point"),
    pytest.param(b"-0.0", 0, id="-0.0"),
    pytest.param(b"1e308", 1e308, id="1e308"),
]


@pytest.mark.parametrize(("spelled", "read_as"), STORED_OTHERWISE)
def test_a_value_that_postgresql_does_not_take_is_read_as_one_that_it_does(
    spelled: bytes, read_as: Any
) -> None:
    detail = detail_of(with_output(spelled))
    # NUL and half pairs become U+FFFD; numbers that no number holds become their text.
    assert detail.output_parameters["interested"] == "yes"
    found = detail.output_parameters["odd"]
    if isinstance(found, str) and set(found) <= {"\ufffd"}:
        assert set(read_as) == {"\ufffd"}
    else:
        assert found == read_as
    assert detail.raw["output_parameters"] == detail.output_parameters


def test_a_number_of_5000_digits_does_not_cost_the_call() -> None:
    # It is JSON; only Python's int() refuses it (CVE-2020-10735's limit of 4,300 digits).
    detail = detail_of(with_output(b"9" * 5_000))
    assert detail.output_parameters["interested"] == "yes"


def test_nul_in_an_answer_in_utf_16_is_found_too() -> None:
    body = with_output(rb'"a\u0000b"').decode().encode("utf-16")
    assert detail_of(body).output_parameters["odd"] == "a\ufffdb"


def test_the_facts_themselves_are_storable() -> None:
    reading, detail = read_answer(
        answer(
            rb'{"success":true,"call":{"call_id":"c\u0000","status":"odd\ud83d","agent_id":"a\u0000"},'
            rb'"recording":{"url":"https://s/\u0000"}}'
        ),
        now=NOW,
    )
    assert detail is not None
    assert detail.recording is not None
    assert reading == Found("odd\ufffd", has_ended=False)
    assert (detail.answered_call_id, detail.agent_id) == ("c\ufffd", "a\ufffd")
    assert detail.recording.url == "https://s/\ufffd"


def test_so_is_an_errors_message() -> None:
    reading = read(rb'{"message": "it\u0000 \ud83d"}', status=422)
    assert isinstance(reading, Refused)
    assert "\x00" not in reading.message
    reading.message.encode()


@pytest.mark.parametrize(("spelled", "_read_as"), STORED_OTHERWISE)
def test_postgresql_takes_it(database: Database, spelled: bytes, _read_as: Any) -> None:
    raw = detail_of(with_output(spelled)).raw
    with database.transaction() as session:
        stored = session.execute(
            text("SELECT CAST(:given AS jsonb)"), {"given": json.dumps(raw, ensure_ascii=False)}
        ).scalar_one()
    assert stored["output_parameters"]["interested"] == "yes"


# ---- what is no call ---------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is empty"),
        (b"   ", "it is not JSON"),
        (b"<!DOCTYPE html><html></html>", "it is not JSON"),
        (b'{"success": true, "call": {"call_id": "c"', "it is not JSON"),
        (b'{"success": true} trailing', "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b'{"call": "\xff"}', "it is not JSON"),
        (b"[]", "there is no call in it"),
        (b'[{"success": true}]', "there is no call in it"),
        (b"null", "there is no call in it"),
        (b"true", "there is no call in it"),
        (b'"completed"', "there is no call in it"),
        (b"{}", "there is no call in it"),
        (b'{"success": true}', "there is no call in it"),
        (b'{"success": true, "call": null}', "there is no call in it"),
        (b'{"success": true, "call": []}', "there is no call in it"),
        (b'{"success": true, "call": "call_1"}', "there is no call in it"),
        (b'{"success": true, "calls": [{"call_id": "c"}]}', "there is no call in it"),
        (b"[" * 100_000 + b"]" * 100_000, "the JSON is nested too deeply"),
        (b'{"call":' * 100_000, "the JSON is nested too deeply"),
        (with_output(b"[" * 3_000 + b"]" * 3_000), "the JSON is nested too deeply"),
        # A mistake that is not in any envelope.
        (b'{"success": false}', "success is false, without an error"),
        (b'{"success": false, "error": null}', "success is false, without an error"),
        (
            b'{"success": false, "error": {"code": "TEAPOT", "message": "no"}}',
            "success is false, without an error TEAPOT: no",
        ),
        (
            b'{"success": false, "statusCode": 200, "message": "fine"}',
            "success is false, without an error fine",
        ),
    ],
    ids=lambda value: f"{value[:40]!r}",
)
def test_a_200_that_is_no_call_is_unreadable_and_says_why(body: bytes, reason: str) -> None:
    reading, detail = read_answer(answer(body), now=NOW)
    assert (reading, detail) == (Unreadable(reason), None)
    assert isinstance(classify_fetch(reading), Retry)


def test_an_answer_that_was_cut_off_at_5_mib_is_unreadable_even_if_it_is_json() -> None:
    reading = read(DOCUMENTED.encode(), was_cut=True)
    assert reading == Unreadable("it is longer than 5 MiB")


def test_a_byte_order_mark_does_not_cost_the_call() -> None:
    assert detail_of(b"\xef\xbb\xbf" + DOCUMENTED.encode()).answered_call_id == "call_9c4d7e12ab"


def test_no_answer_is_passed_on_as_it_is() -> None:
    none = NoAnswer(failure=Failure.TIMEOUT, detail="api:443 is silent", elapsed=timedelta(0))
    assert read_answer(none, now=NOW) == (none, None)


@pytest.mark.parametrize("depth", [*range(0, 900, 60), *range(900, 1_000, 7), 2_000, 50_000])
@pytest.mark.parametrize("member", ["message", "validationErrors", "code", "error", "call"])
def test_however_deep_the_json_is_it_is_a_reading(member: str, depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    for status in (200, 422):
        body = b'{"success":false,"statusCode":422,"%s":%s}' % (member.encode(), nested)
        assert isinstance(read(body, status=status), Refused | Unreadable)


# ---- errors ------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 401])
def test_the_documented_401_blocks_the_workspace_whatever_the_status_line(status: int) -> None:
    reading = read(DOCUMENTED_401.encode(), status=status)
    assert reading == Refused(401, "UNAUTHORIZED: Invalid or missing credentials.")
    assert isinstance(classify_fetch(reading), Blocked)


@pytest.mark.parametrize("status", [200, 404])
def test_the_documented_404_is_not_ready_whatever_the_status_line(status: int) -> None:
    reading = read(DOCUMENTED_404.encode(), status=status)
    assert reading == Refused(404, "CALL_NOT_FOUND: No call found for the given call_id.")
    assert isinstance(classify_fetch(reading), NotReady)


@pytest.mark.parametrize("status", [200, 422])
def test_the_second_envelope_tells_which_field_is_wrong(status: int) -> None:
    body = {
        "success": False,
        "statusCode": 422,
        "message": "Validation failed",
        "validationErrors": {"call_id": ["call_id is required"]},
    }
    reading = read(body, status=status)
    assert isinstance(reading, Refused)
    assert reading.status == 422
    for said in ("Validation failed", "call_id is required"):
        assert said in reading.message
    assert isinstance(classify_fetch(reading), Dead)


@pytest.mark.parametrize(
    ("code", "status", "outcome"),
    [
        ("UNAUTHORIZED", 401, Blocked),
        ("FORBIDDEN", 403, Retry),
        ("CALL_NOT_FOUND", 404, NotReady),
        ("RATE_LIMIT_EXCEEDED", 429, Blocked),
        ("INVALID_ASSISTANT", 422, Dead),
        ("INVALID_NUMBER", 422, Dead),
        ("INTERNAL_ERROR", 500, Retry),
    ],
)
def test_a_200_that_is_no_success_means_what_its_code_means(
    code: str, status: int, outcome: type[FetchOutcome]
) -> None:
    for error in (
        {"error": {"code": code}},
        {"error": {"code": code, "message": "", "status": None}},
        {"error": {"code": code, "status": "?"}},
        {"error": {"code": code, "status": 200}},
        {"error": {"code": code, "status": True}},
        {"code": code},
    ):
        reading = read({"success": False, **error})
        assert isinstance(reading, Refused), error
        assert reading.status == status
        assert isinstance(classify_fetch(reading), outcome)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 422, 429, 500, 503])
def test_a_200_that_is_no_success_means_what_its_status_means(status: int) -> None:
    first = read({"success": False, "error": {"code": "SOMETHING_NEW", "status": status}})
    second = read({"success": False, "statusCode": status, "message": "SOMETHING_NEW"})
    assert first == second == Refused(status, "SOMETHING_NEW")


def test_no_success_counts_for_more_than_a_call_beside_it() -> None:
    body = a_call({"success": False, "error": {"code": "UNAUTHORIZED", "status": 401}})
    assert read(body) == Refused(401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Bad gateway</html>", b"null", b"[]", b'"no"', b"{", b"\xff", b"[" * 100_000],
)
@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 429, 500, 502])
def test_an_error_status_needs_no_body(status: int, body: bytes) -> None:
    assert read(body, status=status) == Refused(status, "")


def test_an_error_status_counts_even_if_its_body_was_cut() -> None:
    assert read(DOCUMENTED_404.encode(), status=502, was_cut=True) == Refused(502, "")


def test_the_status_line_counts_for_more_than_the_body_of_an_error() -> None:
    reading = read(DOCUMENTED_404.encode(), status=503)
    assert isinstance(reading, Refused)
    assert reading.status == 503


@pytest.mark.parametrize(
    ("header", "wait"), [("30", timedelta(seconds=30)), (None, None), ("soon", None)]
)
def test_retry_after_goes_with_the_refusal(header: str | None, wait: timedelta | None) -> None:
    limited = {"success": False, "error": {"code": "RATE_LIMIT_EXCEEDED", "status": 429}}
    for status in (200, 429):
        reading = read(limited, status=status, retry_after=header)
        assert reading == Refused(429, "RATE_LIMIT_EXCEEDED", wait)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "x" * 100_000},
        {"message": ["x"] * 100_000},
        {"validationErrors": {str(number): ["no"] for number in range(10_000)}},
        {"error": "x" * 100_000},
        {"error": {"code": "x" * 100_000}},
    ],
    ids=lambda error: next(iter(error)),
)
def test_a_message_is_short_enough_to_be_read(error: dict[str, Any]) -> None:
    reading = read(error, status=422)
    assert isinstance(reading, Refused)
    assert 0 < len(reading.message) <= 500


# ---- laws --------------------------------------------------------------------

#: Any text that JSON can spell: NUL and halves of pairs too.
any_text = st.text(st.characters(exclude_categories=()), max_size=12)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)
_NAMES = [
    *("call_id", "agent_id", "assistant_id", "status", "direction"),
    *("callee_phone", "to_number", "caller_phone", "from_number"),
    *("duration_seconds", "billed_duration_seconds", "cost", "call_cost_inr"),
    *("started_at", "ended_at"),
]
_statuses_said = st.sampled_from(["completed", "initiated", "connected", "failed", "odd"])
_errors = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from(["UNAUTHORIZED", "CALL_NOT_FOUND", "TEAPOT"]) | any_json,
        "message": any_json,
        "status": st.integers(100, 700) | any_json,
    },
)
any_answer = st.fixed_dictionaries(
    {},
    optional={
        "success": st.booleans() | any_json,
        "call": st.dictionaries(st.sampled_from(_NAMES), _statuses_said | any_json) | any_json,
        "input_parameters": any_json,
        "input_variables": any_json,
        "output_parameters": any_json,
        "output_variables": any_json,
        "recording": st.fixed_dictionaries({}, optional={"url": any_json, "expires_at": any_json})
        | any_json,
        "transcript": any_json,
        "error": _errors | any_json,
        "statusCode": st.integers(100, 700) | any_json,
        "message": any_json,
        "validationErrors": any_json,
    },
)
http_statuses = st.sampled_from([200, 200, 200, 201, 204, 302, 401, 404, 422, 429, 500])


def assert_it_can_be_stored(reading: Reading, detail: CallDetail | None) -> None:
    """All of it goes into PostgreSQL: the text, and the JSON."""
    texts = [repr(reading)]
    if detail is not None:
        texts += [
            value
            for name in CallDetail.__slots__
            if isinstance(value := getattr(detail, name), str)
        ]
        texts += [media.url for media in (detail.recording, detail.transcript) if media]
        for objects in (detail.input_parameters, detail.output_parameters, detail.raw):
            stored = json.dumps(objects, ensure_ascii=False, allow_nan=False)
            texts.append(stored)
            assert r"\u0000" not in stored.replace(r"\\", "")
    for written in texts:
        assert "\x00" not in written
        written.encode()


def assert_it_is_one_reading(given_answer: Answer) -> None:
    reading, detail = read_answer(given_answer, now=NOW)
    assert isinstance(reading, Found | Refused | Unreadable)
    assert (detail is not None) is isinstance(reading, Found)
    if not 200 <= given_answer.status < 300:
        assert isinstance(reading, Refused)
        assert reading.status == given_answer.status
    assert_it_can_be_stored(reading, detail)
    outcome = classify_fetch(reading)
    assert isinstance(outcome, Succeeded | Retry | NotReady | Blocked | Dead)


@given(any_answer | any_json, http_statuses)
@settings(max_examples=250, deadline=None)
def test_any_json_is_one_reading_that_can_be_stored(body: Any, status: int) -> None:
    assert_it_is_one_reading(answer(body, status=status))


@given(any_answer, st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32"]))
@settings(max_examples=150, deadline=None)
def test_so_it_is_in_every_encoding_of_json_escaped_or_not(body: Any, encoding: str) -> None:
    for escaped in (True, False):
        content = json.dumps(body, ensure_ascii=escaped).encode(encoding, "surrogatepass")
        assert_it_is_one_reading(answer(content))


@given(st.binary(max_size=60) | st.binary(max_size=20).map(with_output), http_statuses)
@settings(deadline=None)
def test_any_bytes_are_one_reading_that_can_be_stored(body: bytes, status: int) -> None:
    assert_it_is_one_reading(answer(body, status=status))


# ---- JSON, plain or not ------------------------------------------------------

json_numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from(["1e999", "-1e999", "1e16", "-0", "0.1e-400", "9" * 30, "9" * 5_000]),
)
json_words = st.one_of(
    st.text(), st.sampled_from(["\\u0000", "\\ud83d\\ude00", "\\ud83d", "Infinity"])
)


def spelled(value: Any) -> str:
    """JSON in which what looks like a number or an escape in quotes is one."""
    text_ = json.dumps(value, ensure_ascii=False)
    return re.sub(r'"(-?[0-9][0-9.e-]*)"', r"\1", text_).replace("\\\\u", "\\u")


@settings(max_examples=400)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), json_numbers, json_words),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(json_words, inner, max_size=4),
        max_leaves=12,
    )
)
def test_the_quick_way_to_read_json_reads_what_the_thorough_one_reads(value: Any) -> None:
    body = spelled(value).encode("utf-8", "surrogatepass")
    assert repr(parse_json(body)) == repr(_parse_any(body))


@pytest.mark.parametrize("digits", [4_000, 4_001, 4_300, 4_301, 5_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_both_ways_to_read_json_read_long_numbers_alike(digits: int, sign: str) -> None:
    body = f"[{sign}{'9' * digits}]".encode()
    assert repr(parse_json(body)) == repr(_parse_any(body))


@pytest.mark.parametrize("depth", [199, 200, 201, 202, 3_000])
@pytest.mark.parametrize("bracket", [("[", "]"), ('{"a":', "}")])
def test_both_ways_to_read_json_end_at_the_same_depth(depth: int, bracket: tuple[str, str]) -> None:
    opened, closed = bracket
    body = (opened * depth + "1" + closed * depth).encode()
    assert repr(parse_json(body)) == repr(_parse_any(body))
