"""aftercall's own processes on stores that a test brings, and calls that flow through them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from aftercall.cli.processes import Supervisor, api_arguments, beat_arguments, worker_arguments
from aftercall.crm.destination_spec import DestinationSpec
from aftercall.embedded import StoreUrls
from aftercall.flows.configure_destinations import create_destination
from aftercall.flows.service import Service, open_service
from aftercall.settings import Settings
from aftercall.simulator import Simulator
from tests.api.server import free_port
from tests.chaos.sender import Stream
from tests.cli.command import environment
from tests.conftest import ADMIN_TOKEN, SECRET_KEY, WEBHOOK_TOKEN, WORKSPACE

HOOK = "leads"
_HURRY = (
    "UPDATE calls SET due_at = now() WHERE state = 'queued' AND due_at > now()",
    "UPDATE deliveries SET due_at = now() WHERE state = 'queued' AND due_at > now()",
)


def settings_for(simulator: Simulator, stores: StoreUrls, **more: str) -> dict[str, str]:
    """What each process finds in its environment."""
    return {
        "AFTERCALL_DATABASE_URL": stores.database_url,
        "AFTERCALL_REDIS_URL": stores.redis_url,
        "AFTERCALL_SECRET_KEY": SECRET_KEY,
        "AFTERCALL_ADMIN_TOKEN": ADMIN_TOKEN,
        "AFTERCALL_WEBHOOK_TOKEN": WEBHOOK_TOKEN,
        "AFTERCALL_ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        "AFTERCALL_KEEP_MEDIA": "false",
        "TWENTYTWO_BASE_URL": simulator.twentytwo.base_url,
        "TWENTYTWO_WORKSPACE_ID": WORKSPACE.id,
        "TWENTYTWO_API_KEY": WORKSPACE.api_key,
        "TWENTYTWO_API_SECRET": WORKSPACE.api_secret,
        "TWENTYTWO_RATE_LIMIT": str(WORKSPACE.rate_limit),
        **more,
    }


@dataclass(frozen=True, slots=True)
class Parts:
    """An api, a worker with two processes, and beat."""

    supervisor: Supervisor
    service: Service
    simulator: Simulator
    url: str
    log: Path

    def send(self, call_ids: list[str], *, per_second: float) -> tuple[Stream, threading.Thread]:
        """Webhooks, from a thread of their own."""
        stream = Stream(self.simulator, [self.url], per_second=per_second)
        sending = threading.Thread(target=stream.run, args=(call_ids,))
        sending.start()
        return stream, sending

    def wait_until_delivered(self, call_ids: set[str], *, seconds: float = 120) -> None:
        """Hours until a next attempt are skipped; a lease is waited for."""
        end = time.monotonic() + seconds
        while missing := call_ids - self.simulator.crm.accepted_call_ids(HOOK):
            assert time.monotonic() < end, f"{len(missing)} are missing\n{self.tail()}"
            self.supervisor.check()
            self._hurry()
            time.sleep(0.5)

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-60:])

    def _hurry(self) -> None:
        try:
            with self.service.database.transaction() as session:
                for statement in _HURRY:
                    session.execute(text(statement))
        except DBAPIError:
            return


@contextmanager
def parts(given: dict[str, str], simulator: Simulator, folder: Path) -> Iterator[Parts]:
    """Until the end of the block; with a hook that every call goes to."""
    log = folder / "parts.log"
    supervisor = Supervisor(environment(**given), log_file=log, directory=folder)
    service = service_for(given)
    port = free_port()
    try:
        spec = DestinationSpec(name=HOOK, url=simulator.crm.hook_url(HOOK), timeout_seconds=5)
        simulator.crm.add_hook(HOOK, create_destination(service, spec).secret)
        supervisor.start("api", api_arguments(host="127.0.0.1", port=port))
        supervisor.start("worker", worker_arguments(concurrency=2))
        supervisor.start("beat", beat_arguments())
        url = f"http://127.0.0.1:{port}/webhooks/twentytwo?token={WEBHOOK_TOKEN}"
        found = Parts(supervisor, service, simulator, url, log)
        wait_for_an_answer(f"http://127.0.0.1:{port}/readyz", found)
        yield found
    finally:
        supervisor.stop()
        service.close()


def service_for(given: dict[str, str]) -> Service:
    """One of the test's own, as the processes have it."""
    settings = Settings(_env_file=None, **given)  # type: ignore[arg-type]
    stores = StoreUrls(settings.require("database_url"), settings.require("redis_url"))
    return open_service(settings, stores, pool_size=1)


def wait_for_an_answer(url: str, found: Parts, *, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.RequestException:
            pass
        assert time.monotonic() < end, found.tail()
        time.sleep(0.2)
