"""`aftercall simulate`: the fake Twenty2 and the fake CRM alone, until Ctrl-C."""

import signal
import threading

from aftercall.cli.processes import check_port
from aftercall.cli.session import say
from aftercall.simulator import SimulatedWorkspace, Simulator

WORKSPACE = "699ed3b91ee5bee389dcb6a3"


def run_simulator(*, ports: tuple[int, int], rate_limit: int, seed: int) -> None:
    """Prints how to point aftercall at it."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    workspace = SimulatedWorkspace(
        id=WORKSPACE,
        api_key="simulated-key",
        api_secret="simulated-secret",  # noqa: S106 - made up, for a made-up provider
        rate_limit=rate_limit,
    )
    for port in ports:
        if port:
            check_port("127.0.0.1", port)
    with Simulator(seed=seed, workspaces=[workspace], ports=ports) as simulator:
        twentytwo, crm = simulator.twentytwo, simulator.crm
        lines = [
            "A fake Twenty2 and a fake CRM are up. Ctrl-C stops them. Start aftercall with:",
            f"  TWENTYTWO_BASE_URL={twentytwo.base_url}",
            f"  TWENTYTWO_WORKSPACE_ID={workspace.id}",
            f"  TWENTYTWO_API_KEY={workspace.api_key}",
            f"  TWENTYTWO_API_SECRET={workspace.api_secret}",
            "  AFTERCALL_ALLOWED_PRIVATE_NETWORKS=127.0.0.0/8",
            "Then:",
            f"  aftercall destinations add leads {crm.hook_url('leads')}",
            f"  curl {crm.server.origin}/_simulator/hooks -d "
            '\'{"name": "leads", "secret": "whsec_…"}\'',
            f"  curl {twentytwo.server.origin}/_simulator/calls -d "
            '\'{"count": 10, "webhook_url": "…"}\'',
            f"  curl {crm.server.origin}/_simulator/report",
        ]
        say("\n".join(lines))
        while not stop.wait(1.0):
            pass
