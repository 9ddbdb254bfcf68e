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


class PageBothWays(Page[T], Generic[T]):
    """`previous_cursor` gets the page before; null on the first."""

    previous_cursor: str | None


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

    @property
    def is_skip(self) -> bool:
        """It went well, and nothing was to be done there, for this reason."""
        return self.outcome == "succeeded" and self.reason is not None


class NextAttemptView(View):
    """`at`: not before then; null: when what `why` says has passed."""

    at: datetime | None
    why: str


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


class StepView(View):
    """What a CRM has of a call. `state`: `done`, or `sent`: whether it worked is not known yet."""

    step: str
    state: str
    remote_id: str | None
    note: str | None
    at: datetime


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
    #: Null when none is to come.
    next_attempt: NextAttemptView | None
    #: What the destination is; and of a CRM, what was done there.
    kind: str = "webhook"
    steps: list[StepView] = []


class MediaView(View):
    """A recording or a transcript that is kept here, or will be: `queued`, `fetching`, `stored`,
    `dead`. `link`: ours, which lasts; null without AFTERCALL_PUBLIC_URL."""

    kind: str
    state: str
    due_at: datetime | None
    attempts: int
    last_error: str | None
    size_bytes: int | None
    content_type: str | None
    sha256: str | None
    stored_at: datetime | None
    link: str | None = Field(repr=False)
    #: The same on this server, for its own pages.
    path: str = Field(exclude=True, repr=False)


class TranscriptView(View):
    """What was said. `is_cut`: the file has more of it."""

    text: str
    is_cut: bool


class NotKeptView(View):
    """What of a call was there once: `payload`, `attempts`, `media`; and what became of it."""

    kind: str
    message: str


class CallStory(CallFields):
    """A call with everything that happened to it. `attempts`: its fetches, one by one."""

    attempts_spent: int
    #: The next fetch; null when none is to come.
    next_attempt: NextAttemptView | None
    #: When it is fetched once more because its recording or transcript is late; null: it is not.
    look_again_at: datetime | None
    media: list[MediaView]
    transcript_text: TranscriptView | None
    attempts: list[AttemptView]
    events: list[EventView]
    deliveries: list[DeliveryView]
    #: What was removed by retention: no error.
    not_kept: list[NotKeptView]
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
    #: Of a CRM: what is written there, and its credentials, masked.
    sync: dict[str, Any] | None
    credentials: dict[str, str]
    timeout_seconds: int
    max_in_flight: int
    rate_limit_per_second: int | None
    failing_since: datetime | None
    failures_in_a_row: int
    #: Nothing is sent until then: the circuit breaker is open, or a CRM's limit is waited for.
    paused_until: datetime | None
    #: The secret before signs as well, until then.
    old_secret_until: datetime | None
    #: Deliveries that wait for their turn, and those that are held while it is disabled.
    waiting: int
    held: int
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
    #: Where numbers without a country's code belong, and the zone that people speak in.
    region: str
    time_zone: str


class AcceptedView(View):
    received: int
    duplicates: int


class ReplayProgressView(View):
    """A replay of many: `running`, `done`, or `canceled`."""

    id: uuid.UUID
    state: str
    conditions: dict[str, Any]
    total: int
    done: int
    created_at: datetime
    finished_at: datetime | None


class ReconciliationView(View):
    """Twenty2's log of calls, read for those that never came here.

    `running`, `done`, `canceled`, or `failed`; `by_hand` or `periodic`.
    """

    id: uuid.UUID
    workspace_id: str
    kind: str
    state: str
    #: Calls that began in between; null: no bound.
    since: datetime | None
    until: datetime | None
    #: The page that comes next, or that was the last.
    page: int
    pages_read: int
    #: known + missing + under_way + outside.
    calls_seen: int
    already_known: int
    #: Never seen before: queued.
    missing: int
    #: Not at their end yet: left for the next time.
    under_way: int
    #: Not between since and until.
    outside: int
    #: Entries of the log that are no call.
    unreadable: int
    #: How many calls there are, if Twenty2 says so.
    total: int | None
    last_error: str | None
    note: str | None
    #: When the next page may be asked for; null when there is none.
    due_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


class ReplayView(View):
    """How many go again. Of many, in a while: then `replay` tells how far it is."""

    replayed: int
    replay: ReplayProgressView | None = None


class ReplayShareView(View):
    destination_id: uuid.UUID
    destination: str
    enabled: bool
    count: int


