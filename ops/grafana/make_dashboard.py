"""Makes aftercall.json beside it: `python ops/grafana/make_dashboard.py`.

The panels are the list below; a test makes the file anew, compares, and holds every expression to
the metrics that there are. Gauges come from the stores and are the same from every api: max, not
sum. Counters are each process's own: sum.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TARGET = Path(__file__).with_name("aftercall.json")
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDE = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """`lines`: an expression for each legend. `kind`: timeseries or stat."""

    title: str
    lines: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    says: str = ""
    stacked: bool = False


def _quantile(share: float, metric: str, by: str = "le") -> str:
    return f"histogram_quantile({share}, sum by ({by}) (rate({metric}_bucket[5m])))"


_HOOK = "aftercall_webhook_to_hook_seconds"
_RATE = "reqps"

ROWS: list[tuple[str, list[Panel]]] = [
    (
        "Is all well",
        [
            Panel(
                title="Oldest that is due",
                lines={"{{kind}}": "max by (kind) (aftercall_oldest_due_age_seconds)"},
                unit="s",
                kind="stat",
                width=6,
            ),
            Panel(
                title="Dead letters",
                lines={"{{kind}}": 'max by (kind) (aftercall_rows{state="dead"})'},
                kind="stat",
                width=4,
                says="Given up, with a reason: docs/runbook/dead-letters.md",
            ),
            Panel(
                title="Blocked workspaces",
                lines={
                    "{{kind}}": "sum by (kind) "
                    "(max by (workspace_id, kind) (aftercall_workspace_blocked))"
                },
                kind="stat",
                width=4,
            ),
            Panel(
                title="Destinations that are disabled, failing",
                lines={
                    "disabled": "count(min by (destination_id) "
                    "(aftercall_destination_enabled) == 0) or vector(0)",
                    "failing": "count(max by (destination_id) "
                    "(aftercall_destination_failing_seconds) > 0) or vector(0)",
                },
                kind="stat",
                width=4,
            ),
            Panel(
                title="Since the last webhook, the last sweep",
                lines={
                    "webhook": "min(aftercall_last_webhook_age_seconds)",
                    "sweep": "min(aftercall_last_sweep_age_seconds)",
                },
                unit="s",
                kind="stat",
                width=6,
            ),
        ],
    ),
    (
        "Flow",
        [
            Panel(
                title="Webhooks",
                lines={
                    "received": "sum(rate(aftercall_webhooks_received_total[5m]))",
                    "refused: {{reason}}": "sum by (reason) "
                    "(rate(aftercall_webhooks_refused_total[5m]))",
                    "events: {{result}}": "sum by (result) (rate(aftercall_events_total[5m]))",
                },
                unit=_RATE,
            ),
            Panel(
                title="Fetches by outcome",
                lines={
                    "{{outcome}}": "sum by (outcome) (rate(aftercall_fetch_attempts_total[5m]))"
                },
                unit=_RATE,
                stacked=True,
            ),
            Panel(
                title="Deliveries by outcome",
                lines={
                    "{{kind}} {{outcome}}": "sum by (kind, outcome) "
                    "(rate(aftercall_delivery_attempts_total[5m]))"
                },
                unit=_RATE,
                stacked=True,
            ),
            Panel(
                title="From the webhook to the hook",
                lines={
                    "half within": _quantile(0.5, _HOOK),
                    "95 % within": _quantile(0.95, _HOOK),
                    "99 % within": _quantile(0.99, _HOOK),
                },
                unit="s",
                says="Of each call's first delivery to a destination",
            ),
            Panel(
                title="How long Twenty2 takes",
                lines={
                    "half within": _quantile(0.5, "aftercall_fetch_duration_seconds"),
                    "99 % within": _quantile(0.99, "aftercall_fetch_duration_seconds"),
                },
                unit="s",
            ),
            Panel(
                title="How long destinations take, 95 % within",
                lines={
                    "{{kind}}": _quantile(0.95, "aftercall_delivery_duration_seconds", "le, kind")
                },
                unit="s",
            ),
        ],
    ),
    (
        "Waiting",
        [
            Panel(
                title="Due now",
                lines={"{{kind}}": "max by (kind) (aftercall_due_rows)"},
            ),
            Panel(
                title="For how long the oldest has waited",
                lines={"{{kind}}": "max by (kind) (aftercall_oldest_due_age_seconds)"},
                unit="s",
            ),
            Panel(
                title="Due calls by workspace, due deliveries by destination",
                lines={
                    "calls of {{workspace_id}}": "max by (workspace_id) (aftercall_due_calls)",
                    "to {{name}}": "max by (destination_id, name) (aftercall_due_deliveries)",
                },
            ),
            Panel(
                title="Queued and under way",
                lines={
                    "{{kind}} {{state}}": "max by (kind, state) "
                    '(aftercall_rows{state=~"queued|fetching|sending|held"})'
                },
            ),
            Panel(
                title="Dead letters",
                lines={"{{kind}}": 'max by (kind) (aftercall_rows{state="dead"})'},
            ),
            Panel(
                title="Webhooks that wait in Redis for the database",
                lines={"spooled": "max(aftercall_spooled_webhooks)"},
            ),
        ],
    ),
    (
        "Twenty2 and destinations",
        [
            Panel(
                title="Rate limit used",
                lines={
                    "{{workspace_id}}": "max by (workspace_id) (aftercall_rate_limit_used_ratio)"
                },
                unit="percentunit",
            ),
            Panel(
                title="Blocks, and answers of 429",
                lines={
                    "{{workspace_id}} {{kind}}": "max by (workspace_id, kind) "
                    "(aftercall_workspace_blocked)",
                    "429 a minute": "60 * sum(rate(aftercall_rate_limit_refusals_total[5m]))",
                },
            ),
            Panel(
                title="Destinations: breakers, and for how long each has failed",
                lines={
                    "{{name}} breaker": "max by (destination_id, name) "
                    "(aftercall_destination_breaker_open)",
                    "{{name}} fails for s": "max by (destination_id, name) "
                    "(aftercall_destination_failing_seconds)",
                },
            ),
        ],
    ),
    (
        "Processes and stores",
        [
            Panel(
                title="Signs of life",
                lines={
                    "{{process}}": "min by (process) (aftercall_process_heartbeat_age_seconds)",
                    "sweep": "min(aftercall_last_sweep_age_seconds)",
                },
                unit="s",
            ),
            Panel(
                title="How many processes",
                lines={
                    "{{process}}": "count by (process) (max by (process, instance) "
                    "(aftercall_process_heartbeat_age_seconds) < 60)"
                },
            ),
            Panel(
                title="Leases that ran out",
                lines={"{{kind}}": "sum by (kind) (increase(aftercall_leases_lapsed_total[5m]))"},
            ),
            Panel(
                title="Stores",
                lines={
                    "PostgreSQL": "min(aftercall_database_up)",
                    "Redis": "min(aftercall_redis_up)",
                },
            ),
            Panel(
                title="Free on the data directory's disk",
                lines={
                    "{{instance}}": "min by (instance) "
                    "(aftercall_data_disk_free_bytes / aftercall_data_disk_size_bytes)"
                },
                unit="percentunit",
            ),
            Panel(
                title="Versions",
                lines={"{{version}}": "count by (version) (aftercall_build_info)"},
            ),
        ],
    ),
]


def make_dashboard() -> dict[str, Any]:
    """As Grafana reads it."""
    return {
        "title": "aftercall",
        "uid": "aftercall",
        "description": "Made by ops/grafana/make_dashboard.py: change it there.",
        "tags": ["aftercall"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Prometheus",
                    "type": "datasource",
                    "query": "prometheus",
                }
            ]
        },
        "panels": _panels(),
    }


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append(
            {
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": _WIDE, "h": 1},
            }
        )
        y += 1
        x = 0
        height = 5 if row[0].kind == "stat" else 8
        for panel in row:
            if x + panel.width > _WIDE:
                x, y = 0, y + height
            panels.append(_panel(panel, {"x": x, "y": y, "w": panel.width, "h": height}))
            x += panel.width
        y += height
    return [{"id": number, **panel} for number, panel in enumerate(panels, 1)]


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    custom: dict[str, Any] = {"fillOpacity": 10, "showPoints": "never"}
    if panel.stacked:
        custom["stacking"] = {"mode": "normal"}
    options: dict[str, Any] = (
        {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none"}
        if panel.kind == "stat"
        else {"legend": {"displayMode": "list", "placement": "bottom"}}
    )
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                **({} if panel.kind == "stat" else {"custom": custom}),
            },
            "overrides": [],
        },
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + number), "expr": expr, "legendFormat": legend}
            for number, (legend, expr) in enumerate(panel.lines.items())
        ],
    }


def as_text() -> str:
    return json.dumps(make_dashboard(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(as_text())
