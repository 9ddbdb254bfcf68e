"""Results are written together; whatever one of them is, it costs no other."""

from contextlib import suppress

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from aftercall.db.session import Database
from aftercall.flows.recording import write_all


@pytest.mark.parametrize("spoilt", ["as bad", "good"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_one_that_cannot_be_written_costs_no_other(
    database: Database, size: int, spoilt: str
) -> None:
    written: list[str] = []

    def write(items: list[str]) -> None:
        def work(connection: Connection) -> None:
            for item in items:
                connection.execute(text("SELECT CAST(:item AS json)"), {"item": item})

        database.run(work)
        written.extend(items)

    def spoil(item: str, why: str) -> str:
        assert why == "InvalidTextRepresentation"
        return "0" if spoilt == "good" else item

    items = ["bad", *(str(number) for number in range(1, size))]
    # Of one alone, or the last, nothing can be saved: then it is told.
    with suppress(DBAPIError):
        write_all(items, write=write, spoil=spoil)
    assert written == (["0"] if spoilt == "good" else []) + items[1:]