class ReplayPreviewView(View):
    """How many would go again, and where to. To a disabled destination they would be held."""

    total: int
    destinations: list[ReplayShareView]


class CheckView(View):
    """One thing that a CRM was asked; `advice`: what is missing, and where to add it."""

    what: str
    works: bool
    advice: str | None


class CrmFieldView(View):
    """A field of people at a CRM. `choices`: the values that it takes, if it takes no others."""

    field: str
    label: str
    type: str
    read_only: bool
    choices: list[str]


class TestView(View):
    """The hook's answer to a test; of a CRM, what it was asked."""

    outcome: str
    status_code: int | None
    duration_ms: int
    reason: str | None
    response_excerpt: str | None
    checks: list[CheckView] = []


class BackfillView(View):
    """How many past calls were looked at, how many it would have wanted, and how many go now."""

    looked_at: int
    wanted: int
    queued: int


class NeedView(View):
    """Something that a person has to give."""

    key: str
    label: str
    hint: str
    required: bool


class KindView(View):
    """A kind of CRM. `api` null: each company has its own address, as `api_hint` says."""

    kind: str
    name: str
    api: str | None
    api_hint: str
    credentials: list[NeedView]
    options: list[NeedView]
    objects: list[str]


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


class NoticeView(View):
    """Something that the operator's webhook is told: `queued`, `sending`, `sent`, `dead`."""

    id: uuid.UUID
    type: str
    subject: str
    state: str
    attempts: int
    due_at: datetime
    last_error: str | None
    created_at: datetime
    sent_at: datetime | None
    #: As it is posted.
    body: dict[str, Any]


class OperatorHookView(View):
    """`failing`: the newest notice that was tried, where it was not taken."""

    is_set: bool
    last_told: NoticeView | None
    failing: NoticeView | None


class StatsView(View):
    calls: dict[str, int]
    deliveries: dict[str, int]
    due_calls: int
    due_deliveries: int
    oldest_due_call_at: datetime | None
    oldest_due_delivery_at: datetime | None
    newest_event_at: datetime | None


class ActivityView(View):
    """What happened since then. `dead`: calls and deliveries that were given up."""

    since: datetime
    received: int = 0
    saved: int = 0
    delivered: int = 0
    dead: int = 0


class WaitingView(View):
    """`count`: all that is queued; `due`: what could go now; for how long the oldest has waited."""

    count: int
    due: int
    oldest_due_at: datetime | None
    oldest_due_seconds: float | None


class WorkspaceUseView(WorkspaceView):
    """`used_now`: requests of the last minute; null when Redis does not answer."""

    used_now: int | None


class DestinationHealthView(View):
    """`attempts` and the rest are about the window; `breaker`: closed, open, or probing.

    `is_failing`: the breaker is not closed; or something waits, and all has failed for 5 min.
    """

    id: uuid.UUID
    name: str
    enabled: bool
    disabled_reason: str | None
    breaker: str
    is_failing: bool
    failing_since: datetime | None
    paused_until: datetime | None
    attempts: int
    succeeded: int
    success_rate: float | None
    p50_ms: int | None
    p95_ms: int | None
    waiting: int
    sending: int
    dead: int
    held: int


class FailureView(View):
    """Failures with the same reason: `call` of a workspace, or `delivery` to a destination.

    `is_removed`: the destination is, and nothing can be sent there again.
    """

    kind: str
    state: str
    workspace_id: str | None
    destination_id: uuid.UUID | None
    destination: str | None
    reason: str
    count: int
    oldest_at: datetime
    newest_at: datetime
    cure: str
    is_removed: bool = False


class FailuresView(View):
    """`is_complete`: false where a destination has more of them than were looked at."""

    items: list[FailureView]
    next_cursor: str | None = None
    is_complete: bool = True


class OverviewView(View):
    """`is_complete`: false while much is uncounted, for some minutes after an update."""

    at: datetime
    window: str
    is_well: bool
    is_complete: bool
    today: ActivityView
    last_24h: ActivityView
    last_7d: ActivityView
    last_30d: ActivityView
    series_step_seconds: int
    series: list[ActivityView]
    waiting_calls: WaitingView
    waiting_deliveries: WaitingView
    workspaces: list[WorkspaceUseView]
    destinations: list[DestinationHealthView]
    failures: list[FailureView]
    newest_event_at: datetime | None


