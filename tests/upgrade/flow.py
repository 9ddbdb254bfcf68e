"""Webhooks as long as it is wanted, to two apis; and what became of each."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aftercall.simulator import Simulator

_BLOCK = 200


@dataclass(frozen=True, slots=True)
class Sent:
    """One webhook: to one api, then to the other if that one did not answer 200."""

    call_id: str
    began_at: datetime
    #: The longest that it waited for an answer.
    slowest: timedelta
    accepted: bool


class Flow:
    """Sends until it is stopped. What was answered 200 is what aftercall has promised to keep."""

    def __init__(self, simulator: Simulator, urls: list[str], *, per_second: float) -> None:
        self._simulator = simulator
        self._urls = urls
        self._per_second = per_second
        self._stopped = threading.Event()
        self._sent: list[Sent] = []
        self._thread = threading.Thread(target=self._run, name="webhooks")
        self._thread.start()

    def stop(self) -> list[Sent]:
        """All that was sent, answered."""
        self._stopped.set()
        self._thread.join()
        return self._sent

    def _run(self) -> None:
        began = time.monotonic()
        index = 0
        with ThreadPoolExecutor(64) as pool:
            while True:
                for call_id in self._simulator.twentytwo.make_calls(_BLOCK):
                    ahead = began + index / self._per_second - time.monotonic()
                    if self._stopped.wait(max(ahead, 0)):
                        return
                    pool.submit(self._send, call_id, index)
                    index += 1

    def _send(self, call_id: str, index: int) -> None:
        began_at, slowest, accepted = datetime.now(UTC), 0.0, False
        for turn in range(2):
            url = self._urls[(index + turn) % len(self._urls)]
            answer = self._simulator.twentytwo.webhooks.send(call_id, url=url)
            slowest = max(slowest, answer.elapsed_seconds)
            if answer.accepted:
                accepted = True
                break
        # A list's append is one step.
        self._sent.append(Sent(call_id, began_at, timedelta(seconds=slowest), accepted))
