"""The fake CRM: hooks that take signed webhooks, with faults, slowness and outages.

Signatures are checked with the `standardwebhooks` package, not with code of
ours. A hook without a secret answers 503: aftercall may be the one who makes
the secret, and tells it to the hook afterwards.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any, Final

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

from aftercall.simulator.exchange import App, HttpRequest, Reply
from aftercall.simulator.fault_replies import REDIRECT_TARGET, faulty_reply
from aftercall.simulator.faults import (
    CRM_FAULTS,
    FAULTS_AFTER_THE_EFFECT,
    Fault,
    FaultPlan,
    PlannedFault,
)
from aftercall.simulator.receipts import Ledger, Receipt, Refusal, SeenRequest, Tally
from aftercall.simulator.server import LocalServer

HOOKS_PREFIX: Final = "/hooks/"
CallIdOf = Callable[[Any], str | None]
"""Finds the call's id in a parsed body. LookupError, TypeError and AttributeError mean None."""


def call_id_in_data(body: Any) -> str | None:
    """Where the default payload has the call's id."""
    call_id = body["data"]["call_id"]
    return call_id if isinstance(call_id, str) else None


@dataclass(frozen=True, slots=True)
class _Slowness:
    median_seconds: float
    sigma: float
    longest_seconds: float


class Hook:
    """One hook: its secrets, its faults, its slowness. Made by `FakeCrm.add_hook`."""

    def __init__(
        self, name: str, secrets: Iterable[str], *, seed: int, call_id_of: CallIdOf, status: int
    ) -> None:
        self.name = name
        self.status = status
        self._call_id_of = call_id_of
        self._faults = FaultPlan(seed=f"{seed}/hooks/{name}", allowed=CRM_FAULTS)
        self._lock = threading.Lock()
        self._rng = Random(f"{seed}/hooks/{name}/latency")
        self._slowness: _Slowness | None = None
        self._verifiers: tuple[Webhook, ...] = ()
        self.set_secrets(*secrets)

    def set_secrets(self, *secrets: str) -> None:
        """The secrets accepted from now on, `whsec_…`: several while one is being rotated.

        ValueError when one of them is none.
        """
        try:
            self._verifiers = tuple(Webhook(secret) for secret in secrets)
        except (ValueError, EmptyWebhookSecretError) as error:
            raise ValueError(f"hook {self.name}: {error}") from error

    def fail_next(self, *faults: Fault | PlannedFault) -> None:
        """The next requests, whatever their call, meet these, one each."""
        self._faults.fail_next(*faults)

    def fail_next_for_call(self, call_id: str, *faults: Fault | PlannedFault) -> None:
        """The next requests for this call meet these, one each."""
        self._faults.fail_next_for(call_id, *faults)

    def fail_at_rate(self, rate: float, kinds: Iterable[Fault | PlannedFault]) -> None:
        """From now on this share of the requests (0 to 1) meets one of `kinds`."""
        self._faults.fail_at_rate(rate, kinds)

    def slow_down(
        self, median_seconds: float, *, sigma: float = 1.0, longest_seconds: float = 30.0
    ) -> None:
        """Answer late from now on, log-normally: most about the median, a few far beyond it.

        A median of 0 ends it.
        """
        slowness = _Slowness(median_seconds, sigma, longest_seconds)
        self._slowness = slowness if median_seconds > 0 else None

    @property
    def has_secret(self) -> bool:
        return bool(self._verifiers)

    def verifies(self, request: HttpRequest) -> bool:
        """Whether one of the secrets signed this request, and lately."""
        return any(_verifies(verifier, request) for verifier in self._verifiers)

    def call_id_in(self, body: Any) -> str | None:
        try:
            return self._call_id_of(body)
        except (LookupError, TypeError, AttributeError):
            return None

    def draw_fault(self, call_id: str | None) -> PlannedFault | None:
        return self._faults.draw(call_id or "")

    def draw_latency(self) -> float:
        slowness = self._slowness
        if slowness is None:
            return 0.0
        with self._lock:
            drawn = slowness.median_seconds * self._rng.lognormvariate(0.0, slowness.sigma)
        return min(drawn, slowness.longest_seconds)


