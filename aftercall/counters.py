"""What a process counts: the counters and histograms of `aftercall.metrics`, added up in batches.

Several processes share one folder when PROMETHEUS_MULTIPROC_DIR names it: `aftercall up` makes
one for all of its processes, a worker with AFTERCALL_METRICS_PORT one for its children. Without
it a process counts for itself. prometheus_client reads the variable when it is imported, so it is
imported here as late as can be.

Counting never stops the work: where the folder cannot be used, nothing is counted, and it is said.
"""

import fcntl
import importlib
import os
import platform
import shutil
import sys
import tempfile
import threading
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from aftercall import metrics
from aftercall.db.models import AttemptOutcome

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram
    from prometheus_client.core import Metric

log = structlog.get_logger(__name__)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
#: Of each file in the folder: more than all of the labels take that there can be.
RESERVED_BYTES = 256 * 1024
#: Why a webhook is refused.
REASONS = (
    *("token", "signature", "not_json", "no_call_id", "no_workspace"),
    *("too_large", "slow", "gone", "not_stored", "failed"),
)
LEASE_KINDS = ("call", "delivery", "media")


class Counters:
    """One process's; for any thread. What counts is made when it is first needed, so never
    before a fork, and not by a command that counts nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: _Instruments | None = None

    def open(self) -> None:
        """Makes them now: what has not happened yet is then zero, and not absent."""
        _ = self._of

    @property
    def registry(self) -> "CollectorRegistry":
        return self._of.registry

    @property
    def _of(self) -> "_Instruments":
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = _instruments()
        return self._made

    def webhook_received(self) -> None:
        self._of.webhooks.inc()

    def webhook_refused(self, reason: str) -> None:
        self._of.refused.labels(reason).inc()

    def events_stored(self, *, new: int, duplicates: int) -> None:
        if new:
            self._of.events.labels("new").inc(new)
        if duplicates:
            self._of.events.labels("duplicate").inc(duplicates)

    def fetches(self, ended: Iterable[tuple[AttemptOutcome, timedelta]], *, limited: int) -> None:
        """A batch of fetches; `limited`: how many of them were answered 429."""
        outcomes: Tally[AttemptOutcome] = Tally()
        for outcome, took in ended:
            outcomes[outcome] += 1
            self._of.fetch_seconds.observe(took.total_seconds())
        for outcome, count in outcomes.items():
            self._of.fetches.labels(outcome.value).inc(count)
        if limited:
            self._of.limited.inc(limited)

    def deliveries(self, ended: Iterable[tuple[str, AttemptOutcome, timedelta]]) -> None:
        """A batch of attempts: the kind of the destination, what came of it, how long it took."""
        outcomes: Tally[tuple[str, AttemptOutcome]] = Tally()
        seconds: dict[str, list[float]] = {}
        for kind, outcome, took in ended:
            outcomes[kind, outcome] += 1
            seconds.setdefault(kind, []).append(took.total_seconds())
        for (kind, outcome), count in outcomes.items():
            self._of.deliveries.labels(kind, outcome.value).inc(count)
        _observe(self._of.delivery_seconds, seconds)

    def first_deliveries(self, delivered: Iterable[tuple[str, datetime]], *, now: datetime) -> None:
        """Of calls that came to a destination for the first time: its kind, when they came in."""
        seconds: dict[str, list[float]] = {}
        for kind, received_at in delivered:
            seconds.setdefault(kind, []).append(max((now - received_at).total_seconds(), 0.0))
        _observe(self._of.to_hook_seconds, seconds)

    def media(self, ended: Iterable[tuple[str, str]]) -> None:
        """A batch of tries: recording or transcript, and the state after it."""
        for (kind, state), count in Tally(ended).items():
            self._of.media.labels(kind, state).inc(count)

    def leases_lapsed(self, **counts: int) -> None:
        """By kind: call, delivery, media."""
        for kind, count in counts.items():
            if count:
                self._of.lapsed.labels(kind).inc(count)


def _observe(histogram: "Histogram", by_kind: dict[str, list[float]]) -> None:
    # To find what belongs to a label costs as much as to count it.
    for kind, seconds in by_kind.items():
        its = histogram.labels(kind)
        for each in seconds:
            its.observe(each)


def _instruments() -> "_Instruments":
    folder = os.environ.get(FOLDER)
    try:
        for type_ in ("counter", "histogram") if folder else ():
            _reserve(Path(str(folder)) / f"{type_}_{os.getpid()}.db")
        return _Instruments()
    except OSError as error:
        log.warning(
            "metrics.off",
            why=f"{folder}: {error.strerror}",
            cure="this process counts nothing: make the folder, writable and with some MB of "
            "free disk, then restart",
        )
        return _Off()


def _reserve(file: Path) -> None:
    """Takes its place on the disk now: on a full one this is an OSError. Later, it is a write to a
    mapped file, which ends the process."""
    making = file if file.exists() else file.with_suffix(".new")
    try:
        with making.open("ab") as opened:
            if sys.platform != "darwin":
                os.posix_fallocate(opened.fileno(), 0, RESERVED_BYTES)
        making.replace(file)
    except OSError:
        if making != file:
            making.unlink(missing_ok=True)
        raise


class _Instruments:
    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, disable_created_metrics

        # A second series beside each, which a shared folder has not.
        disable_created_metrics()
        self.registry = CollectorRegistry()
        registry = self.registry
        self.webhooks = _counter(metrics.WEBHOOKS_RECEIVED, registry)
        self.events = _counter(metrics.EVENTS, registry)
        self.refused = _counter(metrics.WEBHOOKS_REFUSED, registry)
        self.fetches = _counter(metrics.FETCH_ATTEMPTS, registry)
        self.fetch_seconds = _histogram(metrics.FETCH_DURATION, registry)
        self.deliveries = _counter(metrics.DELIVERY_ATTEMPTS, registry)
        self.delivery_seconds = _histogram(metrics.DELIVERY_DURATION, registry)
        self.to_hook_seconds = _histogram(metrics.WEBHOOK_TO_HOOK, registry)
        self.media = _counter(metrics.MEDIA_ATTEMPTS, registry)
        self.lapsed = _counter(metrics.LEASES_LAPSED, registry)
        self.limited = _counter(metrics.RATE_LIMIT_REFUSALS, registry)
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """So that the first of each is seen as an increase."""
        for result in ("new", "duplicate"):
            self.events.labels(result)
        for reason in REASONS:
            self.refused.labels(reason)
        for outcome in AttemptOutcome:
            self.fetches.labels(outcome.value)
        for kind in LEASE_KINDS:
            self.lapsed.labels(kind)


class _Off(_Instruments):
    """Counts nothing."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry

        self.registry = CollectorRegistry()
        nothing: Any = _Nothing()
        self.webhooks = self.events = self.refused = self.fetches = self.deliveries = nothing
        self.fetch_seconds = self.delivery_seconds = self.to_hook_seconds = nothing
        self.media = self.lapsed = self.limited = nothing


