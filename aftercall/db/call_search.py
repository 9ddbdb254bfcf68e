"""Finds calls as people look for them: by id, phone, agent, parameter; in pages, both ways.

Every page costs about the same, with a million calls too. A condition that few
calls fulfil is looked up by its index; one that many fulfil is met soon while
walking from the newest call back. Which of both it is, is counted first.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    any_,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    union,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session, defer

from aftercall.db.models import PHONE_END, Call, CallPayload, Transcript
from aftercall.domain.states import CallState

#: So many are looked up and sorted in a few milliseconds.
FEW = 10_000
#: What is walked over when there are many of these has no index to look up.
_COMMON_STATUSES = frozenset({"completed", "not_connected"})
_MIN_PHONE_DIGITS = 4
#: Without the country's prefix: +91, 0 and nothing are one number.
_PHONE_DIGITS = 10


@dataclass(frozen=True, slots=True)
class CallPlace:
    """Where a page begins: beyond this call, among the older or the newer ones."""

    received_at: datetime
    id: int
    newer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallQuery:
    """Which calls; None or empty: all."""

    state: Sequence[CallState] = ()
    status: str | None = None
    #: A call id or its beginning, the end of a phone number, an agent's id, a parameter's value,
    #: words of the transcript.
    q: str | None = None
    agent_id: str | None = None
    #: A name and a value of the output parameters.
    parameter: tuple[str, str] | None = None
    #: Words that were said, all of them.
    transcript: str | None = None
    workspace_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    place: CallPlace | None = None
    limit: int = 50


CallRow = tuple[Call, CallPayload | None]

WITH_PAYLOAD = select(Call, CallPayload).outerjoin(
    CallPayload,
    and_(CallPayload.call_row_id == Call.id, CallPayload.revision == Call.revision),
)


def find_calls(session: Session, query: CallQuery) -> list[CallRow]:
    """Newest first; one page, from `place` on."""
    # A plan for these very values: which index is best depends on them.
    session.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
    conditions = list(_conditions(session, query))
    rows = select(Call.id).where(*(condition.holds for condition in conditions))
    few = next((one.hits for one in conditions if one.hits and _are_few(session, one.hits)), None)
    if few is not None:
        rows = rows.where(Call.id.in_(select(union(*few).cte("hits").c.id)))
    ids = list(session.scalars(_page(rows, query)))
    found: dict[int, CallRow] = {
        call.id: (call, payload)
        for call, payload in session.execute(
            # The whole answer may be megabytes, and no list shows it.
            WITH_PAYLOAD.where(Call.id.in_(ids)).options(defer(CallPayload.raw, raiseload=True))
        )
    }
    page = [found[id_] for id_ in ids if id_ in found]
    return page[::-1] if query.place is not None and query.place.newer else page


def _page(rows: Select[int], query: CallQuery) -> Select[int]:
    key = tuple_(Call.received_at, Call.id)
    place = query.place
    if place is not None:
        at = tuple_(literal(place.received_at), literal(place.id))
        rows = rows.where(key > at if place.newer else key < at)
    if place is not None and place.newer:
        rows = rows.order_by(Call.received_at, Call.id)
    else:
        rows = rows.order_by(Call.received_at.desc(), Call.id.desc())
    return rows.limit(query.limit)


def _are_few(session: Session, hits: Sequence[Select[int]]) -> bool:
    return all(
        (session.scalar(select(func.count()).select_from(one.limit(FEW + 1).subquery())) or 0)
        <= FEW
        for one in hits
    )


@dataclass(frozen=True, slots=True)
class _Condition:
    holds: ColumnElement[bool]
    #: The ids of all that fulfil it, each part by an index of its own; empty: there is none.
    hits: tuple[Select[int], ...] = ()


def _conditions(session: Session, query: CallQuery) -> Iterator[_Condition]:
    """Those that are likely to leave the fewest calls come first."""
    if query.q is not None and query.q.strip():
        yield _of_words(session, query.q.strip(), names=parameter_names(session))
    if query.parameter is not None:
        name, value = query.parameter
        yield _of_value(value, names=[name])
    if query.transcript is not None and query.transcript.strip():
        yield _of_speech(session, query.transcript)
    if query.agent_id is not None:
        yield _indexed(Call.agent_id == query.agent_id)
    if query.state:
        holds = Call.state.in_(query.state)
        has_index = CallState.FETCHED not in query.state
        hits = tuple(select(Call.id).where(Call.state == state) for state in query.state)
        yield _Condition(holds, hits if has_index else ())
    if query.status is not None:
        said = Call.status == query.status
        yield _Condition(said) if query.status in _COMMON_STATUSES else _indexed(said)
    if query.workspace_id is not None:
        yield _indexed(Call.workspace_id == query.workspace_id)
    if query.since is not None:
        yield _Condition(Call.received_at >= query.since)
    if query.until is not None:
        yield _Condition(Call.received_at < query.until)


def _indexed(*either: ColumnElement[bool]) -> _Condition:
    return _Condition(or_(*either), tuple(select(Call.id).where(one) for one in either))


def _of_words(session: Session, q: str, *, names: Sequence[str]) -> _Condition:
    either: list[ColumnElement[bool]] = [
        _begins_with(literal_column("calls.call_id"), q),
        Call.answered_call_id == q,
        Call.agent_id == q,
    ]
    digits = phone_digits(q)
    if digits is not None:
        for column in ("callee_phone", "caller_phone"):
            backwards: ColumnElement[str] = literal_column(PHONE_END.format(f"calls.{column}"))
            is_there = literal_column(f"calls.{column}").is_not(None)
            either.append(and_(is_there, _begins_with(backwards, digits[::-1])))
    own, value, speech = _indexed(*either), _of_value(q, names=names), _of_speech(session, q)
    holds = or_(own.holds, value.holds, speech.holds)
    # Many of them have said it: they are met soon while walking.
    return _Condition(holds, (*own.hits, *value.hits, *speech.hits) if speech.hits else ())


def _of_speech(session: Session, words: str) -> _Condition:
    """Calls in whose transcript all of these words are, in any order.

    Few are looked up beforehand: how many a word has, the planner only guesses.
    """
    query = func.plainto_tsquery(literal_column("'simple'::regconfig"), words)
    is_said = Transcript.words.op("@@", is_comparison=True)(query)
    said = select(Transcript.call_row_id).where(is_said)
    ids = list(session.scalars(said.limit(FEW + 1)))
    if len(ids) > FEW:
        return _Condition(said.where(Transcript.call_row_id == Call.id).exists())
    return _indexed(Call.id == any_(literal(ids, ARRAY(BigInteger))))


def phone_digits(q: str) -> str | None:
    """The digits to find a phone by; None when it does not look like one."""
    if not re.fullmatch(r"[0-9+\-(). /]+", q):
        return None
    digits = re.sub(r"[^0-9]", "", q)
    return digits[-_PHONE_DIGITS:] if len(digits) >= _MIN_PHONE_DIGITS else None


def _begins_with(column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    # In the order of bytes, as the indexes have it: LIKE with a parameter finds no index.
    lowest = column.op("~>=~", is_comparison=True)(prefix)
    after = _after(prefix)
    return lowest if after is None else and_(lowest, column.op("~<~", is_comparison=True)(after))


def _after(prefix: str) -> str | None:
    """The first text behind all that begin with this; None when there is none."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    # The halves of surrogate pairs are no text.
    return kept[:-1] + chr(0xE000 if 0xD800 <= following <= 0xDFFF else following)


