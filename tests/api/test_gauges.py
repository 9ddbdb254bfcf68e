"""What a scrape reads of the stores: workspaces, destinations, processes; and bounds on labels."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from aftercall.db.models import Workspace
from aftercall.domain.ids import new_id
from aftercall.domain.work import BARE_TYPES, IncomingEvent
from aftercall.flows.accept_events import store_events
from aftercall.flows.heartbeat import Heartbeat, note_webhook
from aftercall.flows.service import Service
from aftercall.metrics import METRICS, MOST_LABELS
from aftercall.rate_limit import Wish
from aftercall.twentytwo.rate_limit import workspace_lane
from api.metrics import make_registry
from api.probes import Probes
from tests.conftest import WORKSPACE, Clock
from tests.installed import installed

#: More than have labels of their own.
MANY = MOST_LABELS + 5
Found = dict[str, dict[tuple[str, ...], float]]

_WORKSPACES = """
INSERT INTO workspaces (id, api_key_sealed, created_at, block_kind, blocked_until)
SELECT 'ws_' || lpad(CAST(n AS text), 3, '0'), 'sealed', now() + n * interval '1 second',
  CASE n WHEN 2 THEN 'rate_limit' WHEN 3 THEN 'credentials' WHEN 4 THEN 'rate_limit'
    WHEN :many THEN 'credentials' END,
  CASE n WHEN 2 THEN CAST(:now AS timestamptz) + interval '1 minute'
    ELSE CAST(:now AS timestamptz) - interval '1 minute' END
FROM generate_series(1, :many) n
"""
_CALLS = """
INSERT INTO calls (workspace_id, call_id, state, due_at, received_at)
SELECT id, 'call_' || n, 'queued', CAST(:now AS timestamptz) + (n - 3) * interval '1 minute', :now
FROM workspaces, generate_series(1, 4) n
"""
_DESTINATIONS = """
INSERT INTO destinations
  (id, name, url, events, secret_sealed, created_at, enabled, failures_in_a_row, failing_since)
SELECT gen_random_uuid(), 'hook ' || n, 'http://x', '{}', 'sealed', now() + n * interval '1 second',
  n <> 2 AND n <> :many, CASE n WHEN 3 THEN 10 WHEN 4 THEN 9 ELSE 0 END,
  CASE n WHEN 4 THEN CAST(:now AS timestamptz) - interval '1 hour' END
FROM generate_series(1, :many) n
"""


@pytest.fixture
def registry(service: Service, tmp_path: Path) -> Iterator[CollectorRegistry]:
    probes = Probes(service)
    settings = service.settings.model_copy(update={"data_dir": tmp_path})
    yield make_registry(replace(service, settings=settings), probes)
    probes.stop()


def read(registry: CollectorRegistry) -> Found:
    """Samples by name and the values of their labels, in the order of the labels' names."""
    found: Found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def fill(service: Service, *statements: str) -> None:
    with service.database.transaction() as session:
        for statement in statements:
            session.execute(text(statement), {"many": MANY, "now": service.clock()})


def test_workspaces_show_what_waits_and_what_blocks_them(
    service: Service, registry: CollectorRegistry
) -> None:
    fill(service, _WORKSPACES, _CALLS)
    found = read(registry)
    due, age = found["aftercall_due_calls"], found["aftercall_oldest_due_call_age_seconds"]
    assert len(due) == len(age) == MOST_LABELS + 1
    assert due[("ws_001",)] == 3
    assert due[("other",)] == 5 * 3
    assert age[("ws_001",)] == age[("other",)] == 120
    assert found["aftercall_due_rows"][("call",)] == MANY * 3
    assert found["aftercall_oldest_due_age_seconds"][("call",)] == 120
    assert found["aftercall_rows"][("call", "queued")] == MANY * 4
    blocked = found["aftercall_workspace_blocked"]
    assert len(blocked) == 2 * (MOST_LABELS + 1)
    # A 429 is over when its time is; refused credentials, when a probe shows it.
    assert {labels for labels, value in blocked.items() if value} == {
        ("rate_limit", "ws_002"),
        ("credentials", "ws_003"),
        ("credentials", "other"),
    }


