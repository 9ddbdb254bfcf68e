"""What is saved of a call that Twenty2 told us, and who gets to hear of it.

The content's hash decides whether there is anything new to say: a refetch of
the same makes no second delivery.
"""

import hashlib
import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aftercall.crm.mapping import MappingError, data_of, is_wanted
from aftercall.db.calls import SavedCall
from aftercall.db.deliveries import NewDelivery, known_pairs
from aftercall.db.destinations import Subscription, subscriptions
from aftercall.db.media import NewMedia
from aftercall.db.session import Executor
from aftercall.domain.ids import new_id
from aftercall.domain.media import MediaKind, late_look
from aftercall.domain.states import DeliveryState
from aftercall.domain.work import (
    CALL_COMPLETED,
    CALL_FAILED,
    CALL_UPDATED,
    CallDetail,
    ClaimedCall,
    Media,
    Parameters,
)
from aftercall.json_text import dump_json


@dataclass(frozen=True, slots=True)
class Saving:
    """A claimed call with what is to be written of it."""

    claim: ClaimedCall
    saved: SavedCall
    #: What destinations' filters look at.
    data: Parameters

    @property
    def is_news(self) -> bool:
        return self.saved.revision > self.claim.revision


def prepare_save(claim: ClaimedCall, detail: CallDetail) -> Saving:
    """The call, ready for the database. RecursionError or ValueError when it cannot be JSON."""
    call = _call_facts(claim, detail)
    recording, transcript = _media(detail.recording), _media(detail.transcript)
    content = [
        call,
        detail.input_parameters,
        detail.output_parameters,
        # The links change with every answer; that there is one does not.
        recording is not None,
        transcript is not None,
    ]
    # In these very bytes since the first release: other ones would make every call new.
    content_hash = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()
    saved = SavedCall(
        detail=detail,
        content_hash=content_hash,
        revision=claim.revision + (content_hash != claim.content_hash),
        call=_dump(call),
        input_parameters=_dump(detail.input_parameters),
        output_parameters=_dump(detail.output_parameters),
        recording=None if recording is None else _dump(recording),
        transcript=None if transcript is None else _dump(transcript),
        raw=_dump(detail.raw),
    )
    # The filter sees at the save what the mapping sees at the delivery.
    data = data_of(
        call_id=claim.call_id,
        workspace_id=claim.workspace_id,
        call=call,
        input_parameters=detail.input_parameters,
        output_parameters=detail.output_parameters,
        recording=recording,
        transcript=transcript,
    )
    return Saving(claim, saved, data)


def _call_facts(claim: ClaimedCall, detail: CallDetail) -> Parameters:
    cost = None
    if detail.cost_amount is not None:
        cost = {"amount": str(detail.cost_amount), "currency": detail.cost_currency}
    return {
        "call_id": claim.call_id,
        "answered_call_id": detail.answered_call_id,
        "agent_id": detail.agent_id,
        "status": detail.status,
        "direction": detail.direction,
        "callee_phone": detail.callee_phone,
        "caller_phone": detail.caller_phone,
        "duration_seconds": detail.duration_seconds,
        "billed_duration_seconds": detail.billed_duration_seconds,
        "cost": cost,
        "started_at": _moment(detail.started_at),
        "ended_at": _moment(detail.ended_at),
    }


def _media(media: Media | None) -> Parameters | None:
    if media is None:
        return None
    return {"url": media.url, "expires_at": _moment(media.expires_at)}


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def _dump(value: Any) -> str:
    return dump_json(value).decode()


def new_media(savings: Sequence[Saving]) -> list[NewMedia]:
    """Of each call what Twenty2 gave a link to."""
    return [
        NewMedia(saving.claim.row_id, kind, media.url, media.expires_at)
        for saving in savings
        for kind, media in (
            (MediaKind.RECORDING, saving.saved.detail.recording),
            (MediaKind.TRANSCRIPT, saving.saved.detail.transcript),
        )
        if media is not None
    ]


def next_look(saving: Saving, *, now: datetime) -> tuple[datetime | None, int]:
    """When a call is fetched again because its media are late, and how often that was decided."""
    detail, looks = saving.saved.detail, saving.claim.looks
    has_talked = event_type(detail.status) == CALL_COMPLETED and bool(detail.duration_seconds)
    is_complete = detail.recording is not None and detail.transcript is not None
    wait = None if is_complete or not has_talked else late_look(looks)
    return (None, looks) if wait is None else (now + wait, looks + 1)


def new_deliveries(executor: Executor, savings: Sequence[Saving]) -> list[NewDelivery]:
    """One for each destination that wants one of the calls whose content is new."""
    news = [saving for saving in savings if saving.is_news]
    if not news:
        return []
    wanted_by = subscriptions(executor)
    later = [saving.claim.row_id for saving in news if saving.saved.revision > 1]
    known = known_pairs(executor, later) if later else frozenset()
    return [
        delivery
        for saving in news
        for subscription in wanted_by
        if (delivery := _match(subscription, saving, known)) is not None
    ]


def _match(
    subscription: Subscription, saving: Saving, known: frozenset[tuple[int, uuid.UUID]]
) -> NewDelivery | None:
    claim, saved = saving.claim, saving.saved
    if subscription.workspace_id not in (None, claim.workspace_id):
        return None
    is_update = (claim.row_id, subscription.destination_id) in known
    type_ = delivery_type(saved.detail.status, is_update=is_update, events=subscription.events)
    if type_ is None:
        return None
    state, error = DeliveryState.QUEUED, None
    try:
        if not is_wanted(subscription.filter, saving.data):
            state = DeliveryState.SKIPPED
        elif not subscription.enabled:
            state = DeliveryState.HELD
    except MappingError as failure:
        # Neither sent nor silently dropped: a person corrects the filter and replays.
        state, error = DeliveryState.DEAD, f"the destination's filter failed: {failure}"
    return NewDelivery(
        id=new_id(),
        call_row_id=claim.row_id,
        destination_id=subscription.destination_id,
        revision=saved.revision,
        type=type_,
        state=state,
        error=error,
    )


def delivery_type(status: str, *, is_update: bool, events: Collection[str]) -> str | None:
    """None when a destination with these events does not want it.

    `is_update`: it had an earlier revision. What it did not want at first is no update later.
    """
    first = event_type(status)
    type_ = CALL_UPDATED if is_update else first
    return type_ if first in events and type_ in events else None


def event_type(status: str) -> str:
    """Of a delivery: a call that did not connect has failed."""
    return CALL_FAILED if status in {"failed", "not_connected"} else CALL_COMPLETED
