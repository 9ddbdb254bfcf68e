"""Every alert speaks of metrics that exist, fires when it should, and leads to a helpful page."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.installed import installed
from tests.ops.expressions import faults_in

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "ops" / "prometheus"
RUNBOOK = ROOT / "docs" / "runbook"
ALERTS_PAGE = (ROOT / "docs" / "alerts.md").read_text()
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = [rule["record"] for rule in RULES if "record" in rule]
_URL = re.compile(
    r"\{\{ with \$externalLabels\.aftercall_docs \}\}\{\{ \. \}\}/\{\{ end \}\}"
    r"docs/runbook/(.+\.md)"
)


def page_of(alert: str) -> Path:
    found = _URL.fullmatch(ALERTS[alert]["annotations"]["runbook_url"])
    assert found, f"{alert} leads to no page of the runbook"
    return RUNBOOK / found[1]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_metric_and_label_of_a_rule_exists(rule: dict[str, Any]) -> None:
    assert faults_in(rule["expr"], recorded=RECORDED) == []


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ("aftercall_nonsense > 0", "no metric 'aftercall_nonsense'"),
        ('aftercall_rows{colour="red"}', "aftercall_rows has no label colour"),
        ("max by (colour) (aftercall_rows)", "no metric in it has the label colour"),
        ("rate(aftercall_fetch_duration_seconds[5m])", "no metric"),
    ],
)
def test_one_that_does_not_exist_would_be_seen(expr: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults_in(expr))


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_how_bad_it_is_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert len(rule["annotations"]["description"]) > 60
    assert "for" in rule or "increase(" in rule["expr"], "it would flap"


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_its_page_with_its_name_and_its_four_parts(alert: str) -> None:
    page = page_of(alert).read_text()
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    parts = ["When", "Before you start", "Steps", "How to know that it worked"]
    assert [heading for heading in headings if heading in parts] == parts
    when = page.partition("## When")[2].partition("\n## ")[0]
    assert alert in when
    assert f"]({page_of(alert).name})" in (RUNBOOK / "README.md").read_text()


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_its_row(alert: str) -> None:
    assert re.search(
        rf"^\| {alert} \| {ALERTS[alert]['labels']['severity']} \|", ALERTS_PAGE, re.MULTILINE
    )


def test_no_page_speaks_of_an_alert_that_is_none() -> None:
    pages = [ALERTS_PAGE, *(page.read_text() for page in RUNBOOK.glob("*.md"))]
    named = {name for page in pages for name in re.findall(r"\bAftercall[A-Z]\w+", page)}
    assert named <= set(ALERTS)


# ---- with Prometheus's own tool ----------------------------------------------


def promtool(*arguments: str) -> str:
    """What it says; it must exit 0. Skips where it is not installed, but not in CI."""
    run = subprocess.run(
        [installed("promtool", "prometheus"), *arguments],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_prometheus_takes_the_rules_and_its_configuration() -> None:
    assert f"SUCCESS: {len(RULES)} rules found" in promtool("check", "rules", "alerts.yml")
    promtool("check", "config", "prometheus.yml")


@pytest.mark.parametrize("file", ["alerts_test.yml", "alerts_week_test.yml"])
def test_alerts_fire_when_they_should_and_not_when_they_should_not(file: str) -> None:
    assert "SUCCESS" in promtool("test", "rules", file)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_tried_both_ways(alert: str) -> None:
    files = [PROMETHEUS / "alerts_test.yml", PROMETHEUS / "alerts_week_test.yml"]
    checks = [
        bool(check["exp_samples"])
        for file in files
        for test in yaml.safe_load(file.read_text())["tests"]
        for check in test.get("promql_expr_test", [])
        if f'"{alert}"' in check["expr"]
    ]
    assert {True, False} <= set(checks) or _has_neighbours(alert)


def _has_neighbours(alert: str) -> bool:
    """Fires for one series and not for another beside it."""
    for test in yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]:
        for check in test.get("promql_expr_test", []):
            if f'"{alert}"' in check["expr"] and check["exp_samples"]:
                return len(test["input_series"]) > len(check["exp_samples"])
    return False