class FakeCrm:
    """Takes what aftercall delivers. Thread-safe."""

    def __init__(self, *, seed: int, port: int, control: App) -> None:
        """`control` answers whatever lies under `/_simulator/`."""
        self._seed = seed
        self._control = control
        self._lock = threading.Lock()
        self._hooks: dict[str, Hook] = {}
        self._ledger = Ledger()
        self.server = LocalServer(self._answer, port=port)

    def add_hook(
        self,
        name: str,
        *secrets: str,
        call_id_of: CallIdOf = call_id_in_data,
        status: int = 200,
    ) -> Hook:
        """Open `/hooks/<name>`, or open it anew. `status` is what it answers when it accepts."""
        if not name or "/" in name or "?" in name:
            raise ValueError(f"a hook's name is one piece of a path, not {name!r}")
        hook = Hook(name, secrets, seed=self._seed, call_id_of=call_id_of, status=status)
        with self._lock:
            self._hooks[name] = hook
        return hook

    def hook(self, name: str) -> Hook:
        """KeyError when there is no such hook."""
        with self._lock:
            return self._hooks[name]

    def hook_url(self, name: str) -> str:
        return f"{self.server.origin}{HOOKS_PREFIX}{name}"

    def cut(self) -> None:
        """An outage: connections are dropped and refused, until `restore()`."""
        self.server.cut()

    def restore(self) -> None:
        """Back on the same port."""
        self.server.start()

    def requests(self, hook: str | None = None) -> list[SeenRequest]:
        """Every request that hooks have seen, accepted or not, in the order of arrival."""
        return [seen for seen in self._ledger.seen() if hook in (None, seen.hook)]

    def receipts(self, hook: str | None = None) -> list[Receipt]:
        """Every request that was accepted, duplicates included."""
        return [receipt for receipt in self._ledger.receipts() if hook in (None, receipt.hook)]

    def accepted_call_ids(self, hook: str | None = None) -> set[str]:
        """The calls that this hook (None: any hook) has accepted something about."""
        return self._ledger.accepted_call_ids(hook)

    def wait_for_calls(
        self, call_ids: Iterable[str], *, hook: str | None = None, timeout_seconds: float
    ) -> set[str]:
        """Wait until all of these are accepted; the ones still missing when the time is up."""
        deadline = time.monotonic() + timeout_seconds
        missing = set(call_ids)
        while missing := missing - self.accepted_call_ids(hook):
            if time.monotonic() >= deadline:
                break
            time.sleep(0.05)
        return missing

    def ids_that_disagree(self) -> set[tuple[str, str]]:
        """(hook, webhook-id) of each further id under which some content came."""
        return self._ledger.ids_that_disagree()

    def bodies_that_disagree(self) -> set[tuple[str, str]]:
        """(hook, webhook-id) of each id under which different bodies came."""
        return self._ledger.bodies_that_disagree()

    def tally(self) -> Tally:
        return self._ledger.tally()

    def _answer(self, request: HttpRequest) -> Reply:
        if request.path.startswith("/_simulator/"):
            return self._control(request)
        if request.path == REDIRECT_TARGET:
            return Reply(body=b'{"redirected": true}')
        with self._lock:
            hook = self._hooks.get(request.path.removeprefix(HOOKS_PREFIX))
        if hook is None or not request.path.startswith(HOOKS_PREFIX):
            return _problem(404, "no such hook")
        if request.method != "POST":
            return _problem(405, "a hook takes POST")
        return self._receive(hook, request)

    def _receive(self, hook: Hook, request: HttpRequest) -> Reply:
        seen = SeenRequest(
            hook=hook.name,
            webhook_id=request.headers.get("webhook-id"),
            call_id=None,
            received_at=datetime.now(UTC),
            answer="",
            accepted=False,
        )
        if not hook.has_secret:
            self._ledger.refused(replace(seen, answer="503"), Refusal.NO_SECRET)
            return _problem(503, "this hook has not been told its secret yet")
        if not hook.verifies(request):
            self._ledger.refused(replace(seen, answer="401"), Refusal.BAD_SIGNATURE)
            return _problem(401, "bad signature")
        if (webhook_id := _proper_id(request)) is None:
            self._ledger.refused(replace(seen, answer="400"), Refusal.BAD_ID)
            return _problem(
                400, "webhook-id is missing, has a dot, or differs from Idempotency-Key"
            )
        try:
            body = json.loads(request.body)
        except (ValueError, RecursionError):
            self._ledger.refused(replace(seen, answer="400"), Refusal.BAD_BODY)
            return _problem(400, "the body is not JSON")
        seen = replace(seen, call_id=hook.call_id_in(body))
        return self._take(hook, request, seen, webhook_id, body)

    def _take(
        self, hook: Hook, request: HttpRequest, seen: SeenRequest, webhook_id: str, body: Any
    ) -> Reply:
        fault = hook.draw_fault(seen.call_id)
        reply = _reply_to_proper(fault, hook.status)
        accepted = fault is None or fault.kind in FAULTS_AFTER_THE_EFFECT
        receipt = Receipt(
            hook=hook.name,
            webhook_id=webhook_id,
            call_id=seen.call_id,
            received_at=seen.received_at,
            headers={k: v for k, v in request.headers.items() if k not in _CONNECTION_HEADERS},
            raw_body=request.body,
        )
        self._ledger.well_formed(
            replace(seen, answer=reply.outcome, accepted=accepted), receipt, body
        )
        return replace(reply, delay_seconds=reply.delay_seconds + hook.draw_latency())


_CONNECTION_HEADERS: Final = frozenset(
    {"host", "connection", "accept", "accept-encoding", "content-length"}
)


def _reply_to_proper(fault: PlannedFault | None, status: int) -> Reply:
    accepted = Reply(status=status, body=b"" if status == 204 else b'{"accepted": true}')
    if fault is None:
        return accepted
    return faulty_reply(
        fault,
        truth=lambda: accepted,
        error_reply=lambda status, fault: _problem(status, f"simulated {fault.kind}"),
    )


def _problem(status: int, message: str) -> Reply:
    return Reply(status=status, body=json.dumps({"error": message}).encode())


def _verifies(verifier: Webhook, request: HttpRequest) -> bool:
    try:
        verifier.verify(request.body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):
        # The package lets malformed signatures out as ValueError.
        return False
    return True


def _proper_id(request: HttpRequest) -> str | None:
    webhook_id = request.headers.get("webhook-id", "")
    proper = bool(webhook_id) and "." not in webhook_id
    return webhook_id if proper and request.headers.get("idempotency-key") == webhook_id else None
