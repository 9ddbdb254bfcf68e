"""`aftercall simulate`: the fake Twenty2, the fake hooks and the fake CRMs alone, until Ctrl-C."""

import signal
import threading
from contextlib import ExitStack

from aftercall.cli.processes import check_port
from aftercall.cli.session import say
from aftercall.simulator import SimulatedWorkspace, Simulator
from aftercall.simulator.crms.fake import FakeCrmApi
from aftercall.simulator.crms.freshsales import FakeFreshsales
from aftercall.simulator.crms.hubspot import FakeHubSpot
from aftercall.simulator.crms.leadsquared import FakeLeadSquared
from aftercall.simulator.crms.pipedrive import FakePipedrive
from aftercall.simulator.crms.salesforce import FakeSalesforce
from aftercall.simulator.crms.zoho import FakeZoho

WORKSPACE = "699ed3b91ee5bee389dcb6a3"
#: Seconds until the fakes' searches show what was made.
_SETTLES_EVERY = 2.0
_CRMS: tuple[type[FakeCrmApi], ...] = (
    FakeHubSpot,
    FakeSalesforce,
    FakeZoho,
    FakePipedrive,
    FakeLeadSquared,
    FakeFreshsales,
)


def run_simulator(*, ports: tuple[int, int], rate_limit: int, seed: int) -> None:
    """Prints how to point aftercall at it. The CRMs listen on the ports behind the hooks' one."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    workspace = SimulatedWorkspace(
        id=WORKSPACE,
        api_key="simulated-key",
        api_secret="simulated-secret",  # noqa: S106 - made up, for a made-up provider
        rate_limit=rate_limit,
    )
    crm_ports = [ports[1] and ports[1] + 1 + index for index in range(len(_CRMS))]
    for port in (*ports, *crm_ports):
        if port:
            check_port("127.0.0.1", port)
    with ExitStack() as running:
        simulator = running.enter_context(Simulator(seed=seed, workspaces=[workspace], ports=ports))
        crms = [
            running.enter_context(kind(port=port))
            for kind, port in zip(_CRMS, crm_ports, strict=True)
        ]
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
            "Or one of the fake CRMs, each with what it wants of a destination:",
            "  aftercall destinations add crm URL --kind KIND --credential-stdin",
            *(f"  {one.kind:12}{one.url}  {_as_lines(one.credentials)}" for one in crms),
        ]
        say("\n".join(lines))
        while not stop.wait(_SETTLES_EVERY):
            for one in crms:
                one.settle()


def _as_lines(credentials: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in credentials.items())
