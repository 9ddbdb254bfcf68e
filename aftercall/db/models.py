"""The tables. States and moves: `aftercall.domain.states`; words: `docs/glossary.md`.

Hot tables (`calls`, `deliveries`) are narrow and polled through partial
indexes on what is due; bodies and payloads live in tables of their own.
"""

import uuid
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aftercall.domain.call_log import ReconciliationKind, ReconciliationState
from aftercall.domain.media import MediaKind, MediaState
from aftercall.domain.notices import NoticeState
from aftercall.domain.outcomes import BlockKind
from aftercall.domain.states import CallState, DeliveryState


def _one_of(enum: type[StrEnum], name: str) -> Enum:
    # A check, not a native type: adding a state is then one short statement.
    return Enum(
        enum,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


class Role(StrEnum):
    """What somebody who signed in may do."""

    ADMIN = "admin"
    READER = "reader"


class Via(StrEnum):
    """How somebody came to change something."""

    CONSOLE = "console"
    API = "api"
    CLI = "cli"


#: A phone number's digits, from the last to the first: numbers are found by their end.
PHONE_END = "reverse(translate({}, '+-(). /', ''))"


class AttemptOutcome(StrEnum):
    """How one attempt ended, as the story of a call tells it."""

    SUCCEEDED = "succeeded"
    RETRY = "retry"
    NOT_READY = "not_ready"
    BLOCKED = "blocked"
    DEAD = "dead"


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: DateTime(timezone=True),
        str: Text(),
        bytes: LargeBinary(),
        uuid.UUID: Uuid(),
    }


