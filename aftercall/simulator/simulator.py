"""Both opposite sides together: a fake Twenty2 and a fake CRM on 127.0.0.1.

Imports nothing of aftercall outside this package, so that it cannot share its
mistakes. What it makes up follows from the seed, as far as threads allow.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from aftercall.simulator.control import control_crm, control_twentytwo
from aftercall.simulator.crm import FakeCrm
from aftercall.simulator.report import Report
from aftercall.simulator.twentytwo import FakeTwentyTwo, SimulatedWorkspace
from aftercall.simulator.webhooks import SentWebhook

DEFAULT_WORKSPACE: Final = SimulatedWorkspace(
    id="699ed3b91ee5bee389dcb6a3",
    api_key="simulated-key",
    api_secret="simulated-secret",  # noqa: S106 (opens nothing)
)


class Simulator:
    """Use it in a `with` block, or call `start()` and, once and for all, `close()`."""

    def __init__(
        self,
        *,
        seed: int = 0,
        workspaces: Sequence[SimulatedWorkspace] = (DEFAULT_WORKSPACE,),
        rate_window_seconds: float = 60.0,
        ports: tuple[int, int] = (0, 0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ports` are Twenty2's and the CRM's; 0 lets the system choose. `clock` is monotonic."""
        self.twentytwo = FakeTwentyTwo(
            seed=seed,
            workspaces=workspaces,
            rate_window_seconds=rate_window_seconds,
            port=ports[0],
            control=lambda request: control_twentytwo(request, self.twentytwo, self.report),
            clock=clock,
        )
        self.crm = FakeCrm(
            seed=seed,
            port=ports[1],
            control=lambda request: control_crm(request, self.crm, self.report),
        )

    def start(self) -> None:
        """Listen on both ports. OSError when one is taken."""
        self.twentytwo.server.start()
        try:
            self.crm.server.start()
        except OSError:
            self.twentytwo.server.close()
            raise

    def close(self) -> None:
        """End every connection, hang and thread. What was recorded stays readable."""
        self.twentytwo.webhooks.stop()
        self.twentytwo.server.close()
        self.crm.server.close()

    def send_webhooks(
        self,
        call_ids: Iterable[str],
        *,
        url: str,
        per_second: float | None = None,
        duplicate_rate: float = 0.0,
        threads: int = 8,
        hmac_secret: str | None = None,
    ) -> list[SentWebhook]:
        """`twentytwo.webhooks.send_all`."""
        return self.twentytwo.webhooks.send_all(
            call_ids,
            url=url,
            per_second=per_second,
            duplicate_rate=duplicate_rate,
            threads=threads,
            hmac_secret=hmac_secret,
        )

    def report(self) -> Report:
        """What both sides have seen so far."""
        breaches, largest_overrun = self.twentytwo.breaches()
        sent = self.twentytwo.webhooks.sent()
        tally = self.crm.tally()
        return Report(
            requests=dict(
                Counter(self.twentytwo.server.request_counts())
                + Counter(self.crm.server.request_counts())
            ),
            rate_limit_breaches=breaches,
            largest_overrun=largest_overrun,
            webhooks_sent=len(sent),
            webhooks_accepted=sum(webhook.accepted for webhook in sent),
            crm_requests=tally.requests,
            crm_accepted=tally.accepted,
            crm_unique_ids=tally.unique_ids,
            crm_duplicates=tally.duplicates,
            ids_that_disagree=tally.ids_that_disagree,
            bodies_that_disagree=tally.bodies_that_disagree,
            bad_signatures=tally.bad_signatures,
            bad_ids=tally.bad_ids,
            bad_bodies=tally.bad_bodies,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
