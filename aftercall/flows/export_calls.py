"""Calls as CSV, page by page: as much memory for a million as for fifty.

A cell that a spreadsheet would read as a formula begins with an apostrophe.
Phone numbers are masked unless somebody asks for them.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from aftercall.db.call_search import CallPlace, CallQuery, CallRow, find_calls, parameter_names
from aftercall.db.models import Call
from aftercall.flows.service import Service

_PAGE = 500
_FIELDS = (
    "call_id",
    "workspace_id",
    "state",
    "status",
    "direction",
    "agent_id",
    "callee_phone",
    "caller_phone",
    "duration_seconds",
    "billed_duration_seconds",
    "cost_amount",
    "cost_currency",
    "started_at",
    "ended_at",
    "received_at",
    "fetched_at",
    "attempts",
    "last_error",
)
_PHONES = ("callee_phone", "caller_phone")
#: What begins a formula, or hides one from who looks for these.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def export_calls(
    service: Service, query: CallQuery, *, clear_phones: bool = False
) -> Iterator[str]:
    """Pieces of a CSV, newest call first: a column for each output parameter of the newest calls.

    Those that older calls have besides are together in `other_output_parameters`, as JSON.
    """
    with service.database.transaction() as session:
        names = parameter_names(session)
    head = [*_FIELDS, *(f"output.{name}" for name in names)]
    return _pieces(
        service,
        query,
        names,
        head=[*head, "other_output_parameters", "input_parameters"],
        clear_phones=clear_phones,
    )


def _pieces(
    service: Service,
    query: CallQuery,
    names: list[str],
    *,
    head: list[str],
    clear_phones: bool,
) -> Iterator[str]:
    # A mark, by which spreadsheets know that it is UTF-8.
    yield "\ufeff" + _lines([[as_cell(name) for name in head]])
    place: CallPlace | None = None
    while True:
        with service.database.transaction() as session:
            rows = find_calls(session, replace(query, place=place, limit=_PAGE))
        if rows:
            yield _lines(_row(row, names, clear_phones=clear_phones) for row in rows)
            place = CallPlace(rows[-1][0].received_at, rows[-1][0].id)
        if len(rows) < _PAGE:
            return


def _row(row: CallRow, names: list[str], *, clear_phones: bool) -> list[str]:
    call, payload = row
    output = payload.output_parameters if payload else {}
    rest = {name: value for name, value in output.items() if name not in names}
    return [
        *(as_cell(_fact(call, name, clear_phones=clear_phones)) for name in _FIELDS),
        *(as_cell(output.get(name)) for name in names),
        as_cell(rest or None),
        as_cell(payload.input_parameters or None if payload else None),
    ]


def _fact(call: Call, name: str, *, clear_phones: bool) -> object:
    value = getattr(call, name)
    if name in _PHONES and value and not clear_phones:
        return mask_phone(value)
    return value


def mask_phone(phone: str) -> str:
    """Its last three digits, the others as points: enough to tell two apart."""
    return "•" * max(len(phone) - 3, 0) + phone[-3:] if len(phone) > 3 else "•" * len(phone)


def as_cell(value: object) -> str:
    """Numbers stay numbers; every other text that begins like a formula is text."""
    match value:
        case None:
            return ""
        case bool() | dict() | list():
            said = json.dumps(value, ensure_ascii=False)
        case int() | float():
            return str(value)
        case _:
            said = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{said}" if said.startswith(_FORMULA) else said


def _lines(rows: Iterable[list[str]]) -> str:
    page = io.StringIO()
    csv.writer(page).writerows(rows)
    return page.getvalue()
