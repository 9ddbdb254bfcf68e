"""aftercall as shipped: the limiter (raised), attempts, signing and guards are all on."""

import sys
from collections.abc import Sequence

import requests
from pydantic import SecretStr

from aftercall.cli.processes import (
    api_arguments,
    beat_arguments,
    child_environment,
    worker_arguments,
)
from aftercall.cli.secrets_file import complete_secrets
from aftercall.crm.destination_spec import DestinationSpec
from aftercall.db.schema import migrate
from aftercall.domain.states import Priority
from aftercall.embedded import StoreUrls
from aftercall.flows.accept_events import enqueue_calls
from aftercall.flows.configure_destinations import create_destination
from aftercall.flows.configure_workspaces import WorkspaceSpec, set_workspace
from aftercall.flows.service import Service, open_service
from aftercall.settings import Settings
from bench.contestants.contestant import WORKSPACE, Contestant, Site
from bench.processes import free_port, wait_until

#: What somebody with such a load would allow their own hook.
MAX_IN_FLIGHT = 256
#: As many calls a request as the receiver writes at once.
_PER_REQUEST = 500


class Ours(Contestant):
    """api, worker and beat, as `aftercall up` starts them."""

    name = "ours"
    what = "aftercall as shipped: api, worker (prefork), beat; limiter, attempts, signing, guards"
    has_receiver = True
    has_durable_receiver = True

    #: Requests a minute and workspace, in the settings. Scenario e lowers it.
    rate_limit = 10_000_000
    #: The upstream, where it is not the stub.
    base_url: str | None = None
    workspaces: tuple[str, ...] = (WORKSPACE,)

    def set_up(self, site: Site) -> None:
        migrate(site.stores.database_url)
        service = self.open_service(site)
        try:
            for workspace in self.workspaces:
                spec = WorkspaceSpec(
                    api_key=SecretStr("bench-key"), api_secret=SecretStr("bench-secret")
                )
                set_workspace(service, workspace, spec)
            hook = DestinationSpec(name="hook", url=site.stub.hook_url, max_in_flight=MAX_IN_FLIGHT)
            create_destination(service, hook)
        finally:
            service.close()

    def enqueue(self, site: Site, call_ids: Sequence[str]) -> None:
        self.enqueue_for(site, call_ids, workspace=self.workspaces[0])

    def enqueue_for(
        self,
        site: Site,
        call_ids: Sequence[str],
        *,
        workspace: str,
        priority: int = Priority.FRESH,
    ) -> None:
        """As `POST /api/v1/calls` does it: rows, then the doorbell."""
        service = self.open_service(site)
        try:
            for start in range(0, len(call_ids), _PER_REQUEST):
                chunk = call_ids[start : start + _PER_REQUEST]
                enqueue_calls(service, chunk, workspace_id=workspace, priority=priority, body=b"{}")
        finally:
            service.close()

    def start_workers(self, site: Site, *, processes: int) -> None:
        environment = self.environment(site)
        worker = worker_arguments(concurrency=processes, name="worker@%h")
        site.children.start("worker", _python(worker), environment=environment)
        site.children.start("beat", _python(beat_arguments()), environment=environment)

    def start_receiver(self, site: Site) -> str:
        port = free_port()
        api = api_arguments(host="127.0.0.1", port=port)
        site.children.start("api", _python(api), environment=self.environment(site))
        origin = f"http://127.0.0.1:{port}"
        wait_until(lambda: _is_ready(origin), seconds=60, what="the api", children=site.children)
        token = self.settings(site).require("webhook_token")
        return f"{origin}/webhooks/twentytwo?token={token}"

    def saved(self, site: Site) -> int:
        """Fetched, with the payload, an attempt of each request, and the delivery recorded."""
        return site.stores.number(
            """
            SELECT count(*) FROM calls
            JOIN call_payloads ON call_row_id = calls.id AND calls.revision = 1
            JOIN deliveries ON deliveries.call_row_id = calls.id
            WHERE calls.state = 'fetched' AND deliveries.state = 'delivered'
            """
        )

    def received(self, site: Site) -> int:
        return site.stores.number("SELECT count(*) FROM calls")

    def settings(self, site: Site) -> Settings:
        given = {"AFTERCALL_DATA_DIR": str(site.directory), **self._given(site)}
        return complete_secrets(Settings(_env_file=None, **given))  # type: ignore[arg-type]

    def environment(self, site: Site) -> dict[str, str]:
        urls = StoreUrls(site.stores.database_url, site.stores.redis_url)
        return {**child_environment(self.settings(site), urls), **self._given(site)}

    def open_service(self, site: Site) -> Service:
        urls = StoreUrls(site.stores.database_url, site.stores.redis_url)
        return open_service(self.settings(site), urls, pool_size=2)

    def _given(self, site: Site) -> dict[str, str]:
        return {
            "TWENTYTWO_BASE_URL": self.base_url or site.stub.origin,
            "TWENTYTWO_RATE_LIMIT": str(self.rate_limit),
            "AFTERCALL_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
            # Nobody else fetches recordings, and the stub has none.
            "AFTERCALL_KEEP_MEDIA": "false",
        }


def _python(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", *arguments]


def _is_ready(origin: str) -> bool:
    try:
        return requests.get(f"{origin}/readyz", timeout=2).ok
    except requests.RequestException:
        return False
