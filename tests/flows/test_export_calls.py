"""CSV: every call once, no formula, no phone number in clear unless asked for."""

import csv
import io
from dataclasses import replace

import pytest

from aftercall.db.call_search import CallQuery
from aftercall.flows import export_calls as flow
from aftercall.flows.export_calls import export_calls
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.flows.work import accept, accept_rows, fetch


def exported(
    service: Service, query: CallQuery | None = None, *, clear: bool = False
) -> list[dict[str, str]]:
    text = "".join(export_calls(service, query or CallQuery(), clear_phones=clear))
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:])))


def test_every_call_that_matches_is_in_it_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "_PAGE", 3)
    accept(service, [f"call_{number}" for number in range(9)])
    ids = [row["call_id"] for row in exported(service)]
    assert sorted(ids) == [f"call_{number}" for number in range(9)]
    assert [row["call_id"] for row in exported(service, CallQuery(q="call_4"))] == ["call_4"]
    assert exported(service, CallQuery(q="nobody")) == []


def test_parameters_have_columns_and_no_cell_is_a_formula(
    service: Service, simulator: Simulator
) -> None:
    [call_id] = simulator.twentytwo.make_calls(1, status="completed")
    said = {
        "plain": 'yes, "now"\nमुंबई',
        "formula": "=HYPERLINK(1)",
        "plus": "+91",
        "at": "@x",
        "tab": "\t=1",
        "number": -5,
        "list": [1, "a"],
        "=name": "x",
    }
    simulator.twentytwo.add_call(
        replace(
            simulator.twentytwo.call(call_id),
            output_parameters=said,
            callee_phone="+916245464433",
        )
    )
    fetch(service, accept_rows(service, [call_id]))
    [row] = exported(service)
    assert row["output.plain"] == said["plain"]
    assert row["output.formula"] == "'=HYPERLINK(1)"
    assert row["output.plus"] == "'+91"
    assert row["output.at"] == "'@x"
    assert row["output.tab"] == "'\t=1"
    assert row["output.number"] == "-5"
    assert row["output.list"] == '[1, "a"]'
    assert row["output.=name"] == "x"
    assert row["callee_phone"].endswith("433")
    assert "6245464" not in str(row)
    [clear] = exported(service, clear=True)
    assert clear["callee_phone"] == "'+916245464433"
