"""CRMs: the ledger of steps, whom a number belongs to there, and the access tokens."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from aftercall.db.session import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One step of a call at a CRM."""

    call_row_id: int
    destination_id: uuid.UUID
    step: str
    state: str
    sent_at: datetime
    done_at: datetime | None
    remote_id: str | None
    content_hash: bytes | None
    note: str | None


_STEPS = text(
    """
    SELECT call_row_id, destination_id, step, state, sent_at, done_at, remote_id, content_hash,
      note
    FROM crm_steps
    WHERE call_row_id = ANY(:call_row_ids)
      AND (CAST(:destination_id AS uuid) IS NULL OR destination_id = :destination_id)
    ORDER BY sent_at, step
    """
)


def steps_of(
    executor: Executor, call_row_ids: Sequence[int], destination_id: uuid.UUID | None = None
) -> list[StepRow]:
    """In the order in which they were sent; of all their CRMs by default."""
    rows = executor.execute(
        _STEPS, {"call_row_ids": list(call_row_ids), "destination_id": destination_id}
    )
    return [StepRow(**row) for row in rows.mappings()]


_SEND = text(
    """
    INSERT INTO crm_steps (call_row_id, destination_id, step, state, sent_at)
    SELECT d.call_row_id, d.destination_id, :step, 'sent', :now FROM deliveries d
    WHERE d.id = :delivery_id AND d.lease_token = :token AND d.lease_until > :now
    ON CONFLICT (call_row_id, destination_id, step) DO UPDATE SET sent_at = excluded.sent_at
      WHERE crm_steps.state = 'sent'
    RETURNING step
    """
)


def send_step(
    executor: Executor, delivery_id: uuid.UUID, token: uuid.UUID, step: str, *, now: datetime
) -> bool:
    """Whether it may go out: the lease is ours still, and nobody has done it."""
    where = {"delivery_id": delivery_id, "token": token, "step": step, "now": now}
    return executor.execute(_SEND, where).first() is not None


_FINISH = text(
    """
    INSERT INTO crm_steps (call_row_id, destination_id, step, state, sent_at, done_at,
      remote_id, content_hash, note)
    SELECT id, :destination_id, :step, 'done', :now, :now, :remote_id, :content_hash, :note
    -- Nothing when the call was forgotten meanwhile.
    FROM (SELECT id FROM calls WHERE id = :call_row_id FOR KEY SHARE) AS c
    ON CONFLICT (call_row_id, destination_id, step) DO UPDATE SET state = 'done',
      done_at = excluded.done_at, remote_id = excluded.remote_id,
      content_hash = excluded.content_hash, note = excluded.note
    """
)


def finish_step(
    executor: Executor,
    call_row_id: int,
    destination_id: uuid.UUID,
    step: str,
    *,
    remote_id: str | None,
    content_hash: bytes | None,
    note: str | None,
    now: datetime,
) -> None:
    executor.execute(
        _FINISH,
        {
            "call_row_id": call_row_id,
            "destination_id": destination_id,
            "step": step,
            "remote_id": remote_id,
            "content_hash": content_hash,
            "note": note,
            "now": now,
        },
    )


_FORGET = text(
    """
    DELETE FROM crm_steps s USING deliveries d
    WHERE d.id = :delivery_id AND d.lease_token = :token
      AND s.call_row_id = d.call_row_id AND s.destination_id = d.destination_id AND s.step = :step
    """
)


def forget_step(executor: Executor, delivery_id: uuid.UUID, token: uuid.UUID, step: str) -> None:
    """It did not happen. Who has lost the lease has no say any more."""
    executor.execute(_FORGET, {"delivery_id": delivery_id, "token": token, "step": step})


_HAS_NEWER = text(
    """
    SELECT EXISTS (
      SELECT FROM deliveries d JOIN deliveries newer
        ON newer.call_row_id = d.call_row_id AND newer.destination_id = d.destination_id
      WHERE d.id = :delivery_id AND newer.revision > d.revision AND newer.state = 'delivered'
    )
    """
)


def has_newer(executor: Executor, delivery_id: uuid.UUID) -> bool:
    """Whether a later version of its call is there already."""
    return bool(executor.execute(_HAS_NEWER, {"delivery_id": delivery_id}).scalar_one())


_HAS_WRITTEN = text("SELECT EXISTS (SELECT FROM crm_steps WHERE destination_id = :id)")


def has_written(executor: Executor, destination_id: uuid.UUID) -> bool:
    """Whether anything was written there."""
    return bool(executor.execute(_HAS_WRITTEN, {"id": destination_id}).scalar_one())


# ---- people ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RememberedPerson:
    """Whom we made for a number, and when. Only a time: somebody went out, and no answer came."""

    remote_id: str | None
    made_at: datetime | None


