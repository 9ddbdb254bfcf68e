"""The three that read what strangers write: any JSON, however odd, is a value, and soon.

What a webhook names, what a call's detail tells, what a mapping makes. Beyond the properties in
tests/twentytwo and tests/crm: numbers without end, no numbers, halves of pairs and depth, together,
and a bound on the time.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from aftercall.crm.mapping import MappingError, check_expression, is_wanted, make_body, make_data
from aftercall.domain.exchange import Answer
from aftercall.domain.outcomes import classify_fetch
from aftercall.domain.work import ClaimedCall, ClaimedDelivery
from aftercall.flows.save_calls import prepare_save
from aftercall.twentytwo.answers import read_answer
from aftercall.twentytwo.inbound import NoCallId, Notice, NotJson, read_notice
from tests.crm.test_mapping import DELIVERY

NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: In seconds, on a machine with other work: each takes some milliseconds.
SOON = 5.0
FUZZED = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

#: Written, not dumped: `json.dumps` could not write all of it.
_atoms = (
    st.sampled_from(["null", "true", "false", "NaN", "Infinity", "-Infinity", "-0", "1e999999999"])
    | st.integers(1, 6_000).map(lambda length: "9" * length)
    | st.integers(1, 6_000).map(lambda length: "-0." + "9" * length)
    | st.floats().map(json.dumps)
    | st.text(st.characters(exclude_categories=()), max_size=20).map(json.dumps)
    | st.sampled_from([r'"\u0000"', r'"\ud83d"', r'"\udc00\ud83d"', '"\ud83d"', '"\x7f"'])
)
_names = st.sampled_from(
    [
        *("call_id", "call_ids", "call", "event", "event_id", "workspace_id", "success", "error"),
        *("status", "ended_at", "started_at", "duration_seconds", "cost", "code", "message"),
        *("output_parameters", "input_parameters", "recording", "transcript", "url", r"\u0000"),
        *("expires_at", r"\ud83d", "statusCode", "to_number", "callee_phone"),
    ]
)


def _within(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.tuples(_names, children).map(lambda pair: f'"{pair[0]}": {pair[1]}')
    return (
        st.lists(children, max_size=4).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(members, max_size=6).map(lambda items: "{" + ", ".join(items) + "}")
        | st.tuples(children, st.integers(1, 1_200)).map(
            lambda pair: "[" * pair[1] + pair[0] + "]" * pair[1]
        )
        | st.tuples(_names, children, st.integers(1, 400)).map(
            lambda three: f'{{"{three[0]}": ' * three[2] + three[1] + "}" * three[2]
        )
    )


documents = st.recursive(_atoms, _within, max_leaves=12)
encodings = st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32"])


@contextmanager
def soon() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON


def read_detail(body: bytes, status: int = 200) -> Any:
    """As a fetch does: reads, decides, prepares the save, makes the default body."""
    said = Answer(
        status=status, body=body, body_was_cut=False, retry_after=None, elapsed=timedelta(0)
    )
    reading, detail = read_answer(said, now=NOW)
    classify_fetch(reading)
    if detail is None:
        return None
    saving = prepare_save(CLAIM, detail)
    for written in (saving.saved.raw, saving.saved.output_parameters, saving.saved.call):
        # What PostgreSQL takes, and every JSON parser.
        assert "\\u0000" not in written
        written.encode()
        json.loads(written, parse_constant=_refuse)
    return saving


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


CLAIM = ClaimedCall(
    row_id=1,
    workspace_id="699ed3b91ee5bee389dcb6a3",
    call_id="call_1",
    lease_token=uuid.UUID(int=1),
    attempts=0,
    priority=0,
    due_at=NOW,
    not_ready_since=None,
    unknown_since=None,
    revision=0,
    content_hash=None,
    is_probe=False,
)


# ---- the webhook ---------------------------------------------------------------


@given(documents, encodings)
@FUZZED
def test_a_webhook_of_any_json_is_a_notice_or_a_refusal(document: str, encoding: str) -> None:
    with soon():
        said = notice_or_refusal(document.encode(encoding, "surrogatepass"))
    assert said.isprintable() if isinstance(said, str) else said.call_ids


@given(documents)
@FUZZED
def test_whatever_stands_beside_the_id_does_not_cost_the_webhook(document: str) -> None:
    body = f'{{"call_id": "call_1", "beside": {document}}}'.encode("utf-8", "surrogatepass")
    with soon():
        said = notice_or_refusal(body)
    if isinstance(said, str):
        assert "nested too deeply" in said
    else:
        assert said.call_ids == ("call_1",)


def notice_or_refusal(body: bytes) -> Notice | str:
    try:
        return read_notice(body)
    except (NotJson, NoCallId) as refusal:
        return str(refusal)


# ---- the detail ----------------------------------------------------------------


@given(documents, encodings, st.sampled_from([200, 201, 400, 401, 403, 404, 429, 500]))
@FUZZED
def test_an_answer_of_any_json_has_one_outcome(document: str, encoding: str, status: int) -> None:
    with soon():
        read_detail(document.encode(encoding, "surrogatepass"), status)


@given(documents, documents, documents)
@FUZZED
def test_a_call_of_any_json_is_saved_or_unreadable(call: str, output: str, media: str) -> None:
    body = (
        f'{{"success": true, "call": {{"status": "completed", "cost": {call}, "ended_at": {media}, '
        f'"duration_seconds": {output}}}, "output_parameters": {{"a": {output}}}, '
        f'"recording": {media}, "input_variables": {call}}}'
    )
    with soon():
        read_detail(body.encode("utf-8", "surrogatepass"))


# ---- the mapping ---------------------------------------------------------------

EXPRESSIONS = [
    "@",
    "output_parameters.*",
    "output_parameters.a[]",
    "output_parameters.a[*].*[][]",
    "output_parameters.a | [?@ == `1`] | [0]",
    "{a: output_parameters.a, b: call.*, c: [recording, transcript]}",
    "to_string(output_parameters)",
    "to_number(output_parameters.a)",
    "sum(output_parameters.a)",
    "max_by(output_parameters.a, &@)",
    "sort(output_parameters.a)",
    "sort_by(output_parameters.a, &to_string(@))",
    "keys(output_parameters.a)",
    "join('', output_parameters.a)",
    "reverse(output_parameters.a)",
    "merge(output_parameters, call)",
    "not_null(output_parameters.a, call)",
    "contains(output_parameters.a, 'x')",
    "abs(output_parameters.a)",
    "ceil(output_parameters.a)",
    "avg(output_parameters.a)",
    "map(&to_string(@), output_parameters.a)",
    "output_parameters.a > `0` && !output_parameters.b",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
@given(documents)
@settings(FUZZED, max_examples=40)
def test_a_mapping_makes_json_of_any_call_or_says_why_not(expression: str, document: str) -> None:
    """Of what can be saved; a filter with the same expression says yes or no."""
    check_expression(expression)
    call = '"success": true, "call": {"status": "completed"}'
    answer = f'{{{call}, "output_parameters": {{"a": {document}}}}}'
    saving = read_detail(answer.encode("utf-8", "surrogatepass"))
    assume(saving is not None)
    delivery = replace(
        DELIVERY, mapping=expression, output_parameters=json.loads(saving.saved.output_parameters)
    )
    makes: list[Callable[[ClaimedDelivery], bytes | bool]] = [
        make_body,
        lambda each: is_wanted(expression, make_data(each)),
    ]
    with soon():
        for make in makes:
            said = made_or_failure(make, delivery)
            if isinstance(said, bytes):
                json.loads(said.decode(), parse_constant=_refuse)
            else:
                assert isinstance(said, bool) or 0 < len(said) < 1_000


def made_or_failure(
    make: Callable[[ClaimedDelivery], bytes | bool], delivery: ClaimedDelivery
) -> bytes | bool | str:
    try:
        return make(delivery)
    except MappingError as failure:
        return str(failure)
