"""SQL through every parameter of every GET route: each value is that value and nothing more.

Routes and parameters are read from the OpenAPI document: a new one is tried as well.
"""

from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import func, select, text

from aftercall.db.models import Base
from aftercall.db.session import Database
from aftercall.flows.service import Service
from aftercall.simulator import Simulator
from tests.api.server import Api
from tests.api.working import work_off
from tests.conftest import Clock
from tests.door.server import Door
from tests.flows.work import add_hook

INJECTIONS = [
    "'",
    '"',
    "''",
    "' OR '1'='1",
    "' OR 1=1 --",
    '" OR ""="',
    "1 OR 1=1",
    "1; DROP TABLE calls; --",
    "'; DROP TABLE calls CASCADE; --",
    "'); DELETE FROM deliveries; --",
    "' UNION SELECT * FROM destinations --",
    "' AND (SELECT pg_sleep(5)) IS NULL --",
    "'||(SELECT api_secret_sealed FROM workspaces)||'",
    "$$; DROP TABLE calls; $$",
    "E'\\x27'",
    "\\",
    "\\'",
    "\\' OR 1=1 --",
    "\u02bc OR 1=1 --",
    "\uff07 OR 1=1 --",
    "\xbf' OR 1=1 --",
    "%",
    "%%",
    "_",
    "call!_%",
    "/%",
    "%s",
    "%(state)s",
    ":state",
    "{0}",
    "${jndi:ldap://x}",
    "null",
    "NULL",
    "*",
    "[]",
    "-1",
    "0",
    "1e999",
    "9" * 400,
    "0x7fffffff",
    "9223372036854775808",
    "true",
    "\0",
    "a\0b",
    "a\nb",
    "\x1b[31m",
    "\ud800",
    "../../etc/passwd",
    "..%2f..%2f",
    "x" * 5_000,
    "+infinity",
    "-infinity",
    "epoch",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    "294277-01-01T00:00:00Z",
    "2024-02-30",
    "1e18",
    "",
]


@pytest.fixture
def full(door: Door, service: Service, simulator: Simulator, clock: Clock) -> Api:
    """An api that has something of everything to lose."""
    add_hook(service, simulator)
    calls = simulator.twentytwo.make_calls(6)
    assert door.api.webhook({"call_ids": calls}).status_code == 200
    work_off(service, clock)
    door.api.put("/workspaces/ws_2", {"api_key": "k", "api_secret": "s"})
    assert door.api.webhook({"call_id": "call_2", "workspace_id": "ws_2"}).status_code == 200
    return door.api


def rows(database: Database) -> dict[str, int]:
    """Of every table."""
    with database.transaction() as session:
        return {
            table.name: session.execute(select(func.count()).select_from(table)).scalar_one()
            for table in Base.metadata.sorted_tables
        }


def get(api: Api, path: str, query: str = "") -> Any:
    """The answer's JSON: what was asked for, or what was wrong with the question."""
    answer = api.call("GET", f"{path}?{query}")
    assert answer.status_code in (200, 401, 404, 409, 422), (path, query, answer.text)
    assert answer.elapsed.total_seconds() < 4, (path, query)
    if answer.status_code != 200 or path.endswith(".csv"):
        return None
    return answer.json()


def quoted(value: str) -> str:
    return quote(value.encode("utf-8", "surrogatepass"), safe="")


def gets(api: Api) -> list[tuple[str, list[Any]]]:
    """Path below /api/v1, and parameters, of each GET route of the operator's."""
    paths = api.open("/openapi.json").json()["paths"]
    found = [
        (path.removeprefix("/api/v1"), methods["get"].get("parameters", []))
        for path, methods in paths.items()
        if "get" in methods and path.startswith("/api/v1")
    ]
    assert len(found) >= 8
    return found


def test_no_query_parameter_lets_sql_in(full: Api, database: Database) -> None:
    before = rows(database)
    assert before["calls"] == 7
    assert before["deliveries"] > 0
    tried = 0
    for path, parameters in gets(full):
        if "{" in path:
            path = path.replace("{call_id}", "call_2").replace("{workspace_id}", "ws_2")
        for parameter in parameters:
            if parameter["in"] != "query" or "{" in path:
                continue
            for value in INJECTIONS:
                tried += 1
                found = get(full, path, f"{parameter['name']}={quoted(value)}")
                # Numbers of everything are the same whatever was asked.
                if found is not None and path != "/stats/overview":
                    assert "items" in found, (path, parameter["name"], value)
                    assert_no_more_than_meant(found["items"], parameter["name"], value)
    assert tried >= 14 * len(INJECTIONS)
    assert rows(database) == before


def assert_no_more_than_meant(items: list[Any], name: str, value: str) -> None:
    """Empty words are none; a time, a limit and a cursor say where, not which."""
    is_empty = name in ("q", "transcript") and value == ""
    if name in ("since", "until", "limit", "cursor") or is_empty:
        return
    if name == "transcript":
        assert items == [], value  # Nobody said anything in these calls.
        return
    if name == "q":
        assert all(
            value == item["call_id"]
            or (item["callee_phone"] or "").endswith(value)
            or (item["caller_phone"] or "").endswith(value)
            for item in items
        ), (name, value)
        return
    if name == "reason":
        assert all((item["last_error"] or "") == value for item in items), (name, value)
        return
    assert all(item.get(name) == value for item in items), (name, value)


def test_no_path_lets_sql_in(full: Api, database: Database) -> None:
    before = rows(database)
    tried = 0
    for path, parameters in gets(full):
        for parameter in parameters:
            if parameter["in"] != "path":
                continue
            for value in INJECTIONS:
                if value == "":
                    continue
                tried += 1
                place = path.replace("{" + parameter["name"] + "}", quoted(value))
                assert get(full, place) is None, (place, "somebody has this name?")
    assert tried >= 3 * (len(INJECTIONS) - 1)
    assert rows(database) == before


def test_wildcards_are_letters(door: Door, database: Database) -> None:
    api = door.api
    ids = ["call_1", "callx1", "call%1", "call\\1", "%", "_", "100%"]
    assert api.webhook({"call_ids": ids}).status_code == 200
    with database.transaction() as session:
        session.execute(text("UPDATE calls SET callee_phone = '+91' || lpad(id::text, 10, '0')"))
        session.execute(text("UPDATE calls SET caller_phone = '5_5' WHERE call_id = 'callx1'"))
    for call_id in ids:
        found = [call["call_id"] for call in api.calls(q=call_id)]
        # The only number that ends in an underscore's or a percent sign's like is none.
        assert found == [call_id]
    for wildcard in ("+91%", "%0000000001", "+91________", "__________", "%%", "\\", "/%", "/_"):
        assert api.calls(q=wildcard) == [], wildcard
    assert [call["call_id"] for call in api.calls(q="_5")] == []
    assert len(api.calls(q="0000000001")) == 1


def test_the_same_parameter_twice_and_unknown_ones_are_no_failure(full: Api) -> None:
    for path, parameters in gets(full):
        if "{" in path:
            continue
        get(full, path, "unknown='&x[]=1&[=%&&&=&;")
        for parameter in parameters:
            get(full, path, f"{parameter['name']}='&{parameter['name']}=%00")
            get(full, path, "&".join([f"{parameter['name']}=1"] * 1_000))