class _Nothing:
    def labels(self, *_: str) -> "_Nothing":
        return self

    def inc(self, _: float = 1) -> None:
        pass

    def observe(self, _: float) -> None:
        pass


def _counter(metric: metrics.Metric, registry: "CollectorRegistry") -> "Counter":
    from prometheus_client import Counter

    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def _histogram(metric: metrics.Metric, registry: "CollectorRegistry") -> "Histogram":
    from prometheus_client import Histogram

    return Histogram(
        metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=registry
    )


# ---- what is shown -----------------------------------------------------------


class BuildInfo:
    """A collector of prometheus_client's."""

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import GaugeMetricFamily

        metric = metrics.BUILD_INFO
        family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        family.add_metric([version("aftercall"), platform.python_version()], 1)
        yield family


def registry_of(counters: Counters | None = None) -> "CollectorRegistry":
    """What is counted here and, where a folder is shared, by all who share it."""
    from prometheus_client import CollectorRegistry

    # Not described at registration: nothing is asked before somebody looks.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BuildInfo())
    if os.environ.get(FOLDER):
        registry.register(SharedCounts(Path(os.environ[FOLDER])))
    elif counters is not None:
        registry.register(counters.registry)
    return registry


# ---- the folder that processes share -----------------------------------------


class SharedCounts:
    """All that is in the folder, of processes that live and of those that have ended.

    What ended processes have counted still counts. Their files are folded into one of each type
    when they have become many: a worker that is started again every hour would leave thousands.
    """

    def __init__(self, folder: Path, *, most_ended: int = 40) -> None:
        self._folder = folder
        self._most_ended = most_ended
        self._is_well = True

    def collect(self) -> "Iterable[Metric]":
        """Nothing when the folder cannot be used: the gauges beside it are shown all the same."""
        try:
            found = self._collect()
        except OSError as error:
            if self._is_well:
                log.warning(
                    "metrics.unreadable",
                    why=f"{self._folder}: {error.strerror}",
                    cure="make the folder, writable and with some MB of free disk, then restart",
                )
            self._is_well = False
            return []
        self._is_well = True
        return found

    def _collect(self) -> "list[Metric]":
        from prometheus_client.multiprocess import MultiProcessCollector

        # Whoever reads the folder, from whichever thread or process, takes turns.
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            ended = [file for file in self._folder.glob("*.db") if _has_ended(file)]
            if len(ended) > self._most_ended:
                _fold(ended)
            files = [str(file) for file in self._folder.glob("*.db")]
            return list(MultiProcessCollector.merge(files))


def _has_ended(file: Path) -> bool:
    pid = file.stem.rpartition("_")[2]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _fold(files: Sequence[Path]) -> None:
    """Adds the files of ended processes to `counter_ended.db` and its like."""
    from prometheus_client.mmap_dict import MmapedDict

    for type_, its in _by_type(files).items():
        folded = its[0].with_name(f"{type_}_ended.db")
        _reserve(folded)
        total = MmapedDict(str(folded))
        for file in its:
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
                total.write_value(key, total.read_value(key)[0] + value, 0.0)
            file.unlink()
        total.close()


def _by_type(files: Sequence[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(file.stem.rpartition("_")[0], []).append(file)
    return found


def fresh_folder(folder: Path) -> dict[str, str]:
    """An empty folder for the counts of several processes; the environment that says so."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    return {FOLDER: str(folder)}


def share_with_children() -> Path | None:
    """To be called before the fork, and before anything is counted. The folder that was made.

    None when there is one already: whoever set it also cleans it.
    """
    folder = None
    if not os.environ.get(FOLDER):
        folder = Path(tempfile.mkdtemp(prefix="aftercall-metrics-"))
        os.environ[FOLDER] = str(folder)
    # Here, once: not in a thread while a child is forked, and not in each child.
    importlib.import_module("prometheus_client.multiprocess")
    return folder