class Workspace(Base):
    """A Twenty2 workspace: whose calls, whose credentials, whose rate limit."""

    __tablename__ = "workspaces"

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    #: Encrypted. Null: the environment's, if it names this workspace, else none.
    api_key_sealed: Mapped[str | None]
    api_secret_sealed: Mapped[str | None]
    #: Requests a minute; null: TWENTYTWO_RATE_LIMIT.
    rate_limit: Mapped[int | None]
    block_kind: Mapped[BlockKind | None] = mapped_column(_one_of(BlockKind, "block_kind"))
    blocked_until: Mapped[datetime | None]
    block_reason: Mapped[str | None]
    forbidden_in_a_row: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    #: Where numbers without a country code belong (ISO 3166), and the zone that people speak in.
    region: Mapped[str] = mapped_column(String(2), server_default=text("'IN'"))
    time_zone: Mapped[str] = mapped_column(String(64), server_default=text("'Asia/Kolkata'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Webhook(Base):
    """A request to the receiver, as it came, when it brought at least one new event.

    In partitions of a month (`aftercall.db.partitions`), which are dropped when they are old.
    """

    __tablename__ = "webhooks"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    received_at: Mapped[datetime] = mapped_column(primary_key=True)
    body: Mapped[bytes]

    __table_args__ = ({"postgresql_partition_by": "RANGE (received_at)"},)


class Event(Base):
    """Somebody told us that a call ended. One row a call and event type, however often it came."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(String(128))
    call_id: Mapped[str] = mapped_column(String(128))
    type: Mapped[str] = mapped_column(String(100))
    #: Twenty2's, unique to one delivery of the webhook.
    event_id: Mapped[str | None]
    #: No foreign key: the webhook may be dropped before the event.
    webhook_id: Mapped[uuid.UUID | None]
    received_at: Mapped[datetime]
    duplicates: Mapped[int] = mapped_column(server_default=text("0"))
    last_duplicate_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("workspace_id", "call_id", "type"),
        ForeignKeyConstraint(["workspace_id", "call_id"], ["calls.workspace_id", "calls.call_id"]),
        Index(None, "webhook_id"),
    )


class Call(Base):
    """A call: where its fetch stands, and what Twenty2 said of it."""

    __tablename__ = "calls"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"), type_=String(128))
    #: Twenty2's id, as it was given to us and as we ask for it.
    call_id: Mapped[str] = mapped_column(String(128))

    state: Mapped[CallState] = mapped_column(_one_of(CallState, "state"))
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    #: Leases that ran out in a row: a row that kills its worker.
    lapses: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    lease_token: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]
    #: Since when Twenty2 says that it is under way.
    not_ready_since: Mapped[datetime | None]
    #: Since when Twenty2 says that it knows no such call.
    unknown_since: Mapped[datetime | None]
    #: A newer event came while the fetch was under way.
    refetch_wanted: Mapped[bool] = mapped_column(server_default=text("false"))
    last_error: Mapped[str | None]
    received_at: Mapped[datetime]
    fetched_at: Mapped[datetime | None]

    #: Counts the versions of what Twenty2 said; 0 before the first.
    revision: Mapped[int] = mapped_column(server_default=text("0"))
    #: Of everything that a CRM would care for, so that a refetch of the same makes no delivery.
    content_hash: Mapped[bytes | None]
    #: The id in the answer, where it differs from the one asked for.
    answered_call_id: Mapped[str | None]
    status: Mapped[str | None]
    direction: Mapped[str | None]
    agent_id: Mapped[str | None]
    callee_phone: Mapped[str | None]
    caller_phone: Mapped[str | None]
    duration_seconds: Mapped[int | None]
    billed_duration_seconds: Mapped[int | None]
    cost_amount: Mapped[Decimal | None] = mapped_column(Numeric())
    cost_currency: Mapped[str | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    #: When it is fetched once more, because its recording or transcript was not there yet.
    look_again_at: Mapped[datetime | None]
    #: How often that was decided.
    looks: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))

    __table_args__ = (
        UniqueConstraint("workspace_id", "call_id"),
        Index(
            "ix_calls_due",
            "workspace_id",
            "priority",
            "due_at",
            postgresql_where=text("state = 'queued'"),
        ),
        Index("ix_calls_leased", "lease_until", postgresql_where=text("state = 'fetching'")),
        Index(
            "ix_calls_last_chance",
            "due_at",
            postgresql_where=text("state = 'queued' AND lapses >= 2"),
        ),
        Index("ix_calls_dead", "id", postgresql_where=text("state = 'dead'")),
        Index(
            "ix_calls_look_again",
            "workspace_id",
            "look_again_at",
            postgresql_where=text("look_again_at IS NOT NULL AND state = 'fetched'"),
        ),
        Index("ix_calls_received", "received_at", "id"),
        Index(
            "ix_calls_call_id_prefix",
            "call_id",
            postgresql_ops={"call_id": "varchar_pattern_ops"},
        ),
        # Partial, so that a call is entered once, when it is saved.
        Index(
            "ix_calls_callee_phone",
            literal_column(PHONE_END.format("callee_phone")).label("digits"),
            postgresql_ops={"digits": "text_pattern_ops"},
            postgresql_where=text("callee_phone IS NOT NULL"),
        ),
        Index(
            "ix_calls_caller_phone",
            literal_column(PHONE_END.format("caller_phone")).label("digits"),
            postgresql_ops={"digits": "text_pattern_ops"},
            postgresql_where=text("caller_phone IS NOT NULL"),
        ),
        Index("ix_calls_agent", "agent_id", postgresql_where=text("agent_id IS NOT NULL")),
        Index(
            "ix_calls_answered",
            "answered_call_id",
            postgresql_where=text("answered_call_id IS NOT NULL"),
        ),
        Index(
            "ix_calls_rare_status",
            "status",
            postgresql_where=text(
                "status IS NOT NULL AND status NOT IN ('completed', 'not_connected')"
            ),
        ),
        CheckConstraint("(state = 'fetching') = (lease_token IS NOT NULL)", name="lease"),
    )


class CallPayload(Base):
    """What Twenty2 said of a call, one row a revision. The customer's own words."""

    __tablename__ = "call_payloads"

    call_row_id: Mapped[int] = mapped_column(
        ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True
    )
    revision: Mapped[int] = mapped_column(primary_key=True)
    saved_at: Mapped[datetime]
    #: The call's facts as destinations get them.
    call: Mapped[dict[str, Any]] = mapped_column(JSONB)
    input_parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    output_parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    recording: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    transcript: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    #: The whole answer; fields that nobody documented are only here.
    raw: Mapped[dict[str, Any]] = mapped_column(JSONB)

    __table_args__ = (
        Index(
            "ix_call_payloads_output",
            "output_parameters",
            postgresql_using="gin",
            postgresql_ops={"output_parameters": "jsonb_path_ops"},
        ),
    )


class Destination(Base):
    """A CRM hook: where deliveries go, which, in what shape, how fast."""

    __tablename__ = "destinations"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default=text("'webhook'"))
    url: Mapped[str]
    #: Null: every workspace's calls.
    workspace_id: Mapped[str | None] = mapped_column(ForeignKey("workspaces.id"), type_=String(128))
    enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    disabled_reason: Mapped[str | None]
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    #: JMESPath over the delivery's `data`; null: everything.
    filter: Mapped[str | None]
    #: JMESPath over the delivery's `data` that makes the body; null: the default body.
    mapping: Mapped[str | None]
    #: Encrypted JSON object.
    headers_sealed: Mapped[str | None]
    #: Encrypted `whsec_…`.
    secret_sealed: Mapped[str]
    #: Of a CRM: what is written there, and the encrypted JSON object of its credentials.
    sync: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    credentials_sealed: Mapped[str | None]
    #: The one before, encrypted: it signs as well, until then.
    old_secret_sealed: Mapped[str | None]
    old_secret_until: Mapped[datetime | None]
    timeout_seconds: Mapped[int] = mapped_column(SmallInteger, server_default=text("15"))
    max_in_flight: Mapped[int] = mapped_column(SmallInteger, server_default=text("32"))
    #: Null: no limit.
    rate_limit_per_second: Mapped[int | None]
    #: Since when every delivery has failed; null while it works.
    failing_since: Mapped[datetime | None]
    #: The circuit breaker: failures without a success between them, and, once they are many,
    #: until when nothing is sent. After that one delivery finds out whether it works again.
    failures_in_a_row: Mapped[int] = mapped_column(server_default=text("0"))
    paused_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    #: Removed: kept for the story of its deliveries, without its secrets.
    removed_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_destinations_name",
            "name",
            unique=True,
            postgresql_where=text("removed_at IS NULL"),
        ),
    )


