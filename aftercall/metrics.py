"""Every metric, once, as data: name, type, labels, meaning, buckets. Nothing is counted here.

Counters and histograms are added up by the processes (`aftercall/counters.py`); gauges are read
from the stores at each scrape (`api/metrics.py`). docs/metrics.md is made from this list, and
alerts and dashboards are held to it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class MetricType(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Source(StrEnum):
    """Who knows the value."""

    PROCESSES = "processes"
    """Counted by each process since its start; added up over all of them."""
    STORES = "stores"
    """Read from PostgreSQL and Redis at each scrape: the same from every api."""
    MACHINE = "machine"
    """Of the process that is asked, and the machine that it runs on."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as Prometheus sees it; a counter's name ends in `_total`."""

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    source: Source = Source.STORES
    #: Upper bounds, in seconds; of histograms.
    buckets: tuple[float, ...] = ()
    #: What stands in the page beside the help: values of labels, when there is no sample.
    note: str = ""


#: From a hook next door to the longest timeout that a destination may have.
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
#: From the machine's own speed to a day of retries.
END_TO_END_BUCKETS = (
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0),
)
#: More workspaces or destinations than this are added up under the label "other".
MOST_LABELS = 200
OTHER = "other"

# ---- what the processes count ------------------------------------------------

WEBHOOKS_RECEIVED = Metric(
    "aftercall_webhooks_received_total",
    MetricType.COUNTER,
    "Requests to the webhook that were answered 200",
    source=Source.PROCESSES,
)
EVENTS = Metric(
    "aftercall_events_total",
    MetricType.COUNTER,
    "Call ids of webhooks that were stored, by whether they were new",
    ("result",),
    Source.PROCESSES,
    note="`result`: `new`, `duplicate`. What was kept in Redis counts once it is stored",
)
WEBHOOKS_REFUSED = Metric(
    "aftercall_webhooks_refused_total",
    MetricType.COUNTER,
    "Requests to the webhook that were not answered 200, by why",
    ("reason",),
    Source.PROCESSES,
    note="`reason`: `token`, `signature`, `not_json`, `no_call_id`, `no_workspace`, `too_large`, "
    "`slow`, `gone` (the sender), `not_stored` (both stores are away), `failed` (a fault of "
    "aftercall's own)",
)
FETCH_ATTEMPTS = Metric(
    "aftercall_fetch_attempts_total",
    MetricType.COUNTER,
    "Fetches of a call's detail that ended, by outcome",
    ("outcome",),
    Source.PROCESSES,
    note="`outcome`: `succeeded`, `retry`, `not_ready`, `blocked`, `dead`",
)
FETCH_DURATION = Metric(
    "aftercall_fetch_duration_seconds",
    MetricType.HISTOGRAM,
    "How long Twenty2 took for a call's detail, whatever it answered",
    (),
    Source.PROCESSES,
    REQUEST_BUCKETS,
)
DELIVERY_ATTEMPTS = Metric(
    "aftercall_delivery_attempts_total",
    MetricType.COUNTER,
    "Attempts at a delivery that ended, by the destination's kind and by outcome",
    ("kind", "outcome"),
    Source.PROCESSES,
    note="`kind`: `webhook` or a CRM; `outcome` as of fetches, without `not_ready`. "
    "`succeeded` also counts what was skipped at a CRM",
)
DELIVERY_DURATION = Metric(
    "aftercall_delivery_duration_seconds",
    MetricType.HISTOGRAM,
    "How long a destination took for a delivery, whatever it answered",
    ("kind",),
    Source.PROCESSES,
    REQUEST_BUCKETS,
)
WEBHOOK_TO_HOOK = Metric(
    "aftercall_webhook_to_hook_seconds",
    MetricType.HISTOGRAM,
    "From the webhook to the answer of the destination, of each call's first delivery there",
    ("kind",),
    Source.PROCESSES,
    END_TO_END_BUCKETS,
    note="Of a call's first revision; replays and updates do not count",
)
MEDIA_ATTEMPTS = Metric(
    "aftercall_media_attempts_total",
    MetricType.COUNTER,
    "Tries to fetch a recording or a transcript that ended, by the state after it",
    ("kind", "state"),
    Source.PROCESSES,
    note="`kind`: `recording`, `transcript`; `state`: `stored`, `queued` (again later), `dead`",
)
LEASES_LAPSED = Metric(
    "aftercall_leases_lapsed_total",
    MetricType.COUNTER,
    "Leases that ran out because a worker was lost",
    ("kind",),
    Source.PROCESSES,
    note="`kind`: `call`, `delivery`, `media`",
)
RATE_LIMIT_REFUSALS = Metric(
    "aftercall_rate_limit_refusals_total",
    MetricType.COUNTER,
    "Fetches that Twenty2 answered 429",
    source=Source.PROCESSES,
)

# ---- what is read at a scrape ------------------------------------------------

