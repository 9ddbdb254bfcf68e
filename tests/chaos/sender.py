"""A steady stream of webhooks to two apis, as Twenty2 behind a load balancer would send them."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from aftercall.simulator import Simulator


class Stream:
    """Sends each call's webhook once, to the other api when one does not answer 200.

    What was answered 200 is what aftercall has promised to keep.
    """

    def __init__(self, simulator: Simulator, urls: Sequence[str], *, per_second: float) -> None:
        self._simulator = simulator
        self._urls = list(urls)
        self._per_second = per_second
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.accepted: set[str] = set()
        self.refused = 0
        self.slowest = 0.0

    def run(self, call_ids: Sequence[str]) -> None:
        """Returns when all are sent, or when it is stopped."""
        began = time.monotonic()
        with ThreadPoolExecutor(32) as pool:
            for index, call_id in enumerate(call_ids):
                ahead = index / self._per_second - (time.monotonic() - began)
                if self._stop.wait(max(ahead, 0)):
                    return
                pool.submit(self._send, call_id, index)

    def stop(self) -> None:
        self._stop.set()

    def _send(self, call_id: str, index: int) -> None:
        for turn in range(2):
            url = self._urls[(index + turn) % len(self._urls)]
            sent = self._simulator.twentytwo.webhooks.send(call_id, url=url)
            with self._lock:
                self.slowest = max(self.slowest, sent.elapsed_seconds)
                if sent.accepted:
                    self.accepted.add(call_id)
                    return
        with self._lock:
            self.refused += 1
