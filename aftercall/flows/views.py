"""What operators are shown, by the API and by the CLI's --json alike. Names are the contract's."""

import uuid
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


class View(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Page(View, Generic[T]):
    """`next_cursor` gets the next page; null on the last."""

    items: list[T]
    next_cursor: str | None


class Cost(View):
    amount: str
    currency: str | None


class EventView(View):
    type: str
    event_id: str | None
    received_at: datetime
    duplicates: int
    last_duplicate_at: datetime | None


class AttemptView(View):
    number: int
    started_at: datetime
    duration_ms: int
    outcome: str
    status_code: int | None
    reason: str | None
    response_excerpt: str | None
    next_due_at: datetime | None


class CallFields(View):
    call_id: str
    workspace_id: str
    state: str
    status: str | None
    direction: str | None
    agent_id: str | None
    answered_call_id: str | None
    callee_phone: str | None
    caller_phone: str | None
    duration_seconds: int | None
    billed_duration_seconds: int | None
    cost: Cost | None
    started_at: datetime | None
    ended_at: datetime | None
    input_parameters: dict[str, Any] | None
    output_parameters: dict[str, Any] | None
    recording: dict[str, Any] | None
    transcript: dict[str, Any] | None
    revision: int
    due_at: datetime | None
    last_error: str | None
    received_at: datetime
    fetched_at: datetime | None


class CallView(CallFields):
    """`attempts`: how many fetches it has spent."""

    attempts: int


class DeliveryView(View):
    id: uuid.UUID
    call_id: str
    workspace_id: str
    destination_id: uuid.UUID
    destination: str
    type: str
    revision: int
    state: str
    due_at: datetime | None
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None
    attempts: list[AttemptView]


class CallStory(CallFields):
    """A call with everything that happened to it. `attempts`: its fetches, one by one."""

    attempts_spent: int
    attempts: list[AttemptView]
    events: list[EventView]
    deliveries: list[DeliveryView]
    raw: dict[str, Any] | None


class DestinationView(View):
    id: uuid.UUID
    name: str
    kind: str
    url: str
    workspace_id: str | None
    enabled: bool
    disabled_reason: str | None
    events: list[str]
    filter: str | None
    mapping: str | None
    headers: dict[str, str]
    timeout_seconds: int
    max_in_flight: int
    rate_limit_per_second: int | None
    failing_since: datetime | None
    failures_in_a_row: int
    #: The circuit breaker is open until then; null: it is closed.
    paused_until: datetime | None
    created_at: datetime
    updated_at: datetime


class NewDestinationView(DestinationView):
    """The only view with the secret: when it is made or rotated."""

    secret: str = Field(repr=False)


class WorkspaceView(View):
    workspace_id: str
    has_credentials: bool
    credentials_from: str | None
    rate_limit: int
    is_blocked: bool
    blocked_until: datetime | None
    block_reason: str | None


class AcceptedView(View):
    received: int
    duplicates: int


class ReplayView(View):
    replayed: int


class TestView(View):
    """The hook's answer to a test."""

    outcome: str
    status_code: int | None
    duration_ms: int
    reason: str | None
    response_excerpt: str | None


class AuditView(View):
    """Who changed or replayed what; `detail` has no secrets and no phone numbers."""

    id: int
    at: datetime
    actor: str
    via: str
    address: str | None
    action: str
    subject: str | None
    detail: dict[str, Any]


class StatsView(View):
    calls: dict[str, int]
    deliveries: dict[str, int]
    due_calls: int
    due_deliveries: int
    oldest_due_call_at: datetime | None
    oldest_due_delivery_at: datetime | None
    newest_event_at: datetime | None