#: Enough to know how the customer calls the parameters.
_NAMES = text(
    """
    SELECT DISTINCT name FROM (
      SELECT output_parameters FROM call_payloads ORDER BY call_row_id DESC LIMIT 200
    ) AS newest, LATERAL jsonb_object_keys(output_parameters) AS name
    ORDER BY name LIMIT 50
    """
)


def parameter_names(session: Session) -> list[str]:
    """Of the output parameters of the newest calls."""
    return list(session.scalars(_NAMES))


def _of_value(value: str, *, names: Sequence[str]) -> _Condition:
    """Calls whose newest revision has this value: all of it, in the usual spellings."""
    either = [
        CallPayload.output_parameters.contains({name: spelling})
        for name in names
        for spelling in _spellings(value)
    ]
    if not either:
        return _Condition(false())
    holds = (
        select(CallPayload.call_row_id)
        .where(CallPayload.call_row_id == Call.id, CallPayload.revision == Call.revision)
        .where(or_(*either))
        .exists()
    )
    return _Condition(holds, (select(CallPayload.call_row_id.label("id")).where(or_(*either)),))


def _spellings(value: str) -> list[object]:
    """As text in small, large and mixed letters, and as the number or truth that it reads as."""
    found: list[object] = list(
        dict.fromkeys([value, value.lower(), value.upper(), value.capitalize(), value.title()])
    )
    if re.fullmatch(r"-?[0-9]{1,18}", value):
        found.append(int(value))
    elif re.fullmatch(r"-?[0-9]{1,15}\.[0-9]{1,15}", value):
        found.append(float(value))
    elif value.lower() in {"true", "false"}:
        found.append(value.lower() == "true")
    return found
