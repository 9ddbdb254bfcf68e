"""/metrics: what Prometheus reads."""

from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from aftercall.simulator import Simulator
from tests.api.server import Api, Json


def samples(api: Api) -> dict[tuple[str, ...], float]:
    """By name and label values."""
    answer = api.open("/metrics")
    assert answer.ok
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_an_empty_database_has_metrics_too(api: Api) -> None:
    found = samples(api)
    assert found[("aftercall_database_up",)] == 1
    assert found[("aftercall_due_rows", "call")] == 0
    assert found[("aftercall_due_rows", "delivery")] == 0
    assert found[("aftercall_oldest_due_age_seconds", "call")] == 0


def test_rows_are_counted_by_state(
    api: Api, simulator: Simulator, work: Callable[[], None], add_destination: Callable[..., Json]
) -> None:
    simulator.crm.add_hook("leads", add_destination(simulator.crm.hook_url("leads"))["secret"])
    api.webhook({"call_ids": simulator.twentytwo.make_calls(3)})
    work()
    api.webhook({"call_ids": ["call_1", "call_2"]})
    found = samples(api)
    assert found[("aftercall_rows", "call", "fetched")] == 3
    assert found[("aftercall_rows", "call", "queued")] == 2
    assert found[("aftercall_rows", "delivery", "delivered")] == 3
    assert found[("aftercall_due_rows", "call")] == 2
    assert 0 <= found[("aftercall_oldest_due_age_seconds", "call")] < 60