class ExpressionFaultView(View):
    """Where an expression is wrong: from line 1 and column 1, and counted from its beginning."""

    field: str
    message: str
    line: int | None
    column: int | None
    offset: int | None


class FieldPlanView(View):
    """One field of a person. `value` null: it stays as it is, because of `why_not`."""

    field: str
    mode: str
    value: Any
    why_not: str | None


class PlanView(View):
    """What a CRM would get of a call: whoever has `number` is found, or made as `person`."""

    number: str | None
    fields: list[FieldPlanView]
    person: Any
    change: Any
    call: Any
    task: Any
    notes: list[str]
    #: For people: what is logged of the call, and the task's words and time.
    title: str | None
    summary: str | None
    subject: str | None
    words: str | None
    due: datetime | None


class PreviewCallView(View):
    """What one call would give. `reason`: why it would not be sent. `plan`: of a CRM."""

    call_id: str
    workspace_id: str
    type: str
    is_wanted: bool
    reason: str | None
    body: Any
    headers: dict[str, str]
    plan: PlanView | None = None


class PreviewView(View):
    """With faults no calls are tried. `unmapped`: what these calls say and no field takes.

    `sources`: everything that a mapping can take from them, as it is written there.
    """

    faults: list[ExpressionFaultView]
    calls: list[PreviewCallView]
    unmapped: list[str] = []
    sources: list[str] = []


class RequestView(View):
    """A delivery's request as it would be sent now: secrets hidden, the mapping as it is today."""

    method: str
    url: str
    headers: dict[str, str]
    body: Any
    fault: str | None


class WorkspaceCheckView(View):
    """`works`: null when it could not be found out. `cure`: what to do, when there is something."""

    workspace_id: str
    works: bool | None
    status_code: int | None
    message: str
    cure: str | None


class SetUpView(View):
    """How far the first set-up is."""

    workspaces: list[WorkspaceView]
    #: Their names.
    destinations: list[str]
    newest_call: CallStory | None

    @property
    def has_received(self) -> bool:
        return self.newest_call is not None

    @property
    def has_credentials(self) -> bool:
        return any(one.has_credentials for one in self.workspaces)

    @property
    def may_fetch(self) -> bool:
        """Whether Twenty2 would be asked with them."""
        return any(one.has_credentials and not one.is_blocked for one in self.workspaces)

    @property
    def has_fetched(self) -> bool:
        return self.newest_call is not None and self.newest_call.fetched_at is not None

    @property
    def has_delivered(self) -> bool:
        newest = self.newest_call
        return newest is not None and any(one.state == "delivered" for one in newest.deliveries)

    @property
    def is_done(self) -> bool:
        """Calls come, can be fetched, and have where to go."""
        return self.has_received and self.has_credentials and bool(self.destinations)


# ---- one person --------------------------------------------------------------


class PlaceView(View):
    """Where a number stands: a table and a column, or another place, and in how many rows."""

    where: str
    column: str | None
    count: int


class PersonRecordView(View):
    """What a CRM has of a person, by its own id."""

    step: str
    remote_id: str


class ElsewhereView(View):
    """A destination that has something of a person, by what it can be found there.

    `delivered`: deliveries' ids, which the hook got as `webhook-id`. `perhaps`: those that were
    sent without an answer that says so.
    """

    destination_id: str
    destination: str
    kind: str
    delivered: list[str]
    perhaps: list[str]
    records: list[PersonRecordView]


class PersonView(View):
    """What is held of a person. `mark` stands for the number, of which the end alone is told."""

    ending: str
    mark: str
    calls: int
    first_call_at: datetime | None
    last_call_at: datetime | None
    #: Requests of theirs that are being made at this moment.
    under_way: int
    #: Rows by table.
    held: dict[str, int]
    files: int
    #: Webhooks that are kept in Redis.
    spooled: int
    #: Where the number stands in what is not theirs.
    mentions: list[PlaceView]
    elsewhere: list[ElsewhereView]
    #: Calls of anybody that are still to be fetched: whose they are is not known yet.
    calls_to_fetch: int


class ForgottenView(View):
    """What was erased of a person, and the proof: `left` is empty when nothing is left."""

    ending: str
    mark: str
    #: False in a file that was written before the end.
    is_complete: bool
    began_at: datetime
    ended_at: datetime | None
    erased: dict[str, int]
    files: int
    spooled: int
    redacted: list[PlaceView]
    left: list[PlaceView]
    elsewhere: list[ElsewhereView]
    calls_to_fetch: int
    remarks: list[str]
