"""/metrics equals what was sent: real processes, every outcome, a child that is killed."""

import os
import signal
from pathlib import Path

import pytest
import requests
from sqlalchemy import text

from aftercall.db.session import Database
from aftercall.embedded import StoreUrls
from aftercall.simulator import Fault, Simulator
from tests.api.server import free_port
from tests.conftest import WORKSPACE
from tests.observe.house import House, Samples, running_house, samples_at, until

CLEAN = 40


pytestmark = pytest.mark.timeout(300)


def quiet(database: Database) -> bool:
    """Nothing is due or under way."""
    with database.transaction() as session:
        busy = session.execute(
            text(
                "SELECT (SELECT count(*) FROM calls WHERE state = 'fetching' "
                "OR (state = 'queued' AND due_at <= now())) "
                "+ (SELECT count(*) FROM deliveries WHERE state = 'sending' "
                "OR (state = 'queued' AND due_at <= now()))"
            )
        )
        return int(busy.scalar_one()) == 0


def hold_what_waits(database: Database) -> None:
    """A retry that came due while one counts would be in one count and not in the other."""
    with database.transaction() as session:
        for table in ("calls", "deliveries"):
            session.execute(
                text(f"UPDATE {table} SET due_at = now() + interval '1 hour'"  # noqa: S608
                     " WHERE state = 'queued'")
            )  # fmt: skip
    until(lambda: quiet(database), "what was under way is done")


def attempts(database: Database) -> dict[tuple[str, str], int]:
    """What the stories say, by kind and outcome."""
    with database.transaction() as session:
        rows = session.execute(
            text(
                "SELECT CASE WHEN delivery_id IS NULL THEN 'fetch' ELSE 'delivery' END, outcome, "
                "count(*) FROM attempts GROUP BY 1, 2"
            )
        )
        return {(kind, outcome): count for kind, outcome, count in rows}


def counted(found: Samples) -> dict[tuple[str, str], int]:
    """What /metrics says, in the same form; without what never happened."""
    fetches = {
        ("fetch", name[1]): int(value)
        for name, value in found.items()
        if name[0] == "aftercall_fetch_attempts_total" and value
    }
    deliveries = {
        ("delivery", name[2]): int(value)
        for name, value in found.items()
        if name[0] == "aftercall_delivery_attempts_total" and value
    }
    return {**fetches, **deliveries}


def heartbeats(found: Samples) -> set[str]:
    """The kinds of process that show signs of life. Labels come in the order of the alphabet."""
    return {name[2] for name in found if name[0] == "aftercall_process_heartbeat_age_seconds"}


def page(house: House) -> Samples:
    return samples_at(f"{house.api.origin}/metrics")


def fail_in_every_way(simulator: Simulator, hook: str) -> list[str]:
    """Calls of which each meets one fault, at Twenty2 or at the hook."""
    twentytwo, ids = simulator.twentytwo, []
    for fault in (Fault.SERVER_ERROR, Fault.NOT_FOUND, Fault.BAD_REQUEST):
        [call_id] = twentytwo.make_calls(1, status="completed")
        twentytwo.fail_next(call_id, fault)
        ids.append(call_id)
    for fault in (Fault.SERVER_ERROR, Fault.BAD_REQUEST):
        [call_id] = twentytwo.make_calls(1, status="completed")
        simulator.crm.hook(hook).fail_next_for_call(call_id, fault)
        ids.append(call_id)
    return ids


