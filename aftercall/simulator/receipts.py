"""What the fake CRM was sent, what it accepted, and what about it contradicts itself.

A promise of delivery at least once, with ids to recognise repeats by, is
checked here: one content has one id, one id has one content, and a repeat
comes under the same id. Thread-safe; kept in memory for as long as the
simulator lives.
"""

import hashlib
import json
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from typing import Any


class Refusal(StrEnum):
    """Why a request is not even considered."""

    NO_SECRET = auto()
    """The hook has not been told its secret yet."""
    BAD_SIGNATURE = auto()
    BAD_ID = auto()
    """webhook-id is missing, has a dot, or is not the same as Idempotency-Key."""
    BAD_BODY = auto()
    """Well signed, but no JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """A request to a hook, whatever became of it."""

    hook: str
    #: As sent, so None or nonsense is possible; checked only for the accepted.
    webhook_id: str | None
    #: None where the signature was bad, or where the body names no call.
    call_id: str | None
    received_at: datetime
    #: The status answered, "hang" or "reset".
    answer: str
    accepted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A well-signed request with proper ids and a JSON body."""

    hook: str
    webhook_id: str
    call_id: str | None
    received_at: datetime
    #: The webhook's own headers, names in lower case.
    headers: Mapping[str, str]
    raw_body: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw_body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The CRM's side of the report."""

    requests: int
    accepted: int
    unique_ids: int
    duplicates: int
    ids_that_disagree: int
    bodies_that_disagree: int
    bad_signatures: int
    bad_ids: int
    bad_bodies: int


class Ledger:
    """Keeps the requests and receipts of all hooks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: list[SeenRequest] = []
        self._accepted: list[Receipt] = []
        self._accepted_ids: set[tuple[str, str]] = set()
        self._accepted_calls: defaultdict[str, set[str]] = defaultdict(set)
        self._ids_of_content: dict[bytes, str] = {}
        self._body_of_id: dict[tuple[str, str], bytes] = {}
        self._ids_that_disagree: set[tuple[str, str]] = set()
        self._bodies_that_disagree: set[tuple[str, str]] = set()
        self._refusals: Counter[Refusal] = Counter()

    def refused(self, seen: SeenRequest, refusal: Refusal) -> None:
        with self._lock:
            self._seen.append(seen)
            self._refusals[refusal] += 1

    def well_formed(self, seen: SeenRequest, receipt: Receipt, body: Any) -> None:
        """Check against what came before; keep it as a receipt if it was accepted.

        Requests that were not accepted are checked too: the id must stay the
        same from the first attempt on, not from the first success on.
        """
        hook_and_id = (receipt.hook, receipt.webhook_id)
        content = _content_key(receipt, body)
        digest = hashlib.blake2b(receipt.raw_body, digest_size=16).digest()
        with self._lock:
            self._seen.append(seen)
            if self._ids_of_content.setdefault(content, receipt.webhook_id) != receipt.webhook_id:
                self._ids_that_disagree.add(hook_and_id)
            if self._body_of_id.setdefault(hook_and_id, digest) != digest:
                self._bodies_that_disagree.add(hook_and_id)
            if seen.accepted:
                self._accepted.append(receipt)
                self._accepted_ids.add(hook_and_id)
                if receipt.call_id is not None:
                    self._accepted_calls[receipt.hook].add(receipt.call_id)

    def seen(self) -> list[SeenRequest]:
        with self._lock:
            return list(self._seen)

    def receipts(self) -> list[Receipt]:
        with self._lock:
            return list(self._accepted)

    def accepted_call_ids(self, hook: str | None) -> set[str]:
        """The calls that this hook has accepted something about; None: that any hook has."""
        with self._lock:
            if hook is not None:
                return set(self._accepted_calls[hook])
            return set().union(*self._accepted_calls.values())

    def ids_that_disagree(self) -> set[tuple[str, str]]:
        """(hook, webhook-id) of each further id under which some content came."""
        with self._lock:
            return set(self._ids_that_disagree)

    def bodies_that_disagree(self) -> set[tuple[str, str]]:
        """(hook, webhook-id) of each id under which different bodies came."""
        with self._lock:
            return set(self._bodies_that_disagree)

    def tally(self) -> Tally:
        with self._lock:
            return Tally(
                requests=len(self._seen),
                accepted=len(self._accepted),
                unique_ids=len(self._accepted_ids),
                duplicates=len(self._accepted) - len(self._accepted_ids),
                ids_that_disagree=len(self._ids_that_disagree),
                bodies_that_disagree=len(self._bodies_that_disagree),
                bad_signatures=self._refusals[Refusal.BAD_SIGNATURE],
                bad_ids=self._refusals[Refusal.BAD_ID],
                bad_bodies=self._refusals[Refusal.BAD_BODY],
            )


def _content_key(receipt: Receipt, body: Any) -> bytes:
    """What makes two requests the same news: hook, call, event type and content.

    The content is `data` of the default payload, and the whole body of a mapped
    one. A top-level `timestamp` is not part of it: it may tell the attempt's time.
    """
    event_type = body.get("type") if isinstance(body, dict) else None
    content = body
    if isinstance(body, dict):
        content = body.get("data", {k: v for k, v in body.items() if k != "timestamp"})
    key = json.dumps([receipt.hook, receipt.call_id, event_type, content], sort_keys=True)
    return hashlib.blake2b(key.encode(), digest_size=16).digest()
