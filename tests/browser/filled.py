"""A database as after a busy day: calls in every state, two workspaces, three destinations.

Done by the flows, as workers do it. Everything in it is made up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text

from aftercall.crm.destination_spec import DestinationSpec
from aftercall.flows.backfill_destination import backfill_destination
from aftercall.flows.configure_destinations import create_destination, disable_destination
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.service import Service
from aftercall.simulator import Fault, SimulatedWorkspace, Simulator
from aftercall.simulator.crms.hubspot import FakeHubSpot
from tests.conftest import Clock
from tests.flows.work import accept, accept_rows, add_hook, deliver, fetch, queued_ids

SECOND: Final = SimulatedWorkspace(
    id="5f2b8c4de7a94c1f80b36a17", api_key="second-key", api_secret="second-secret", rate_limit=60
)
_REFUSED: Final = (3, 0, 1, 0)
#: Half a day, most of them in the day's work.
_BY_THE_HOUR: Final = (3, 8, 14, 22, 27, 31, 26, 29, 33, 24, 17, 9)


@dataclass(frozen=True, slots=True)
class Filled:
    """What there is to look at."""

    delivered_call: str
    dead_call: str
    blocked_workspace: str


def fill(service: Service, simulator: Simulator, clock: Clock) -> Filled:
    """The clock ends where it began."""
    end = datetime.now(UTC).replace(microsecond=0)
    simulator.twentytwo.set_workspace(SECOND)
    set_workspace(
        service,
        SECOND.id,
        WorkspaceSpec.model_validate(
            {"api_key": SECOND.api_key, "api_secret": SECOND.api_secret, "rate_limit": 60}
        ),
    )
    add_hook(service, simulator, "leads-crm")
    add_hook(service, simulator, "tickets", events=["call.failed"])
    last: list[str] = []
    for hours_ago, count in zip(range(len(_BY_THE_HOUR), 0, -1), _BY_THE_HOUR, strict=True):
        last = simulator.twentytwo.make_calls(count)
        rows = accept_rows(service, last)
        fetch(service, rows)
        simulator.crm.hook("leads-crm").fail_next(*[Fault.UNPROCESSABLE] * _REFUSED[hours_ago % 4])
        deliver(service, queued_ids(service))
        _move_back(service, rows, timedelta(hours=hours_ago))
    dead_call = _give_up_one(service, simulator)
    _hold_some(service, simulator)
    _block_the_second(service, simulator)
    # What has only just come.
    clock.now = end - timedelta(seconds=100)
    accept(service, simulator.twentytwo.make_calls(4))
    clock.now = end
    return Filled(last[0], dead_call, SECOND.id)


def connect_hubspot(service: Service, hubspot: FakeHubSpot) -> str:
    """A CRM with a few of the newest calls in it; answers its id."""
    fields = [
        {"source": "output_parameters.interested", "field": "is_interested", "type": "yes_no"},
        {"source": "output_parameters.note", "field": "agent_notes", "mode": "append"},
    ]
    spec = {
        "name": "HubSpot of sales",
        "kind": "hubspot",
        "url": hubspot.url,
        "credentials": hubspot.credentials,
        "sync": {"fields": fields},
    }
    made = create_destination(service, DestinationSpec.model_validate(spec))
    backfill_destination(service, made.id, count=12)
    deliver(service, queued_ids(service))
    return str(made.id)


def _move_back(service: Service, rows: Sequence[int], time: timedelta) -> None:
    """Hooks refuse a signature that is old, so the past is made of what happened now."""
    times = {
        "calls": ("id", ("received_at", "fetched_at", "due_at", "started_at", "ended_at")),
        "call_payloads": ("call_row_id", ("saved_at",)),
        "attempts": ("call_row_id", ("started_at",)),
        "deliveries": ("call_row_id", ("created_at", "delivered_at")),
    }
    with service.database.transaction() as session:
        for table, (key, columns) in times.items():
            moved = ", ".join(f"{column} = {column} - :time" for column in columns)
            statement = f"UPDATE {table} SET {moved} WHERE {key} = ANY(:rows)"  # noqa: S608
            session.execute(text(statement), {"time": time, "rows": list(rows)})
        session.execute(
            text(
                "UPDATE events e SET received_at = e.received_at - :time FROM calls c"
                " WHERE c.id = ANY(:rows)"
                " AND e.workspace_id = c.workspace_id AND e.call_id = c.call_id"
            ),
            {"time": time, "rows": list(rows)},
        )


def _give_up_one(service: Service, simulator: Simulator) -> str:
    """Calls that Twenty2 refuses to tell of."""
    call_ids = simulator.twentytwo.make_calls(2)
    for call_id in call_ids:
        simulator.twentytwo.fail_next(call_id, Fault.BAD_REQUEST)
    fetch(service, accept_rows(service, call_ids))
    return call_ids[0]


def _hold_some(service: Service, simulator: Simulator) -> None:
    """A destination that somebody has disabled."""
    spec = DestinationSpec.model_validate(
        {"name": "sales-sheet", "url": simulator.crm.hook_url("sales-sheet")}
    )
    made = create_destination(service, spec)
    disable_destination(service, made.id)
    fetch(service, accept_rows(service, simulator.twentytwo.make_calls(6, status="completed")))
    deliver(service, queued_ids(service))


def _block_the_second(service: Service, simulator: Simulator) -> None:
    """Its key was renewed at Twenty2, and nobody told us."""
    simulator.twentytwo.set_workspace(replace(SECOND, api_key="renewed-key"))
    call_ids = simulator.twentytwo.make_calls(3, workspace_id=SECOND.id)
    fetch(service, accept_rows(service, call_ids, workspace_id=SECOND.id))
