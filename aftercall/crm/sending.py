"""Posts one delivery to its hook: body, headers, one guarded request."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from aftercall.crm.mapping import make_body
from aftercall.crm.signing import signature_headers
from aftercall.domain.exchange import Exchange
from aftercall.domain.work import ClaimedDelivery
from aftercall.http import AddressGuard, HttpClient, Limits, Request, without_secrets
from aftercall.sealing import Sealer, SealError

log = structlog.get_logger(__name__)

#: A hook's answer is read for the story only.
MAX_ANSWER_BYTES = 64 * 1024
_CONNECT = timedelta(seconds=5)

#: Headers that are ours to set; a destination's own may not replace them.
RESERVED_HEADERS = frozenset(
    {
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "connection",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "idempotency-key",
    }
)


@dataclass(frozen=True, slots=True)
class PreparedPost:
    """A request that is ready to go."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    timeout: timedelta
    #: What an answer that repeats the request must not show.
    secrets: tuple[str, ...] = field(default=(), repr=False)


def prepare(
    delivery: ClaimedDelivery, *, sealer: Sealer, now: datetime, traceparent: str | None = None
) -> PreparedPost:
    """Maps, opens the secrets, signs. MappingError or SealError when that fails."""
    body = make_body(delivery)
    secrets = [sealer.open(delivery.secret_sealed)]
    if delivery.old_secret_sealed and delivery.old_secret_until and now < delivery.old_secret_until:
        secrets.extend(_old_secret(delivery, sealer))
    custom = json.loads(sealer.open(delivery.headers_sealed)) if delivery.headers_sealed else {}
    headers = {
        **custom,
        "Content-Type": "application/json",
        **signature_headers(body, delivery_id=str(delivery.id), secrets_=tuple(secrets), now=now),
    }
    if traceparent is not None and "traceparent" not in map(str.lower, custom):
        headers["traceparent"] = traceparent
    return PreparedPost(
        delivery.url,
        headers,
        body,
        timedelta(seconds=delivery.timeout_seconds),
        # "Bearer x" and "x" alike.
        secrets=(*custom.values(), *(value.rpartition(" ")[2] for value in custom.values())),
    )


def _old_secret(delivery: ClaimedDelivery, sealer: Sealer) -> list[str]:
    """None when no key opens it any more: who has the new one is served all the same."""
    try:
        return [sealer.open(delivery.old_secret_sealed or "")]
    except SealError as error:
        log.warning(
            "destination.old_secret_unreadable",
            destination_id=str(delivery.destination_id),
            destination=delivery.destination_name,
            why=str(error),
        )
        return []


class HookSender:
    """Posts through one client, which refuses private addresses."""

    def __init__(self, *, guard: AddressGuard, keep: int = 1) -> None:
        """`keep`: idle connections."""
        self._client = HttpClient(guard=guard, keep=keep)

    def send(self, prepared: PreparedPost, then: Callable[[Exchange], None]) -> None:
        self._client.send(_request(prepared), then)

    def post(self, prepared: PreparedPost) -> Exchange:
        """The same, waited for."""
        return without_secrets(self._client.exchange(_request(prepared)), prepared.secrets)

    def ask(self, request: Request) -> Exchange:
        """Any other request, waited for."""
        return self._client.exchange(request)

    def close(self) -> None:
        self._client.close()


def _request(prepared: PreparedPost) -> Request:
    return Request(
        method="POST",
        url=prepared.url,
        headers=prepared.headers,
        body=prepared.body,
        limits=Limits(
            connect=min(_CONNECT, prepared.timeout),
            deadline=prepared.timeout,
            max_body_bytes=MAX_ANSWER_BYTES,
        ),
    )
