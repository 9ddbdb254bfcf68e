"""The values that travel between the rooms: what came in, what was claimed, what was learned.

Frozen; no method decides anything. `dict[str, Any]` appears only where the
customer's own parameters do.
"""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from aftercall.domain.states import Priority

#: The type of an event that came as a bare call id. Says nothing new of a call that is known.
UNSPECIFIED = "unspecified"
#: The same, of an event that a reconciliation made of a call in Twenty2's log.
FOUND_IN_LOG = "found_in_log"
BARE_TYPES = (UNSPECIFIED, FOUND_IN_LOG)
CALL_COMPLETED = "call.completed"
CALL_FAILED = "call.failed"
#: What a destination had already has changed.
CALL_UPDATED = "call.updated"
EVENT_TYPES = (CALL_COMPLETED, CALL_FAILED, CALL_UPDATED)

#: The kind of a destination that is no CRM.
WEBHOOK = "webhook"

#: JSON objects whose keys are the customer's.
Parameters = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingEvent:
    """Somebody says that a call has ended."""

    call_id: str
    #: None: the one workspace that is configured.
    workspace_id: str | None
    type: str
    event_id: str | None
    #: The request that brought it.
    webhook_id: uuid.UUID
    received_at: datetime
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What became of one incoming event."""

    #: The call's row when it became due, else None.
    call_row_id: int | None
    is_duplicate: bool
    #: Of the call as it became due, and whether this event alone made it so.
    revision: int = 0
    is_first: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A recording or a transcript at Twenty2. The link expires."""

    url: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDetail:
    """What Twenty2 said of a call. Absent and unreadable values are None; `raw` has everything."""

    answered_call_id: str | None
    status: str
    direction: str | None
    agent_id: str | None
    callee_phone: str | None
    caller_phone: str | None
    duration_seconds: int | None
    billed_duration_seconds: int | None
    cost_amount: Decimal | None
    cost_currency: str | None
    started_at: datetime | None
    ended_at: datetime | None
    input_parameters: Parameters
    output_parameters: Parameters
    recording: Media | None
    transcript: Media | None
    raw: Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Of one workspace. Kept out of every repr."""

    api_key: str
    api_secret: str

    def __repr__(self) -> str:
        return "Credentials(…)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedCall:
    """A call that this process holds the lease of."""

    row_id: int
    workspace_id: str
    call_id: str
    lease_token: uuid.UUID
    attempts: int
    priority: int
    due_at: datetime
    not_ready_since: datetime | None
    unknown_since: datetime | None
    revision: int
    content_hash: bytes | None
    #: The one call that finds out whether a blocked workspace works again.
    is_probe: bool
    #: How often it was decided to look at it again, for media that were not there.
    looks: int = 0

    @property
    def is_look(self) -> bool:
        """Saved already, and fetched once more by ourselves: whatever comes of it, it is saved."""
        return self.revision > 0 and self.priority == Priority.BACKFILL


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that this process holds the lease of, with all that sending it needs."""

    id: uuid.UUID
    call_row_id: int
    workspace_id: str
    call_id: str
    destination_id: uuid.UUID
    destination_name: str
    lease_token: uuid.UUID
    attempts: int
    due_at: datetime
    type: str
    created_at: datetime
    url: str
    mapping: str | None
    headers_sealed: str | None
    secret_sealed: str
    timeout_seconds: int
    failing_since: datetime | None
    failures_in_a_row: int
    call: Parameters
    input_parameters: Parameters
    output_parameters: Parameters
    recording: Parameters | None
    transcript: Parameters | None
    #: The secret before, which signs as well until then.
    old_secret_sealed: str | None = None
    old_secret_until: datetime | None = None
    #: `webhook`, or a CRM; then what is written there, with whose credentials.
    kind: str = WEBHOOK
    sync: Parameters | None = None
    credentials_sealed: str | None = None
    #: The workspace's: where numbers belong, and the zone that people speak in.
    region: str = "IN"
    time_zone: str = "Asia/Kolkata"
    lease_until: datetime | None = None
    #: When its call came in, if this is the first that the destination gets of it.
    awaited_since: datetime | None = None
    revision: int = 1
    #: Our own links, which last; None without AFTERCALL_PUBLIC_URL, or when nothing is kept.
    recording_link: str | None = field(default=None, repr=False)
    transcript_link: str | None = field(default=None, repr=False)
