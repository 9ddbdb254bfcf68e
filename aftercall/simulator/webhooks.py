"""Sends the provider's webhooks, and remembers what each of them was answered.

An audit trusts this memory: a call whose webhook was answered 200 must arrive
at the end. Every delivery carries an event id of its own, duplicates included.
"""

import hashlib
import hmac
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import Final

import requests

from aftercall.simulator.calls import SimulatedCall
from aftercall.simulator.payloads import encode, webhook

SIGNATURE_HEADER: Final = "x-twenty2-signature"
ANSWER_WITHIN_SECONDS: Final = 5.0
"""The provider's documented limit."""
_MOST_THREADS: Final = 64
_DUPLICATE_LAG: Final = 50
"""A duplicate comes up to this many webhooks after its original."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentWebhook:
    """One delivery and its answer."""

    call_id: str
    event_id: str
    event: str
    sent_at: datetime
    #: None: no answer came in time, or none at all.
    status: int | None
    elapsed_seconds: float

    @property
    def accepted(self) -> bool:
        return self.status == 200


class WebhookSender:
    """Posts webhooks for calls that `find_call` knows. Thread-safe."""

    def __init__(self, find_call: Callable[[str], SimulatedCall], *, seed: int) -> None:
        self._find_call = find_call
        self._rng = Random(f"{seed}/webhooks")
        self._lock = threading.Lock()
        self._sent: list[SentWebhook] = []
        self._stopped = threading.Event()
        self._background: list[threading.Thread] = []

    def send(
        self,
        call_id: str,
        *,
        url: str,
        event: str | None = None,
        hmac_secret: str | None = None,
    ) -> SentWebhook:
        """Post one webhook. `event` None: the one that fits the call's status."""
        with _session() as session:
            return self._post(session, call_id, url=url, event=event, hmac_secret=hmac_secret)

    def send_all(
        self,
        call_ids: Iterable[str],
        *,
        url: str,
        per_second: float | None = None,
        duplicate_rate: float = 0.0,
        threads: int = 8,
        hmac_secret: str | None = None,
    ) -> list[SentWebhook]:
        """Post a webhook for each call, and return when all are answered.

        `per_second` None: as fast as the threads can. `duplicate_rate` is the
        share of the calls that get a second delivery, a little later. KeyError,
        and nothing sent, when one of the calls is not known.
        """
        wanted = list(call_ids)
        for call_id in wanted:
            self._find_call(call_id)
        stream = self._with_duplicates(wanted, duplicate_rate)
        results: list[SentWebhook] = []
        position = count()
        started = time.monotonic()

        def send_in_turn() -> None:
            with _session() as session:
                while (index := next(position)) < len(stream):
                    due = started + index / per_second if per_second else started
                    if self._stopped.wait(max(0.0, due - time.monotonic())):
                        return
                    results.append(
                        self._post(session, stream[index], url=url, hmac_secret=hmac_secret)
                    )

        workers = [
            threading.Thread(target=send_in_turn, daemon=True)
            for _ in range(min(max(threads, 1), _MOST_THREADS, len(stream)))
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return results

    def send_all_in_background(
        self,
        call_ids: Iterable[str],
        *,
        url: str,
        per_second: float | None = None,
        duplicate_rate: float = 0.0,
        hmac_secret: str | None = None,
    ) -> None:
        """`send_all` on a thread of its own, which ends with `stop()` at the latest."""

        def send() -> None:
            self.send_all(
                call_ids,
                url=url,
                per_second=per_second,
                duplicate_rate=duplicate_rate,
                hmac_secret=hmac_secret,
            )

        thread = threading.Thread(target=send, daemon=True)
        with self._lock:
            self._background = [old for old in self._background if old.is_alive()] + [thread]
        thread.start()

    def sent(self) -> list[SentWebhook]:
        """Every delivery so far, in the order of their answers."""
        with self._lock:
            return list(self._sent)

    def accepted_call_ids(self) -> set[str]:
        """The calls of which at least one webhook was answered 200."""
        return {sent.call_id for sent in self.sent() if sent.accepted}

    def stop(self) -> None:
        """Send nothing more, and wait for what is on its way."""
        self._stopped.set()
        with self._lock:
            background = list(self._background)
        for thread in background:
            thread.join(ANSWER_WITHIN_SECONDS + 1)

    def _post(
        self,
        session: requests.Session,
        call_id: str,
        *,
        url: str,
        event: str | None = None,
        hmac_secret: str | None = None,
    ) -> SentWebhook:
        with self._lock:
            event_id = f"evt_{uuid.UUID(int=self._rng.getrandbits(128), version=4)}"
        payload = webhook(self._find_call(call_id), event=event, event_id=event_id)
        body = encode(payload)
        sent_at, started = datetime.now(UTC), time.monotonic()
        status = _answer_to(session, url, body, _headers(body, hmac_secret))
        sent = SentWebhook(
            call_id=call_id,
            event_id=event_id,
            event=payload["event"],
            sent_at=sent_at,
            status=status,
            elapsed_seconds=time.monotonic() - started,
        )
        with self._lock:
            self._sent.append(sent)
        return sent

    def _with_duplicates(self, call_ids: list[str], rate: float) -> list[str]:
        with self._lock:
            placed: list[tuple[float, str]] = [
                (float(place), call_id) for place, call_id in enumerate(call_ids)
            ]
            placed += [
                (place + self._rng.uniform(0.5, _DUPLICATE_LAG), call_id)
                for place, call_id in enumerate(call_ids)
                if self._rng.random() < rate
            ]
        return [call_id for _, call_id in sorted(placed)]


def signature(body: bytes, secret: str) -> str:
    """What x-twenty2-signature says: `sha256=` and the hex HMAC-SHA256 of the raw body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _headers(body: bytes, hmac_secret: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if hmac_secret is not None:
        headers[SIGNATURE_HEADER] = signature(body, hmac_secret)
    return headers


def _answer_to(
    session: requests.Session, url: str, body: bytes, headers: dict[str, str]
) -> int | None:
    try:
        return session.post(
            url, data=body, headers=headers, timeout=ANSWER_WITHIN_SECONDS, allow_redirects=False
        ).status_code
    except requests.RequestException:
        return None


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # No proxy lies between the simulator and this machine.
    return session
