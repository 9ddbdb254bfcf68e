"""What a destination wants, and in which shape: filters and mappings over a delivery's `data`."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jmespath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aftercall.crm.mapping import (
    MAX_EXPRESSION_LENGTH,
    MappingError,
    check_expression,
    is_wanted,
    make_body,
    make_data,
)
from aftercall.domain.work import ClaimedDelivery

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)

DELIVERY = ClaimedDelivery(
    id=uuid.UUID("019b8e5c-0000-7000-8000-000000000001"),
    call_row_id=1,
    workspace_id="699ed3b91ee5bee389dcb6a3",
    call_id="call_9c4d7e12ab",
    destination_id=uuid.UUID("019b8e5c-0000-7000-8000-000000000002"),
    destination_name="leads",
    lease_token=uuid.UUID("019b8e5c-0000-7000-8000-000000000003"),
    attempts=0,
    due_at=NOW,
    type="call.completed",
    created_at=datetime(2026, 1, 5, 11, 59, 58, 123_456, tzinfo=UTC),
    url="https://crm.example/hook",
    mapping=None,
    headers_sealed=None,
    secret_sealed="sealed",
    timeout_seconds=15,
    failing_since=None,
    failures_in_a_row=0,
    call={"call_id": "call_9c4d7e12ab", "status": "completed", "duration_seconds": 94},
    input_parameters={"agentName": "Rohit"},
    output_parameters={"interested": "yes", "city": "मुंबई", "visits": 0},
    recording={"url": "https://storage.example/1.mp3", "expires_at": "2026-02-05T12:00:00Z"},
    transcript=None,
)
DATA = make_data(DELIVERY)


def strictly_read(body: bytes) -> Any:
    """As a CRM reads it: RFC 8259 has no NaN and no Infinity, and its text is UTF-8."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(body.decode("utf-8"), parse_constant=refuse)


def body_with(mapping: str | None, **changes: Any) -> Any:
    return strictly_read(make_body(replace(DELIVERY, mapping=mapping, **changes)))


# ---- the default body --------------------------------------------------------


def test_the_default_body_is_that_of_the_contract() -> None:
    assert body_with(None) == {
        "type": "call.completed",
        "timestamp": "2026-01-05T11:59:58.123Z",
        "data": {
            "call_id": "call_9c4d7e12ab",
            "workspace_id": "699ed3b91ee5bee389dcb6a3",
            "call": {
                "call_id": "call_9c4d7e12ab",
                "status": "completed",
                "duration_seconds": 94,
            },
            "input_parameters": {"agentName": "Rohit"},
            "output_parameters": {"interested": "yes", "city": "मुंबई", "visits": 0},
            "recording": {
                "url": "https://storage.example/1.mp3",
                "expires_at": "2026-02-05T12:00:00Z",
            },
            "transcript": None,
        },
    }


def test_the_body_is_the_same_bytes_on_every_attempt() -> None:
    later = replace(
        DELIVERY,
        attempts=7,
        due_at=NOW + timedelta(days=1),
        lease_token=uuid.uuid4(),
        failing_since=NOW,
    )
    for mapping in (None, "{id: call_id, out: output_parameters}"):
        assert make_body(replace(DELIVERY, mapping=mapping)) == make_body(
            replace(later, mapping=mapping)
        )


def test_text_goes_out_as_utf_8_and_not_escaped() -> None:
    assert "मुंबई".encode() in make_body(DELIVERY)


@pytest.mark.parametrize("hours", [0, 5.5, -8])
def test_the_timestamp_is_in_utc_whatever_zone_the_time_came_in(hours: float) -> None:
    at = DELIVERY.created_at.astimezone(timezone(timedelta(hours=hours)))
    assert body_with(None, created_at=at)["timestamp"] == "2026-01-05T11:59:58.123Z"


