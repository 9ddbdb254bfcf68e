"""What a worker process holds: opened after the fork, at the first task; closed at its end."""

import threading
import time
import uuid

from celery import Celery

from aftercall.batching import Batcher
from aftercall.crm.sending import HookSender
from aftercall.flows.deliver_calls import CallDeliverer
from aftercall.flows.fetch_calls import CallFetcher
from aftercall.flows.fetch_media import MediaFetcher
from aftercall.flows.reconcile import Reconciler
from aftercall.flows.service import Service, open_service
from aftercall.flows.tell_operator import NoticeSender
from aftercall.garbage import collect_rarely
from aftercall.media_store import MediaStore
from aftercall.origins import RungBy
from aftercall.settings import load_settings
from aftercall.stores import find_stores
from aftercall.twentytwo.client import Twenty2
from worker.alone import LastChances
from worker.overtime import limit_memory, watch_overtime

#: Requests under way at once, in each process and each direction.
PLACES = 256
#: The longest request and its record.
GRACE = 35.0


class Parts:
    """The service, and this process's share of fetching and delivering."""

    def __init__(self, celery: Celery) -> None:
        limit_memory()
        settings = load_settings()
        self.service: Service = open_service(
            settings, find_stores(settings), celery=celery, pool_size=6
        )
        self.service.counters.open()
        self.twentytwo = Twenty2(settings.twentytwo_base_url, keep=PLACES)
        self.sender = HookSender(guard=self.service.guard(), keep=PLACES)
        self.deliverer = CallDeliverer(self.service, self.sender, size=PLACES)
        self.fetcher = CallFetcher(self.service, self.twentytwo, size=PLACES, pass_on=self._pass_on)
        self._fetched: Batcher[uuid.UUID] = Batcher(
            self._deliver, name="fetched", limit=PLACES, coming=self.fetcher.under_way
        )
        self.store = MediaStore(settings.media_root)
        self.media = MediaFetcher(self.service, self.store)
        self.reconciler = Reconciler(self.service, self.twentytwo)
        self.notices = NoticeSender(self.service, self.sender)
        self.last_chances = LastChances()
        watch_overtime(self._overdue)
        collect_rarely()

    def close(self) -> None:
        """Finishes what is under way; leases cover what does not finish in time."""
        end = time.monotonic() + GRACE
        self.last_chances.close()
        self.fetcher.close(GRACE)
        self._fetched.close(1.0)
        self.deliverer.close(max(end - time.monotonic(), 1.0))
        self.reconciler.close(max(end - time.monotonic(), 0.1))
        self.notices.close(max(end - time.monotonic(), 0.1))
        # A recording that does not come to its end in time is fetched anew: its lease runs out.
        self.media.close(max(end - time.monotonic(), 0.1))
        self.twentytwo.close()
        self.sender.close()
        self.service.close()

    def _pass_on(self, ids: list[uuid.UUID]) -> None:
        """What was fetched here is sent from here: nobody has to be rung for."""
        for id_ in ids:
            self._fetched.put(id_)

    def _deliver(self, ids: list[uuid.UUID]) -> None:
        if left := self.deliverer.deliver(ids, wait_for_place=0):
            self.service.doorbell.ring_deliver(left, rung_by=RungBy.WORKER)

    def _overdue(self, seconds: float) -> list[str]:
        parts = (self.fetcher, self.deliverer, self.reconciler)
        return [row for part in parts for row in part.overdue(seconds)]


class WorkerProcess:
    """Opens the parts once, when they are first needed."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery
        self._lock = threading.Lock()
        self._parts: Parts | None = None

    def parts(self) -> Parts:
        with self._lock:
            if self._parts is None:
                self._parts = Parts(self._celery)
            return self._parts

    def close(self) -> None:
        with self._lock:
            parts, self._parts = self._parts, None
        if parts is not None:
            parts.close()
