"""What both sides have seen, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Counts since the start. As JSON: `GET /_simulator/report` on either side."""

    #: By path and answer: `{"/api/call/detail 200": 12, "/hooks/leads reset": 1, …}`.
    requests: Mapping[str, int]
    #: Requests over a workspace's rate limit, each answered 429.
    rate_limit_breaches: int
    #: The most requests that one window held over its limit.
    largest_overrun: int
    #: Deliveries of the provider's webhook, duplicates included …
    webhooks_sent: int
    #: … and those that were answered 200.
    webhooks_accepted: int
    crm_requests: int
    #: Answered 2xx, or lost on the way back: the CRM has it.
    crm_accepted: int
    crm_unique_ids: int
    #: Accepted again under an id that was accepted before: at least once, as promised.
    crm_duplicates: int
    #: Ids under which content came that had come under another id: a broken promise.
    ids_that_disagree: int
    #: Ids under which different bodies came.
    bodies_that_disagree: int
    bad_signatures: int
    #: webhook-id with a dot, or not the same as Idempotency-Key.
    bad_ids: int
    #: Well signed, but no JSON.
    bad_bodies: int