# ---- mappings ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("mapping", "body"),
    [
        ("@", DATA),
        ("output_parameters", DATA["output_parameters"]),
        ("output_parameters.interested", "yes"),
        (
            "{id: call_id, wants: output_parameters.interested}",
            {"id": "call_9c4d7e12ab", "wants": "yes"},
        ),
        (
            "{agent: input_parameters.agentName, none: transcript.url}",
            {"agent": "Rohit", "none": None},
        ),
        ("[call_id, call.status]", ["call_9c4d7e12ab", "completed"]),
        (
            "merge(output_parameters, {source: 'aftercall'})",
            {**DATA["output_parameters"], "source": "aftercall"},
        ),
        ("output_parameters.visits", 0),
        ("call.status == 'failed'", False),
        ("''", ""),
        ("`[]`", []),
    ],
)  # fmt: skip
def test_a_mapping_makes_the_whole_body(mapping: str, body: Any) -> None:
    check_expression(mapping)
    assert body_with(mapping) == body
    assert jmespath.search(mapping, DATA) == body


@pytest.mark.parametrize(
    "mapping",
    [
        "nothing.of.the.kind",
        "transcript.url",
        "`null`",
        "abs('x')",
        "join(', ', call)",
        "sum(output_parameters)",
        "contains('abc', `1`)",
        "floor(to_number('nan'))",
        "ceil(to_number('inf'))",
        "sort([`1`, 'x'])",
        "values(output_parameters)[::0]",
    ],
)
def test_a_mapping_that_fails_on_this_call_is_a_mapping_error(mapping: str) -> None:
    check_expression(mapping)
    with pytest.raises(MappingError) as failure:
        make_body(replace(DELIVERY, mapping=mapping))
    assert str(failure.value)
    assert "\n" not in str(failure.value)


def save_and_use(mapping: str) -> bytes:
    check_expression(mapping)
    return make_body(replace(DELIVERY, mapping=mapping))


@pytest.mark.parametrize(
    "mapping",
    [
        pytest.param("&call_id", id="an expression is no value"),
        pytest.param("{id: call_id, by: &call_id}", id="an expression in an object"),
        pytest.param("[&call_id]", id="an expression in a list"),
        pytest.param("to_number('nan')", id="NaN"),
        pytest.param("{visits: to_number('Infinity')}", id="Infinity"),
        pytest.param("`1e999`", id="a number that is too large"),
        pytest.param('`"\\ud83d"`', id="half of a surrogate pair"),
    ],
)
def test_what_json_cannot_say_is_a_mapping_error_and_no_body(mapping: str) -> None:
    # Refused when it is saved or when it is used; never a crash, and never a body that is no JSON.
    with pytest.raises(MappingError):
        save_and_use(mapping)


@pytest.mark.parametrize("word", ["nan", "NaN", "inf", "-Infinity", "Infinity"])
def test_a_callers_word_that_looks_like_no_number_is_not_sent_as_one(word: str) -> None:
    # to_number is what people write for a budget or an age; somebody will say "nan".
    delivery = replace(
        DELIVERY,
        mapping="{budget: to_number(output_parameters.budget)}",
        output_parameters={"budget": word},
    )
    try:
        body = make_body(delivery)
    except MappingError:
        return
    strictly_read(body)


# ---- expressions -------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        "a[",
        "a..b",
        "&&",
        "a b",
        "{a}",
        "{a: }",
        "'open",
        '"open',
        "nope(",
        "a[?b",
        "#",
        "a\x00b",
        "",
        "   ",
        "(" * 5_000,
        "[" * 5_000 + "]" * 5_000,
        "x" * (MAX_EXPRESSION_LENGTH + 1),
        pytest.param("a[" + "9" * 5_000 + "]", id="an index of 5,000 digits"),
    ],
    ids=lambda value: f"{value[:12]!r}",
)
def test_a_malformed_expression_is_a_mapping_error(expression: str) -> None:
    with pytest.raises(MappingError) as failure:
        check_expression(expression)
    assert 0 < len(str(failure.value)) < 400
    assert "\n" not in str(failure.value)


def test_an_expression_may_be_long() -> None:
    check_expression("x" * MAX_EXPRESSION_LENGTH)


