"""The dashboard is what its script makes, and shows metrics that exist."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from aftercall.metrics import METRICS
from tests.ops.expressions import faults_in

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "ops" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "aftercall.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
LINES = [
    pytest.param(target["expr"], id=f"{panel['title']}: {target['legendFormat']}")
    for panel in PANELS
    for target in panel["targets"]
]
#: What no panel needs to show.
_NOT_SHOWN = {"aftercall_media_attempts_total", "aftercall_oldest_due_call_age_seconds"}


def test_the_file_is_what_the_script_makes() -> None:
    made = runpy.run_path(str(GRAFANA / "make_dashboard.py"))["as_text"]()
    assert (GRAFANA / "aftercall.json").read_text() == made, "run ops/grafana/make_dashboard.py"


@pytest.mark.parametrize("expr", LINES)
def test_every_metric_and_label_of_a_panel_exists(expr: str) -> None:
    assert faults_in(expr) == []


def test_every_metric_is_shown() -> None:
    shown = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    missing = {metric.name for metric in METRICS if metric.name not in shown}
    assert missing <= _NOT_SHOWN


def test_no_panel_lies_upon_another_or_outside() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_grafana_finds_the_dashboard_where_compose_puts_it() -> None:
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/aftercall.yml").read_text())
    path = provider["providers"][0]["options"]["path"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounted = [volume.split(":") for volume in compose["grafana"]["volumes"]]
    assert ["./ops/grafana/aftercall.json", f"{path}/aftercall.json", "ro"] in mounted
    assert ["./ops/grafana/provisioning", "/etc/grafana/provisioning", "ro"] in mounted
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
