"""How long the console's pages take: `python -m bench.pages --calls 1000000`. On the server.

A month of calls is written by SQL (with payloads, attempts, dead and held
deliveries), counted as sweeps count, and every page is asked for by somebody
who is signed in, over loopback, one after the other. Then a scrape of /metrics, and one person
is forgotten, with the proof.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import median

import requests
from sqlalchemy import text

from aftercall.db.activity import count_activity
from aftercall.flows.forget_person import forget_person
from aftercall.flows.service import Service
from bench.contestants.contestant import WORKSPACE, Site
from bench.contestants.ours import Ours
from bench.machine import load, machine
from bench.processes import children_in
from bench.stores import Stores, fresh_stores
from bench.stub_client import running_stub
from bench.table import Table, milliseconds

_DESTINATIONS = """
INSERT INTO destinations (id, name, url, events, secret_sealed, created_at, updated_at)
SELECT gen_random_uuid(), other, url || '/' || other, events, secret_sealed, now(), now()
FROM destinations CROSS JOIN (VALUES ('tickets'), ('sheet')) AS others (other)
"""
#: 1 in 997 is dead; the newest thousand wait.
_CALLS = """
INSERT INTO calls
  (workspace_id, call_id, state, due_at, attempts, received_at, fetched_at, revision, status,
   direction, agent_id, callee_phone, caller_phone, duration_seconds, cost_amount, cost_currency,
   started_at, ended_at, last_error)
SELECT '{workspace}', md5(n::text), CASE WHEN n % 997 = 0 THEN 'dead' WHEN n > {count} - 1000
         THEN 'queued' ELSE 'fetched' END,
       at, 1, at, at + interval '2 s', (n % 997 > 0 AND n <= {count} - 1000)::int,
       (ARRAY['completed', 'completed', 'not_connected', 'failed'])[n % 4 + 1], 'outbound',
       'agent_' || n % 40, (6000000000 + n::bigint * 7919 % 3999999999)::text,
       (8000000000 + n % 12)::text, n % 200, 12.5, 'INR', at, at,
       CASE WHEN n % 997 = 0 THEN 'Twenty2 answered 400: bad id' END
FROM (
  SELECT n, now() - interval '30 days' + n * (interval '30 days' / {count}) AS at
  FROM generate_series(1, {count}) AS n
) AS made
"""
_PAYLOADS = """
INSERT INTO call_payloads
  (call_row_id, revision, saved_at, call, input_parameters, output_parameters, raw)
SELECT id, 1, fetched_at, jsonb_build_object('call_id', call_id, 'status', status),
       '{"agentName": "Vikram"}',
       jsonb_build_object('notes', 'Wants a ' || (id % 4 + 1) || ' BHK near the metro.',
         'budget', id % 900 * 100000, 'interested', (ARRAY['yes', 'no', 'maybe'])[id % 3 + 1],
         'lead_code', 'LC-' || id),
       '{"call": {"x": 1}}'
FROM calls WHERE revision = 1
"""
#: Two of three destinations; 1 in 20 dead, 1 in 200 held.
_DELIVERIES = """
INSERT INTO deliveries
  (id, call_row_id, destination_id, revision, type, state, due_at, attempts, last_error,
   created_at, delivered_at)
SELECT (lpad(to_hex((extract(epoch FROM fetched_at) * 1000)::bigint), 12, '0') || '7'
         || substr(md5(c.id || d.name), 1, 3) || '8' || substr(md5(d.name || c.id), 1, 15))::uuid,
       c.id, d.id, 1, 'call.completed',
       CASE WHEN c.id % 20 = 3 AND d.name = 'hook' THEN 'dead'
         WHEN c.id % 200 = 7 AND d.name = 'sheet' THEN 'held' ELSE 'delivered' END,
       fetched_at, 1,
       CASE WHEN c.id % 20 = 3 AND d.name = 'hook'
         THEN 'the hook answered ' || (420 + c.id % 4) END,
       fetched_at, fetched_at
FROM calls c JOIN destinations d ON d.name = 'hook' OR c.id % 2 = (d.name = 'sheet')::int
WHERE revision = 1
"""
_FETCHES = """
INSERT INTO attempts (call_row_id, number, started_at, duration_ms, outcome, status_code)
SELECT id, 1, received_at, 30 + id % 200, CASE state WHEN 'dead' THEN 'dead' ELSE 'succeeded' END,
       200
FROM calls WHERE state <> 'queued' ORDER BY id
"""
_POSTS = """
INSERT INTO attempts
  (call_row_id, delivery_id, number, started_at, duration_ms, outcome, status_code)
SELECT call_row_id, id, 1, created_at, 20 + call_row_id % 500,
       CASE state WHEN 'dead' THEN 'dead' ELSE 'succeeded' END, 200