class Delivery(Base):
    """One call's revision on its way to one destination. Its id is every attempt's `webhook-id`."""

    __tablename__ = "deliveries"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    call_row_id: Mapped[int] = mapped_column(ForeignKey("calls.id", ondelete="CASCADE"))
    destination_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("destinations.id"))
    revision: Mapped[int]
    #: `call.completed` or `call.failed`; `call.updated` when the destination had it before.
    type: Mapped[str]
    state: Mapped[DeliveryState] = mapped_column(_one_of(DeliveryState, "state"))
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    lapses: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    lease_token: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("call_row_id", "destination_id", "revision"),
        Index(
            "ix_deliveries_due",
            "destination_id",
            "due_at",
            postgresql_where=text("state = 'queued'"),
        ),
        Index("ix_deliveries_leased", "lease_until", postgresql_where=text("state = 'sending'")),
        Index(
            "ix_deliveries_last_chance",
            "due_at",
            postgresql_where=text("state = 'queued' AND lapses >= 2"),
        ),
        Index(
            "ix_deliveries_in_flight",
            "destination_id",
            postgresql_where=text("state = 'sending'"),
        ),
        # Entered once, when it is settled: the pages of a destination and of a state.
        Index(
            "ix_deliveries_settled",
            "destination_id",
            "state",
            "id",
            postgresql_where=text("state IN ('dead', 'held', 'delivered', 'skipped')"),
        ),
        CheckConstraint("(state = 'sending') = (lease_token IS NOT NULL)", name="lease"),
    )


