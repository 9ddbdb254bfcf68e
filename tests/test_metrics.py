"""The declared metrics: Prometheus's conventions, and the page that is made of them."""

import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from aftercall.counters import Counters, registry_of
from aftercall.metrics import METRICS, Metric, MetricType, as_table
from tests.installed import installed

ROOT = Path(__file__).resolve().parents[1]
UNITS = ("seconds", "bytes", "ratio")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_prometheus_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"aftercall(_[a-z]+)+", metric.name)
    assert (metric.type is MetricType.COUNTER) == metric.name.endswith("_total")
    assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|percent)(_|$)", metric.name)
    assert not re.search(r"_(count|sum|bucket|info_total)$", metric.name)
    measured = {"age", "duration", "failing", "free", "size", "used"}
    if measured & set(metric.name.split("_")):
        assert metric.name.endswith(UNITS)
    assert metric.help
    assert not metric.help.endswith(".")
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in metric.labels)
    # Prometheus's own, and what it makes of targets and histograms.
    assert not {"job", "instance_id", "le", "quantile"} & set(metric.labels)


def test_no_name_is_declared_twice() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_buckets_are_of_histograms_rise_and_reach_the_longest(metric: Metric) -> None:
    assert bool(metric.buckets) == (metric.type is MetricType.HISTOGRAM)
    if metric.buckets:
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.buckets[-1] >= 60


def test_the_page_is_made_of_the_declarations() -> None:
    """Otherwise: `python -m aftercall.metrics` says what to put there."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert as_table() in page


def test_promtool_has_nothing_against_what_is_counted() -> None:
    promtool = installed("promtool", "prometheus")
    counters = Counters()
    check = subprocess.run(
        [promtool, "check", "metrics"],
        input=generate_latest(registry_of(counters)),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")
