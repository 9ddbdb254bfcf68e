"""How many rows PostgreSQL reads for the statements of a piece of work."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event

from aftercall.flows.service import Service


def rows_read_by(service: Service, work: Callable[[], object]) -> dict[str, float]:
    """By statement: what it read when it was run once more afterwards, and not committed."""
    said: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        said.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    read: dict[str, float] = {}
    with service.database.engine.connect() as connection:
        for statement, parameters in said:
            plan = connection.exec_driver_sql(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters
            ).scalar_one()
            read[statement] = max(read.get(statement, 0), _rows_read(plan[0]["Plan"]))
        connection.rollback()
    return read


def assert_none_reads(most: float, read: dict[str, float]) -> None:
    """No statement of it reads so many rows."""
    worst = max(read, key=lambda statement: read[statement])
    assert read[worst] < most, f"{read[worst]:.0f} rows: {worst}"


def _rows_read(plan: dict[str, Any]) -> float:
    """Of all the nodes of a plan that was carried out, those thrown away included."""
    own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    return float(own * plan["Actual Loops"] + sum(map(_rows_read, plan.get("Plans", []))))