# ---- filters -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("filter_", "wanted"),
    [
        (None, True),
        ("output_parameters.interested == 'yes'", True),
        ("output_parameters.interested == 'no'", False),
        ("call.duration_seconds >= `60`", True),
        ("call.duration_seconds >= `95`", False),
        ("call.status != 'failed' && recording", True),
        ("recording", True),
        ("transcript", False),
        ("nothing.of.the.kind", False),
        ("`true`", True),
        ("`false`", False),
        ("`null`", False),
        ("''", False),
        ("'no'", True),
        ("`[]`", False),
        ("`[null]`", True),
        ("`{}`", False),
        ('`{"a": null}`', True),
        ("`1`", True),
        # JMESPath's false-like values are the empty list, object and string, false and null.
        # Numbers are true, zero too.
        ("`0`", True),
        ("`0.0`", True),
        ("output_parameters.visits", True),
        ("length(transcript || '')", True),
    ],
)
def test_a_filter_says_no_as_jmespath_does(filter_: str | None, wanted: bool) -> None:
    assert is_wanted(filter_, DATA) is wanted


@pytest.mark.parametrize("value", [0, 0.0, 1, "x", [0], {"a": 0}, True, False, "", [], {}, None])
def test_a_filter_agrees_with_jmespaths_own_not(value: Any) -> None:
    data = {"value": value}
    assert is_wanted("value", data) is (not jmespath.search("!value", data))


@pytest.mark.parametrize("filter_", ["length(transcript)", "abs(call_id)", "values(call)[::0]"])
def test_a_filter_that_fails_is_a_mapping_error_and_no_no(filter_: str) -> None:
    with pytest.raises(MappingError):
        is_wanted(filter_, DATA)


# ---- laws --------------------------------------------------------------------

_FUNCTIONS = [
    *("abs", "avg", "ceil", "contains", "ends_with", "floor", "join", "keys", "length", "map"),
    *("max", "max_by", "merge", "min", "min_by", "not_null", "reverse", "sort", "sort_by"),
    *("starts_with", "sum", "to_array", "to_number", "to_string", "type", "values"),
]
_leaves = st.sampled_from(
    [
        *("a", "b", "@", "a.b", "a[0]", "a[*]", "*", "a[?b]", "&a"),
        *("'x'", "'nan'", "'inf'", "`0`", "`-1.5`", "`1e999`", "`null`"),
        *("`[]`", "`{}`", '`[1, "x", null]`', '`"\\ud83d"`'),
    ]
)
_expressions = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(_FUNCTIONS), st.lists(inner, min_size=1, max_size=3)).map(
            lambda call: f"{call[0]}({', '.join(call[1])})"
        ),
        st.tuples(inner, st.sampled_from([".a", "[0]", "[*]", "[]", "[::-1]", "[?a]"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
        st.tuples(inner, st.sampled_from(["||", "&&", "==", "<", "|"]), inner).map("".join),
        inner.map("!{}".format),
        inner.map("{{x: {}}}".format),
        st.tuples(inner, inner).map(lambda pair: f"[{pair[0]}, {pair[1]}]"),
    ),
    max_leaves=6,
)
_text = st.text(max_size=6) | st.sampled_from(["nan", "inf", "12", "x"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=6,
)  # fmt: skip


@given(st.text(max_size=30) | _expressions)
@settings(deadline=None)
def test_any_text_is_an_expression_or_a_mapping_error(expression: str) -> None:
    try:
        check_expression(expression)
    except MappingError as error:
        message = str(error)
    else:
        message = "fine"
    assert message


@given(_expressions, st.dictionaries(st.sampled_from("ab"), _values))
@settings(max_examples=200, deadline=None)
def test_any_filter_says_yes_or_no_or_is_a_mapping_error(
    filter_: str, data: dict[str, Any]
) -> None:
    try:
        wanted = is_wanted(filter_, data)
    except MappingError:
        return
    assert wanted in (True, False)


@given(_expressions, st.dictionaries(st.sampled_from("ab"), _values))
@settings(max_examples=200, deadline=None)
def test_any_mapping_makes_json_or_is_a_mapping_error(
    mapping: str, parameters: dict[str, Any]
) -> None:
    delivery = replace(
        DELIVERY, mapping=f"output_parameters | {mapping}", output_parameters=parameters
    )
    try:
        body = make_body(delivery)
    except MappingError:
        return
    strictly_read(body)


@given(_values)
def test_the_default_body_says_what_the_call_said(value: Any) -> None:
    body = body_with(None, output_parameters={"value": value})
    assert body["data"]["output_parameters"] == {"value": value}
