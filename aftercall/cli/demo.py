"""`aftercall demo`: the main job on real processes and stores, with a simulated Twenty2 and CRM.

Faults are on. Ends by itself; its last line counts what was received, saved,
delivered and lost. Exit code 1 when anything was.
"""

import fcntl
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from rich.live import Live
from rich.table import Table

from aftercall.cli.calls import print_story
from aftercall.cli.processes import (
    Supervisor,
    api_arguments,
    beat_arguments,
    child_environment,
    worker_arguments,
)
from aftercall.cli.secrets_file import complete_secrets
from aftercall.cli.session import console
from aftercall.crm.destination_spec import DestinationSpec
from aftercall.db.schema import migrate
from aftercall.embedded import embedded_stores
from aftercall.flows import look
from aftercall.flows.configure_destinations import create_destination
from aftercall.flows.service import Service, open_service
from aftercall.settings import Settings, load_settings
from aftercall.simulator import Fault, SimulatedWorkspace, Simulator

WEBHOOKS_PER_SECOND = 80.0
DUPLICATES = 0.1
TIMEOUT = 120.0
RATE_LIMIT = 3_000
WORKSPACE = SimulatedWorkspace(
    id="699ed3b91ee5bee389dcb6a3",
    api_key="demo-key",
    api_secret="demo-secret",  # noqa: S106 - made up, for a made-up provider
    rate_limit=RATE_LIMIT,
)
_FETCH_FAULTS = (Fault.SERVER_ERROR, Fault.RESET, Fault.NOT_JSON, Fault.TRUNCATED)
_HOOK_FAULTS = (Fault.SERVER_ERROR, Fault.RESET, Fault.LOST_ANSWER, Fault.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo has running."""

    simulator: Simulator
    service: Service
    origin: str
    webhook_url: str


def run_demo(count: int) -> int:
    """0 when every call was saved and delivered."""
    began = time.monotonic()
    console.print("[bold]aftercall demo[/]: starting PostgreSQL, Redis, api, worker and beat…")
    with _everything() as demo:
        console.print(f"Up after {time.monotonic() - began:.1f} s.", highlight=False)
        call_ids = _make_calls(demo.simulator, count)
        console.print(
            f"{count} calls end, {WEBHOOKS_PER_SECOND:.0f} a second; some webhooks come twice, "
            "Twenty2 and the CRM fail now and then.",
            highlight=False,
        )
        sender = threading.Thread(
            target=demo.simulator.send_webhooks,
            args=(call_ids,),
            kwargs={
                "url": demo.webhook_url,
                "per_second": WEBHOOKS_PER_SECOND,
                "duplicate_rate": DUPLICATES,
            },
        )
        sender.start()
        missing = _watch(demo, call_ids, sender)
        sender.join()
        return _sum_up(demo, call_ids, missing, began=began)


@contextmanager
def _everything() -> Iterator[Demo]:
    data_dir = _fresh_directory(load_settings().data_dir / "demo")
    with (
        Simulator(seed=22, workspaces=[WORKSPACE]) as simulator,
        embedded_stores(data_dir) as stores,
    ):
        settings = complete_secrets(_demo_settings(data_dir, simulator))
        migrate(stores.database_url)
        service = open_service(settings, stores, pool_size=3)
        port = _free_port()
        environment = child_environment(settings, stores) | _demo_environment(simulator)
        supervisor = Supervisor(environment, log_file=data_dir / "demo.log", directory=data_dir)
        try:
            supervisor.start("api", api_arguments(host="127.0.0.1", port=port))
            supervisor.start("worker", worker_arguments())
            supervisor.start("beat", beat_arguments())
            origin = f"http://127.0.0.1:{port}"
            _wait_until_ready(service, origin, data_dir / "demo.log")
            _add_destinations(service, simulator)
            token = settings.require("webhook_token")
            url = f"{origin}/webhooks/twentytwo?token={token}"
            yield Demo(simulator, service, origin, url)
        finally:
            supervisor.stop()
            service.close()


def _fresh_directory(data_dir: Path) -> Path:
    # Only what an earlier demo made: it never holds anybody's data. A demo that still runs keeps
    # its lock, and the next one is told so when it takes the directory.
    lock_free = not (data_dir / "lock").exists() or _can_lock(data_dir / "lock")
    if lock_free and data_dir.exists():
        with embedded_stores(data_dir):
            pass
        shutil.rmtree(data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    return data_dir


def _can_lock(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _demo_environment(simulator: Simulator) -> dict[str, str]:
    return {
        "TWENTYTWO_BASE_URL": simulator.twentytwo.base_url,
        "TWENTYTWO_WORKSPACE_ID": WORKSPACE.id,
        "TWENTYTWO_API_KEY": WORKSPACE.api_key,
        "TWENTYTWO_API_SECRET": WORKSPACE.api_secret,
        "TWENTYTWO_RATE_LIMIT": str(RATE_LIMIT),
        "AFTERCALL_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        "AFTERCALL_WEBHOOK_HMAC_SECRET": "",
        "AFTERCALL_PUBLIC_URL": "",
        "AFTERCALL_KEEP_MEDIA": "",
        "AFTERCALL_MEDIA_URL": "",
        "AFTERCALL_MEDIA_MAX_BYTES": "",
    }


def _demo_settings(data_dir: Path, simulator: Simulator) -> Settings:
    """Nothing of the user's own: the demo must not touch what is theirs."""
    given = {
        field.alias: _demo_environment(simulator).get(field.alias) or field.default
        for field in Settings.model_fields.values()
        if field.alias
    }
    settings = Settings(_env_file=None, **given)  # type: ignore[arg-type]
    return settings.model_copy(update={"data_dir": data_dir})


def _add_destinations(service: Service, simulator: Simulator) -> None:
    specs = [
        DestinationSpec(name="leads", url=simulator.crm.hook_url("leads")),
        DestinationSpec(
            name="callbacks",
            url=simulator.crm.hook_url("callbacks"),
            events=["call.completed"],
            filter="output_parameters.callback_requested == 'yes'",
            mapping="{data: {call_id: call_id}, phone: call.callee_phone, "
            "when: output_parameters.callback_time}",
        ),
    ]
    for spec in specs:
        simulator.crm.add_hook(spec.name, create_destination(service, spec).secret)


def _make_calls(simulator: Simulator, count: int) -> list[str]:
    call_ids = simulator.twentytwo.make_calls(count, workspace_id=WORKSPACE.id)
    leads = simulator.crm.hook("leads")
    for index, call_id in enumerate(call_ids):
        if index % 7 == 3:
            simulator.twentytwo.fail_next(call_id, _FETCH_FAULTS[index % len(_FETCH_FAULTS)])
        if index % 9 == 3:
            leads.fail_next_for_call(call_id, _HOOK_FAULTS[index % len(_HOOK_FAULTS)])
    return call_ids


# ---- what is seen ------------------------------------------------------------


def _watch(demo: Demo, call_ids: list[str], sender: threading.Thread) -> set[str]:
    """Shows what happens until all is delivered; the calls that did not arrive in time."""
    end = time.monotonic() + TIMEOUT
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        last_line = 0.0
        while True:
            stats = look.show_stats(demo.service)
            missing = set(call_ids) - demo.simulator.crm.accepted_call_ids("leads")
            waiting = stats.deliveries["queued"] + stats.deliveries["sending"]
            counts = {
                "webhooks answered 200": len(
                    [sent for sent in demo.simulator.twentytwo.webhooks.sent() if sent.accepted]
                ),
                "calls known": sum(stats.calls.values()),
                "saved": stats.calls["fetched"],
                "to be fetched": stats.calls["queued"] + stats.calls["fetching"],
                "delivered": stats.deliveries["delivered"],
                "to be delivered": waiting,
                "skipped by a filter": stats.deliveries["skipped"],
                "dead": stats.calls["dead"] + stats.deliveries["dead"],
            }
            live.update(_counts_table(counts))
            if not console.is_terminal and time.monotonic() - last_line > 2:
                last_line = time.monotonic()
                console.print(
                    ", ".join(f"{name} {count}" for name, count in counts.items()),
                    highlight=False,
                )
            is_quiet = not missing and not waiting and not counts["to be fetched"]
            if (is_quiet and not sender.is_alive()) or time.monotonic() > end:
                return missing
            time.sleep(0.25)


def _counts_table(counts: dict[str, int]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, count in counts.items():
        table.add_row(name, str(count), "█" * min(count // 8, 60))
    return table


def _sum_up(demo: Demo, call_ids: list[str], missing: set[str], *, began: float) -> int:
    report = demo.simulator.report()
    received = demo.simulator.twentytwo.webhooks.accepted_call_ids()
    stats = look.show_stats(demo.service)
    delivered = len(set(call_ids) - missing)
    saved = stats.calls["fetched"]
    lost = len(received - (set(call_ids) - missing))
    console.print()
    console.print("[bold]One call's whole story[/]")
    print_story(look.show_call(demo.service, call_ids[3]))
    console.print()
    lines = {
        "webhooks answered 200": report.webhooks_accepted,
        "requests over the rate limit": report.rate_limit_breaches,
        "deliveries that the CRM saw more than once, under one id": report.crm_duplicates,
        "deliveries under two ids": report.ids_that_disagree,
        "bad signatures": report.bad_signatures,
    }
    for name, count in lines.items():
        console.print(f"  {name}: {count}", highlight=False)
    console.print(f"  seconds: {time.monotonic() - began:.1f}", highlight=False)
    faults = lost + report.rate_limit_breaches + report.ids_that_disagree + report.bad_signatures
    is_well = not faults and len(received) == saved == delivered == len(call_ids)
    console.print(
        f"demo: {len(received)} received, {saved} saved, {delivered} delivered, {lost} lost",
        highlight=False,
    )
    return 0 if is_well else 1


def _wait_until_ready(service: Service, origin: str, log_file: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if requests.get(f"{origin}/readyz", timeout=2).ok and service.doorbell.workers(
                timeout=1.0
            ):
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise SystemExit(f"The processes did not come up in time; {log_file} says why")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