class MediaFile(Base):
    """A call's recording or transcript: where fetching it stands, and where it is kept."""

    __tablename__ = "media"

    call_row_id: Mapped[int] = mapped_column(
        ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[MediaKind] = mapped_column(_one_of(MediaKind, "kind"), primary_key=True)
    state: Mapped[MediaState] = mapped_column(_one_of(MediaState, "state"))
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    lapses: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    #: How often Twenty2 was asked for a fresh link.
    links_asked: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    lease_token: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]
    last_error: Mapped[str | None]
    #: Twenty2's link, until it has been fetched.
    source_url: Mapped[str | None]
    source_expires_at: Mapped[datetime | None]
    #: Below AFTERCALL_MEDIA_URL; made of ids alone.
    path: Mapped[str | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sha256: Mapped[bytes | None]
    content_type: Mapped[str | None]
    #: Null: there is nothing to serve yet.
    stored_at: Mapped[datetime | None]
    #: Of our link; one more revokes those that were given away.
    link_version: Mapped[int] = mapped_column(server_default=text("1"))

    __table_args__ = (
        Index("ix_media_due", "due_at", postgresql_where=text("state = 'queued'")),
        Index("ix_media_leased", "lease_until", postgresql_where=text("state = 'fetching'")),
        CheckConstraint("(state = 'fetching') = (lease_token IS NOT NULL)", name="lease"),
    )


#: So many characters of a transcript are found by their words: what PostgreSQL takes for sure.
WORDS_OF_TRANSCRIPT = 200_000


class Transcript(Base):
    """What was said in a call, to be read and searched."""

    __tablename__ = "transcripts"

    call_row_id: Mapped[int] = mapped_column(
        ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True
    )
    #: There is more of it in the file.
    is_cut: Mapped[bool] = mapped_column(server_default=text("false"))
    text: Mapped[str]
    words: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed(
            f"to_tsvector('simple'::regconfig, \"left\"(text, {WORDS_OF_TRANSCRIPT}))",
            persisted=True,
        ),
    )

    __table_args__ = (Index("ix_transcripts_words", "words", postgresql_using="gin"),)


class StepState(StrEnum):
    """Where one step of a call at a CRM stands."""

    SENT = "sent"
    DONE = "done"


class CrmStep(Base):
    """The ledger: a step of a call at a CRM happens once, whatever is tried again."""

    __tablename__ = "crm_steps"

    call_row_id: Mapped[int] = mapped_column(
        ForeignKey("calls.id", ondelete="CASCADE"), primary_key=True
    )
    destination_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("destinations.id"), primary_key=True
    )
    #: `person`, `fields` (with the person's id), `call`, `task`.
    step: Mapped[str] = mapped_column(String(128), primary_key=True)
    #: Sent and not done: the request went out, and whether it did its work is not known.
    state: Mapped[StepState] = mapped_column(_one_of(StepState, "state"))
    sent_at: Mapped[datetime]
    done_at: Mapped[datetime | None]
    #: The id of what was made, as the CRM has it.
    remote_id: Mapped[str | None]
    #: Of what was written: the same again is not written again.
    content_hash: Mapped[bytes | None]
    #: What a person should know or do about it.
    note: Mapped[str | None]


class CrmPerson(Base):
    """Whom a number belongs to at a CRM; leased, so that nobody makes them twice."""

    __tablename__ = "crm_people"

    destination_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("destinations.id"), primary_key=True
    )
    #: E.164.
    number: Mapped[str] = mapped_column(String(32), primary_key=True)
    #: The one that we made there; searches find it only after a while. Only a time: one went out
    #: then, and no answer came.
    remote_id: Mapped[str | None]
    made_at: Mapped[datetime | None]
    #: The delivery that is at work on this person, and until when.
    lease_token: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]


class CrmToken(Base):
    """A CRM's access token: refreshed once for all workers."""

    __tablename__ = "crm_tokens"

    destination_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("destinations.id"), primary_key=True
    )
    #: Encrypted JSON: the token, and the address of the API if the CRM told one.
    token_sealed: Mapped[str | None]
    expires_at: Mapped[datetime | None]
    #: Until then somebody refreshes it.
    lease_until: Mapped[datetime | None]