def test_the_rate_limit_shows_how_much_of_it_is_used(
    service: Service, registry: CollectorRegistry
) -> None:
    fill(service, _WORKSPACES)
    limit = service.settings.twentytwo_rate_limit
    lane = workspace_lane("ws_001", requests_per_minute=limit)
    service.limiter.take([Wish(lane, fresh=limit // 4, paced=0)])
    used = read(registry)["aftercall_rate_limit_used_ratio"]
    assert used[("ws_001",)] == 0.25
    assert used[("ws_005",)] == 0
    # Blocked: its permits say nothing.
    assert ("ws_003",) not in used
    assert len(used) <= MOST_LABELS


def test_destinations_show_how_they_stand(service: Service, registry: CollectorRegistry) -> None:
    fill(service, _DESTINATIONS)
    found = read(registry)

    def by_name(metric: str) -> dict[str, float]:
        samples = found[f"aftercall_destination_{metric}"]
        assert len(samples) == MOST_LABELS + 1
        return {name: value for (_, name), value in samples.items()}

    enabled = by_name("enabled")
    assert {name for name, value in enabled.items() if not value} == {"hook 2", "other"}
    breaker = by_name("breaker_open")
    assert {name for name, value in breaker.items() if value} == {"hook 3"}
    failing = by_name("failing_seconds")
    assert {name: value for name, value in failing.items() if value} == {"hook 4": 3_600}


@pytest.mark.parametrize("keeps", [True, False])
def test_media_that_nobody_fetches_any_more_are_not_due(
    service: Service, tmp_path: Path, keeps: bool
) -> None:
    fill(
        service,
        "INSERT INTO workspaces (id) VALUES ('ws')",
        "INSERT INTO calls (workspace_id, call_id, state, due_at, received_at) "
        "VALUES ('ws', 'call_1', 'fetched', :now, :now)",
        "INSERT INTO media (call_row_id, kind, state, due_at) "
        "SELECT id, 'recording', 'queued', CAST(:now AS timestamptz) - interval '1 day' FROM calls",
    )
    given = {"keep_media": keeps, "data_dir": tmp_path}
    probes = Probes(service)
    settings = service.settings.model_copy(update=given)
    found = read(make_registry(replace(service, settings=settings), probes))
    probes.stop()
    assert found["aftercall_rows"][("media", "queued")] == 1
    assert found["aftercall_due_rows"][("media",)] == keeps
    assert found["aftercall_oldest_due_age_seconds"][("media",)] == 86_400 * keeps


def test_a_removed_destination_is_not_shown_and_its_dead_are_counted(
    service: Service, registry: CollectorRegistry
) -> None:
    fill(
        service,
        "INSERT INTO workspaces (id) VALUES ('ws')",
        "INSERT INTO calls (workspace_id, call_id, state, due_at, received_at) "
        "VALUES ('ws', 'call_1', 'fetched', :now, :now)",
        _DESTINATIONS,
        "INSERT INTO deliveries "
        "(id, call_row_id, destination_id, revision, type, state, due_at, created_at) "
        "SELECT gen_random_uuid(), (SELECT id FROM calls), id, 1, 'call.completed', "
        "CASE WHEN name = 'hook 5' THEN 'held' ELSE 'dead' END, :now, :now FROM destinations "
        "WHERE name IN ('hook 1', 'hook 5')",
        "UPDATE destinations SET removed_at = :now WHERE name <> 'hook 5'",
    )
    found = read(registry)
    assert found["aftercall_rows"][("delivery", "dead")] == 1
    assert found["aftercall_rows"][("delivery", "held")] == 1
    assert found["aftercall_rows"][("call", "fetched")] == 1
    assert {name for _, name in found["aftercall_destination_enabled"]} == {"hook 5"}


def test_heartbeats_show_who_lives_and_who_was_lost(
    service: Service, registry: CollectorRegistry
) -> None:
    lost, well = Heartbeat(service.redis, "worker"), Heartbeat(service.redis, "beat")
    lost.beat(age=90)
    well.beat()
    ages = read(registry)["aftercall_process_heartbeat_age_seconds"]
    by_process = {process: age for _, process, age in ((*k, v) for k, v in ages.items())}
    assert 89 <= by_process["worker"] <= 95
    assert 0 <= by_process["beat"] <= 5
    well.end()
    # Forgotten, not shown for ever.
    lost.beat(age=601)
    assert "aftercall_process_heartbeat_age_seconds" not in read(registry)


def test_the_last_webhooks_age_outlives_an_emptied_redis(
    service: Service, registry: CollectorRegistry, clock: Clock
) -> None:
    assert "aftercall_last_webhook_age_seconds" not in read(registry)
    take_event(service, "call.completed", clock() - timedelta(hours=1))
    assert read(registry)["aftercall_last_webhook_age_seconds"][()] == 3_600
    # A duplicate has no row.
    note_webhook(service.redis, clock() - timedelta(minutes=1))
    note_webhook(service.redis, clock() - timedelta(minutes=2))
    assert read(registry)["aftercall_last_webhook_age_seconds"][()] == 60


@pytest.mark.parametrize("type_", BARE_TYPES)
def test_what_came_by_hand_or_was_found_in_the_log_is_no_webhook(
    service: Service, registry: CollectorRegistry, clock: Clock, type_: str
) -> None:
    """Reconciliation finds calls because no webhooks come: it must not hide that."""
    take_event(service, type_, clock())
    assert "aftercall_last_webhook_age_seconds" not in read(registry)
    take_event(service, "call.completed", clock() - timedelta(days=2))
    for minutes in range(5):
        take_event(service, type_, clock() - timedelta(minutes=minutes))
    assert read(registry)["aftercall_last_webhook_age_seconds"][()] == 2 * 86_400


def take_event(service: Service, type_: str, at: datetime) -> None:
    webhook_id = new_id()
    event = IncomingEvent(
        call_id=f"call_{webhook_id.hex}",
        workspace_id=WORKSPACE.id,
        type=type_,
        event_id=None,
        webhook_id=webhook_id,
        received_at=at,
        priority=0,
    )
    store_events(service, [event], {webhook_id: b"{}"})


def test_the_page_has_every_declared_metric_and_no_other(
    service: Service, registry: CollectorRegistry
) -> None:
    fill(service, _WORKSPACES, _CALLS, _DESTINATIONS)
    service.redis.set("aftercall:swept_at", service.clock().isoformat())
    note_webhook(service.redis, service.clock())
    Heartbeat(service.redis, "api").beat()
    page = generate_latest(registry).decode()
    shown = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")}
    assert shown == {metric.name for metric in METRICS}
    promtool = installed("promtool", "prometheus")
    check = subprocess.run(
        [promtool, "check", "metrics"], input=page.encode(), capture_output=True, check=False
    )
    assert (check.returncode, check.stderr) == (0, b"")


def test_the_configured_workspace_alone_has_a_ratio_without_a_stored_key(
    service: Service, registry: CollectorRegistry
) -> None:
    with service.database.transaction() as session:
        session.add_all([Workspace(id=WORKSPACE.id), Workspace(id="ws_without_key")])
    assert list(read(registry)["aftercall_rate_limit_used_ratio"]) == [(WORKSPACE.id,)]