ROWS = Metric(
    "aftercall_rows",
    MetricType.GAUGE,
    "Rows by state",
    ("kind", "state"),
    note="`kind`: `call`, `delivery`, `media`. From 200,000 rows on, those in the states where "
    "rows come to stay are estimated",
)
DUE_ROWS = Metric(
    "aftercall_due_rows",
    MetricType.GAUGE,
    "Rows that are due now and wait for a worker, a permit or their destination",
    ("kind",),
    note="`kind`: `call`, `delivery`, `media`",
)
OLDEST_DUE_AGE = Metric(
    "aftercall_oldest_due_age_seconds",
    MetricType.GAUGE,
    "For how long the oldest due row has waited; 0 when none is due",
    ("kind",),
    note="`kind`: `call`, `delivery`, `media`",
)
DUE_CALLS = Metric(
    "aftercall_due_calls",
    MetricType.GAUGE,
    "Calls that are due now, by workspace",
    ("workspace_id",),
    note="Workspaces that have none are left out",
)
OLDEST_DUE_CALL_AGE = Metric(
    "aftercall_oldest_due_call_age_seconds",
    MetricType.GAUGE,
    "For how long the workspace's oldest due call has waited",
    ("workspace_id",),
    note="Workspaces that have none are left out; of the others the oldest",
)
DUE_DELIVERIES = Metric(
    "aftercall_due_deliveries",
    MetricType.GAUGE,
    "Deliveries that are due now, by destination",
    ("destination_id", "name"),
)
WORKSPACE_BLOCKED = Metric(
    "aftercall_workspace_blocked",
    MetricType.GAUGE,
    "Whether Twenty2 is asked for nothing of this workspace, by why",
    ("workspace_id", "kind"),
    note="`kind`: `rate_limit` (429), `credentials` (refused). 0 or 1; of the others, whether any",
)
RATE_LIMIT_USED = Metric(
    "aftercall_rate_limit_used_ratio",
    MetricType.GAUGE,
    "How much of the workspace's requests of the last minute is used, from 0 to 1",
    ("workspace_id",),
    note="Of workspaces that have credentials and are not blocked; none under `other`",
)
DESTINATION_ENABLED = Metric(
    "aftercall_destination_enabled",
    MetricType.GAUGE,
    "Whether the destination gets deliveries; those of a disabled one are held",
    ("destination_id", "name"),
    note="0 or 1; of the others, whether all",
)
DESTINATION_BREAKER_OPEN = Metric(
    "aftercall_destination_breaker_open",
    MetricType.GAUGE,
    "Whether nothing is sent to the destination for a while, or one probe alone",
    ("destination_id", "name"),
    note="0 or 1; of the others, whether any",
)
DESTINATION_FAILING = Metric(
    "aftercall_destination_failing_seconds",
    MetricType.GAUGE,
    "For how long every delivery to the destination has failed; 0 while it works",
    ("destination_id", "name"),
    note="Of the others, the longest",
)
LAST_WEBHOOK_AGE = Metric(
    "aftercall_last_webhook_age_seconds",
    MetricType.GAUGE,
    "Since when no webhook was taken",
    note="Ids by hand and what a reconciliation found are none. Absent before the first",
)
SPOOLED_WEBHOOKS = Metric(
    "aftercall_spooled_webhooks",
    MetricType.GAUGE,
    "Webhooks that are kept in Redis and wait for the database",
)
LAST_SWEEP_AGE = Metric(
    "aftercall_last_sweep_age_seconds",
    MetricType.GAUGE,
    "Since when nothing was swept: more than some seconds means that no worker works",
    note="Absent before the first",
)
HEARTBEAT_AGE = Metric(
    "aftercall_process_heartbeat_age_seconds",
    MetricType.GAUGE,
    "Since when the process has shown no sign of life",
    ("process", "instance"),
    note="`process`: `api`, `worker` (only while it takes messages), `beat`. One that stopped in "
    "order is gone at once, one that was lost after 10 min",
)
DATABASE_UP = Metric(
    "aftercall_database_up", MetricType.GAUGE, "Whether the database answers", note="0 or 1"
)
REDIS_UP = Metric("aftercall_redis_up", MetricType.GAUGE, "Whether Redis answers", note="0 or 1")
DATA_DISK_FREE = Metric(
    "aftercall_data_disk_free_bytes",
    MetricType.GAUGE,
    "What is free on the disk of AFTERCALL_DATA_DIR",
    source=Source.MACHINE,
    note="Absent where there is no such directory",
)
DATA_DISK_SIZE = Metric(
    "aftercall_data_disk_size_bytes",
    MetricType.GAUGE,
    "The size of the disk of AFTERCALL_DATA_DIR",
    source=Source.MACHINE,
    note="Absent where there is no such directory",
)
BUILD_INFO = Metric(
    "aftercall_build_info",
    MetricType.GAUGE,
    "Always 1; the version of aftercall and of Python in its labels",
    ("version", "python"),
    Source.MACHINE,
)

METRICS: tuple[Metric, ...] = (
    WEBHOOKS_RECEIVED,
    EVENTS,
    WEBHOOKS_REFUSED,
    FETCH_ATTEMPTS,
    FETCH_DURATION,
    DELIVERY_ATTEMPTS,
    DELIVERY_DURATION,
    WEBHOOK_TO_HOOK,
    MEDIA_ATTEMPTS,
    LEASES_LAPSED,
    RATE_LIMIT_REFUSALS,
    ROWS,
    DUE_ROWS,
    OLDEST_DUE_AGE,
    DUE_CALLS,
    OLDEST_DUE_CALL_AGE,
    DUE_DELIVERIES,
    WORKSPACE_BLOCKED,
    RATE_LIMIT_USED,
    DESTINATION_ENABLED,
    DESTINATION_BREAKER_OPEN,
    DESTINATION_FAILING,
    LAST_WEBHOOK_AGE,
    SPOOLED_WEBHOOKS,
    LAST_SWEEP_AGE,
    HEARTBEAT_AGE,
    DATABASE_UP,
    REDIS_UP,
    DATA_DISK_FREE,
    DATA_DISK_SIZE,
    BUILD_INFO,
)


def metrics_of(source: Source) -> Iterator[Metric]:
    return (metric for metric in METRICS if metric.source is source)


def as_table() -> str:
    """The rows of docs/metrics.md: `python -m aftercall.metrics`."""
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        meaning = ". ".join(part for part in (metric.help, metric.note) if part)
        lines.append(f"| `{metric.name}` | {metric.type} | {labels} | {meaning}. |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(as_table())  # noqa: T201 - for whoever writes the page