FROM deliveries WHERE state <> 'held' ORDER BY id
"""
#: Milliseconds that no page may take.
MOST = 100.0
_TIMES = 9


@dataclass(frozen=True, slots=True)
class Visitor:
    """Signed in to the console at `origin`."""

    origin: str
    session: requests.Session = field(default_factory=requests.Session)

    def sign_in(self, token: str) -> None:
        form = {"token": token, "next": "/audit"}
        answer = self.session.post(f"{self.origin}/sign-in", data=form, timeout=30)
        if not answer.url.endswith("/audit"):
            raise SystemExit("signing in did not work: nothing can be said")

    def seconds(self, path: str) -> float:
        began = time.perf_counter()
        answer = self.session.get(f"{self.origin}{path}", timeout=60)
        took = time.perf_counter() - began
        if answer.status_code != 200:
            raise SystemExit(f"{path} was answered {answer.status_code}: nothing can be said")
        return took


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    arguments = parser.parse_args()
    ours = Ours()
    with (
        tempfile.TemporaryDirectory(prefix="aftercall-bench-") as folder,
        fresh_stores() as stores,
        children_in(Path(folder)) as children,
        running_stub(children) as stub,
    ):
        site = Site(stores, stub, children)
        ours.set_up(site)
        _say(f"{machine()}; load at the start {load():.1f}")
        _fill(stores, arguments.calls)
        service = ours.open_service(site)
        _count(service)
        paths = _paths(service)
        service.close()
        hook = ours.start_receiver(site)
        visitor = Visitor(hook.partition("/webhooks")[0])
        visitor.sign_in(ours.settings(site).require("admin_token"))
        table = Table(
            f"The console's pages with {arguments.calls:,} calls",
            ("page", "first", "median", "slowest of the rest"),
        )
        slow = []
        for name, path in paths.items():
            first, *rest = [visitor.seconds(path) for _ in range(_TIMES + 1)]
            if median(rest) * 1000 > MOST:
                slow.append(name)
            table.rows.append((name, *map(milliseconds, (first, median(rest), max(rest)))))
        forgetting = _seconds_to_forget(ours.open_service(site))
    _say(table.text())
    _say(f"One person is forgotten in {forgetting:.1f} s.")
    _say(f"Over {MOST:.0f} ms: {', '.join(slow) or 'none'}.")
    return 1 if slow else 0


def _fill(stores: Stores, count: int) -> None:
    stores.execute(_DESTINATIONS)
    stores.execute(_CALLS.format(workspace=WORKSPACE, count=count))
    for number, statement in enumerate((_PAYLOADS, _DELIVERIES, _FETCHES, _POSTS), 1):
        _say(f"filling: {number} of 4")
        stores.execute(statement)
    for table in ("calls", "call_payloads", "deliveries", "attempts"):
        stores.execute(f"VACUUM (ANALYZE) {table}")


def _count(service: Service) -> None:
    """As sweeps do it, without the seconds between them."""
    _say("counting")
    idle = 0
    while idle < 20:
        with service.database.transaction() as session:
            idle = 0 if count_activity(session, lag=timedelta()) else idle + 1
        if idle:
            # Ids are counted once every transaction of their time has ended, autovacuum's too.
            time.sleep(0.1)


def _seconds_to_forget(service: Service) -> float:
    with service.database.transaction() as session:
        phone = session.execute(
            text("SELECT callee_phone FROM calls WHERE revision = 1 ORDER BY id LIMIT 1 OFFSET 777")
        ).scalar_one()
    began = time.perf_counter()
    view = forget_person(service, f"+91{phone}", tell=_say)
    took = time.perf_counter() - began
    service.close()
    if not view.is_complete or not view.erased.get("calls"):
        raise SystemExit("nobody was forgotten: nothing can be said")
    return took


def _paths(service: Service) -> dict[str, str]:
    with service.database.transaction() as session:
        call, delivery, destination = session.execute(
            text(
                "SELECT c.call_id, d.id, d.destination_id FROM deliveries d"
                " JOIN calls c ON c.id = d.call_row_id WHERE d.state = 'dead'"
                " ORDER BY d.id DESC LIMIT 1"
            )
        ).one()
    return {
        "overview, 24 hours": "/",
        "overview, 30 days": "/?window=30d",
        "calls": "/calls",
        "calls, dead": "/calls?state=dead",
        "calls by the beginning of an id": f"/calls?q={call[:15]}",
        "calls by the end of a phone number": "/calls?q=+91%2098765%204321",
        "calls by a value": "/calls?q=LC-777777",
        "calls by a parameter": "/calls?parameter=interested:yes",
        "a call": f"/calls/{call}",
        "deliveries": "/deliveries",
        "deliveries, dead": "/deliveries?state=dead",
        "a delivery": f"/deliveries/{delivery}",
        "destinations": "/destinations",
        "a destination": f"/destinations/{destination}",
        "new destination": "/destinations/new",
        "workspaces": "/workspaces",
        "a workspace": f"/workspaces/{WORKSPACE}",
        "audit": "/audit",
        "metrics": "/metrics",
    }


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command's output


if __name__ == "__main__":
    raise SystemExit(main())
