"""What processes count: into one folder, for as long as the folder is there."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from aftercall import metrics
from aftercall.counters import (
    REASONS,
    RESERVED_BYTES,
    Counters,
    SharedCounts,
    fresh_folder,
    registry_of,
)
from aftercall.db.models import AttemptOutcome
from tests.cli.command import ROOT, environment

Samples = dict[tuple[str, ...], float]

#: Counts in a process of its own, as a worker's child does, and says when it has.
COUNTS = """
import sys
from datetime import timedelta
from aftercall.counters import Counters
from aftercall.db.models import AttemptOutcome
counters = Counters()
counters.fetches([(AttemptOutcome.SUCCEEDED, timedelta(seconds=0.3))] * int(sys.argv[1]), limited=0)
"""


def samples(text: str) -> Samples:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(shared: SharedCounts) -> Samples:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in shared.collect()
        for sample in family.samples
    }


def count_elsewhere(folder: Path, fetches: int, *, first: str = "") -> str:
    """What it said. `first`: what that process does before it counts."""
    done = subprocess.run(
        [sys.executable, "-c", first + COUNTS, str(fetches)],
        cwd=ROOT,
        env=environment(PROMETHEUS_MULTIPROC_DIR=str(folder)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def test_what_one_process_counts_is_on_its_page() -> None:
    counters = Counters()
    counters.webhook_received()
    counters.webhook_refused("token")
    counters.events_stored(new=2, duplicates=1)
    second = timedelta(seconds=1)
    counters.fetches([(AttemptOutcome.RETRY, second), (AttemptOutcome.RETRY, second)], limited=1)
    counters.deliveries([("webhook", AttemptOutcome.SUCCEEDED, second)])
    now = datetime.now(UTC)
    counters.first_deliveries([("webhook", now - 40 * second)], now=now)
    counters.media([("recording", "stored")])
    counters.leases_lapsed(call=2, delivery=0, media=1)
    found = samples(generate_latest(registry_of(counters)).decode())
    assert found[("aftercall_webhooks_received_total",)] == 1
    assert found[("aftercall_webhooks_refused_total", "token")] == 1
    assert found[("aftercall_events_total", "new")] == 2
    assert found[("aftercall_events_total", "duplicate")] == 1
    assert found[("aftercall_fetch_attempts_total", "retry")] == 2
    assert found[("aftercall_fetch_duration_seconds_count",)] == 2
    assert found[("aftercall_rate_limit_refusals_total",)] == 1
    assert found[("aftercall_delivery_attempts_total", "webhook", "succeeded")] == 1
    assert found[("aftercall_webhook_to_hook_seconds_bucket", "webhook", "30.0")] == 0
    assert found[("aftercall_webhook_to_hook_seconds_bucket", "webhook", "60.0")] == 1
    assert found[("aftercall_media_attempts_total", "recording", "stored")] == 1
    assert found[("aftercall_leases_lapsed_total", "call")] == 2
    assert found[("aftercall_leases_lapsed_total", "media")] == 1


def test_what_has_not_happened_yet_is_zero_and_not_absent() -> None:
    found = samples(generate_latest(registry_of(Counters())).decode())
    for reason in REASONS:
        assert found[("aftercall_webhooks_refused_total", reason)] == 0
    for outcome in AttemptOutcome:
        assert found[("aftercall_fetch_attempts_total", outcome.value)] == 0
    for kind in ("call", "delivery", "media"):
        assert found[("aftercall_leases_lapsed_total", kind)] == 0


def test_processes_add_up_and_one_that_ended_still_counts(tmp_path: Path) -> None:
    fresh_folder(tmp_path / "counts")
    for fetches in (3, 4):
        count_elsewhere(tmp_path / "counts", fetches)
    found = read(SharedCounts(tmp_path / "counts"))
    assert found[("aftercall_fetch_attempts_total", "succeeded")] == 7
    assert found[("aftercall_fetch_duration_seconds_count",)] == 7
    assert found[("aftercall_fetch_duration_seconds_sum",)] == pytest.approx(2.1)


def test_the_files_of_many_that_ended_become_few_and_lose_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "counts"
    fresh_folder(folder)
    for fetches in (3, 4, 5):
        count_elsewhere(folder, fetches)
    before = read(SharedCounts(folder))
    assert len(list(folder.glob("*.db"))) > 2
    folding = SharedCounts(folder, most_ended=0)
    assert read(folding) == before
    # A counter's file and a histogram's.
    assert sorted(file.name for file in folder.glob("*.db")) == [
        "counter_ended.db",
        "histogram_ended.db",
    ]
    count_elsewhere(folder, 6)
    assert read(folding)[("aftercall_fetch_attempts_total", "succeeded")] == 18
    assert read(folding)[("aftercall_fetch_duration_seconds_count",)] == 18


def test_the_file_of_a_process_that_lives_is_not_folded(tmp_path: Path) -> None:
    folder = tmp_path / "counts"
    fresh_folder(folder)
    count_elsewhere(folder, 3)
    [mine] = folder.glob("counter_*.db")
    alive = mine.with_name(f"counter_{os.getpid()}.db")
    mine.rename(alive)
    assert (
        read(SharedCounts(folder, most_ended=0))[("aftercall_fetch_attempts_total", "succeeded")]
        == 3
    )
    assert alive.exists()


def test_a_process_without_a_folder_says_so_once_and_works_on(tmp_path: Path) -> None:
    said = count_elsewhere(tmp_path / "not there", 3)
    assert said.count("metrics.off") == 1
    assert "make the folder" in said


def test_a_process_without_room_on_the_disk_counts_nothing_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    fresh_folder(tmp_path / "counts")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    assert "metrics.off" in count_elsewhere(tmp_path / "counts", 3, first=limit)
    assert list((tmp_path / "counts").iterdir()) == []
    # Those of the others are read.
    count_elsewhere(tmp_path / "counts", 4)
    found = read(SharedCounts(tmp_path / "counts"))
    assert found[("aftercall_fetch_attempts_total", "succeeded")] == 4


def test_a_processs_files_have_their_place_on_the_disk_from_the_start(tmp_path: Path) -> None:
    fresh_folder(tmp_path / "counts")
    count_elsewhere(tmp_path / "counts", 3)
    files = list((tmp_path / "counts").glob("*.db"))
    assert len(files) == 2
    for file in files:
        assert file.stat().st_size == RESERVED_BYTES
        assert file.stat().st_blocks * 512 >= RESERVED_BYTES


def test_a_folder_that_is_gone_costs_the_shared_counts_and_nothing_else(tmp_path: Path) -> None:
    shared = SharedCounts(tmp_path / "counts")
    assert read(shared) == {}
    fresh_folder(tmp_path / "counts")
    count_elsewhere(tmp_path / "counts", 3)
    assert read(shared)[("aftercall_fetch_attempts_total", "succeeded")] == 3


def test_a_fresh_folder_is_empty_and_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "counts"
    folder.mkdir()
    (folder / "counter_1.db").write_bytes(b"of yesterday")
    assert fresh_folder(folder) == {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o077 == 0


def test_every_declared_counter_and_histogram_is_counted() -> None:
    page = generate_latest(registry_of(Counters())).decode()
    for metric in metrics.metrics_of(metrics.Source.PROCESSES):
        assert f"# TYPE {metric.name} {metric.type}" in page
        assert f"# HELP {metric.name} {metric.help}" in page