_LEASE_PERSON = text(
    """
    INSERT INTO crm_people (destination_id, number, lease_token, lease_until)
    -- Locked, so that whoever forgets the person waits for us, or we see that they are forgotten.
    SELECT destination_id, :number, :token, :until FROM (
      SELECT destination_id FROM deliveries
      WHERE id = :delivery_id AND lease_token = :delivery_token FOR KEY SHARE
    ) AS d
    ON CONFLICT (destination_id, number) DO UPDATE
      SET lease_token = excluded.lease_token, lease_until = excluded.lease_until
      WHERE crm_people.lease_token IS NULL OR crm_people.lease_until < :now
        OR crm_people.lease_token = excluded.lease_token
    RETURNING remote_id, made_at
    """
)
_RELEASE_PERSON = text(
    """
    UPDATE crm_people SET lease_token = NULL, lease_until = NULL
    WHERE destination_id = :destination_id AND number = :number AND lease_token = :token
    """
)
_REMEMBER = text(
    """
    UPDATE crm_people SET remote_id = :remote_id, made_at = :at
    WHERE destination_id = :destination_id AND number = :number
    """
)


def lease_person(
    executor: Executor,
    delivery_id: uuid.UUID,
    number: str,
    *,
    delivery_token: uuid.UUID,
    token: uuid.UUID,
    until: datetime,
    now: datetime,
) -> RememberedPerson | None:
    """What is known of them; None while another delivery is at work on them.

    None, too, when this delivery is not ours any more: nothing is written then.
    """
    row = executor.execute(
        _LEASE_PERSON,
        {
            "delivery_id": delivery_id,
            "delivery_token": delivery_token,
            "number": number,
            "token": token,
            "until": until,
            "now": now,
        },
    ).first()
    return None if row is None else RememberedPerson(row.remote_id, row.made_at)


def release_person(
    executor: Executor, destination_id: uuid.UUID, number: str, *, token: uuid.UUID
) -> None:
    executor.execute(
        _RELEASE_PERSON, {"destination_id": destination_id, "number": number, "token": token}
    )


def remember_person(
    executor: Executor,
    destination_id: uuid.UUID,
    number: str,
    remote_id: str | None,
    *,
    at: datetime | None,
) -> None:
    """We made them there, then. No id: they went out then, and no answer came. Neither: nobody."""
    where = {"destination_id": destination_id, "number": number}
    executor.execute(_REMEMBER, {**where, "remote_id": remote_id, "at": at})


# ---- tokens ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A destination's access token, sealed."""

    token_sealed: str
    expires_at: datetime


_TOKEN = text(
    """
    SELECT token_sealed, expires_at FROM crm_tokens
    WHERE destination_id = :id AND token_sealed IS NOT NULL AND expires_at IS NOT NULL
    """
)
_LEASE_TOKEN = text(
    """
    INSERT INTO crm_tokens (destination_id, lease_until) VALUES (:id, :until)
    ON CONFLICT (destination_id) DO UPDATE SET lease_until = excluded.lease_until
      WHERE crm_tokens.lease_until IS NULL OR crm_tokens.lease_until < :now
    RETURNING destination_id
    """
)
_SAVE_TOKEN = text(
    """
    UPDATE crm_tokens SET lease_until = NULL, token_sealed = coalesce(:token, token_sealed),
      expires_at = coalesce(:expires_at, expires_at)
    WHERE destination_id = :id AND lease_until = :lease_until
    """
)


def read_token(executor: Executor, destination_id: uuid.UUID) -> TokenRow | None:
    row = executor.execute(_TOKEN, {"id": destination_id}).first()
    return None if row is None else TokenRow(row.token_sealed, row.expires_at)


def lease_token(
    executor: Executor, destination_id: uuid.UUID, *, until: datetime, now: datetime
) -> bool:
    """Whether it is ours to refresh."""
    where = {"id": destination_id, "until": until, "now": now}
    return executor.execute(_LEASE_TOKEN, where).first() is not None


def save_token(
    executor: Executor,
    destination_id: uuid.UUID,
    *,
    token_sealed: str | None,
    expires_at: datetime | None,
    lease_until: datetime,
) -> None:
    """Ends our lease; None: there is no new one. Nothing when it is not ours any more."""
    executor.execute(
        _SAVE_TOKEN,
        {
            "id": destination_id,
            "token": token_sealed,
            "expires_at": expires_at,
            "lease_until": lease_until,
        },
    )


def drop_tokens(executor: Executor, destination_ids: Sequence[uuid.UUID]) -> None:
    """Their credentials have changed."""
    executor.execute(
        text("DELETE FROM crm_tokens WHERE destination_id = ANY(:ids)"),
        {"ids": list(destination_ids)},
    )
