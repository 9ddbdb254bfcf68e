"""Which metrics and labels a PromQL expression speaks of, and which of them do not exist."""

from collections.abc import Iterable

import promql_parser

from aftercall.metrics import METRICS, MetricType

#: Of Prometheus itself: a target's, and what is known of each.
_ITS_OWN = {"up": set[str]()}
_EVERYWHERE = {"job", "instance"}


def known_series() -> dict[str, set[str]]:
    """Every series that a scrape brings, with its labels."""
    found = dict(_ITS_OWN)
    for metric in METRICS:
        labels = set(metric.labels)
        if metric.type is MetricType.HISTOGRAM:
            found[f"{metric.name}_bucket"] = {*labels, "le"}
            found[f"{metric.name}_sum"] = found[f"{metric.name}_count"] = labels
        else:
            found[metric.name] = labels
    return found


def faults_in(expr: str, *, recorded: Iterable[str] = ()) -> list[str]:
    """What it speaks of and nobody tells; ValueError when it is not PromQL."""
    known = {**known_series(), **{name: set[str]() for name in recorded}}
    faults: list[str] = []
    labels, used = set(_EVERYWHERE), set[str]()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            name = node.name or ""
            if name not in known:
                faults.append(f"no metric {name!r}")
                return
            labels.update(known[name])
            asked = {matcher.name for matcher in node.matchers.matchers}
            wrong = asked - known[name] - _EVERYWHERE
            faults.extend(f"{name} has no label {label}" for label in sorted(wrong))
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            used.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(expr), visit)
    faults.extend(f"no metric in it has the label {label}" for label in sorted(used - labels))
    return faults
