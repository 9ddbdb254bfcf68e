"""Works on one row in a process of its own: the last chance of one that has twice cost its worker.

`python -m worker.alone call ROW_ID` or `… delivery ID`. If this process ends too,
it was that row and no neighbour: its lease runs out, and the sweep ends it.
"""

import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

import structlog

from aftercall.crm.sending import HookSender
from aftercall.flows.deliver_calls import CallDeliverer
from aftercall.flows.fetch_calls import CallFetcher
from aftercall.flows.service import open_service
from aftercall.logs import configure_logs
from aftercall.settings import load_settings
from aftercall.stores import find_stores
from aftercall.twentytwo.client import Twenty2
from worker.overtime import OVERTIME, limit_memory

log = structlog.get_logger(__name__)


class LastChances:
    """Starts such processes, one after the other; whoever asks does not wait for them."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="alone")

    def give(self, kind: str, id_: str) -> None:
        self._thread.submit(self._run, kind, id_)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, kind: str, id_: str) -> None:
        command = [sys.executable, "-m", "worker.alone", kind, id_]
        log.warning("row.alone", kind=kind, row=id_)
        try:
            code: int | None = subprocess.run(command, timeout=OVERTIME, check=False).returncode
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            log.error("row.alone_failed", kind=kind, row=id_, exit_code=code)


def main(kind: str, id_: str) -> None:
    configure_logs()
    limit_memory()
    settings = load_settings()
    service = open_service(settings, find_stores(settings), pool_size=2)
    if kind == "call":
        twentytwo = Twenty2(settings.twentytwo_base_url)
        fetcher = CallFetcher(service, twentytwo, size=1, alone=True)
        fetcher.fetch([int(id_)])
        fetcher.close(OVERTIME)
    else:
        sender = HookSender(guard=service.guard())
        deliverer = CallDeliverer(service, sender, size=1, alone=True)
        deliverer.deliver([uuid.UUID(id_)])
        deliverer.close(OVERTIME)
    service.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