class Attempt(Base):
    """One request of ours and what came of it: a fetch, or, with a delivery, a POST to its hook.

    In partitions of a month, as webhooks are.
    """

    __tablename__ = "attempts"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    #: No foreign keys: a story is only added to, and four lookups a call are not free.
    call_row_id: Mapped[int] = mapped_column(BigInteger)
    delivery_id: Mapped[uuid.UUID | None]
    #: From 1; a look at a call that was not ready, or blocked, shares the number of the next.
    number: Mapped[int] = mapped_column(SmallInteger)
    started_at: Mapped[datetime] = mapped_column(primary_key=True)
    duration_ms: Mapped[int]
    outcome: Mapped[AttemptOutcome] = mapped_column(_one_of(AttemptOutcome, "outcome"))
    #: Null when there was no answer.
    status_code: Mapped[int | None] = mapped_column(SmallInteger)
    reason: Mapped[str | None]
    #: The beginning of the answer's body, for deliveries and for refusals.
    response_excerpt: Mapped[str | None]
    #: When the next attempt comes; null when there is none.
    next_due_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_attempts_call_row_id", "call_row_id"),
        {"postgresql_partition_by": "RANGE (started_at)"},
    )


class SignIn(Base):
    """Somebody who is signed in to the console. Signing out deletes the row."""

    __tablename__ = "sessions"

    #: SHA-256 of what the cookie holds: who reads the table cannot sign in with it.
    id_hash: Mapped[bytes] = mapped_column(primary_key=True)
    role: Mapped[Role] = mapped_column(_one_of(Role, "role"))
    csrf_token: Mapped[str]
    #: HMAC of the token that opened it, under the cookie's value: another token ends it.
    token_fingerprint: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime] = mapped_column(index=True)


class AuditEntry(Base):
    """Who changed or replayed what. Only added to; without secrets, without phone numbers."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    #: `admin`, `reader`, `cli`, or `nobody` whose sign-in was refused.
    actor: Mapped[str]
    via: Mapped[Via] = mapped_column(_one_of(Via, "via"))
    #: Whence, as far as the connection tells.
    address: Mapped[str | None]
    #: A noun and what was done to it: `destination.changed`.
    action: Mapped[str]
    #: The id of what it was done to; null when it was many.
    subject: Mapped[str | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))

    __table_args__ = (Index("ix_audit_entries_subject", "subject", "id"),)


class ActivityCount(Base):
    """How often something happened in a half hour: half, because India's days begin at 18:30."""

    __tablename__ = "activity_counts"

    at: Mapped[datetime] = mapped_column(primary_key=True)
    #: `received`, `fetch`, `delivery`.
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    #: The workspace, or the destination of a delivery.
    scope: Mapped[str] = mapped_column(String(128), primary_key=True)
    #: An attempt's; empty for what was received.
    outcome: Mapped[str] = mapped_column(String(16), primary_key=True)
    #: Of deliveries, as `aftercall.domain.durations` has it; else 0.
    duration_bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class ActivityMark(Base):
    """How far a table has been counted, and how far it will be next."""

    __tablename__ = "activity_marks"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    done_id: Mapped[int] = mapped_column(BigInteger)
    seen_id: Mapped[int] = mapped_column(BigInteger)
    #: When transactions before this one have ended, no id up to `seen_id` is missing any more.
    seen_xid: Mapped[int] = mapped_column(BigInteger)
    seen_at: Mapped[datetime]


class ForgottenCall(Base):
    """A call whose person was forgotten: what comes of it later is not taken."""

    __tablename__ = "forgotten_calls"

    #: SHA-256 of workspace and id: the id itself is not kept, and no key is needed to ask.
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    forgotten_at: Mapped[datetime]
    #: How often it was named again, and turned away.
    arrivals: Mapped[int] = mapped_column(server_default=text("0"))
    last_arrival_at: Mapped[datetime | None]


class Replay(Base):
    """Many deliveries that are sent again, a step at a time."""

    __tablename__ = "replays"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    #: `running`, `done`, `canceled`.
    state: Mapped[str] = mapped_column(String(16))
    conditions: Mapped[dict[str, Any]] = mapped_column(JSONB)
    total: Mapped[int]
    done: Mapped[int] = mapped_column(server_default=text("0"))
    #: Deliveries up to here have had their turn; those behind `last_id` were made later.
    after_id: Mapped[uuid.UUID]
    last_id: Mapped[uuid.UUID]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("state IN ('running', 'done', 'canceled')", name="state"),
        Index("ix_replays_running", "id", postgresql_where=text("state = 'running'")),
    )