def test_every_count_is_what_was_sent_and_survives_a_killed_child_and_a_restart(
    tmp_path: Path, stores: StoreUrls, database: Database, simulator: Simulator
) -> None:
    with running_house(tmp_path, stores, simulator) as house:
        house.open("api", "worker", "beat")
        made = house.api.post(
            "/destinations", {"name": "leads", "url": simulator.crm.hook_url("leads")}, status=201
        )
        simulator.crm.add_hook("leads", made["secret"])
        clean = simulator.twentytwo.make_calls(CLEAN, status="completed")
        faulty = fail_in_every_way(simulator, "leads")
        for call_id in clean[:10]:
            assert house.api.webhook({"call_id": call_id}).ok
        assert house.api.webhook({"call_ids": [*clean[10:], *faulty]}).ok
        assert house.api.webhook({"call_ids": clean[:3]}).json()["duplicates"] == 3
        assert house.api.webhook({"call_id": "x"}, token="wrong").status_code == 401
        assert house.api.webhook(raw=b"{").status_code == 400
        assert house.api.webhook({"nothing": 1}).status_code == 422
        assert house.api.webhook(raw=b"x" * 1_100_000).status_code == 413
        until(lambda: quiet(database), "all is worked off")
        hold_what_waits(database)

        found = page(house)
        assert found[("aftercall_webhooks_received_total",)] == 12
        assert found[("aftercall_events_total", "new")] == CLEAN + len(faulty)
        assert found[("aftercall_events_total", "duplicate")] == 3
        for reason in ("token", "not_json", "no_call_id", "too_large"):
            assert found[("aftercall_webhooks_refused_total", reason)] == 1, reason
        story = attempts(database)
        assert {outcome for _, outcome in story} >= {"succeeded", "retry", "not_ready", "dead"}
        # What is recorded is counted a moment later.
        until(lambda: counted(page(house)) == story, "the counts are the story's")
        found = page(house)
        fetches = sum(count for (kind, _), count in story.items() if kind == "fetch")
        sent = sum(count for (kind, _), count in story.items() if kind == "delivery")
        assert found[("aftercall_fetch_duration_seconds_count",)] == fetches
        assert found[("aftercall_delivery_duration_seconds_count", "webhook")] == sent
        arrived = story[("delivery", "succeeded")]
        assert found[("aftercall_webhook_to_hook_seconds_count", "webhook")] == arrived
        assert found[("aftercall_rows", "call", "fetched")] >= CLEAN
        until(
            lambda: heartbeats(page(house)) == {"api", "worker", "beat"}, "all show signs of life"
        )

        # A child is gone with its memory; what it counted is not.
        os.kill(house.children("worker")[0], signal.SIGKILL)
        assert counted(page(house)) == attempts(database)
        house.end("worker")
        assert counted(page(house)) == attempts(database)
        house.open("worker")
        more = simulator.twentytwo.make_calls(10, status="completed")
        assert house.api.webhook({"call_ids": more}).ok
        until(lambda: quiet(database), "the rest is worked off")
        until(lambda: counted(page(house)) == attempts(database), "the counts are the story's")
        assert sum(attempts(database).values()) > sum(story.values())


def test_a_worker_and_a_beat_of_their_own_answer_metrics_and_healthz(
    tmp_path: Path, stores: StoreUrls, database: Database, simulator: Simulator
) -> None:
    ports = {name: free_port() for name in ("worker", "beat")}
    with running_house(tmp_path, stores, simulator, share=False) as house:
        house.open("beat", AFTERCALL_METRICS_PORT=str(ports["beat"]))
        house.open("api", "worker", AFTERCALL_METRICS_PORT=str(ports["worker"]))
        for port in ports.values():
            until(lambda port=port: is_well(port), "it is well")  # type: ignore[misc]
        calls = simulator.twentytwo.make_calls(5, status="completed")
        assert house.api.webhook({"call_ids": calls}).ok
        until(lambda: quiet(database), "all is worked off")
        fetched = ("aftercall_fetch_attempts_total", "succeeded")
        until(
            lambda: samples_at(f"http://127.0.0.1:{ports['worker']}/metrics").get(fetched) == 5,
            "the worker's own page has them",
        )
        beat = samples_at(f"http://127.0.0.1:{ports['beat']}/metrics")
        assert {name[0] for name in beat} == {"aftercall_build_info"}
        # Its own counts alone, for nothing is shared.
        own = page(house)
        assert own[("aftercall_webhooks_received_total",)] == 1
        assert own[("aftercall_fetch_attempts_total", "succeeded")] == 0
        # The api's heartbeat tells Redis of it, every few seconds.
        last = ("aftercall_last_webhook_age_seconds",)
        until(lambda: last in page(house), "it says when the last webhook came")
        assert page(house)[last] < 60
        with requests.get(f"http://127.0.0.1:{ports['worker']}/secrets", timeout=5) as answer:
            assert answer.status_code == 404
        house.end("worker")
        house.end("beat")
        until(
            lambda: heartbeats(page(house)) == {"api"},
            "who stopped in order is missed by nobody",
        )


def is_well(port: int) -> bool:
    try:
        with requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            return answer.ok
    except requests.RequestException:
        return False


def test_a_port_that_is_taken_costs_the_page_and_not_the_work(
    tmp_path: Path, stores: StoreUrls, database: Database, simulator: Simulator
) -> None:
    with running_house(tmp_path, stores, simulator, share=False) as house:
        # The api first: else the worker may have the port, and the api none.
        house.open("api")
        house.open("worker", AFTERCALL_METRICS_PORT=str(house.port))
        house.wait_for("worker", "metrics.not_served")
        [line] = house.events("metrics.not_served", "worker")
        assert line["port"] == house.port
        assert "AFTERCALL_METRICS_PORT" in line["cure"]
        [call_id] = simulator.twentytwo.make_calls(1, status="completed")
        assert house.api.webhook({"call_id": call_id, "workspace_id": WORKSPACE.id}).ok
        house.wait_for("worker", "fetch.attempted")