class Reconciliation(Base):
    """A workspace's calls at Twenty2, read page by page, for those that never came here."""

    __tablename__ = "reconciliations"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"), type_=String(128))
    kind: Mapped[ReconciliationKind] = mapped_column(_one_of(ReconciliationKind, "kind"))
    state: Mapped[ReconciliationState] = mapped_column(_one_of(ReconciliationState, "state"))
    #: Calls that began in between; null: no bound.
    since: Mapped[datetime | None]
    until: Mapped[datetime | None]
    #: Where the reading is: `aftercall.domain.call_log.Position`.
    position: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))

    due_at: Mapped[datetime]
    #: Of the page that is asked for.
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    lapses: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    lease_token: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]
    last_error: Mapped[str | None]
    #: What a person should know of a reading that came to its end.
    note: Mapped[str | None]

    pages: Mapped[int] = mapped_column(server_default=text("0"))
    #: known + missing + under_way + outside.
    seen: Mapped[int] = mapped_column(server_default=text("0"))
    known: Mapped[int] = mapped_column(server_default=text("0"))
    missing: Mapped[int] = mapped_column(server_default=text("0"))
    under_way: Mapped[int] = mapped_column(server_default=text("0"))
    outside: Mapped[int] = mapped_column(server_default=text("0"))
    unreadable: Mapped[int] = mapped_column(server_default=text("0"))
    #: How many calls there are, if Twenty2 says so.
    total: Mapped[int | None]

    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        # One at a time; also how those that run are found.
        Index(
            "uq_reconciliations_running",
            "workspace_id",
            unique=True,
            postgresql_where=text("state = 'running'"),
        ),
        Index("ix_reconciliations_workspace", "workspace_id", "id"),
        CheckConstraint("lease_token IS NULL OR state = 'running'", name="lease"),
    )


class Death(Base):
    """A call or a delivery has died and is not counted yet. A trigger of `calls` and `deliveries`
    writes it, in the transaction in which they become dead; a sweep takes it away."""

    __tablename__ = "deaths"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    #: `call` or `delivery`.
    kind: Mapped[str] = mapped_column(String(16))
    #: The call's workspace, or the delivery's destination.
    scope: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str | None]


class NoticeSubject(Base):
    """What the operator knows of a workspace, of a destination, or of their dead letters."""

    __tablename__ = "notice_subjects"

    #: `workspace:ID`, `destination:ID`, `dead_call:WORKSPACE`, `dead_delivery:DESTINATION`.
    subject: Mapped[str] = mapped_column(String(200), primary_key=True)
    #: The trouble that was told: a kind of block, or `disabled`. Null: that all is well.
    told: Mapped[str | None] = mapped_column(String(32))
    #: When trouble was told last.
    told_at: Mapped[datetime | None]
    #: What has died since: how many for which reason.
    untold: Mapped[dict[str, int] | None] = mapped_column(JSONB)
    untold_since: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "ix_notice_subjects_untold",
            "subject",
            postgresql_where=text("untold IS NOT NULL"),
        ),
    )


class NoticeRow(Base):
    """Something that the operator's webhook is told. Its id is every attempt's `webhook-id`."""

    __tablename__ = "notices"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(200))
    #: What is posted. Nothing of a call or a person is in it.
    body: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[NoticeState] = mapped_column(_one_of(NoticeState, "state"))
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    due_at: Mapped[datetime]
    lease_token: Mapped[uuid.UUID | None]
    lease_until: Mapped[datetime | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_notices_due", "due_at", postgresql_where=text("state = 'queued'")),
        Index("ix_notices_leased", "lease_until", postgresql_where=text("state = 'sending'")),
        CheckConstraint("(state = 'sending') = (lease_token IS NOT NULL)", name="lease"),
    )
